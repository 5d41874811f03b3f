"""What the gradient through MAIL's model costs by itself, in time and memory, against the horizon."""

from __future__ import annotations

import math
import pathlib
import statistics
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console

from gailfe_jax.analysis.plots import log_panels
from gailfe_jax.bench.report import new_table
from gailfe_jax.bench.timing import make_envs, seconds
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.provenance import provenance
from gailfe_jax.policies.mail import MAIL, Windows
from gailfe_jax.rewards.discriminator import Discriminator
from gailfe_jax.types import Env, Problem, StateAction


def run(
    env: Sequence[str] = ("hopper",),
    *,
    horizons: Sequence[int] = (1, 4, 16, 64, 256),
    windows: int = 64,
    repeats: int = 5,
) -> dict[str, Any]:
    """Measures seconds and bytes of one gradient through the model, over `windows` of H steps.

    Args:
      env: Measure with the sizes of these tasks.
      horizons: Differentiate through windows of these lengths.
      windows: Differentiate this many windows side by side.
      repeats: Report the median of this many repeats.

    Raises:
      GailfeError: an unknown task, or a count below 1.
    """
    if min((*horizons, windows), default=0) < 1:
        raise GailfeError(f"horizons, windows: got {tuple(horizons)} and {windows}; expected numbers from 1")
    envs = make_envs(env, "auto", repeats)
    rows = [_measure(made, horizon, windows, repeats) for made, _ in envs for horizon in horizons]
    return {"what": "horizon", "rows": rows, "provenance": provenance()}


def _measure(env: Env, horizon: int, windows: int, repeats: int) -> dict[str, Any]:
    spec = env.spec
    problem = Problem(spec, num_envs=windows, unroll_length=horizon)
    policy, reward = MAIL(horizon=horizon).bind(problem), Discriminator().bind(problem)
    keys = jax.random.split(jax.random.key(0), 4)
    obs = jax.random.normal(keys[0], (horizon + 1, windows, spec.obs_size))
    action = jax.random.uniform(keys[1], (horizon, windows, spec.action_size), minval=-1)
    flags = jnp.zeros((horizon, windows), bool)
    cut = Windows(obs[:-1], action, obs[1:], obs[1:], flags, flags)
    state = jax.jit(policy.init)(keys[2])
    fitted = reward.init(keys[3], StateAction(obs[0], action[0]))

    def gradient(state, fitted, cut):
        return jax.grad(policy.real_rollout(state, state.policy, cut, reward.scorer(fitted)))(state.policy)

    start = time.perf_counter()
    compiled = jax.jit(gradient).lower(state, fitted, cut).compile()
    compile_seconds = time.perf_counter() - start
    compiled(state, fitted, cut)
    raw = [seconds(lambda: compiled(state, fitted, cut)) for _ in range(repeats)]
    memory: Any = compiled.memory_analysis()
    return {
        "env": spec.name,
        "engine": spec.engine,
        "horizon": horizon,
        "windows": windows,
        "seconds": statistics.median(raw),
        "memory_bytes": None if memory is None else int(memory.temp_size_in_bytes),
        "compile_seconds": compile_seconds,
        "raw_seconds": raw,
    }


def show(report: dict[str, Any]) -> None:
    """Shows a report of `run`."""
    headings = ("task", "windows", "H", "ms", "us per H", "MiB", "compile")
    table = new_table("one gradient through the model", headings, left=("task",))
    for row in report["rows"]:
        memory = "-" if row["memory_bytes"] is None else f"{row['memory_bytes'] / 2**20:.1f}"
        cost = (f"{1e3 * row['seconds']:.2f}", f"{1e6 * row['seconds'] / row['horizon']:.0f}", memory)
        table.add_row(row["env"], str(row["windows"]), str(row["horizon"]), *cost, f"{row['compile_seconds']:.1f} s")
    Console().print(table)


def draw(report: dict[str, Any], path: str | pathlib.Path) -> None:
    """Draws a report of `run`."""
    panels: dict[str, dict[str, Any]] = {"one gradient, ms": {}, "memory, MiB": {}}
    for env in dict.fromkeys(row["env"] for row in report["rows"]):
        rows = [row for row in report["rows"] if row["env"] == env]
        x = [row["horizon"] for row in rows]
        panels["one gradient, ms"][env] = x, [1e3 * row["seconds"] for row in rows]
        panels["memory, MiB"][env] = x, [(row["memory_bytes"] or math.nan) / 2**20 for row in rows]
    log_panels(panels, path, title="one gradient through the model", xlabel="horizon")
