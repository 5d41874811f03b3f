"""The GPU benchmark: MJX and Warp, physics alone and training, in one call of under ten minutes.

    python benchmarks/gpu.py --out benchmarks/results/gpu.json              on a machine with an NVIDIA GPU
    python benchmarks/gpu.py --out benchmarks/results/gpu.json --resume     again, for the points that are missing
    python benchmarks/gpu.py --dry-run --out ...                            everything once, tiny, on the CPU

The most telling points come first, and the result file is whole after each of them. Points are measured by a process of
their own, which is started again where one of them ends it; what fails, or does not fit into the budget, is a row that
says so. docs/gpu.md says how to run this on a bare machine, and what the output means.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import itertools
import json
import os
import pathlib
import queue
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

UNROLL = 32
BARE_STEPS = 25
TARGET_SHARE, TARGET_SEEDS_TIME = 0.5, 4.0
DRY_NOTE = "CPU DRY RUN: shows that the script runs; its sizes are tiny and its timings mean nothing."


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What is measured: the numbers of the targets, and the ranges around them."""

    envs: tuple[int, ...] = (4096, 16_384, 1024, 256)  # The target's first.
    seeds: tuple[int, ...] = (1, 16, 64, 4)  # The target's one and many first.
    seed_envs: int = 256
    repeats: int = 3
    seconds: float = 1.0


DRY = Sizes(envs=(4,), seeds=(1, 2), seed_envs=4, repeats=1, seconds=0.0)


@dataclasses.dataclass(frozen=True)
class Point:
    """One measurement."""

    kind: str  # physics, train or profile
    engine: str
    env: str
    num_envs: int
    algo: str = ""
    seeds: int = 1


def points(sizes: Sizes, dry: bool) -> list[Point]:
    """All of them, most telling first and without repetition."""
    target, engines = sizes.envs[0], ("mjx",) if dry else ("warp", "mjx")
    chosen: list[Point] = []
    for engine in engines:
        chosen += [
            Point("physics", engine, "halfcheetah", target),
            Point("train", engine, "halfcheetah", target, "gail"),
            *(Point("train", engine, "halfcheetah", sizes.seed_envs, "gail", seeds) for seeds in sizes.seeds[:2]),
            Point("profile", engine, "halfcheetah", target, "gail"),
        ]
    if dry:
        chosen += [Point("train", "mjx", "halfcheetah", target, "mail"), Point("physics", "warp", "hopper", target)]
        return list(dict.fromkeys(chosen))
    for engine in engines:
        chosen += [Point("physics", engine, "hopper", target), Point("train", engine, "hopper", target, "gail")]
    for algo, engine in itertools.product(("gailfe", "mail"), engines):
        chosen.append(Point("train", engine, "halfcheetah", target, algo))
    for seeds, engine in itertools.product(sizes.seeds, engines):
        chosen.append(Point("train", engine, "halfcheetah", sizes.seed_envs, "gail", seeds))
    for env, num_envs, engine in itertools.product(("halfcheetah", "hopper"), sizes.envs, engines):
        chosen.append(Point("physics", engine, env, num_envs))
        chosen += [Point("train", engine, env, num_envs, algo) for algo in ("gail", "gailfe", "mail")]
    return list(dict.fromkeys(chosen))


# ---------------------------------------------------------------------------------------------------------------------
# The process that measures


def missing(point: Point) -> str | None:
    """Why a point cannot run here at all, or None."""
    from gailfe_jax.envs.physics import has_nvidia_gpu

    if point.engine == "warp" and importlib.util.find_spec("warp") is None:
        return "skipped: warp-lang is not installed"
    if point.engine == "warp" and not has_nvidia_gpu():
        return "skipped: JAX sees no NVIDIA GPU"
    return None


def prepare(point: Point, sizes: Sizes) -> Callable[[], dict[str, Any]]:
    """Compiles what the point needs and runs it once; the function it returns measures."""
    from gailfe_jax.bench import timing
    from gailfe_jax.bench.profile import iteration_parts, largest, time_parts
    from gailfe_jax.bench.train import Training, method_with
    from gailfe_jax.envs import make_env

    began = time.perf_counter()
    env = make_env(point.env, point.engine)
    if point.kind == "physics":
        rollout = timing.scan_with_policy(env, point.num_envs, BARE_STEPS)
        bare = timing.bare_engine(env, point.num_envs, BARE_STEPS, rollout=rollout)
        runs = {"bare": bare, "with_policy": lambda: rollout[0](rollout[1])}
        for run in runs.values():
            timing.seconds(run)
        compiled = time.perf_counter() - began

        def physics() -> dict[str, Any]:
            raw = {name: [timing.seconds(run) for _ in range(sizes.repeats)] for name, run in runs.items()}
            steps = point.num_envs * BARE_STEPS
            rates = {name: steps / statistics.median(values) for name, values in raw.items()}
            return {
                "bare_steps_per_second": rates["bare"], "steps_per_second": rates["with_policy"],
                "compile_seconds": compiled, "raw_seconds": raw,
            }  # fmt: skip

        return physics

    method = method_with(point.algo, {"rollout.num_envs": point.num_envs, "rollout.unroll_length": UNROLL})
    training = Training.make(method, env, seeds=point.seeds)
    training.advance()
    if point.kind == "profile":
        parts = iteration_parts(training)
        bare = timing.bare_engine(env, point.num_envs, UNROLL)
        bare()

        def profile() -> dict[str, Any]:
            rows = time_parts(training, parts, bare, sizes.repeats)
            return {"parts": rows, "largest": largest(rows)}

        return profile

    def train() -> dict[str, Any]:
        calls = max(1, round(sizes.seconds / training.advance()))
        raw = [training.advance(calls) for _ in range(sizes.repeats)]
        median = statistics.median(raw)
        return {
            "steps_per_second": calls * training.steps / median, "iteration_seconds": median / calls,
            "compile_seconds": training.trainer.compile_seconds, "program_bytes": training.trainer.program_bytes,
            "calls": calls, "raw_seconds": raw,
        }  # fmt: skip

    return train


