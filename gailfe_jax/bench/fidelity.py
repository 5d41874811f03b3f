"""What the simulator's cheaper settings save, and how far they lead from MuJoCo's own trajectories."""

from __future__ import annotations

import pathlib
import statistics
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from gailfe_jax.analysis.plots import bar_intervals
from gailfe_jax.bench.report import new_table
from gailfe_jax.bench.timing import check_counts, check_some
from gailfe_jax.envs import find_task, make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.provenance import provenance
from gailfe_jax.types import Array, PyTree

OWN = "the model's own"
VARIANTS: dict[str, dict[str, Any]] = {
    OWN: {},
    "iterations 4, line search 8": {"iterations": 4, "ls_iterations": 8},
    "iterations 1, line search 4": {"iterations": 1, "ls_iterations": 4},
    "tolerance 1e-4": {"tolerance": 1e-4},
    "solver cg": {"solver": "cg"},
    "integrator euler": {"integrator": "euler"},
    "integrator implicitfast": {"integrator": "implicitfast"},
    "integrator euler, no damping": {"integrator": "euler", "euler_damping": False},
}
_AFTER = (1, 10, 100)  # Steps after which the states are compared.


def run(
    env: Sequence[str] = ("halfcheetah", "hopper"),
    *,
    engine: str = "mjx",
    num_envs: int = 64,
    repeats: int = 3,
    variants: Sequence[str] = (),
) -> dict[str, Any]:
    """Measures steps/s of the bare engine under each setting, and its error against the C engine from the same states.

    All take the same random actions from the same resets, without resetting after falls. The error after some steps is
    the largest difference in any position (m, rad), the median over environments. The model's own settings have one
    too: float32 beside float64, which contacts amplify.

    Args:
      env: Measure on these tasks.
      engine: Run this physics engine: mjx or warp.
      num_envs: Step this many environments side by side.
      repeats: Report the median of this many repeats.
      variants: Compare these settings, named as in the table, instead of all.

    Raises:
      GailfeError: an unknown task, or engine, or variant; an engine without settings, or a count below 1.
    """
    check_counts(repeats=repeats, num_envs=num_envs)
    check_some("env", env)
    if engine not in ("mjx", "warp"):
        raise GailfeError(f"engine: got {engine}, which has no settings to compare; expected mjx or warp")
    for name in variants:
        if name not in VARIANTS:
            raise GailfeError(f"variants: got {name!r}; expected some of {', '.join(VARIANTS)}")
    rows = []
    for name in env:
        task = find_task(name)
        keys = jax.random.split(jax.random.key(0), num_envs)
        start = jax.vmap(make_env(task.name, "mujoco_c").reset)(keys).phys
        qpos, qvel = np.asarray(start.qpos), np.asarray(start.qvel)
        shape = (max(_AFTER), num_envs, task.action_size)
        actions = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
        reference, _, _ = _roll(task.name, "mujoco_c", {}, (qpos, qvel, actions), 1)
        for variant in variants or VARIANTS:
            found, compile_seconds, raw = _roll(task.name, engine, VARIANTS[variant], (qpos, qvel, actions), repeats)
            error = np.abs(found - reference).max(axis=2)
            steps = shape[0] * num_envs
            rows.append(
                {
                    "env": task.name,
                    "engine": engine,
                    "variant": variant,
                    "options": VARIANTS[variant],
                    "num_envs": num_envs,
                    "steps_per_second": steps / statistics.median(raw),
                    # A state that has left the numbers is further away than any.
                    "error": {str(k): _finite(np.median(error[k - 1])) for k in _AFTER},
                    "compile_seconds": compile_seconds,
                    "raw_seconds": raw,
                }
            )
    return {"what": "fidelity", "rows": rows, "provenance": provenance()}


def _roll(
    name: str, engine: str, options: dict[str, Any], given: tuple[np.ndarray, np.ndarray, np.ndarray], repeats: int
) -> tuple[np.ndarray, float, list[float]]:
    """`(positions [T, n, nq], seconds to compile, seconds of each repeat)` of one engine."""
    physics: Any = make_env(name, engine, **options).physics  # type: ignore[attr-defined]

    def step(phys: PyTree, action: Array) -> tuple[PyTree, Array]:
        phys, _ = jax.vmap(physics.step)(phys, action)
        return phys, jax.vmap(physics.view)(phys)[0]

    def run(qpos: Array, qvel: Array, actions: Array) -> Array:
        return jax.lax.scan(step, jax.vmap(physics.init)(qpos, qvel), actions)[1]

    arguments = [jnp.asarray(x) for x in given]
    began = time.perf_counter()
    compiled = jax.jit(run).lower(*arguments).compile()
    compile_seconds = time.perf_counter() - began
    positions, raw = np.asarray(compiled(*arguments)), []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        raw.append(time.perf_counter() - began)
    return positions, compile_seconds, raw


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def cheapest(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """`(engine, task) -> options` of the fastest setting that errs no more than the model's own, where one is faster.

    No more means within a tenth after 1, 10 and 100 steps. Settings that agree to rounding after ten steps of
    HalfCheetah differ by almost as much after a hundred, where its contacts have amplified it.

    Args:
      rows: of a report of `run`.
    """
    own = {(row["engine"], row["env"]): row for row in rows if row["variant"] == OWN}
    best = dict(own)
    for row in rows:
        where = row["engine"], row["env"]
        if where in own and row["steps_per_second"] > best[where]["steps_per_second"] and _as_close(row, own[where]):
            best[where] = row
    return {where: row["options"] for where, row in best.items() if row["variant"] != OWN}


def _as_close(row: dict[str, Any], own: dict[str, Any]) -> bool:
    """Whether a setting's errors are at most the model's own and a tenth."""
    pairs = [(row["error"][str(k)], own["error"][str(k)]) for k in _AFTER]
    return all(mine is not None and theirs is not None and mine <= 1.1 * theirs for mine, theirs in pairs)


def show(report: dict[str, Any]) -> None:
    """Shows a report of `run`."""
    engines = ", ".join(sorted({row["engine"] for row in report["rows"]}))
    headings = ("task", "setting", "steps/s", *(f"error @{k}" for k in _AFTER))
    table = new_table(f"bench fidelity, engine {engines}", headings, left=("task", "setting"))
    for row in report["rows"]:
        table.add_row(row["env"], row["variant"], f"{row['steps_per_second']:,.0f}", *errors(row))
    Console().print(table)
    print(
        "error @n: difference from MuJoCo's C engine in any position after n steps (m, rad), median over environments"
    )


def errors(row: dict[str, Any]) -> list[str]:
    """A row's errors as a table shows them."""
    return ["not finite" if value is None else f"{value:.1e}" for value in row["error"].values()]


def draw(report: dict[str, Any], path: str | pathlib.Path) -> None:
    """Draws a report of `run`: how much faster each setting is, named with its error after some steps."""
    after = _AFTER[1]
    own: dict[str, float] = {}
    scores = {}
    for row in report["rows"]:
        own.setdefault(row["env"], statistics.median(row["raw_seconds"]))
        error = errors(row)[_AFTER.index(after)]
        name = f"{row['env']}, {row['variant']}\n{error} off after {after} steps"
        scores[name] = [own[row["env"]] / raw for raw in row["raw_seconds"]]
    xlabel = f"times the steps/s of {report['rows'][0]['variant']}"
    bar_intervals(scores, path, title=f"settings of {report['rows'][0]['engine']}", xlabel=xlabel)
