"""What share of a run's time its evaluations take, at the interval that a run chooses by itself."""

from __future__ import annotations

import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

import jax
from rich.console import Console

from gailfe_jax.analysis.plots import bar_intervals
from gailfe_jax.bench.report import new_table
from gailfe_jax.bench.timing import check_counts, check_some, make_envs, seconds
from gailfe_jax.bench.train import Training, check_playing
from gailfe_jax.config.run import RunSettings, eval_interval, whole_chunks
from gailfe_jax.config.tree import set_values
from gailfe_jax.io.provenance import provenance
from gailfe_jax.learners.presets import preset

_FEW, _LONG, _SHORT = 64, 128, 32  # Up to so many environments an unroll is long, and short with more.


def run(
    env: Sequence[str] = ("hopper",),
    *,
    algo: str = "gail",
    engine: str = "auto",
    num_envs: Sequence[int] = (8, 4096),
    episodes: int = 8,
    repeats: int = 3,
) -> dict[str, Any]:
    """Measures the time between two evaluations, and that of an evaluation.

    The policies evaluated have hardly learned: episodes that end early make an evaluation cheaper than a good policy's.

    Args:
      env: Measure on these tasks.
      algo: Train with this method's preset.
      engine: Run this physics engine.
      num_envs: Train in so many environments, each in turn.
      episodes: Play this many episodes per evaluation.
      repeats: Report the median of this many repeats, training and evaluation in turn.

    Raises:
      GailfeError: an unknown task, method or engine, or a count below 1.
    """
    check_playing([algo])
    check_some("num_envs", num_envs)
    check_counts(episodes=episodes, num_envs=min(num_envs))
    rows = []
    for made, solver in make_envs(env, engine, repeats):
        for worlds in num_envs:
            length = _LONG if worlds <= _FEW else _SHORT
            sizes = {"rollout.num_envs": worlds, "rollout.unroll_length": length}
            method = set_values(preset(algo, made.spec.name)[0], sizes)
            batch, on_cpu = method.rollout.batch_size, jax.default_backend() == "cpu"
            interval = eval_interval(batch, length, made.spec.max_episode_steps, on_cpu=on_cpu)
            iterations = whole_chunks(RunSettings(eval_every=float(interval)), batch)[0]
            # Of large iterations one is enough to know what they take.
            chunk = iterations if iterations * batch <= 2 * interval and batch < interval else 1
            training = Training.make(method, made, chunk=chunk)
            training.advance()
            found: list[Any] = []

            def evaluate(training: Training = training, found: list[Any] = found) -> Any:
                found.append(training.trainer.evaluate(training.state, len(found), episodes))
                return found[-1]

            seconds(evaluate)
            raw = [(training.advance() * iterations / chunk, seconds(evaluate)) for _ in range(repeats)]
            rows.append(
                {
                    "env": made.spec.name,
                    "engine": made.spec.engine,
                    **solver,
                    "algo": algo,
                    "num_envs": worlds,
                    "unroll_length": length,
                    "iterations_between": iterations,
                    "train_seconds": statistics.median(t for t, _ in raw),
                    "evaluation_seconds": statistics.median(e for _, e in raw),
                    "share": statistics.median(e / (t + e) for t, e in raw),
                    "episode_steps": int(max(lengths.lengths.max() for lengths in found[1:])),
                    "raw_seconds": [{"train": t, "evaluation": e} for t, e in raw],
                }
            )
    return {"what": "evaluation", "episodes": episodes, "rows": rows, "provenance": provenance()}


def show(report: dict[str, Any]) -> None:
    """Shows a report of `run`."""
    headings = ("task", "environments", "iterations between", "training", "evaluation", "share")
    table = new_table("evaluation", headings, left=("task",))
    for row in report["rows"]:
        spent = (f"{row[name]:.2f} s" for name in ("train_seconds", "evaluation_seconds"))
        table.add_row(row["env"], f"{row['num_envs']:,}", str(row["iterations_between"]), *spent, f"{row['share']:.1%}")
    Console().print(table)


def draw(report: dict[str, Any], path: str | pathlib.Path) -> None:
    """Draws a report of `run`."""
    shares = {
        f"{row['env']}, {row['num_envs']:,} environments": [
            raw["evaluation"] / (raw["train"] + raw["evaluation"]) for raw in row["raw_seconds"]
        ]
        for row in report["rows"]
    }
    bar_intervals(shares, path, title="evaluation", xlabel="share of a run's time that evaluation takes")
