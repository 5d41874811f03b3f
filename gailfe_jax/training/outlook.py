"""What a run says while it goes on: what is being compiled and about how long, and how healthy it is."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from gailfe_jax.analysis.doctor import examine, too_few
from gailfe_jax.analysis.health import Run, Seed, settings_of
from gailfe_jax.training.divergence import Divergence
from gailfe_jax.training.outcome import read_summary
from gailfe_jax.training.plan import Plan
from gailfe_jax.training.run_folder import JUDGED_BY

TOO_EARLY = "too early to say"
WELL = "nothing stands out"
_SECONDS = {"trpo": 6, "mail": 8, "ppo": 5}
"""What compiling took on two free cores and MuJoCo's C engine, by policy step (`benchmarks/results/train*.json`)."""
_SLOW = ("mjx", "warp")
"""Engines whose programs take long to compile."""
_LOWER_IS_BETTER = ("demo_distance",)


def compiling(plan: Plan, run_dir: pathlib.Path | None) -> str:
    """What is being compiled, and about how long it takes: what it took in this folder before, if it did."""
    seeds = f", {len(plan.names)} seeds" if len(plan.names) > 1 else ""
    method = plan.identity["method"].get("policy", {}).get("kind")
    what = f"compiling {plan.learner.name}{f' ({method})' if method else ''} on {plan.env_name}{seeds}"
    before = None if run_dir is None else _last_time(run_dir)
    if before is not None:
        return f"{what}; the last time it took {before:.0f} s"
    if plan.learner.env.spec.engine in _SLOW:
        return f"{what}; an engine in JAX can take minutes"
    seconds = _SECONDS.get(method or plan.learner.name)
    if seconds is not None:
        return f"{what}; about {seconds} s on two free cores"
    return f"{what}; some seconds"


def _last_time(run_dir: pathlib.Path) -> float | None:
    seconds = read_summary(run_dir).get("compile_seconds")
    return float(seconds) if isinstance(seconds, int | float) and seconds > 0 else None


def underway(plan: Plan, step: int) -> str:
    """What comes after compiling: how far training goes until there is something to see."""
    return f"training; the next evaluation comes after step {min(step + plan.chunk_steps, plan.total_steps):,}"


def cloning(plan: Plan) -> str | None:
    """What is cloned before the first iteration; None where nothing is."""
    start = getattr(plan.learner, "start", None)
    if start is None or not start.steps:
        return None
    return f"cloning the demonstrations, {start.steps:,} steps of maximum likelihood, with compiling"


def word(plan: Plan, history: Mapping[str, Sequence[tuple[int, np.ndarray]]], gone: Mapping[int, Divergence]) -> str:
    """The doctor's word on the evaluations of this session: its gravest finding, or that there is none.

    Args:
      plan: the run.
      history: by metric, `(step, [S] values)` at each evaluation.
      gone: where training has diverged, by the seed's position.
    """
    judged = next((name for name in JUDGED_BY if name in history), None)
    if plan.run.quiet or judged is None:
        return ""
    steps = sorted({step for points in history.values() for step, _ in points})
    place = {step: i for i, step in enumerate(steps)}
    seeds = []
    for row, name in enumerate(plan.names):
        values = {metric: np.full(len(steps), np.nan) for metric in history}
        for metric, points in history.items():
            for step, value in points:
                values[metric][place[step]] = value[row]
        seeds.append(Seed(name, np.array(steps), values))
    run = Run(
        seeds=seeds,
        judged=judged,
        lower_is_better=judged in _LOWER_IS_BETTER,
        settings=settings_of(plan.learner, plan.run),
        expert_return=plan.inputs.expert_return,
        bias=getattr(getattr(plan.learner, "reward", None), "bias", None),
        diverged={plan.names[i]: (found.step, found.quantity) for i, found in gone.items()},
    )
    found = examine(run)
    if found:
        return found[0].title
    return TOO_EARLY if too_few(run) else WELL
