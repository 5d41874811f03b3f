"""The measuring process seen from outside: started, timed, ended where it hangs, and its rows judged."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.accelerator.plan import SEED_ENVS, SEEDS, TARGET_ENVS, Point
from gailfe_jax.errors import GailfeError

TARGET_SHARE, TARGET_SEEDS_TIME, TARGET_LEARN_SECONDS = 0.5, 4.0, 120.0
START_SECONDS, DRY_SECONDS = 120.0, 600.0
SCRIPT = pathlib.Path(__file__).resolve().parent.parent / "gpu.py"


class Measurer:
    """The measuring process, started again when it has ended or was ended.

    Args:
      dry: on the CPU, with tiny sizes.
      cache: folder of compiled programs, which a further process or call takes from there.

    Attributes:
      late: whether the last wave was cut short by the clock, and not by the process's own end.
    """

    def __init__(self, dry: bool, cache: pathlib.Path):
        self._dry, self._cache = dry, cache
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.provenance: dict[str, Any] | None = None
        self.late = False

    def measure(self, wave: list[Point], deadline: float) -> Iterator[dict[str, Any]]:
        """Rows of the wave's points, as far as the process gets before their limits, the deadline or its end.

        Raises:
          GailfeError: JAX has nothing but the CPU, and this is no dry run.
        """
        self.late = False
        if self._process is None:
            self._start()
            first = self._read(min(deadline, time.monotonic() + START_SECONDS))
            if first is None:
                return
            if not self._dry and not first["hardware"]["accelerators"]:
                self.close()
                raise GailfeError(
                    "JAX sees no accelerator here; expected a GPU and the packages of docs/gpu.md, or --dry-run"
                )
            self.provenance = self.provenance or first
        assert self._process is not None and self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps([dataclasses.asdict(point) for point in wave]) + "\n")
            self._process.stdin.flush()
        # All of a wave are compiled, side by side, before the first is measured.
        compiling = 0.5 * sum(point.expected for point in wave[1:])
        for point in wave:
            # A CPU may take minutes to compile MJX.
            limit = DRY_SECONDS if self._dry else point.limit
            row = self._read(min(deadline, time.monotonic() + limit + compiling))
            compiling = 0.0
            if row is None:
                return
            yield row

    def _start(self) -> None:
        environment = os.environ | ({"JAX_PLATFORMS": "cpu"} if self._dry else {})
        # What one point needs is not known before; without this XLA takes most of the memory and Warp gets the rest.
        environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        environment |= {
            "JAX_COMPILATION_CACHE_DIR": str(self._cache.resolve()),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1",
            "WARP_CACHE_PATH": str(self._cache.resolve() / "warp"),
        }
        words = [sys.executable, str(SCRIPT), "--serve", *(["--dry-run"] if self._dry else [])]
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
        line = None
        try:
            line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            self.late = True
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
    """Points to compile side by side, in order; MJX's only: Warp loads its kernels as it is traced, the C engine's
    compile in a moment and share the cores that they measure, and a learning run is measured as a whole."""
    cut: list[list[Point]] = []
    for point in left:
        alone = point.engine != "mjx" or point.kind == "learn"
        joins = bool(cut) and not alone and _open(cut[-1]) and len(cut[-1]) < size
        cut[-1].append(point) if joins else cut.append([point])
    return cut


def _open(wave: list[Point]) -> bool:
    return wave[0].engine == "mjx" and wave[0].kind != "learn"


def verdicts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The targets, for every engine, solver setting, task and method that has been measured."""
    found, done = [], [row for row in rows if "error" not in row]
    bare = {(*_place(row), row["num_envs"]): row["bare_steps_per_second"] for row in done if row["kind"] == "physics"}
    trained = [row for row in done if row["kind"] == "train"]
    for row in trained:
        what = (*_place(row), row["num_envs"])
        if row["num_envs"] >= TARGET_ENVS and row["seeds"] == 1 and what in bare:
            share = row["steps_per_second"] / bare[what]
            target = f"training at least {TARGET_SHARE} of bare physics at {row['num_envs']} environments"
            found.append(_verdict(target, row, share, share >= TARGET_SHARE))
    one, many = SEEDS
    alone = {
        (*_place(row), row["algo"]): row["iteration_seconds"]
        for row in trained
        if row["num_envs"] == SEED_ENVS and row["seeds"] == one
    }
    for row in trained:
        what = (*_place(row), row["algo"])
        if row["num_envs"] == SEED_ENVS and row["seeds"] == many and what in alone:
            times = row["iteration_seconds"] / alone[what]
            target = f"{many} seeds of {SEED_ENVS} environments at most {TARGET_SEEDS_TIME:g} times the time of one"
            found.append(_verdict(target, row, times, times <= TARGET_SEEDS_TIME))
    for row in done:
        if row["kind"] == "learn":
            target = f"{row['target']} of the expert in under {TARGET_LEARN_SECONDS:.0f} s, compiling included"
            met = row["reached"] and row["seconds"] < TARGET_LEARN_SECONDS
            found.append(_verdict(target, row, row["seconds"], met))
    return found


def _place(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["engine"], row["solver"], row["env"]


def _verdict(target: str, row: dict[str, Any], value: float, met: bool) -> dict[str, Any]:
    where = {name: row[name] for name in ("engine", "solver", "precision", "env", "algo")}
    return {"target": target, **where, "value": value, "met": met}


def describe(row: dict[str, Any]) -> str:
    """A row in one line."""
    what = str(Point(**{field.name: row[field.name] for field in dataclasses.fields(Point)}))
    if "error" in row:
        return f"{what}: {row['error']}"
    if "largest" in row:
        return f"{what}: {row['largest']}"
    if row["kind"] == "learn":
        return (
            f"{what}: {row['share_of_expert']:.2f} of the expert after {row['seconds']:.0f} s, {row['steps']:,} steps"
        )
    return f"{what}: {row['steps_per_second']:,.0f} steps/s"
