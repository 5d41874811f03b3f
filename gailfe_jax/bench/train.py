"""Whole training iterations beside the bare engine, in one run; compile time apart."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gailfe_jax.bench.report import draw_rates, show_rates
from gailfe_jax.bench.timing import SolverSetting, bare_engine, check_counts, check_some, make_envs, seconds
from gailfe_jax.buffers.storage import PaddedTrajectories
from gailfe_jax.config.tree import put, set_values
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.provenance import provenance
from gailfe_jax.learners.adversarial import Adversarial
from gailfe_jax.learners.base import Learner
from gailfe_jax.learners.methods import find_method
from gailfe_jax.learners.sources import Demos
from gailfe_jax.policies.mail import MAIL
from gailfe_jax.training.program import Trainer
from gailfe_jax.types import Env, PyTree, StateAction

_SHAPES = {"1024-step iterations": (8, 128), "8192-step iterations": (256, 32)}
_BARE_STEPS = 100  # Of each environment of the bare engine, per repeat.
_DEMO_PAIRS = 30_000
_FAILURE_STEPS = 50  # Of each failure that a buffer is filled with.
_MAIL = {"policy.max_kl": 0.02}  # Twice its default: what the committed results were measured with.


@dataclasses.dataclass
class Training:
    """A training program and the state that it moves on.

    Demonstrations are random pairs: their content does not change the arithmetic.

    Attributes:
      trainer: the program.
      demos: what it imitates.
      state: of all seeds.
    """

    trainer: Trainer
    demos: Demos
    state: PyTree

    @classmethod
    def make(cls, method: Learner, env: Env, *, seeds: int = 1, chunk: int = 1, precision: str = "highest") -> Training:
        """Builds the program of `method`; nothing is compiled yet but the first state's."""
        learner = method.on(env)
        rng = np.random.default_rng(0)
        sizes = (env.spec.obs_size, env.spec.action_size)
        demos = Demos(
            StateAction(*(jnp.asarray(rng.uniform(-1, 1, (_DEMO_PAIRS, size)), jnp.float32) for size in sizes))
        )
        trainer = Trainer(learner, np.arange(seeds), chunk=chunk, eval_episodes=1, precision=precision)
        first = demos
        if isinstance(learner, Adversarial) and learner.failures is not None:
            # A full buffer, so that what is drawn from it comes from all over it.
            shape = (learner.failures.capacity, _FAILURE_STEPS)
            data = jnp.asarray(rng.uniform(-1, 1, (*shape, sum(sizes))), jnp.float32)
            first = demos.replace(failures=PaddedTrajectories(data, jnp.full(shape[0], shape[1], jnp.int32)))
        return cls(trainer, demos, trainer.init(first))

    @property
    def steps(self) -> int:
        """Environment steps of one call, all seeds together."""
        return self.trainer.chunk * self.trainer.learner.rollout.batch_size * len(self.trainer.seeds)

    def advance(self, calls: int = 1) -> float:
        """Seconds that `calls` calls take; the first call compiles as well (see `Trainer.compile_seconds`)."""
        start = time.perf_counter()
        metrics: Any = None
        for _ in range(calls):
            self.state, metrics = self.trainer.advance(self.state, self.demos)
        jax.block_until_ready((self.state, metrics))
        return time.perf_counter() - start


def check_playing(algos: Sequence[str]) -> None:
    """Refuses methods that have no iteration of play to time.

    Raises:
      GailfeError: no method, one that is unknown, or one that learns by likelihood.
    """
    check_some("algo", algos)
    for algo in algos:
        if not isinstance(find_method(algo), Adversarial):
            raise GailfeError(f"algo: {algo} has no policy step to time; expected one that learns by playing")


def method_with(algo: str, settings: Mapping[str, Any]) -> Learner:
    """A method with the defaults of its parts, but for `settings` by name.

    MAIL's own trust region and horizon are the exception: see `_MAIL`, and its windows divide the unroll.

    Raises:
      GailfeError: an unknown method or setting, or a value out of bounds.
    """
    method = find_method(algo)
    is_mail = isinstance(method.policy, MAIL)
    method = set_values(put(method, _MAIL) if is_mail else method, settings)
    if not is_mail or "policy.horizon" in settings:
        return method
    return set_values(method, {"policy.horizon": math.gcd(method.policy.horizon, method.rollout.unroll_length)})


def run(
    env: Sequence[str] = ("halfcheetah",),
    *,
    algo: Sequence[str] = ("gail", "gailfe"),
    engine: str = "auto",
    repeats: int = 5,
    seeds: int = 1,
    steps: int = 65_536,
    solver_setting: SolverSetting = None,
) -> dict[str, Any]:
    """Measures training steps/s (unroll, discriminator, policy, values) beside the bare engine.

    The bare engine steps as many environments as training does, and 256.

    Args:
      env: Measure on these tasks.
      algo: Train with these methods.
      engine: Run this physics engine.
      repeats: Report the median of this many repeats, each beside the bare engine.
      seeds: Train this many seeds side by side.
      steps: Take this many environment steps per repeat and seed.
      solver_setting: Run MJX with the cheap solver setting, or the model file's own; by default what training takes.

    Raises:
      GailfeError: an unknown task, method or engine, or a count below 1.
    """
    check_playing(algo)
    check_counts(seeds=seeds, steps=steps)
    rows = []
    for made, solver in make_envs(env, engine, repeats, host=True, solver_setting=solver_setting):
        for label, (num_envs, length) in _SHAPES.items():
            bare = bare_engine(made, num_envs * seeds, _BARE_STEPS)
            bare()
            bare_256 = bare_engine(made, 256, _BARE_STEPS)
            bare_256()
            for name in algo:
                method = method_with(name, {"rollout.num_envs": num_envs, "rollout.unroll_length": length})
                training = Training.make(method, made, seeds=seeds, chunk=max(1, steps // method.rollout.batch_size))
                training.advance()
                timings = [(seconds(bare), seconds(bare_256), training.advance()) for _ in range(repeats)]
                bare_rate = [num_envs * seeds * _BARE_STEPS / t[0] for t in timings]
                bare_256_rate = [256 * _BARE_STEPS / t[1] for t in timings]
                rate = [training.steps / t[2] for t in timings]
                rows.append(
                    {
                        "env": made.spec.name,
                        "engine": made.spec.engine,
                        **solver,
                        "algo": name,
                        "iteration": label,
                        "num_envs": num_envs,
                        "seeds": seeds,
                        "bare_steps_per_second": statistics.median(bare_rate),
                        "bare_256_steps_per_second": statistics.median(bare_256_rate),
                        "steps_per_second": statistics.median(rate),
                        "share_of_bare": statistics.median(r / b for r, b in zip(rate, bare_rate, strict=True)),
                        "share_of_bare_256": statistics.median(r / b for r, b in zip(rate, bare_256_rate, strict=True)),
                        "compile_seconds": training.trainer.compile_seconds,
                        "raw_seconds": [{"bare": b, "bare_256": c, "train": o} for b, c, o in timings],
                    }
                )
    return {"what": "train", "rows": rows, "provenance": provenance()}


def _label(row: dict[str, Any]) -> str:
    return f"{row['algo']}, {row['iteration'].split('-')[0]} steps"


def show(report: dict[str, Any]) -> None:
    """Shows a report of `run`."""
    show_rates(report, _label)


def draw(report: dict[str, Any], path: str | pathlib.Path) -> None:
    """Draws a report of `run`."""
    draw_rates(report, path, _label, ours="train")