def serve(sizes: Sizes, dry: bool) -> None:
    """Reads waves of points from stdin and answers each with its row; compiles those of a wave side by side."""
    answers, sys.stdout = sys.stdout, sys.stderr
    import jax

    from gailfe_jax.envs import make_env
    from gailfe_jax.errors import one_line
    from gailfe_jax.io.provenance import provenance
    from gailfe_jax.parallel.memory import peak_bytes

    if dry:
        jax.config.update("jax_disable_most_optimizations", True)
    print(json.dumps(provenance()), file=answers, flush=True)
    for line in sys.stdin:
        wave = [Point(**fields) for fields in json.loads(line)]
        for point in wave:
            with contextlib.suppress(Exception):  # `prepare` meets it again. MuJoCo loads models on one thread.
                make_env(point.env, point.engine)
        with ThreadPoolExecutor(len(wave)) as pool:
            made = [(point, pool.submit(prepare, point, sizes)) for point in wave if missing(point) is None]
            futures = dict(made)
            for future in futures.values():
                future.exception()  # Nothing is measured while something compiles.
        for point in wave:
            row: dict[str, Any] = dataclasses.asdict(point)
            try:
                row |= {"error": missing(point)} if point not in futures else futures.pop(point).result()()
            except Exception as error:  # Whatever XLA, Warp or CUDA raise: the next point may still fit.
                row |= {"error": one_line(f"{type(error).__name__}: {error}", first=True)[:300]}
            row["peak_bytes_of_process_so_far"] = peak_bytes()
            print(json.dumps(row), file=answers, flush=True)


# ---------------------------------------------------------------------------------------------------------------------
# The process that keeps the time and the books


