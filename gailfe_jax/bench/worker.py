"""A process that trains one program, so that its peak memory, its start and its compile time are its own.

This module run by itself is that process: it reads `Program` as JSON from its argument, says on stdout that it is
ready, and answers each line on stdin (`train N`: N calls; `bare`: the bare engine once) with what it took.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from gailfe_jax.bench.timing import (
    bare_engine,
    check_counts,
    check_has_bare_engine,
    make_env_as_training,
    settle,
    solver_record,
)
from gailfe_jax.bench.train import Training, check_playing, method_with
from gailfe_jax.envs.physics import resolve_engine
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.user_modules import import_user_module, imported_modules
from gailfe_jax.learners.base import Learner
from gailfe_jax.parallel.memory import peak_bytes

_BARE_STEPS = 200_000  # Of the bare engine per repeat, all environments together,
_BARE_LENGTH = (10, 100)  # but so many of each at least and at most.


@dataclasses.dataclass(frozen=True)
class Program:
    """What one process measures.

    Attributes:
      algo: method.
      env, engine: where it trains.
      settings: of the method that differ from its parts' defaults, by name.
      seeds: vmapped.
      chunk: iterations per call.
      imports: the user's own modules, which may have registered the method or the task.
    """

    algo: str
    env: str
    engine: str
    settings: dict[str, Any]
    seeds: int = 1
    chunk: int = 1
    imports: Sequence[str] = dataclasses.field(default_factory=imported_modules)

    def method(self) -> Learner:
        """The method with these settings.

        Raises:
          GailfeError: no such setting, a value out of bounds, or parts that do not go together.
        """
        method = method_with(self.algo, self.settings)
        method.verify()
        return method


class Worker:
    """The process of one program. Its first `answer` says that it is ready to train, and what starting took."""

    def __init__(self, program: Program, environment: dict[str, str] | None = None):
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gailfe_jax.bench.worker", json.dumps(dataclasses.asdict(program))],
            env=os.environ | (environment or {}), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            text=True,
        )  # fmt: skip

    def tell(self, command: str) -> None:
        """Sends a line without waiting for its answer."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `answer` says what became of the process.
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What the process says next.

        Raises:
          GailfeError: it has ended, for want of memory for example.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._errors.seek(0)
            last = (self._errors.read().strip().splitlines() or ["no message"])[-1]
            raise GailfeError(f"bench: a process ended with code {code} ({last[:200]})")
        return json.loads(line)

    def ask(self, command: str) -> dict[str, Any]:
        """The answer to a line; raises as `answer` does."""
        self.tell(command)
        return self.answer()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def _serve(program: Program) -> None:
    """The process of one program (see the module's docstring)."""
    answers, sys.stdout = sys.stdout, sys.stderr  # Whatever a library prints is no answer.

    def say(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    for module in program.imports:
        import_user_module(module)
    place = settle(program.env, program.engine)
    env = make_env_as_training(place)
    training = Training.make(program.method(), env, seeds=program.seeds, chunk=program.chunk)
    first = training.advance()
    trainer = training.trainer
    count = trainer.learner.rollout.num_envs * program.seeds
    length = min(max(_BARE_LENGTH[0], _BARE_STEPS // count), _BARE_LENGTH[1])
    say(
        engine=env.spec.engine, **solver_record(place), steps=training.steps, compile_seconds=trainer.compile_seconds,
        first_seconds=first - trainer.compile_seconds, program_bytes=trainer.program_bytes, peak_bytes=peak_bytes(),
    )  # fmt: skip
    bare: Callable[[], Any] | None = None
    for command in sys.stdin:
        if command.strip() == "bare":
            # Made late: the peak above is that of training alone.
            bare = bare or bare_engine(env, count, length)
            start = time.perf_counter()
            bare()
            say(seconds=time.perf_counter() - start, steps=count * length)
        else:
            say(seconds=training.advance(int(command.split()[1])))


def check(env: str, algo: str, engine: str, repeats: int) -> None:
    """Refuses what no process can measure.

    Raises:
      GailfeError: an unknown task, method or engine, one that cannot be timed, or repeats below 1.
    """
    check_has_bare_engine(env)
    resolve_engine(engine)
    check_playing([algo])
    check_counts(repeats=repeats)


if __name__ == "__main__":
    _serve(Program(**json.loads(sys.argv[1])))
