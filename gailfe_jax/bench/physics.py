"""The engine inside a jitted scan with a policy, beside the bare engine in one run; compile time apart."""

from __future__ import annotations

import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

from gailfe_jax.bench.report import draw_rates, show_rates
from gailfe_jax.bench.timing import SolverSetting, bare_engine, make_envs, scan_with_policy, seconds
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.provenance import provenance
from gailfe_jax.types import Env

_STEPS = 100  # Of each environment and repeat.


def run(
    env: Sequence[str] = ("halfcheetah", "hopper"),
    *,
    engine: str = "auto",
    num_envs: Sequence[int] = (256,),
    repeats: int = 5,
    solver_setting: SolverSetting = None,
) -> dict[str, Any]:
    """Measures steps/s of the engine inside a jitted scan with a 2x100 policy, beside the bare engine.

    The bare engine of gym:<id> is Gymnasium's SyncVectorEnv, stepped in a Python loop.

    Args:
      env: Measure on these tasks.
      engine: Run this physics engine.
      num_envs: Step these numbers of environments side by side, one after the other.
      repeats: Report the median of this many repeats.
      solver_setting: Run MJX with the cheap solver setting, or the model file's own; by default what training takes.

    Returns:
      A JSON-able report: per task and number of environments the medians, their ratio, compile time and raw seconds.

    Raises:
      GailfeError: an unknown task or engine, or a count below 1.
    """
    if min(num_envs, default=0) < 1:
        raise GailfeError(f"num_envs: got {tuple(num_envs)}; expected numbers from 1")
    envs = make_envs(env, engine, repeats, host=True, solver_setting=solver_setting)
    rows = [_measure(made, solver, count, repeats) for made, solver in envs for count in num_envs]
    return {"what": "physics", "rows": rows, "provenance": provenance()}


def _measure(env: Env, solver: dict[str, Any], num_envs: int, repeats: int) -> dict[str, Any]:
    scan, state = scan_with_policy(env, num_envs, _STEPS)
    compile_seconds = seconds(lambda: scan(state))
    bare = bare_engine(env, num_envs, _STEPS, rollout=(scan, state))
    bare()
    pairs = [(seconds(bare), seconds(lambda: scan(state))) for _ in range(repeats)]
    steps = num_envs * _STEPS
    bare_s, ours_s = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {
        "env": env.spec.name,
        "engine": env.spec.engine,
        **solver,
        "num_envs": num_envs,
        "bare_steps_per_second": steps / bare_s,
        "steps_per_second": steps / ours_s,
        "share_of_bare": statistics.median(b / o for b, o in pairs),
        "compile_seconds": compile_seconds,
        "raw_seconds": [{"bare": b, "ours": o} for b, o in pairs],
    }


def show(report: dict[str, Any]) -> None:
    """Shows a report of `run`."""
    show_rates(report, lambda row: "scan with policy")


def draw(report: dict[str, Any], path: str | pathlib.Path) -> None:
    """Draws a report of `run`."""
    draw_rates(report, path, lambda row: f"{row['num_envs']} envs", ours="ours")
