"""The GPU benchmark: MJX, Warp and the C engine beside them, physics, training and learning, in calls of ten minutes.

    python benchmarks/gpu.py --out benchmarks/results/gpu.json              on a machine with an NVIDIA GPU
    python benchmarks/gpu.py --out benchmarks/results/gpu.json --resume     again, for the points that are missing
    python benchmarks/gpu.py --out benchmarks/results/gpu.json --resume --stage warp     a second call, for Warp
    python benchmarks/gpu.py --plan                                         what is measured, in order, with seconds
    python benchmarks/gpu.py --dry-run --out ...                            everything once, tiny, on the CPU

The most telling points come first, and the result file is whole after each of them. Points are measured by a process of
their own, which is started again where one of them ends it or takes longer than its limit; what fails, or does not fit
into the budget, is a row that says so. docs/gpu.md says how to run this on a bare machine, and what the output means.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import sys
import time
from typing import Any

# So that `python benchmarks/gpu.py` finds the parts, wherever this folder was copied to.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from benchmarks.accelerator.books import Measurer, describe, verdicts, waves
from benchmarks.accelerator.plan import BUDGET_SECONDS, DRY, STAGES, Point, Sizes, plan_table, points
from gailfe_jax.errors import GailfeError

DRY_NOTE = "CPU DRY RUN: shows that the script runs; its sizes are tiny and its timings mean nothing."


def parse() -> argparse.Namespace:
    """The command's words."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("gpu.json"), help="result file")
    parser.add_argument("--stage", choices=STAGES, default=STAGES[0], help="main: MJX and the C engine; warp: Warp")
    parser.add_argument("--plan", action="store_true", help="print what is measured, and measure nothing")
    parser.add_argument("--budget-seconds", type=float, default=BUDGET_SECONDS, help="wall time of the whole call")
    parser.add_argument("--compile-together", type=int, default=0, help="programs; by default half the cores, up to 4")
    parser.add_argument(
        "--cache", type=pathlib.Path, default=pathlib.Path("gpu_cache"), help="folder for compiled programs"
    )
    parser.add_argument("--resume", action="store_true", help="keep the rows of --out that were measured")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on the CPU, to see that all of it runs")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def measured_before(out: pathlib.Path) -> tuple[list[dict[str, Any]], set[Point]]:
    """Rows of a result file without error, and their points."""
    if not out.exists():
        return [], set()
    rows = [row for row in json.loads(out.read_text())["rows"] if "error" not in row]
    names = [field.name for field in dataclasses.fields(Point)]
    return rows, {Point(**{name: row[name] for name in names if name in row}) for row in rows}


def main() -> int:
    """Measures what the words ask for; returns the exit code."""
    words = parse()
    if words.plan:
        print(plan_table(words.stage))
        return 0
    if words.serve:
        from benchmarks.accelerator.measure import serve

        serve(DRY if words.dry_run else Sizes(), words.dry_run)
        return 0

    from gailfe_jax.io.atomic import write_json_atomic
    from gailfe_jax.io.provenance import command_line

    began = time.monotonic()
    deadline = began + words.budget_seconds
    together = words.compile_together or min(4, max(1, (os.cpu_count() or 1) // 2))
    rows, done = measured_before(words.out) if words.resume else ([], set())
    left = [point for point in points(words.stage, dry=words.dry_run) if point not in done]
    measurer = Measurer(words.dry_run, words.cache)

    def judged() -> list[dict[str, Any]]:
        # Timings that mean nothing meet and miss nothing.
        return [verdict | ({"met": None} if words.dry_run else {}) for verdict in verdicts(rows)]

    def write() -> None:
        report = {"what": "gpu", "dry_run": words.dry_run, "budget_seconds": words.budget_seconds}
        report |= {"note": DRY_NOTE} if words.dry_run else {}
        report |= {"seconds": time.monotonic() - began, "verdicts": judged(), "rows": rows}
        # The measuring process knows the hardware; asking for it here would take a share of the GPU.
        origin = (measurer.provenance or {}) | {"command": command_line(sys.argv)}
        write_json_atomic(words.out, report | {"provenance": origin})

    # Learning comes last, and its time is kept for it.
    kept = sum(point.expected for point in left if point.kind == "learn")
    queued = waves(left, together)
    while queued:
        wave, measured = queued.pop(0), 0
        until = deadline if wave[0].kind == "learn" else deadline - min(kept, 0.5 * words.budget_seconds)
        if time.monotonic() < until:
            for row in measurer.measure(wave, until):
                print(f"{time.monotonic() - began:5.0f} s  {describe(row)}", flush=True)
                measured += 1
                rows.append(row)
                write()
        lost, late = wave[measured:], time.monotonic() >= until
        if lost and len(wave) > 1 and not late:
            queued = [[point] for point in lost] + queued  # One of them ended the process, and not the others.
            continue
        for point in lost:
            over = f"it took longer than its limit of {point.limit:.0f} s"
            why = over if measurer.late else "it ended the measuring process"
            rows.append(dataclasses.asdict(point) | {"error": "not reached within the budget" if late else why})
            print(f"{time.monotonic() - began:5.0f} s  {describe(rows[-1])}", flush=True)
    measurer.close()
    write()
    for verdict in judged():
        word = {True: "met", False: "MISSED", None: "not judged"}[verdict["met"]]
        where = ", ".join(
            filter(None, (f"{verdict['algo']} on {verdict['env']}", verdict["engine"], verdict["solver"]))
        )
        print(f"{word}: {verdict['target']}: {verdict['value']:.2f} ({where})")
    for row in rows:
        if "largest" in row:
            print(f"largest cost, {row['engine']}: {row['largest']}")
    if words.dry_run:
        print(DRY_NOTE)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except GailfeError as error:
        print(f"gpu.py: error: {error}", file=sys.stderr)
        sys.exit(2)
