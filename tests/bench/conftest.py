"""Processes that answer at once, for the benchmarks that measure in processes of their own."""

from __future__ import annotations

import pytest

from gailfe_jax.bench import scaling, sweep
from gailfe_jax.bench.worker import Worker
from gailfe_jax.errors import GailfeError


class Clockwork:
    """A process whose answers are known: 100 steps a call, 1 s for the bare engine's 200, `2 s` for each call.

    A program of several seeds takes 6 s a call.
    """

    started: list[tuple] = []  # noqa: RUF012

    def __init__(self, program, environment=None):
        self.seeds = program.seeds
        if program.settings["rollout.num_envs"] == 512:
            raise GailfeError("bench: a process ended with code -9 (no message)")
        self.started.append((program, environment))
        ready = {"engine": "mujoco_c", "solver": "", "solver_options": {}, "steps": 100 * self.seeds}
        ready |= {"compile_seconds": 3.0, "first_seconds": 2.0}
        self.said = [ready | {"program_bytes": 2**20, "peak_bytes": 2**30}]

    def tell(self, command):
        if command == "bare":
            self.said.append({"seconds": 1.0, "steps": 200})
        else:
            self.said.append({"seconds": int(command.split()[1]) * (2.0 if self.seeds == 1 else 6.0)})

    def answer(self):
        return self.said.pop(0)

    ask = Worker.ask
    __enter__ = Worker.__enter__

    def __exit__(self, *_):
        assert not self.said


@pytest.fixture
def clockwork(monkeypatch) -> type[Clockwork]:
    monkeypatch.setattr(Clockwork, "started", [])
    for module in (scaling, sweep):
        monkeypatch.setattr(module, "Worker", Clockwork)
    # What processes take together is measured here, where all of them answer at once.
    monkeypatch.setattr(sweep, "_together", lambda crew: sum(worker.ask("train 1")["seconds"] for worker in crew))
    return Clockwork
