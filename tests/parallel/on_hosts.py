"""What test_hosts.py runs in each of two processes.

python -m tests.parallel.on_hosts FOLDER [HOST:PORT COUNT INDEX]
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import sys
from typing import Any

import jax
import numpy as np

from gailfe_jax.cli import main as cli
from gailfe_jax.config.flat import Config, Hyper
from gailfe_jax.errors import GailfeError
from gailfe_jax.parallel import distributed as hosts
from gailfe_jax.training import loop as training
from gailfe_jax.training.loop import DemoSettings, RunSettings, Trainer, train


class SharedTrainer(Trainer):
    """Compiles its programs once for all runs, which are of one configuration."""

    first: SharedTrainer | None = None

    def advance(self, state: Any, demos: Any) -> Any:
        if SharedTrainer.first is not None:
            self._compiled, self._evaluations = SharedTrainer.first._compiled, SharedTrainer.first._evaluations
        result = super().advance(state, demos)
        SharedTrainer.first = self
        return result


def go(words: list[str], signalled: bool = False) -> None:
    """`gailfe` with these words; process 1 gets a signal after the first evaluation if it is to be `signalled`."""

    def strike(step: int, row: Any) -> None:
        if signalled and jax.process_index() == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    # The command looks it up when it is called.
    training.train = lambda *args, **options: train(*args, on_evaluation=strike, **options)
    print("ended", cli(words), flush=True)


def refused(folder: pathlib.Path, odd: bool) -> None:
    """Mistakes of one process, of which the other is told."""
    config, settings = Config(algo="gail", env="hopper", num_envs=4), RunSettings(quiet=True)
    demos = DemoSettings(str(folder / "demos.npz"))
    missing = dataclasses.replace(demos, demos=str(folder / "missing.npz")) if odd else demos
    for arguments in (
        dict(demos=missing),
        dict(demos=demos, hyper=Hyper(gamma=0.5 if odd else 0.9)),
        dict(demos=demos, settings=dataclasses.replace(settings, devices=1)),
        dict(demos=demos, out=folder),
    ):
        try:
            train(config, **(dict(settings=settings) | arguments))
        except GailfeError as error:
            print(f"refused {error}", flush=True)


def main(folder: pathlib.Path, words: list[str]) -> None:
    training.Trainer = SharedTrainer  # type: ignore[misc]
    with hosts.connected(words):
        odd = jax.process_index() == 1
        go((folder / "words").read_text().split("\n"), signalled=True)
        go(
            [
                "train",
                "--out",
                str(folder / "half"),
                "--resume",
                "--no-quiet",
                "--steps",
                (folder / "steps").read_text(),
            ]
        )
        refused(folder, odd)
        numbers = np.array([-0.0, np.nan, jax.process_index()], np.float32)
        print("sent", hosts.from_first({"x": numbers, "y": np.array(odd)}), flush=True)
        if odd:
            # Without a word to the other.
            os._exit(7)
        hosts.anywhere(False)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2:])
