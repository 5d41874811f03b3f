"""How cost grows, and what seeds side by side save: training measured in fresh processes, beside the bare engine.

Every program has a process of its own, so that its peak memory, its start and its compile time are its own too. This
module run by itself is that process: it reads `Program` as JSON from its argument, says on stdout that it is ready, and
answers each line on stdin (`train N`: N calls; `bare`: the bare engine once) with what it took.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import rich.box
from rich.console import Console
from rich.table import Table

from gailfe_jax.analysis.plots import bar_intervals, log_panels
from gailfe_jax.bench.speed import Training, bare_engine, check_playing, check_repeats
from gailfe_jax.config.flat import Config
from gailfe_jax.envs import TASKS, find_task
from gailfe_jax.envs.physics import resolve_engine
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.provenance import provenance
from gailfe_jax.methods.table import resolve_config
from gailfe_jax.parallel.memory import peak_bytes

# Compiling is part of what a start costs, so nothing may lie compiled already.
_FIRST_START = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
_BARE_STEPS = 200_000  # Of the bare engine per repeat, all environments together,
_BARE_LENGTH = (10, 100)  # but so many of each at least and at most.


@dataclasses.dataclass(frozen=True)
class Program:
    """What one process measures.

    Attributes:
      config: fields of `Config` that differ from its defaults.
      seeds: vmapped.
      chunk: iterations per call.
    """

    config: dict[str, Any]
    seeds: int = 1
    chunk: int = 1


class _Worker:
    """The process of one program, ready to train once `ready` has returned."""

    def __init__(self, program: Program, environment: dict[str, str] | None = None):
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gailfe_jax.bench.scaling", json.dumps(dataclasses.asdict(program))],
            env=os.environ | (environment or {}), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            text=True,
        )  # fmt: skip

    def tell(self, command: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `answer` says what became of the process.
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What the process says next.

        Raises:
          GailfeError: it has ended, for want of memory for example.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._errors.seek(0)
            last = (self._errors.read().strip().splitlines() or ["no message"])[-1]
            raise GailfeError(f"bench: a process ended with code {code} ({last[:200]})")
        return json.loads(line)

    def ask(self, command: str) -> dict[str, Any]:
        self.tell(command)
        return self.answer()

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def _serve(program: Program) -> None:
    """The process of one program (see the module's docstring)."""
    answers, sys.stdout = sys.stdout, sys.stderr  # Whatever a library prints is no answer.

    def say(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in program.config.items()
    }
    training = Training.make(Config(**fields), seeds=program.seeds, chunk=program.chunk)
    first = training.advance()
    trainer = training.trainer
    env, count = trainer.learner.env, trainer.learner.config.num_envs * program.seeds
    length = min(max(_BARE_LENGTH[0], _BARE_STEPS // count), _BARE_LENGTH[1])
    say(
        engine=env.spec.engine, steps=training.steps, compile_seconds=trainer.compile_seconds,
        first_seconds=first - trainer.compile_seconds, program_bytes=trainer.program_bytes, peak_bytes=peak_bytes(),
    )  # fmt: skip
    bare: Callable[[], Any] | None = None
    for command in sys.stdin:
        if command.strip() == "bare":
            # Made late: the peak above is that of training alone.
            bare = bare or bare_engine(env, count, length)
            start = time.perf_counter()
            bare()
            say(seconds=time.perf_counter() - start, steps=count * length)
        else:
            say(seconds=training.advance(int(command.split()[1])))


# ---------------------------------------------------------------------------------------------------------------------
# gailfe bench sweep

_SWEEP_SHAPES = {"1024-step iterations": (8, 128), "8192-step iterations": (256, 32)}
_LONG_RUN = 1_000_000  # Steps of each seed over which starting up is shared, where it is included.


def bench_sweep(
    env: str = "halfcheetah",
    *,
    algo: str = "gail",
    engine: str = "auto",
    seeds: int = 8,
    steps: int = 32_768,
    repeats: int = 5,
) -> dict[str, Any]:
    """Seconds per seed of one seed alone, of `seeds` in one program, and of as many processes started together.

    In each repeat they take turns, the bare engine among them (as many environments as all seeds have), and take the
    same steps per seed. Nothing is compiled before any of them starts.

    Args:
      env, algo, engine: what trains.
      seeds: `S`.
      steps: of each seed and repeat.
      repeats: timed repeats.

    Raises:
      GailfeError: an unknown task, method or engine, a count out of range, or a process that failed.
    """
    _check(env, algo, engine, repeats)
    if seeds < 2 or steps < 1:
        raise GailfeError(f"seeds, steps: got {seeds} and {steps}; expected at least 2 seeds and 1 step")
    rows = []
    for label, (num_envs, length) in _SWEEP_SHAPES.items():
        config = _config(env, algo, engine, num_envs=num_envs, unroll_length=length)
        chunk = max(1, steps // (num_envs * length))
        ways = {"one seed alone": (1, 1), f"{seeds} seeds, one program": (1, seeds), f"{seeds} processes": (seeds, 1)}
        with contextlib.ExitStack() as stack:
            crews, started = {}, {}
            for way, (processes, vmapped) in ways.items():
                program, start = Program(config, vmapped, chunk), time.perf_counter()
                crew = [stack.enter_context(_Worker(program, _FIRST_START)) for _ in range(processes)]
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
                "engine": started[alone][1][0]["engine"],
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


def _together(crew: Sequence[_Worker]) -> float:
    """Seconds until the last of the processes has trained a chunk."""
    start = time.perf_counter()
    for worker in crew:
        worker.tell("train 1")
    for worker in crew:
        worker.answer()
    return time.perf_counter() - start


def print_sweep(report: dict[str, Any]) -> None:
    """Shows a report of `bench_sweep`."""
    first = report["rows"][0]
    title = f"bench sweep: {first['algo']} on {first['env']}, {first['engine']}, {first['steps']:,} steps per seed"
    table = Table(title=title, box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("batch", "way", "s/seed", "/alone", "/bare", "start", "1M steps"):
        table.add_column(heading, justify="left" if heading == "way" else "right")
    for row in report["rows"]:
        apart = ("-", "-")
        if "start_seconds" in row:
            apart = (f"{row['start_seconds']:.1f}", f"{row['long_run_seconds_per_seed']:.1f}")
        rates = (f"{row['seconds_per_seed']:.3f}", f"{row['over_alone']:.2f}", f"{row['over_bare']:.2f}")
        table.add_row(row["iteration"].split("-")[0], row["way"], *rates, *apart)
    Console().print(table)
    print("seconds; start: from launch until all are compiled; 1M steps: per seed of so long a run, start included")


def draw_sweep(report: dict[str, Any], path: str | pathlib.Path) -> None:
    """Draws a report of `bench_sweep`."""
    scores = {f"{r['way']}, {r['iteration'].split('-')[0]}": r["raw_seconds_per_seed"] for r in report["rows"]}
    first = report["rows"][0]
    title = f"{first['seeds']} seeds of {first['algo']} on {first['env']}"
    bar_intervals(scores, path, title=title, xlabel=f"seconds per seed and {first['steps']:,} steps")


# ---------------------------------------------------------------------------------------------------------------------
# gailfe bench scaling


@dataclasses.dataclass(frozen=True)
class Axis:
    """What is varied, and what stays.

    Attributes:
      label: of the axis.
      values: measured by default.
      algo: method.
      fixed: fields of `Config` for all points.
      vary: value to the fields that it sets; none for seeds.
    """

    label: str
    values: tuple[int, ...]
    algo: str
    fixed: dict[str, Any]
    vary: Callable[[int], dict[str, Any]]


_SMALL = {"num_envs": 8, "unroll_length": 128}
_LARGE = {"num_envs": 256, "unroll_length": 32}
AXES: dict[str, Axis] = {
    "envs": Axis(
        "environments", (1, 8, 64, 512, 2048, 8192), "gail", {"unroll_length": 32}, lambda n: {"num_envs": n}
    ),
    "seeds": Axis("seeds", (1, 2, 4, 8, 16, 32, 64), "gail", _SMALL, lambda n: {}),
    "width": Axis(
        "hidden units per layer", (32, 64, 128, 256, 512), "gail", _LARGE,
        lambda n: {"hidden": (n, n), "disc_hidden": (n, n)},
    ),
    "horizon": Axis("horizon of MAIL", (1, 4, 16, 32, 64, 128), "mail", _SMALL, lambda n: {"horizon": n}),
    "failures": Axis(
        "failures held", (100, 300, 1000, 3000, 10_000), "gailfe", _SMALL, lambda n: {"failure_capacity": n}
    ),
}  # fmt: skip


def bench_scaling(
    axis: str,
    env: str = "halfcheetah",
    *,
    engine: str = "auto",
    values: Sequence[int] = (),
    repeats: int = 3,
    seconds: float = 1.5,
) -> dict[str, Any]:
    """Steps/s and peak memory of whole training iterations along one axis, each point in a process of its own.

    Args:
      axis: one of `AXES`.
      env, engine: what trains.
      values: points; the axis' own by default.
      repeats: timed repeats, each beside the bare engine.
      seconds: that a repeat should take, in whole iterations.

    Returns:
      A JSON-able report. A point that failed, for want of memory for example, is a row with its `error`.

    Raises:
      GailfeError: an unknown axis, task or engine, or a count below 1.
    """
    if axis not in AXES:
        raise GailfeError(f"axis: got {axis!r}; expected one of {', '.join(AXES)}")
    along = AXES[axis]
    _check(env, along.algo, engine, repeats)
    values = sorted(set(values or along.values))
    if values[0] < 1 or not seconds > 0:
        raise GailfeError(f"values, seconds: got {values} and {seconds}; expected numbers from 1, and above 0")
    configs = [_config(env, along.algo, engine, **along.fixed, **along.vary(value)) for value in values]
    rows = []
    for value, config in zip(values, configs):
        size, seeds = config["num_envs"] * config["unroll_length"], value if axis == "seeds" else 1
        # Short iterations share what a call costs, as they do in training.
        program = Program(config, seeds, chunk=min(16, max(1, 8192 // (size * seeds))))
        row: dict[str, Any] = {"axis": axis, "value": value, "env": find_task(env).name, "algo": along.algo}
        row |= {"num_envs": config["num_envs"], "unroll_length": config["unroll_length"], "seeds": seeds}
        try:
            row |= _measure(program, repeats, seconds)
        except GailfeError as error:
            row |= {"error": str(error)}
        rows.append(row)
    return {"what": "scaling", "axis": axis, "rows": rows, "provenance": provenance()}


def _measure(program: Program, repeats: int, seconds: float) -> dict[str, Any]:
    """One point: what its process says, as fields of a row."""
    started = time.perf_counter()
    with _Worker(program) as worker:
        ready = worker.answer()
        start_seconds = time.perf_counter() - started
        once = worker.ask("train 1")["seconds"]
        calls = max(1, round(seconds / once))
        bare_steps = worker.ask("bare")["steps"]  # Made and warmed up.
        raw = [(worker.ask("bare")["seconds"], worker.ask(f"train {calls}")["seconds"]) for _ in range(repeats)]
    bare_rates = [bare_steps / bare for bare, _ in raw]
    rates = [calls * ready["steps"] / train for _, train in raw]
    return {
        "engine": ready["engine"],
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


def print_scaling(report: dict[str, Any]) -> None:
    """Shows a report of `bench_scaling`."""
    first = report["rows"][0]
    axis = AXES[report["axis"]]
    table = Table(title=f"bench scaling: {first['algo']} on {first['env']}", box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for heading in (axis.label, "bare/s", "ours/s", "ours/bare", "program", "process", "compile"):
        table.add_column(heading, justify="right")
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


def mebibytes(count: int | None) -> str:
    """Bytes as a table shows them."""
    return "-" if count is None else f"{count / 2**20:,.0f}" if count >= 10 * 2**20 else f"{count / 2**20:.1f}"


def draw_scaling(report: dict[str, Any], path: str | pathlib.Path) -> None:
    """Draws a report of `bench_scaling`: speed, and memory below it.

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


def _config(env: str, algo: str, engine: str, **fields: Any) -> dict[str, Any]:
    """Fields of `Config`, checked."""
    # MAIL's windows divide the unroll.
    fields = {"horizon": math.gcd(Config.horizon, fields["unroll_length"])} | fields
    fields |= {"env": find_task(env).name, "algo": algo, "engine": engine}
    resolve_config(Config(**fields))
    return fields


def _check(env: str, algo: str, engine: str, repeats: int) -> None:
    if env.startswith("brax:"):
        raise GailfeError(f"env: {env} has no bare engine to compare with; expected {', '.join(TASKS)}")
    find_task(env)
    resolve_engine(engine)
    check_playing([algo])
    check_repeats(repeats)


if __name__ == "__main__":
    _serve(Program(**json.loads(sys.argv[1])))