class Measurer:
    """The measuring process, started again when it has ended."""

    def __init__(self, dry: bool):
        self._dry = dry
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.provenance: dict[str, Any] | None = None

    def measure(self, wave: list[Point], deadline: float) -> Iterator[dict[str, Any]]:
        """Rows of the wave's points, as far as the process gets before the deadline or its end."""
        if self._process is None:
            self._start()
            first = self._read(deadline)
            if first is None:
                return
            self.provenance = self.provenance or first
        assert self._process is not None and self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps([dataclasses.asdict(point) for point in wave]) + "\n")
            self._process.stdin.flush()
        for _ in wave:
            row = self._read(deadline)
            if row is None:
                return
            yield row

    def _start(self) -> None:
        environment = os.environ | ({"JAX_PLATFORMS": "cpu"} if self._dry else {})
        # What one point needs is not known before; without this XLA takes most of the memory and Warp gets the rest.
        environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        words = [sys.executable, __file__, "--serve", *(["--dry-run"] if self._dry else [])]
        self._process = subprocess.Popen(
            words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )  # fmt: skip
        self._lines = queue.Queue()
        threading.Thread(target=self._pump, args=(self._process, self._lines), daemon=True).start()

    @staticmethod
    def _pump(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    def _read(self, deadline: float) -> dict[str, Any] | None:
        try:
            line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            line = None
        if line is None:
            self.close()
            return None
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def waves(left: list[Point], size: int) -> list[list[Point]]:
    """Points to compile side by side, in order; Warp's one by one, since it loads its kernels as it is traced."""
    cut: list[list[Point]] = []
    for point in left:
        joins = bool(cut) and point.engine != "warp" and cut[-1][0].engine == point.engine and len(cut[-1]) < size
        cut[-1].append(point) if joins else cut.append([point])
    return cut


def verdicts(rows: list[dict[str, Any]], sizes: Sizes) -> list[dict[str, Any]]:
    """The two targets, for every engine, task and method that has been measured."""
    found, done = [], [row for row in rows if "error" not in row]
    bare = {
        (row["engine"], row["env"], row["num_envs"]): row["bare_steps_per_second"]
        for row in done
        if row["kind"] == "physics"
    }
    trained = [row for row in done if row["kind"] == "train"]
    for row in trained:
        what = (row["engine"], row["env"], row["num_envs"])
        if row["num_envs"] == sizes.envs[0] and row["seeds"] == 1 and what in bare:
            share = row["steps_per_second"] / bare[what]
            target = f"training at least {TARGET_SHARE} of bare physics at {row['num_envs']} environments"
            found.append(_verdict(target, row, share, share >= TARGET_SHARE))
    one, many = sizes.seeds[:2]
    alone = {
        (row["engine"], row["env"], row["algo"]): row["iteration_seconds"]
        for row in trained
        if row["num_envs"] == sizes.seed_envs and row["seeds"] == one
    }
    for row in trained:
        what = (row["engine"], row["env"], row["algo"])
        if row["num_envs"] == sizes.seed_envs and row["seeds"] == many and what in alone:
            times = row["iteration_seconds"] / alone[what]
            target = (
                f"{many} seeds of {sizes.seed_envs} environments at most {TARGET_SEEDS_TIME:g} times the time of one"
            )
            found.append(_verdict(target, row, times, times <= TARGET_SEEDS_TIME))
    return found


def _verdict(target: str, row: dict[str, Any], value: float, met: bool) -> dict[str, Any]:
    return {
        "target": target,
        "engine": row["engine"],
        "env": row["env"],
        "algo": row["algo"],
        "value": value,
        "met": met,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("gpu.json"), help="result file")
    parser.add_argument("--budget-seconds", type=float, default=570.0, help="wall time of the whole call")
    parser.add_argument("--compile-together", type=int, default=0, help="programs; by default half the cores, up to 8")
    parser.add_argument("--resume", action="store_true", help="keep the rows of --out that were measured")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on the CPU, to see that all of it runs")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    words = parser.parse_args()
    sizes = DRY if words.dry_run else Sizes()
    if words.serve:
        serve(sizes, words.dry_run)
        return 0

    from gailfe_jax.io.atomic import write_json_atomic
    from gailfe_jax.io.provenance import command_line

    began = time.monotonic()
    deadline = began + words.budget_seconds
    together = words.compile_together or min(8, max(1, (os.cpu_count() or 1) // 2))
    rows: list[dict[str, Any]] = []
    if words.resume and words.out.exists():
        rows = [row for row in json.loads(words.out.read_text())["rows"] if "error" not in row]
    fields = [field.name for field in dataclasses.fields(Point)]
    done = {Point(**{name: row[name] for name in fields}) for row in rows}
    left = [point for point in points(sizes, words.dry_run) if point not in done]
    measurer = Measurer(words.dry_run)

    def judged() -> list[dict[str, Any]]:
        # Timings that mean nothing meet and miss nothing.
        return [verdict | ({"met": None} if words.dry_run else {}) for verdict in verdicts(rows, sizes)]

    def write() -> None:
        report = {"what": "gpu", "dry_run": words.dry_run, "budget_seconds": words.budget_seconds}
        report |= {"note": DRY_NOTE} if words.dry_run else {}
        report |= {"seconds": time.monotonic() - began, "verdicts": judged(), "rows": rows}
        # The measuring process knows the hardware; asking for it here would take a share of the GPU.
        origin = (measurer.provenance or {}) | {"command": command_line(sys.argv)}
        write_json_atomic(words.out, report | {"provenance": origin})

    queued = waves(left, together)
    while queued:
        wave, measured = queued.pop(0), 0
        if time.monotonic() < deadline:
            for row in measurer.measure(wave, deadline):
                print(f"{time.monotonic() - began:5.0f} s  {describe(row)}", flush=True)
                measured += 1
                rows.append(row)
                write()
        lost, late = wave[measured:], time.monotonic() >= deadline
        if lost and len(wave) > 1 and not late:
            queued = [[point] for point in lost] + queued  # One of them ended the process, and not the others.
        else:
            why = "not reached within the budget" if late else "it ended the measuring process"
            rows += [dataclasses.asdict(point) | {"error": why} for point in lost]
    measurer.close()
    write()
    for verdict in judged():
        word = {True: "met", False: "MISSED", None: "not judged"}[verdict["met"]]
        where = f"{verdict['algo']} on {verdict['env']}, {verdict['engine']}"
        print(f"{word}: {verdict['target']}: {verdict['value']:.2f} ({where})")
    for row in rows:
        if "largest" in row:
            print(f"largest cost, {row['engine']}: {row['largest']}")
    if words.dry_run:
        print(DRY_NOTE)
    return 0


def describe(row: dict[str, Any]) -> str:
    """A row in one line."""
    what = f"{row['kind']} {row['algo']} {row['engine']} {row['env']}, {row['num_envs']} envs x {row['seeds']} seeds"
    if "error" in row:
        return f"{what}: {row['error']}"
    return f"{what}: {row['largest']}" if "largest" in row else f"{what}: {row['steps_per_second']:,.0f} steps/s"


if __name__ == "__main__":
    sys.exit(main())
