"""What test_distributed.py runs in each of two processes.

python -m tests.parallel.on_hosts FOLDER [HOST:PORT COUNT INDEX]
"""

from __future__ import annotations

import os
import pathlib
import signal
import sys
from typing import Any

import jax
import numpy as np

from gailfe_jax.cli.main import main as cli
from gailfe_jax.config.run import DemoSettings, RunSettings
from gailfe_jax.errors import GailfeError
from gailfe_jax.parallel import distributed as hosts
from gailfe_jax.training import loop, plan
from gailfe_jax.training.loop import train
from gailfe_jax.training.program import Trainer
from tests.haste import OfFirst
from tests.tiny import tiny


class SharedTrainer(Trainer):
    """Compiles its programs once for all runs, which are of one configuration."""

    programs: tuple[Any, Any] | None = None

    def advance(self, state: Any, demos: Any) -> Any:
        if SharedTrainer.programs is not None:
            self._compiled, self._evaluations = SharedTrainer.programs
        result = super().advance(state, demos)
        if SharedTrainer.programs is None:
            SharedTrainer.programs = OfFirst(self._compiled, self.learner), self._evaluations
        return result


def go(words: list[str], signalled: bool = False) -> None:
    """`gailfe` with these words; process 1 gets a signal after the first evaluation if it is to be `signalled`."""

    def strike(step: int, row: Any) -> None:
        if signalled and jax.process_index() == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    # The command looks it up when it is called.
    loop.train = lambda *args, **options: train(*args, on_evaluation=strike, **options)
    print("ended", cli(words), flush=True)


def refused(folder: pathlib.Path, odd: bool) -> None:
    """Mistakes of one process, of which the other is told."""
    run, shown = RunSettings(quiet=True), str(folder / "demos.npz")
    missing = str(folder / "missing.npz")
    for gamma, settings, demos, out in (
        (0.9, run, missing if odd else shown, None),
        (0.5 if odd else 0.9, run, shown, None),
        (0.9, run.replace(devices=1), shown, None),
        (0.9, run, shown, folder),
    ):
        try:
            train(tiny("gail", policy__gamma=gamma), "hopper", settings, demos=DemoSettings(demos=demos), out=out)
        except GailfeError as error:
            print(f"refused {error}", flush=True)


def main(folder: pathlib.Path, words: list[str]) -> None:
    plan.Trainer = SharedTrainer  # type: ignore[misc]
    with hosts.connected(words):
        odd = jax.process_index() == 1
        go((folder / "words").read_text().split("\n"), signalled=True)
        steps = (folder / "steps").read_text()
        go(["train", "--out", str(folder / "half"), "--resume", "--no-quiet", "--steps", steps])
        refused(folder, odd)
        numbers = np.array([-0.0, np.nan, jax.process_index()], np.float32)
        print("sent", hosts.from_first({"x": numbers, "y": np.array(odd)}), flush=True)
        if odd:
            # Without a word to the other.
            os._exit(7)
        hosts.anywhere(False)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2:])
