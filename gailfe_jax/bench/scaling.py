"""How speed and memory grow along one axis: whole training iterations, each point in a process of its own."""

from __future__ import annotations

import dataclasses
import itertools
import math
import pathlib
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console

from gailfe_jax.analysis.plots import log_panels
from gailfe_jax.bench.report import mebibytes, new_table
from gailfe_jax.bench.worker import Program, Worker, check
from gailfe_jax.envs import find_task
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.provenance import provenance


@dataclasses.dataclass(frozen=True)
class Axis:
    """What is varied, and what stays.

    Attributes:
      label: of the axis.
      values: measured by default.
      algo: method.
      fixed: settings of the method for all points, by name.
      vary: value to the settings that it changes; none for seeds.
    """

    label: str
    values: tuple[int, ...]
    algo: str
    fixed: dict[str, Any]
    vary: Callable[[int], dict[str, Any]]


_SMALL = {"rollout.num_envs": 8, "rollout.unroll_length": 128}
_LARGE = {"rollout.num_envs": 256, "rollout.unroll_length": 32}
AXES: dict[str, Axis] = {
    "envs": Axis(
        "environments", (1, 8, 64, 512, 2048, 8192), "gail", {"rollout.unroll_length": 32},
        lambda n: {"rollout.num_envs": n},
    ),
    "seeds": Axis("seeds", (1, 2, 4, 8, 16, 32, 64), "gail", _SMALL, lambda n: {}),
    "width": Axis(
        "hidden units per layer", (32, 64, 128, 256, 512), "gail", _LARGE,
        lambda n: {"policy.hidden": (n, n), "reward.hidden": (n, n)},
    ),
    "horizon": Axis("horizon of MAIL", (1, 4, 16, 32, 64, 128), "mail", _SMALL, lambda n: {"policy.horizon": n}),
    "failures": Axis(
        "failures held", (100, 300, 1000, 3000, 10_000), "gailfe", _SMALL, lambda n: {"failures.capacity": n}
    ),
}  # fmt: skip


