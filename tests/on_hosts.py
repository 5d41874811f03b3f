"""What test_hosts.py runs in each of several processes.

python -m tests.on_hosts train STEP WORDS...    gailfe WORDS, and process 1 gets SIGTERM after the evaluation at STEP
python -m tests.on_hosts refused FOLDER HOST:PORT COUNT INDEX    prints what each process is told about bad arguments
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import signal
import sys
from typing import Any

import jax
import numpy as np

from gailfe_jax import cli, hosts
from gailfe_jax import train as training
from gailfe_jax.config import Config, Hyper
from gailfe_jax.train import DemoSettings, RunSettings, train
from gailfe_jax.types import GailfeError


def interrupted(step: int, words: list[str]) -> int:
    def strike(reached: int, row: Any) -> None:
        if reached == step and jax.process_index() == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    training.train = functools.partial(train, on_evaluation=strike)
    return cli.main(words)


def refused(folder: pathlib.Path, words: list[str]) -> None:
    """Mistakes of one process: the others are told, and all go on; at last process 1 dies without a word."""
    config, settings = Config(algo="gail", env="hopper", num_envs=4), RunSettings(quiet=True)
    demos = DemoSettings(str(folder / "demos.npz"))
    with hosts.connected(words):
        odd = jax.process_index() == 1
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
        # What is sent keeps every bit.
        numbers = np.array([-0.0, np.nan, jax.process_index()], np.float32)
        print("sent", hosts.from_first({"x": numbers, "y": np.array(odd)}), flush=True)
        if odd:
            os._exit(7)
        hosts.anywhere(False)


if __name__ == "__main__":
    kind, first, *rest = sys.argv[1:]
    sys.exit(interrupted(int(first), rest) if kind == "train" else refused(pathlib.Path(first), rest))
