"""The table of docs/reliability.md: faults, what is promised, the tests that hold it, and what soak and fuzz found."""

from __future__ import annotations

import json
import pathlib
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Promise(NamedTuple):
    """A row.

    Attributes:
      fault: what happens.
      promise: what is done then.
      test: the file that holds it.
      report: `soak` or `fuzz`, which tries it at large; empty where neither does.
      kinds: how the report's rows of it are called, or begin.
    """

    fault: str
    promise: str
    test: str
    report: str = ""
    kinds: tuple[str, ...] = ()


_RECORDS, _SEALED, _FOLDER = (f"tests/training/test_{name}.py" for name in ("records", "sealed", "run_folder"))
_RUNS = ("gail", "gailfe", "mail", "gasil", "sac", "td3", "svg")
PROMISES = (
    Promise("a seed diverges", "it ends alone and is named; exit code 3", "tests/training/test_divergence.py"),
    Promise("a simulation blows up", "its episode ends and is counted", "tests/envs/test_guarded.py"),
    Promise(
        "a run is killed, also while it saves", "it resumes to the bits of an uninterrupted run",
        "tests/training/test_resume.py", "soak", _RUNS,
    ),
    Promise("a sweep is killed", "no finished setting is trained again; the bits are the same",
            "tests/sweep/test_study.py", "soak", ("sweep",)),
    Promise("one of two hosts is killed", "both resume to the bits of an uninterrupted run",
            "tests/parallel/test_distributed.py", "soak", ("two hosts",)),
    Promise("a run was killed before its first checkpoint", "it starts again, and says so", _RECORDS),
    Promise(
        "the newest checkpoint is damaged, makes no sense under its seal, or is another run's",
        "walked back from, with a line; never loaded wrong", _SEALED, "soak", ("damaged checkpoints",),
    ),
    Promise("no checkpoint can be used, or all are gone",
            "one line, exit code 2; nothing starts at 0, nothing is deleted", _RECORDS),
    Promise("lines of `metrics.jsonl` are missing or were changed",
            "a warning; `summary.json` keeps it (`metrics_incomplete`)", _RECORDS),
    Promise("a line of `metrics.jsonl` is no record", "one line, exit code 2, before anything is written", _RECORDS),
    Promise("`config.json` was changed by hand",
            "refused by its seal, or by the configuration of the checkpoints", _RECORDS),
    Promise("a value in `config.json` is of another kind or out of range", "one line that names it", _FOLDER, "fuzz",
            ("config.json",)),
    Promise("`--resume` with fewer steps than were made", "nothing is trained, and the record stays", _RECORDS),
    Promise("`--resume` with other steps under `--schedule.anneal`, cycles or a decaying alpha",
            "a warning with the share that is left, now and before", _RECORDS),
    Promise("the disk is full", "one line, exit code 2; with room again the run goes on", _SEALED, "soak",
            ("full disk",)),
    Promise("the folder may only be read", "one line, exit code 2; nothing is changed", "tests/benchmarks/test_soak.py",
            "soak", ("read-only folder",)),
    Promise("the folder is removed, moved or replaced while a run trains",
            "one line, exit code 2; nothing is made anew", _SEALED, "soak",
            ("removed folder", "moved folder", "replaced folder")),
    Promise("another process writes to the folder", "one line that names it; a kill lets go of the lock",
            "tests/io/test_lock.py", "soak", ("locked folder",)),
    Promise("a demonstration file is damaged or made up", "valid demonstrations, or one line",
            "tests/data/formats/test_formats.py", "fuzz", ("demonstrations", "minari library")),
    Promise("a recording of another layout is damaged or made up", "valid episodes, or one line",
            "tests/data/recordings/test_damage.py", "fuzz", ("import",)),
    Promise("a policy file is damaged or made up", "a policy that acts inside its bounds, or one line",
            "tests/artifacts/test_policy.py", "fuzz", ("policy",)),
    Promise("a discriminator file is damaged or made up", "probabilities, or one line",
            "tests/artifacts/test_confidence.py", "fuzz", ("discriminator",)),
    Promise("an expert's file of another package is damaged or made up", "finite actions, or one line",
            "tests/foreign/test_sb3.py", "fuzz", ("expert",)),
    Promise("a checkpoint is damaged, or sealed with a wrong part", "the numbers that were saved, or one line",
            _SEALED, "fuzz", ("checkpoint",)),
    Promise("the record of a sweep is damaged or made up", "settings that could be trained, or one line",
            "tests/sweep/test_study.py", "fuzz", ("sweep.json",)),
    Promise("the summary or the metrics of a setting of a sweep are damaged, or lines are missing",
            "one line, exit code 2, before anything is trained", "tests/sweep/test_study.py"),
    Promise("a file of settings, a task file or the measurements of a run are damaged",
            "what they then say, or one line",
            "tests/config/test_values.py", "fuzz", ("settings", "task", "run records")),
    Promise("a command line has a wrong word", "what it then says, or one line and exit code 2",
            "tests/cli/test_main.py", "fuzz", ("command line",)),
)  # fmt: skip


