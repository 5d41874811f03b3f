"""The examples as modules, and the way that what they register goes from the command line."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import pathlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from gailfe_jax.cli.main import main
from gailfe_jax.envs import registry
from gailfe_jax.io import user_modules
from gailfe_jax.policies.registry import POLICY_UPDATES
from gailfe_jax.rewards.registry import REWARDS

FOLDER = pathlib.Path(__file__).parents[2] / "examples"


def load_example(name: str) -> ModuleType:
    """Runs `examples/NAME.py` as a module, which registers what it brings."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Where dataclasses look their annotations up.
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def own_registries() -> Iterator[None]:
    """What is registered inside is forgotten afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_REGISTERED", {})
        for table in (REWARDS, POLICY_UPDATES):
            patch.setattr(table, "_added", {})
        for path in FOLDER.glob("*.py"):
            patch.delitem(sys.modules, path.stem, raising=False)
        yield


TINY: dict[str, Any] = {
    "rollout.num_envs": 4, "rollout.unroll_length": 8, "policy.hidden": (8,), "steps": 64,
    "eval_every": 32, "eval_episodes": 1,
}  # fmt: skip
"""Settings by name of a run of two iterations."""
WORDS = [
    *("--num-envs", "4", "--unroll-length", "8", "--policy.hidden", "8"),
    *("--eval-every", "32", "--eval-episodes", "1"),
]
"""The same as flags, without the length."""


def the_whole_way(folder: pathlib.Path, words: list[str], grid: str) -> None:
    """Trains, resumes, evaluates and sweeps from the command line.

    Args:
      folder: an empty one.
      words: what trains, with its task and modules.
      grid: a setting with two values.
    """
    run, imports = (
        folder / "run",
        [word for pair in itertools.pairwise(words) if pair[0] == "--import" for word in pair],
    )
    assert main(["train", *words, *WORDS, "--steps", "32", "--quiet", "--out", str(run)]) == 0
    user_modules._imported.clear()  # As in another process.
    assert main(["train", "--out", str(run), "--resume", "--steps", "64"]) == 2, "its modules are not asked for"
    assert main(["train", "--out", str(run), "--resume", "--steps", "64", *imports]) == 0
    assert '"steps": 64' in (run / "summary.json").read_text()
    assert main(["evaluate", str(run), "--backend", "engine", "--episodes", "2", *imports]) == 0
    assert (
        main(["sweep", *words, *WORDS, "--steps", "32", "--quiet", "--grid", grid, "--out", str(folder / "sweep")]) == 0
    )
    assert len((folder / "sweep" / "sweep.csv").read_text().splitlines()) >= 3
