"""The table of faults and promises: each stands behind a test, and shows what the two result files hold."""

from __future__ import annotations

import json
import pathlib

import pytest

from benchmarks import reliability
from benchmarks.fuzz.kinds import COMMAND_LINE, KINDS
from benchmarks.reliability import PROMISES, result
from benchmarks.soak.runs import CASES
from benchmarks.soak.surroundings import PARTS

ROOT = pathlib.Path(__file__).parent.parent.parent


def row(kind, **values):
    return {"kind": kind} | values


SOAK = {
    "rows": [
        *(row(kind, kills=12, **{"during saves": 4, "runs": 1}) for kind in CASES),
        row("damaged checkpoints", inputs=200, newest=20, refused=50, **{"walked back": 129}),
        *(row(kind, inputs=3) for kind in PARTS if kind != "full disk"),
        row("full disk", inputs=0, skipped="only root may mount a small disk"),
    ],
    "failures": [{"kind": "damaged checkpoints"}, {"kind": "gasil"}],
    "seed": 0, "seconds": 1200.0,
}  # fmt: skip
FUZZ = {
    "rows": [
        row(kind, inputs=1000, valid=400, refused=599, failed=1, slowest_seconds=1.5, most_mib=30.0)
        for kind in (*KINDS, COMMAND_LINE)
    ],
    "failures": [{"kind": kind} for kind in (*KINDS, COMMAND_LINE)],
    "seed": 0, "seconds": 600.0,
}  # fmt: skip


def shown(fault, report):
    (promise,) = [promise for promise in PROMISES if promise.fault.startswith(fault)]
    return result(promise, report)


@pytest.mark.parametrize(
    ("fault", "report", "text"),
    [
        ("a run is killed", SOAK, "84 kills, 28 of them during saves; 1 failures"),
        ("one of two hosts", SOAK, "12 kills, 4 of them during saves; 0 failures"),
        ("the newest checkpoint", SOAK, "200 times: 129 walked back from, 50 refused, 20 harmless; 1 failures"),
        ("the folder is removed", SOAK, "9 times; 0 failures"),
        ("the disk is full", SOAK, "skipped: only root may mount a small disk"),
        ("a policy file", FUZZ, "1,000 inputs: 400 valid, 599 refused; 1 failures"),
        ("a recording", FUZZ, "13,000 inputs: 5,200 valid, 7,787 refused; 13 failures"),
        ("a seed diverges", None, "-"),
        ("the disk is full", None, "not measured yet (`make soak`)"),
    ],
)
def test_a_row_shows_what_was_found(fault, report, text):
    assert shown(fault, report) == text


def test_every_row_of_a_report_is_shown_by_one_promise():
    for name, report in (("soak", SOAK), ("fuzz", FUZZ)):
        for found in report["rows"]:
            promises = [p for p in PROMISES if p.report == name and reliability.about(p, found["kind"])]
            assert len(promises) == 1, found["kind"]


def test_every_promise_stands_behind_a_test():
    assert [promise.test for promise in PROMISES if not (ROOT / promise.test).is_file()] == []


def test_the_table_says_where_its_numbers_come_from(tmp_path, monkeypatch):
    monkeypatch.setattr(reliability, "ROOT", tmp_path)
    assert reliability.reliability().endswith("* `make soak`: not measured yet.\n* `make fuzz`: not measured yet.")
    folder = tmp_path / "benchmarks" / "results"
    folder.mkdir(parents=True)
    made = {"hardware": {"cpu": "a CPU", "cores": 2}, "git": {"commit": "0123456789"}}
    for name, report in (("soak", SOAK), ("fuzz", FUZZ)):
        (folder / f"{name}.json").write_text(json.dumps(report | {"provenance": made}))
    text = reliability.reliability()
    assert (
        "* `make soak`: 2 failures in 20 minutes (seed 0, commit 0123456, a CPU, 2 cores; `benchmarks/results/" in text
    )
    assert "failures in 10 minutes; the slowest input took 1.5 s, the largest 30 MiB (seed 0" in text