def _report(name: str) -> dict[str, Any] | None:
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def result(promise: Promise, report: dict[str, Any] | None) -> str:
    """What a report says of a promise."""
    if not promise.report:
        return "-"
    if report is None:
        return f"not measured yet (`make {promise.report}`)"
    rows = [row for row in report["rows"] if about(promise, row["kind"])]
    failures = sum(failure["kind"] in {row["kind"] for row in rows} for failure in report["failures"])
    ends = f"{failures} failures"
    skipped = [row["skipped"] for row in rows if "skipped" in row]
    if skipped:
        return f"skipped: {skipped[0]}"
    total = {
        name: sum(row.get(name, 0) for row in rows) for name in ("kills", "during saves", "inputs", "refused", "valid")
    }
    if total["kills"]:
        return f"{total['kills']} kills, {total['during saves']} of them during saves; {ends}"
    if promise.report == "fuzz":
        return f"{total['inputs']:,} inputs: {total['valid']:,} valid, {total['refused']:,} refused; {ends}"
    if promise.kinds == ("damaged checkpoints",):
        (row,) = rows
        ways = f"{row['walked back']} walked back from, {row['refused']} refused, {row['newest']} harmless"
        return f"{row['inputs']} times: {ways}; {ends}"
    return f"{total['inputs']} times; {ends}"


def about(promise: Promise, kind: str) -> bool:
    """Whether a row of that kind is of this promise."""
    return any(kind == name or kind.startswith(f"{name} ") for name in promise.kinds)


def reliability() -> str:
    """Faults, promises, tests and results."""
    reports = {name: _report(name) for name in ("soak", "fuzz")}
    lines = ["| fault | promise | test | result |", "| --- | --- | --- | --- |"]
    for promise in PROMISES:
        found = result(promise, reports.get(promise.report))
        lines.append(f"| {promise.fault} | {promise.promise} | `{promise.test}` | {found} |")
    return "\n".join(["\n".join(lines), "", *(_where(name, report) for name, report in reports.items())])


def _where(name: str, report: dict[str, Any] | None) -> str:
    if report is None:
        return f"* `make {name}`: not measured yet."
    hardware, commit = report["provenance"]["hardware"], (report["provenance"]["git"] or {}).get("commit", "-")[:7]
    about = f"{len(report['failures'])} failures in {report['seconds'] / 60:.0f} minutes"
    if name == "fuzz":
        slowest, most = (max(row[key] for row in report["rows"]) for key in ("slowest_seconds", "most_mib"))
        about += f"; the slowest input took {slowest:.1f} s, the largest {most:.0f} MiB"
    made = f"seed {report['seed']}, commit {commit}, {hardware['cpu']}, {hardware['cores']} cores"
    return f"* `make {name}`: {about} ({made}; `benchmarks/results/{name}.json`)."
