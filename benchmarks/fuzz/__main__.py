"""The command line of the fuzz."""

from __future__ import annotations

import argparse
import importlib
import os
import pathlib
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from benchmarks.fuzz import worker
from benchmarks.fuzz.kinds import ARROW, COMMAND_LINE, COMMAND_LINES, KINDS, check_valid, prepare
from gailfe_jax.cli.commands import COMMANDS
from gailfe_jax.io.atomic import write_json_atomic
from gailfe_jax.io.provenance import provenance

JOBS = 2
_HEAVY = ("h5py", "jax", "matplotlib.pyplot", "minari", "mujoco", "onnx", "pyarrow", "pyarrow.parquet")
"""What readers import when they are called: the workers are to find it there."""


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzzes; 1 where an input was neither valid nor refused, or took too much."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="times as many inputs of each kind (1)")
    parser.add_argument("--seed", type=int, default=0, help="of the changes (0)")
    parser.add_argument("--only", nargs="+", choices=[*KINDS, COMMAND_LINE], help="these kinds alone")
    parser.add_argument("--input", type=int, help="this number of the one kind alone, with a traceback; it is kept")
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"processes ({JOBS})")
    parser.add_argument(
        "--sources", type=pathlib.Path, help="folder for the valid inputs; it is used again if it is there"
    )
    parser.add_argument("--out", type=pathlib.Path, help="result file; none is written by default")
    options = parser.parse_args(argv)
    if options.input is not None and len(options.only or ()) != 1:
        parser.error("--input goes with --only and one kind")
    folder, here = pathlib.Path(tempfile.mkdtemp(prefix="fuzz-")), pathlib.Path.cwd()
    try:
        sources = (options.sources or folder / "sources").absolute()
        if not sources.is_dir():
            sources.mkdir(parents=True)
            worker.in_a_fork(lambda: prepare(sources))
        if options.input is not None:
            return repeat(options.only[0], options.input, options.seed, sources, folder)
        report = fuzz(options, sources, folder)
    finally:
        os.chdir(here)
        if options.input is None:
            shutil.rmtree(folder, ignore_errors=True)
    if options.out is not None:
        write_json_atomic(options.out, report)
    return show(report)


def inputs(scale: float, only: Sequence[str] | None) -> list[worker.Input]:
    """What is read, by kind."""
    counts = {name: kind.count for name, kind in KINDS.items()} | {COMMAND_LINE: COMMAND_LINES}
    if not _installed("pyarrow"):
        counts = {name: count for name, count in counts.items() if not name.endswith(ARROW)}
    chosen = {name: max(round(scale * count), 1) for name, count in counts.items() if not only or name in only}
    return [worker.Input(name, number) for name, count in chosen.items() for number in range(count)]


def check(sources: pathlib.Path, folder: pathlib.Path) -> None:
    """Holds that nothing is refused as it is."""
    worker.begin()
    here = folder / "check" / "here"
    here.mkdir(parents=True)
    os.chdir(here)
    with open(folder / "check" / "printed.txt", "w") as file:
        os.dup2(file.fileno(), 1)
    check_valid(sources, here.parent)


def _installed(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def fuzz(options: argparse.Namespace, sources: pathlib.Path, folder: pathlib.Path) -> dict[str, Any]:
    """Reads all inputs, and returns the report."""
    began = time.monotonic()
    for name in (*_HEAVY, *(command.module for command in COMMANDS.values())):
        _installed(name)
    rows: dict[str, dict[str, Any]] = {}
    failures = []
    worker.in_a_fork(lambda: check(sources, folder))
    items = inputs(options.scale, options.only)
    for found in worker.read_all(items, sources, folder, options.seed, options.jobs):
        kind = found.input.kind
        new = {
            "kind": kind,
            "inputs": 0,
            "valid": 0,
            "refused": 0,
            "failed": 0,
            "slowest_seconds": 0.0,
            "most_mib": 0.0,
        }
        row = rows.setdefault(kind, new)
        row["inputs"] += 1
        row[found.outcome] += 1
        row["slowest_seconds"] = max(row["slowest_seconds"], found.seconds)
        row["most_mib"] = max(row["most_mib"], found.mib)
        if found.outcome == "failed":
            failures.append(_failure(found, options.seed, sources, folder))
            print(f"{kind} {found.input.number}: {failures[-1]['error'][:300]}", flush=True)
    return {
        "what": "fuzz",
        "seed": options.seed,
        "limits": {"seconds": worker.SECONDS, "mib": worker.MEMORY // 2**20},
        "seconds": round(time.monotonic() - began, 1),
        "rows": list(rows.values()),
        "failures": failures,
        "provenance": provenance(),
    }


def _failure(found: worker.Outcome, seed: int, sources: pathlib.Path, folder: pathlib.Path) -> dict[str, Any]:
    """What the result file says of a failure, without folders of this machine."""

    def plain(text: str) -> str:
        text = text.encode("utf-8", "backslashreplace").decode()
        root = str(pathlib.Path(__file__).resolve().parent.parent.parent)
        for place, name in ((sources, "SOURCES"), (folder, "WORK"), (root, "REPOSITORY")):
            text = text.replace(str(place), name)
        return text[:3000]

    kind, number = found.input.kind, found.input.number
    return {
        "kind": kind, "number": number, "changed": plain(found.changed), "error": plain(found.error),
        "seconds": found.seconds, "mib": found.mib,
        "repeat": f"python -m benchmarks.fuzz --seed {seed} --only '{kind}' --input {number}",
    }  # fmt: skip


def repeat(kind: str, number: int, seed: int, sources: pathlib.Path, folder: pathlib.Path) -> int:
    """Reads one input in this process, and keeps it."""
    worker.begin()
    found = worker.read(worker.Input(kind, number), sources, folder, seed)
    print(f"{found.outcome}: {found.changed}\n{found.error}\n{found.seconds} s, {found.mib} MiB; in {folder}")
    return int(found.outcome == "failed")


def show(report: dict[str, Any]) -> int:
    """Prints what came of it; returns the exit code."""
    for row in report["rows"]:
        print(", ".join(f"{name} {value}" for name, value in row.items()))
    total = sum(row["inputs"] for row in report["rows"])
    print(f"{total} inputs, {len(report['failures'])} failures in {report['seconds']:.0f} s")
    return int(bool(report["failures"]))


if __name__ == "__main__":
    sys.exit(main())
