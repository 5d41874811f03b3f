"""What the tests of sweeps share: a sweep of four settings in two programs on the toy task that can end."""

from __future__ import annotations

from typing import Any

import pytest

from gailfe_jax.cli.main import main
from gailfe_jax.sweep import study
from gailfe_jax.training.logger import read_metrics
from tests import toy
from tests.tiny import toy_demonstrations

TINY = [
    *("gailfe", "--env", "cliff", "--rollout.num-envs", "4", "--rollout.unroll-length", "8", "--value-minibatch", "16"),
    *("--reward.hidden", "8", "--reward.minibatch", "16", "--failures.capacity", "6", "--eval-every", "32"),
    *("--eval-episodes", "1", "--steps", "64", "--seeds", "2", "--first-seed", "3", "--checkpoint-seconds", "0"),
    "--no-tensorboard",
]
GRID = ["--grid", "reward.lr=1e-4,3e-3", "policy.hidden=8,9"]
VALUES = [(1e-4, (8,)), (1e-4, (9,)), (3e-3, (8,)), (3e-3, (9,))]


def contents(folder: Any) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def of_point(folder: Any, number: int | None) -> Any:
    """What a point was trained to: its measurements but for speed, and its policies."""
    folder = folder if number is None else folder / "settings" / f"{number:04d}"
    records = [{k: v for k, v in r.items() if not k.startswith("steps_per_second")} for r in read_metrics(folder)]
    return records, contents(folder / "policies"), contents(folder / "discriminators")


@pytest.fixture(scope="module", autouse=True)
def toys(toy_tasks: None) -> None:
    """The toy tasks by name, in all modules here."""


@pytest.fixture(scope="module")
def haste_options() -> dict[str, bool]:
    """What is trained side by side is to be what is trained one by one, to the bit."""
    return {}


@pytest.fixture(scope="session")
def demos_file(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("demos") / "demos.npz"
    toy_demonstrations(toy.Cliff(), toy.cliff_expert(), trajectories=4, failures=8).save(path)
    return path


@pytest.fixture(scope="session")
def go(demos_file: Any) -> Any:
    def start(out: Any, *words: Any, flags: list[str] = TINY) -> int:
        return main(["sweep", *flags[:1], "--out", str(out), "--demos", str(demos_file), *flags[1:], *map(str, words)])

    return start


@pytest.fixture(scope="module")
def whole(quick_programs: Any, go: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder of a sweep of four settings in two programs."""
    folder = tmp_path_factory.mktemp("sweeps") / "whole"
    assert go(folder, *GRID, "--quiet", "--baseline", 1) == 0
    return folder


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """`[(hidden, settings)]` of the programs that were trained, in order."""
    seen: list[Any] = []
    real = study.train

    def counting(method: Any, env: Any, run: Any, **options: Any) -> Any:
        seen.append((method.policy.hidden, len(options["seeds"]) // run.seeds))
        return real(method, env, run, **options)

    monkeypatch.setattr(study, "train", counting)
    return seen