def run(
    axis: str = "envs",
    env: str = "halfcheetah",
    *,
    engine: str = "auto",
    values: Sequence[int] = (),
    repeats: int = 3,
    seconds: float = 1.5,
) -> dict[str, Any]:
    """Measures steps/s and peak memory of whole training iterations along one axis.

    Each point has a process of its own.

    Args:
      axis: Vary this: envs, seeds, width, horizon or failures.
      env: Measure on this task.
      engine: Run this physics engine.
      values: Measure at these values instead of the axis' own.
      repeats: Report the median of this many repeats, each beside the bare engine.
      seconds: Train for about this many seconds per repeat, in whole iterations.

    Returns:
      A JSON-able report. A point that failed, for want of memory for example, is a row with its `error`.

    Raises:
      GailfeError: an unknown axis, task or engine, or a count below 1.
    """
    if axis not in AXES:
        raise GailfeError(f"axis: got {axis!r}; expected one of {', '.join(AXES)}")
    along = AXES[axis]
    check(env, along.algo, engine, repeats)
    values = sorted(set(values or along.values))
    if values[0] < 1 or not seconds > 0:
        raise GailfeError(f"values, seconds: got {values} and {seconds}; expected numbers from 1, and above 0")
    name = find_task(env).name
    programs = [Program(along.algo, name, engine, along.fixed | along.vary(value)) for value in values]
    rollouts = [program.method().rollout for program in programs]
    rows = []
    for value, program, rollout in zip(values, programs, rollouts):
        seeds = value if axis == "seeds" else 1
        # Short iterations share what a call costs, as they do in training.
        chunk = min(16, max(1, 8192 // (rollout.batch_size * seeds)))
        row: dict[str, Any] = {"axis": axis, "value": value, "env": name, "algo": along.algo}
        row |= {"num_envs": rollout.num_envs, "unroll_length": rollout.unroll_length, "seeds": seeds}
        try:
            row |= _measure(dataclasses.replace(program, seeds=seeds, chunk=chunk), repeats, seconds)
        except GailfeError as error:
            row |= {"error": str(error)}
        rows.append(row)
    return {"what": "scaling", "axis": axis, "rows": rows, "provenance": provenance()}


def _measure(program: Program, repeats: int, seconds: float) -> dict[str, Any]:
    """One point: what its process says, as fields of a row."""
    started = time.perf_counter()
    with Worker(program) as worker:
        ready = worker.answer()
        start_seconds = time.perf_counter() - started
        once = worker.ask("train 1")["seconds"]
        calls = max(1, round(seconds / once))
        bare_steps = worker.ask("bare")["steps"]  # Made and warmed up.
        raw = [(worker.ask("bare")["seconds"], worker.ask(f"train {calls}")["seconds"]) for _ in range(repeats)]
    bare_rates = [bare_steps / bare for bare, _ in raw]
    rates = [calls * ready["steps"] / train for _, train in raw]
    return {
        **{name: ready[name] for name in ("engine", "solver", "solver_options")},
        "steps_per_second": statistics.median(rates),
        "bare_steps_per_second": statistics.median(bare_rates),
        "share_of_bare": statistics.median(a / b for a, b in zip(rates, bare_rates)),
        "iteration_seconds": statistics.median(train for _, train in raw) / (calls * program.chunk),
        "program_bytes": ready["program_bytes"],
        "peak_bytes": ready["peak_bytes"],
        "start_seconds": start_seconds,
        "compile_seconds": ready["compile_seconds"],
        "raw_seconds": [{"bare": bare, "train": train} for bare, train in raw],
        "calls": calls,
        "iterations_per_call": program.chunk,
    }


def knee(rows: Sequence[dict[str, Any]]) -> tuple[float | None, str]:
    """Where half of the best speed is reached, or what is left of it.

    Where an iteration costs a fixed part and one that grows in proportion, there both are equal: before it a larger
    value costs little, beyond it an iteration takes longer in proportion. Read off between the points on logarithmic
    axes, for no such law fits small batches, which take fewer and smaller minibatches as well.

    Args:
      rows: of a report; those with an error do not count.

    Returns:
      The value, None where all points are faster, and a sentence.
    """
    points = [(row["value"], row["steps_per_second"]) for row in rows if "error" not in row]
    if len(points) < 2:
        return None, "Too few points for a knee."
    best = max(rate for _, rate in points)
    for (x, rate), (next_x, next_rate) in itertools.pairwise(points):
        if min(rate, next_rate) < best / 2 <= max(rate, next_rate):
            share = math.log(best / 2 / rate) / math.log(next_rate / rate)
            value = x * (next_x / x) ** share
            what = "is reached" if rate < next_rate else "is left"
            return value, f"Half of the best speed ({best:,.0f} steps/s) {what} at about {value:,.0f}: the knee."
    low, high = points[0][0], points[-1][0]
    least = min(rate for _, rate in points) / best
    return None, f"No knee from {low:,} to {high:,}: the slowest point has {least:.0%} of the best speed."


def show(report: dict[str, Any]) -> None:
    """Shows a report of `run`."""
    first = report["rows"][0]
    axis = AXES[report["axis"]]
    headings = (axis.label, "bare/s", "ours/s", "ours/bare", "program", "process", "compile")
    table = new_table(f"bench scaling: {first['algo']} on {first['env']}", headings)
    for row in report["rows"]:
        if "error" in row:
            table.add_row(f"{row['value']:,}", "failed")
            continue
        rates = (
            f"{row['bare_steps_per_second']:,.0f}",
            f"{row['steps_per_second']:,.0f}",
            f"{row['share_of_bare']:.2f}",
        )
        held = (mebibytes(row["program_bytes"]), mebibytes(row["peak_bytes"]))
        table.add_row(f"{row['value']:,}", *rates, *held, f"{row['compile_seconds']:.1f} s")
    Console().print(table)
    for row in report["rows"]:
        if "error" in row:
            print(f"{row['value']:,}: {row['error']}")
    print("memory in MiB: what the compiled program takes, and the most its process held, compiling included")
    print(knee(report["rows"])[1])


def draw(report: dict[str, Any], path: str | pathlib.Path) -> None:
    """Draws a report of `run`: speed, and memory below it.

    Raises:
      GailfeError: every point failed.
    """
    rows = [row for row in report["rows"] if "error" not in row]
    if not rows:
        raise GailfeError(f"axis {report['axis']}: every point failed ({report['rows'][0]['error']})")
    first, axis = rows[0], AXES[report["axis"]]
    values = [row["value"] for row in rows]

    def curve(name: str, scale: float = 1.0) -> tuple[list[int], list[float]]:
        return values, [scale * row[name] if row[name] is not None else math.nan for row in rows]

    panels = {
        "environment steps/s": {"training": curve("steps_per_second"), "bare engine": curve("bare_steps_per_second")},
        "memory, MiB": {"program": curve("program_bytes", 2**-20), "process, peak": curve("peak_bytes", 2**-20)},
    }
    shape = f"{first['algo']} on {first['env']}, {first['engine']}"
    log_panels(panels, path, title=shape, xlabel=axis.label, mark=knee(rows)[0])
