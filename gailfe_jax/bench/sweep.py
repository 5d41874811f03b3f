"""What seeds side by side save: one seed alone, many in one program, and as many processes started together."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import pathlib
import statistics
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from gailfe_jax.analysis.plots import bar_intervals
from gailfe_jax.bench.report import new_table
from gailfe_jax.bench.worker import Program, Worker, check
from gailfe_jax.envs import find_task
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.provenance import provenance

# Compiling is part of what a start costs, so nothing may lie compiled already.
_FIRST_START = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
_SHAPES = {"1024-step iterations": (8, 128), "8192-step iterations": (256, 32)}
_LONG_RUN = 1_000_000  # Steps of each seed over which starting up is shared, where it is included.


def run(
    env: str = "halfcheetah",
    *,
    algo: str = "gail",
    engine: str = "auto",
    seeds: int = 8,
    steps: int = 32_768,
    repeats: int = 5,
) -> dict[str, Any]:
    """Measures seconds per seed of one seed alone, of several in one program, and of as many processes.

    The processes are started together. In each repeat all ways take turns, the bare engine (with as many environments
    as all seeds have) among them, and take the same steps per seed. Nothing is compiled before any of them starts.

    Args:
      env: Measure on this task.
      algo: Train with this method.
      engine: Run this physics engine.
      seeds: Train this many seeds side by side.
      steps: Take this many environment steps per repeat and seed.
      repeats: Report the median of this many repeats.

    Raises:
      GailfeError: an unknown task, method or engine, a count out of range, or a process that failed.
    """
    check(env, algo, engine, repeats)
    if seeds < 2 or steps < 1:
        raise GailfeError(f"seeds, steps: got {seeds} and {steps}; expected at least 2 seeds and 1 step")
    rows = []
    for label, (num_envs, length) in _SHAPES.items():
        settings = {"rollout.num_envs": num_envs, "rollout.unroll_length": length}
        program = Program(algo, env, engine, settings, chunk=max(1, steps // (num_envs * length)))
        program.method()  # Raises here, and not in a process, where its parts do not go together.
        ways = {"one seed alone": (1, 1), f"{seeds} seeds, one program": (1, seeds), f"{seeds} processes": (seeds, 1)}
        with contextlib.ExitStack() as stack:
            crews, started = {}, {}
            for way, (processes, vmapped) in ways.items():
                program, start = dataclasses.replace(program, seeds=vmapped), time.perf_counter()
                crew = [stack.enter_context(Worker(program, _FIRST_START)) for _ in range(processes)]
                ready = [worker.answer() for worker in crew]
                started[way] = (time.perf_counter() - start, ready)
                crews[way] = crew
            alone, vmapped, _ = ways
            crews[vmapped][0].ask("bare")  # Made and warmed up.
            raw: dict[str, list[float]] = {"bare engine": [], **{way: [] for way in ways}}
            taken = started[alone][1][0]["steps"]
            for _ in range(repeats):
                bare = crews[vmapped][0].ask("bare")
                raw["bare engine"].append(bare["seconds"] * taken / bare["steps"])
                for way, crew in crews.items():
                    raw[way].append(_together(crew) / math.prod(ways[way]))
        for way, per_seed in raw.items():
            seconds, start_seconds = statistics.median(per_seed), None
            row = {
                "env": find_task(env).name,
                **{name: started[alone][1][0][name] for name in ("engine", "solver", "solver_options")},
                "algo": algo,
                "iteration": label,
                "seeds": seeds,
                "steps": taken,
                "way": way,
                "seconds_per_seed": seconds,
                "over_alone": statistics.median(a / b for a, b in zip(per_seed, raw[alone])),
                "over_bare": statistics.median(a / b for a, b in zip(per_seed, raw["bare engine"])),
            }
            if way in started:
                start_seconds, ready = started[way]
                share = start_seconds / math.prod(ways[way])
                row |= {
                    "start_seconds": start_seconds,
                    "compile_seconds": statistics.median(answer["compile_seconds"] for answer in ready),
                    "long_run_seconds_per_seed": share + seconds * _LONG_RUN / taken,
                    "peak_bytes": sum(answer["peak_bytes"] for answer in ready),
                }
            rows.append(row | {"raw_seconds_per_seed": per_seed})
    return {"what": "sweep", "long_run_steps": _LONG_RUN, "rows": rows, "provenance": provenance()}


def _together(crew: Sequence[Worker]) -> float:
    """Seconds until the last of the processes has trained a chunk."""
    start = time.perf_counter()
    for worker in crew:
        worker.tell("train 1")
    for worker in crew:
        worker.answer()
    return time.perf_counter() - start


def show(report: dict[str, Any]) -> None:
    """Shows a report of `run`."""
    first = report["rows"][0]
    title = f"bench sweep: {first['algo']} on {first['env']}, {first['engine']}, {first['steps']:,} steps per seed"
    headings = ("batch", "way", "s/seed", "/alone", "/bare", "start", "1M steps")
    table = new_table(title, headings, left=("way",))
    for row in report["rows"]:
        apart = ("-", "-")
        if "start_seconds" in row:
            apart = (f"{row['start_seconds']:.1f}", f"{row['long_run_seconds_per_seed']:.1f}")
        rates = (f"{row['seconds_per_seed']:.3f}", f"{row['over_alone']:.2f}", f"{row['over_bare']:.2f}")
        table.add_row(row["iteration"].split("-")[0], row["way"], *rates, *apart)
    Console().print(table)
    print("seconds; start: from launch until all are compiled; 1M steps: per seed of so long a run, start included")


def draw(report: dict[str, Any], path: str | pathlib.Path) -> None:
    """Draws a report of `run`."""
    scores = {f"{r['way']}, {r['iteration'].split('-')[0]}": r["raw_seconds_per_seed"] for r in report["rows"]}
    first = report["rows"][0]
    title = f"{first['seeds']} seeds of {first['algo']} on {first['env']}"
    bar_intervals(scores, path, title=title, xlabel=f"seconds per seed and {first['steps']:,} steps")
