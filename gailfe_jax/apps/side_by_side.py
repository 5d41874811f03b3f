"""Trainings side by side, each in a process of its own, so that they share the cores and not one program."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import pathlib
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

from gailfe_jax.config.run import DemoSettings, RunSettings
from gailfe_jax.errors import GailfeError, GailfeWarning, shown_in_one_line
from gailfe_jax.learners.base import Learner
from gailfe_jax.training.loop import train
from gailfe_jax.training.signals import deferred_signals

# A line for each evaluation instead of a table that others would write into, and a core for each: products this small
# gain nothing from two.
_SURROUNDINGS = {"TERM": "dumb", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}


@dataclasses.dataclass(frozen=True)
class Training:
    """What one process trains.

    Attributes:
      method: the method and its settings.
      env: the task.
      run: budget, evaluations and logs.
      demos: what is shown.
      out: run folder; a run that was cut off there goes on.
    """

    method: Learner
    env: str
    run: RunSettings
    demos: DemoSettings
    out: pathlib.Path


def train_side_by_side(trainings: Sequence[Training]) -> bool:
    """Trains all of them at once; their lines are printed as they come.

    Returns:
      Whether all came to their end: a signal (Ctrl-C) has each save and stop.

    Raises:
      GailfeError: one of them failed. The others were told to save and stop.
    """
    context = multiprocessing.get_context("spawn")
    with deferred_signals() as caught, _surroundings():
        started: list[tuple[Any, Connection]] = []
        for training in trainings:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_child, args=(training, sender), name=str(training.out))
            process.start()
            sender.close()
            started.append((process, receiver))
        failed = _wait([process for process, _ in started], caught)
    errors = [error for _, receiver in started if (error := _received(receiver)) is not None]
    if errors:
        raise errors[0]
    if failed is not None:
        raise GailfeError(f"{failed.name}: training {_ended(failed.exitcode)}; the same command goes on")
    return not caught


def _ended(exitcode: int) -> str:
    if exitcode == -signal.SIGKILL:
        return "was killed, as by the system when memory runs out"
    return f"ended with exit code {exitcode}"


def _wait(processes: list[Any], caught: list[int]) -> Any:
    """Waits for all; the first that failed, or None. A signal, or a failure, has the others save and stop, once."""
    failed, told = None, False
    while running := [process for process in processes if process.is_alive()]:
        failed = failed or next((process for process in processes if process.exitcode), None)
        if (caught or failed) and not told:
            told = True
            for process in running:
                process.terminate()
        running[0].join(0.2)
    return failed or next((process for process in processes if process.exitcode), None)


def _received(receiver: Connection) -> GailfeError | None:
    """The error that a process sent before it ended."""
    with receiver:
        try:
            return receiver.recv() if receiver.poll() else None
        except EOFError:
            return None


@contextlib.contextmanager
def _surroundings() -> Iterator[None]:
    """The environment variables that processes start with."""
    before = {name: os.environ.get(name) for name in _SURROUNDINGS}
    flags = f"{before['XLA_FLAGS'] or ''} {_SURROUNDINGS['XLA_FLAGS']}".strip()
    os.environ.update(_SURROUNDINGS | {"XLA_FLAGS": flags})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _child(training: Training, errors: Connection) -> None:
    # Ctrl-C reaches a terminal's whole group, and a second signal ends a training unsaved: the parent tells once.
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    threading.Thread(target=_follow_parent, daemon=True).start()
    warnings.simplefilter("always", GailfeWarning)
    warnings.showwarning = shown_in_one_line(warnings.showwarning)
    try:
        train(training.method, training.env, training.run, demos=training.demos, out=training.out, resume=True)
    except GailfeError as error:
        errors.send(GailfeError(str(error)))
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _follow_parent() -> None:
    """Saves and stops when the process that started this one is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        signal.raise_signal(signal.SIGTERM)
