"""`gailfe report`, and the report that training and sweeps leave."""

from __future__ import annotations

import json

import pytest

from gailfe_jax.analysis.video import Film
from gailfe_jax.apps import closer_look
from gailfe_jax.cli import report
from gailfe_jax.cli.main import main
from gailfe_jax.errors import GailfeError
from tests.report.made import write_cell, write_run
from tests.report.test_page import Parsed, space


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def page(path):
    return Parsed(path.read_text(encoding="utf-8"))


def test_a_page_lies_in_the_folder_it_is_about(here, capsys):
    write_run(here / "runs" / "x")
    assert main(["report", "runs/x"]) == 0
    assert capsys.readouterr().out == "wrote runs/x/report.html\n"
    assert "x" in page(here / "runs" / "x" / "report.html").words


def test_a_page_about_several_lies_here(here, capsys):
    write_run(here / "x"), write_cell(here / "e" / "a.json", "GAIL")
    assert main(["report", "x", "e", "--title", "Both"]) == 0
    assert capsys.readouterr().out == "wrote report.html\n"
    found = page(here / "report.html")
    assert "Both" in found.words
    assert [s["label"] for s in found.data["tasks"][0]["series"]] == ["x", "GAIL"]
    assert main(["report", "e", "x", "--out", "folder/other.html"]) == 0
    assert (here / "folder" / "other.html").is_file()


def test_runs_are_looked_at_more_closely(here, monkeypatch, capsys):
    for name in ("x", "y"):
        write_run(here / name)
        (here / name / "discriminators").mkdir()
    write_run(here / "ppo", algo="ppo")
    asked = []

    def look(run, demos):
        asked.append((run.name, demos))
        if run.name == "y":
            raise GailfeError("y: its demonstrations are not at demos.npz; expected --demos and where they are")
        return space()

    monkeypatch.setattr(closer_look, "state_space_of", look)
    monkeypatch.setattr(closer_look, "films_of", lambda run, episodes: [Film("best", episodes, 7.0, b"film")])
    assert main(["report", "x", "y", "ppo", "--demos", "mine.npz"]) == 0
    assert asked == [("x", "mine.npz"), ("y", "mine.npz")]
    shown = capsys.readouterr()
    why = "y: its demonstrations are not at demos.npz; expected --demos and where they are"
    assert shown.err == f"gailfe: warning: not on the page: {why}\n"
    found = page(here / "report.html")
    assert len(found.data["spaces"]) == 1 and "Not shown: y: its demonstrations" in "".join(found.words)
    assert not [tag for tag, _ in found.elements if tag == "video"]
    assert main(["report", "x", "ppo", "--no-states", "--videos", "--episodes", "3"]) == 0
    found = page(here / "report.html")
    assert len([tag for tag, _ in found.elements if tag == "video"]) == 2 and found.data["spaces"] == []
    assert "best of 3 episodes: return 7.0" in found.words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("report", "paths: got none; expected a run folder"),
        ("report gone", "gone: no such file or folder; expected a run, a sweep or an experiment's results"),
        ("report full", "full: holds no run (config.json), no sweep (sweep.json) and no results"),
        ("report full --out x.pdf", "out: got x.pdf; expected a file name that ends in .html"),
        ("report full --episodes 0", "episodes: got 0; expected at least 1"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(refused, words, message):
    refused(words, message)


def test_what_has_ended_leaves_a_page(here, capsys):
    write_run(here / "x")
    report.write_quick_report(here / "x")
    assert page(here / "x" / "report.html").data["spaces"] == []
    assert capsys.readouterr().out == ""


def test_much_is_left_to_the_command(here, monkeypatch, capsys):
    write_run(here / "x")
    monkeypatch.setattr(report, "_QUICK_BYTES", 10)
    report.write_quick_report("x")
    assert capsys.readouterr().out == "gailfe report x writes a page about it\n"
    assert not (here / "x" / "report.html").exists()


def test_a_report_that_fails_does_not_fail_the_run(here, recwarn):
    write_run(here / "x")
    (here / "x" / "config.json").write_text("{")
    report.write_quick_report("x")
    (warning,) = recwarn.list
    said = str(warning.message)
    assert said.startswith("report: x/config.json: is no JSON (") and said.endswith(
        "a config.json that gailfe train wrote"
    )
    assert json.loads((here / "x" / "summary.json").read_text())["finished"] is True
