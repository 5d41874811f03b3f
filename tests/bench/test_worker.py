from __future__ import annotations

import pytest

from gailfe_jax.bench.worker import Program, Worker
from gailfe_jax.errors import GailfeError
from gailfe_jax.io import user_modules


@pytest.mark.slow
def test_a_process_that_ends_is_named():
    with Worker(Program("nonsense", "hopper", "mujoco_c", {})) as worker:
        with pytest.raises(GailfeError, match=r"ended with code 1 \(.*unknown algorithm 'nonsense'"):
            worker.answer()


@pytest.mark.slow
def test_a_process_imports_the_modules_of_its_parent(tmp_path, monkeypatch):
    module = tmp_path / "dull.py"
    module.write_text(
        "from gailfe_jax.rewards.constant import ConstantReward\n"
        "from gailfe_jax.rewards.registry import register_reward\n"
        "register_reward('dull', ConstantReward)\n"
    )
    monkeypatch.setattr(user_modules, "_imported", [str(module)])  # As `--import` does.
    # The method is known there, so it is the setting that is refused.
    with Worker(Program("dull", "hopper", "mujoco_c", {"nonsense": 1})) as worker:
        with pytest.raises(GailfeError, match=r"ended with code 1 \(.*nonsense: no such setting"):
            worker.answer()
