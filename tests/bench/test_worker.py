from __future__ import annotations

import pytest

from gailfe_jax.bench.worker import Program, Worker
from gailfe_jax.errors import GailfeError


def test_a_process_that_ends_is_named():
    with Worker(Program("nonsense", "hopper", "mujoco_c", {})) as worker:
        with pytest.raises(GailfeError, match=r"ended with code 1 \(.*unknown algorithm 'nonsense'"):
            worker.answer()
