"""How long GAIL takes to learn, `imitation`'s and ours from the same demonstrations."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.peers.comparisons import IMITATION
from benchmarks.peers.inputs import demonstrations, make_envs
from benchmarks.peers.runner import facts, fastest, run_peer, say
from gailfe_jax.analysis.plots import learning_curve_panels
from gailfe_jax.bench.report import new_table
from gailfe_jax.config.run import RunSettings
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.io.provenance import provenance
from gailfe_jax.learners.presets import preset
from gailfe_jax.training.loop import train
from gailfe_jax.types import Env

TARGET = 0.9
"""Share of the expert's return that counts as learned."""

_EVAL_EVERY, _EVAL_EPISODES = 16_384, 10
# Far more than learning takes; the time limit ends a run that does not learn.
_MANY_STEPS = 1e9


class _Enough(Exception):
    """Ends training from its callback."""


def outcome(curve: list[dict[str, float]], target: float, start_seconds: float) -> dict[str, Any]:
    """When a learning curve first reached `target`.

    Args:
      curve: `steps`, `seconds` of training and `return` at each evaluation.
      target: return.
      start_seconds: what setup and compiling took.
    """
    reached = next((point for point in curve if point["return"] >= target), None)
    return {
        "reached": reached is not None,
        "seconds": reached and reached["seconds"],
        "seconds_with_start": reached and reached["seconds"] + start_seconds,
        "steps": reached and reached["steps"],
        "best_return": max((point["return"] for point in curve), default=None),
        "start_seconds": start_seconds,
        "curve": curve,
    }


def _learn(env: Env, demos: Demonstrations, target: float, time_limit: float, seed: int) -> dict[str, Any]:
    """Our GAIL with its preset until an evaluation reaches `target`."""
    method, _ = preset("gail", env.spec.name)
    settings = RunSettings(
        steps=_MANY_STEPS, first_seed=seed, eval_every=_EVAL_EVERY, eval_episodes=_EVAL_EPISODES, quiet=True, devices=1
    )
    curve: list[dict[str, float]] = []
    start_seconds = 0.0
    began = time.perf_counter()

    def note(step: int, row: dict[str, np.ndarray]) -> None:
        nonlocal start_seconds
        # `train` counts neither compiling nor evaluations here.
        seconds = step / float(row["steps_per_second"][0])
        if not curve:
            # With the first evaluation and the compiling of its program, which cannot be told apart here.
            start_seconds = time.perf_counter() - began - seconds
        curve.append({"steps": step, "seconds": seconds, "return": float(row["return_mean"][0])})
        if curve[-1]["return"] >= target or seconds >= time_limit:
            raise _Enough

    with contextlib.suppress(_Enough):
        if train(method, env.spec.name, settings, demos=demos, on_evaluation=note).interrupted:
            raise KeyboardInterrupt
    return outcome(curve, target, start_seconds)


def run(env: Sequence[str] = ("hopper",), *, seeds: int = 1, time_limit: float = 1200.0) -> dict[str, Any]:
    """Measures wall-clock seconds until GAIL reaches 0.9 of the expert's return, `imitation`'s and ours in turn.

    Both learn from the same demonstrations and are evaluated every 16384 steps, over 10 episodes of the deterministic
    policy; the first evaluation at the target counts. Evaluations are outside the clock.

    Args:
      env: Measure on these tasks.
      seeds: Train this many times on each.
      time_limit: Give a run up after this many seconds of training.

    Returns:
      A JSON-able report: a row per task and seed, with both learning curves.

    Raises:
      GailfeError: another task, a count below 1, or see `run_peer`.
      KeyboardInterrupt: training was interrupted.
    """
    rows, peers = [], []
    for made in make_envs(env, seeds=seeds, time_limit=time_limit):
        name = made.spec.name
        demos, path, shown = demonstrations(made)
        target = TARGET * shown["expert_return"]
        say(f"{IMITATION.peer} on {name}: which settings are fastest")
        settings, trials = fastest(IMITATION.script, task=name, demos=path)
        result: dict[str, Any] = {}
        for seed in range(seeds):
            say(f"{IMITATION.peer} on {name}: seed {seed}, at most {time_limit:.0f} s of training")
            result = run_peer(
                IMITATION.script, task=name, demos=path, seconds=time_limit, eval_every=_EVAL_EVERY,
                episodes=_EVAL_EPISODES, target=target, seed=seed, **settings,
            )  # fmt: skip
            theirs = outcome(result["curve"], target, result["setup_seconds"])
            say(f"ours on {name}: seed {seed}")
            ours = _learn(made, demos, target, time_limit, seed)
            rows.append({"env": name, "seed": seed, "target": target, "peer": theirs, "ours": ours})
        peers.append({"peer": IMITATION.peer, **facts(result), **settings, "trials": trials})
        peers[-1]["demonstrations"] = shown
    return {
        "what": "peers_learning",
        "share": TARGET,
        "time_limit": time_limit,
        "rows": rows,
        "peers": peers,
        "provenance": provenance(),
    }


def show(report: dict[str, Any]) -> None:
    """Shows a report of `run`."""
    title = f"seconds of GAIL until {report['share']:g} of the expert's return (with setup and compiling)"
    table = new_table(title, ("task", "seed", "imitation", "ours"), left=("task",))
    for row in report["rows"]:
        cells = []
        for side in (row["peer"], row["ours"]):
            times = f"{side['seconds'] or 0:.1f} ({side['seconds_with_start'] or 0:.1f})"
            cells.append(times if side["reached"] else f"not within {report['time_limit']:.0f} s")
        table.add_row(row["env"], str(row["seed"]), *cells)
    Console().print(table)


def draw(report: dict[str, Any], path: str | Path) -> None:
    """Draws return against seconds of training, a line for each run."""
    panels: dict[str, dict[str, Any]] = {}
    for row in report["rows"]:
        expert = row["target"] / report["share"]
        for name, side in (("imitation", row["peer"]), ("ours", row["ours"])):
            points = [(point["seconds"], point["return"] / expert) for point in side["curve"]]
            if points:
                seconds, returns = np.array(points).T
                label = name if report["rows"][-1]["seed"] == 0 else f"{name}, seed {row['seed']}"
                panels.setdefault(row["env"], {})[label] = (seconds, returns[None])
    learning_curve_panels(
        panels, path, title="GAIL on the wall clock", expert_returns=dict.fromkeys(panels, 1.0),
        xlabel="seconds of training", ylabel="return / expert, deterministic policy",
    )  # fmt: skip
