"""The command line of the soak."""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from benchmarks.soak import damage, surroundings
from benchmarks.soak.kills import Killer
from benchmarks.soak.runs import CASES, ROOT, Case, Place, carry_out
from gailfe_jax.io.atomic import write_json_atomic
from gailfe_jax.io.provenance import provenance

KILLS, DAMAGED = 108, 200
JOBS = 2
RESULT = ROOT / "benchmarks" / "results" / "soak.json"
OTHERS = ("damaged", "surroundings")


def main(argv: Sequence[str] | None = None) -> int:
    """Soaks; 1 where something was not as promised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=KILLS, help=f"of all kinds of runs together ({KILLS})")
    parser.add_argument("--damaged", type=int, default=DAMAGED, help=f"damaged checkpoints ({DAMAGED})")
    parser.add_argument("--times", type=int, default=surroundings.TIMES, help="of each thing around a run (3)")
    parser.add_argument("--seed", type=int, default=0, help="of moments and damages (0)")
    parser.add_argument("--only", nargs="+", choices=[*CASES, *OTHERS], help="these parts alone")
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"runs at a time ({JOBS})")
    parser.add_argument("--cache", type=pathlib.Path, default=ROOT / "build" / "soak_cache", help="compiled programs")
    parser.add_argument("--keep", action="store_true", help="keep the runs, and say where they are")
    parser.add_argument("--out", type=pathlib.Path, help="result file; none is written by default")
    options = parser.parse_args(argv)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        report = soak(options, folder)
    finally:
        if options.keep:
            print(f"the runs are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if options.out is not None:
        write_json_atomic(options.out, report)
    return show(report)


def soak(options: argparse.Namespace, folder: pathlib.Path) -> dict[str, Any]:
    """Carries all parts out, and returns the report."""
    began = time.monotonic()
    options.cache.mkdir(parents=True, exist_ok=True)
    place = Place.made(folder, options.cache.resolve())
    chosen = options.only or [*CASES, *OTHERS]
    each = -(-options.kills // len(CASES))
    parts: list[Callable[[], list[dict[str, Any]]]] = [
        lambda case=case, number=number: [killed(case, place, each, [options.seed, number])]
        for number, (name, case) in enumerate(CASES.items())
        if name in chosen
    ]
    if "surroundings" in chosen:
        parts.append(lambda: surroundings.soak(place, options.seed, options.times))
    if "damaged" in chosen:
        parts.append(lambda: [damage.soak(place, options.damaged, options.seed)])
    with ThreadPoolExecutor(options.jobs) as pool:
        rows = [row for found in pool.map(_carried_out, parts) for row in found]
    return {
        "what": "soak",
        "seed": options.seed,
        "seconds": round(time.monotonic() - began, 1),
        "rows": [{name: value for name, value in row.items() if name != "failures"} for row in rows],
        "failures": [{"kind": row["kind"]} | failure for row in rows for failure in row["failures"]],
        "provenance": provenance(),
    }


def _carried_out(part: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The rows of a part; where the soak itself breaks, the others' are kept."""
    try:
        return part()
    except Exception:  # Of whatever kind: it is shown, and the soak has failed.
        failure = {"what": "the soak itself broke", "seed": None, "said": traceback.format_exc()[-3000:]}
        return [{"kind": "broken part", "inputs": 0, "failures": [failure]}]


def killed(case: Case, place: Place, kills: int, seed: list[int]) -> dict[str, Any]:
    """The row of one kind of run."""
    whole = place.folder / f"whole {case.name}".replace(" ", "_")
    began = time.monotonic()
    codes, said = carry_out(place, case.command(place, whole), case.processes)
    if any(codes):
        failure = {"what": f"exit codes {codes} without a kill", "seed": seed, "said": said[-3000:]}
        return {"kind": case.name, "kills": 0, "during saves": 0, "runs": 0, "failures": [failure]}
    tally = Killer(case, place, whole, seed).soak(kills)
    seconds = round(time.monotonic() - began, 1)
    print(f"{case.name}: {tally.kills} kills, {tally.during_saves} during saves, {seconds:.0f} s", flush=True)
    return {
        "kind": case.name, "kills": tally.kills, "during saves": tally.during_saves, "runs": tally.rounds,
        "seconds": seconds, "failures": tally.failures,
    }  # fmt: skip


def show(report: dict[str, Any]) -> int:
    """Prints what came of it; returns the exit code."""
    for row in report["rows"]:
        print(", ".join(f"{name} {value}" for name, value in row.items() if not isinstance(value, dict)))
    for failure in report["failures"]:
        print(f"FAILED {failure['kind']}: {failure['what']} (seed {failure['seed']})", file=sys.stderr)
    print(f"{len(report['failures'])} failures in {report['seconds']:.0f} s")
    return int(bool(report["failures"]))


if __name__ == "__main__":
    sys.exit(main())
