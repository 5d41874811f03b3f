"""`make soak` at a small scale, and that it can fail."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.soak import __main__ as command
from benchmarks.soak import damage, kills, runs, surroundings
from benchmarks.soak.damage import Resumer, Scene, saved_digests, spoil
from benchmarks.soak.runs import CASES, Place, differences
from gailfe_jax.config.run import DemoSettings
from gailfe_jax.training import checkpoint
from gailfe_jax.training.loop import train
from tests.tiny import tiny, toy_demonstrations
from tests.toy import Cliff, cliff_expert
from tests.training.cliff import METHOD, settings

ROOT = pathlib.Path(__file__).parent.parent.parent
pytestmark = pytest.mark.usefixtures("quick_programs", "toy_tasks")


@pytest.fixture(scope="module")
def made(quick_programs, toy_tasks, tmp_path_factory):
    """A run of three checkpoints, and one under another discount, whose parts are of equal shapes."""
    folder = tmp_path_factory.mktemp("soak")
    toy_demonstrations(Cliff(), cliff_expert(), trajectories=4, failures=8).save(folder / "demos.npz")
    for name, gamma in (("run", METHOD.policy.gamma), ("foreign", 0.9)):
        method = tiny("gailfe", policy__gamma=gamma)
        train(method, "cliff", settings(3), out=folder / name, demos=DemoSettings(demos=str(folder / "demos.npz")))
    return Scene(folder / "run", folder / "run", folder / "foreign")


def outcomes(made, folder, count):
    resume, saved, found = Resumer(made.run), saved_digests(made.run), []
    for number in range(count):
        rng = np.random.default_rng([0, number])
        copy = shutil.copytree(made.run, folder / str(number))
        told = spoil(copy, rng, made)
        found.append((told, *damage._resumed(resume, copy, saved)))
    return found


@pytest.mark.slow
def test_damaged_checkpoints_are_walked_back_from_or_refused(made, tmp_path):
    found = outcomes(made, tmp_path, 16)
    assert [(told, why) for told, _, why in found if why] == []
    assert {outcome for _, outcome, _ in found} >= {"walked back", "refused"}
    assert all(told for told, _, _ in found)


def test_arrays_are_exchanged_at_every_step_of_what_other_damages_left(made, tmp_path):
    for number in range(12):
        copy = shutil.copytree(made.run, tmp_path / str(number))
        rng = np.random.default_rng(number)
        for step in sorted((copy / "checkpoints").glob("step_*")):
            damage.foreign_part(step / "manifest.json", rng, made)
        if number % 2:
            shutil.rmtree(step / "part_0000")
            damage.foreign_part(step / "manifest.json", rng, made)
        assert (step / "part_0000").is_dir()


def test_a_part_that_breaks_fails_and_loses_nothing_else():
    def broken():
        raise KeyError("x")

    (row,) = command._carried_out(broken)
    assert "KeyError: 'x'" in row["failures"][0]["said"]
    report = {"rows": [row], "failures": [{"kind": row["kind"]} | row["failures"][0]], "seconds": 1.0}
    assert command.show(report) == 1


def test_a_checkpoint_that_is_loaded_wrong_is_a_failure(made, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "check_files", lambda folder, manifest: None)
    monkeypatch.setattr(checkpoint, "_digest_array", lambda flat: Anything())
    copy = shutil.copytree(made.run, tmp_path / "run")
    newest = max((copy / "checkpoints").glob("step_*"))
    older = min((copy / "checkpoints").glob("step_*"))
    shutil.rmtree(newest / "part_0000")
    shutil.copytree(older / "part_0000", newest / "part_0000")
    outcome, why = damage._resumed(Resumer(made.run), copy, saved_digests(made.run))
    assert (outcome, why) == ("", "the state of step 96 was loaded wrong")


class Anything:
    def __eq__(self, other):
        return True

    __hash__ = None  # type: ignore[assignment]


def test_a_crash_of_the_reader_is_a_failure(made, tmp_path, monkeypatch):
    def fails(*args, **options):
        raise KeyError("leaves")

    monkeypatch.setattr(damage, "open_folder", fails)
    assert damage._resumed(Resumer(made.run), tmp_path, {}) == ("", "KeyError: 'leaves'")


def change(path):
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def drop_a_line(path):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize(
    ("file", "how", "said"),
    [
        ("policies/seed_3.safetensors", change, ["policies"]),
        ("discriminators/seed_4.safetensors", pathlib.Path.unlink, ["discriminators"]),
        ("metrics.jsonl", drop_a_line, ["metrics.jsonl"]),
        ("summary.json", lambda path: path.write_text(path.read_text().replace("96", "95")), ["summary.json"]),
        ("summary.json", lambda path: path.write_text(path.read_text().replace('_seconds": ', '_seconds": 1')), []),
        ("checkpoints/step_000000000096/manifest.json", pathlib.Path.unlink, ["the last checkpoint"]),
        ("summary.json", pathlib.Path.unlink, ["cannot be compared: FileNotFoundError"]),
    ],
)  # fmt: skip
def test_a_run_that_is_another_differs(made, tmp_path, file, how, said):
    copy = shutil.copytree(made.run, tmp_path / "run")
    assert differences(copy, made.whole) == []
    how(copy / file)
    found = differences(copy, made.whole)
    assert len(found) == len(said) and all(line.startswith(begin) for line, begin in zip(found, said))


@pytest.mark.parametrize(
    ("codes", "said", "right"),
    [
        ([2], "gailfe: warning: x\ngailfe: error: run: no room", True),
        ([0], "", False),
        ([2], "gailfe: error: run: no room\ngailfe: error: again", False),
        ([2], "Traceback (most recent call last)\ngailfe: error: run: no room", False),
        ([1], "gailfe: error: run: no room", False),
        ([2], "gailfe: error: run: what", False),
    ],
)
def test_what_ends_in_one_line(codes, said, right):
    assert (list(surroundings.one_line(codes, said, "disk", "no room")) == []) is right


def test_a_failure_ends_with_1_and_is_written(tmp_path, monkeypatch, capsys):
    failure = {"what": "differs", "seed": [0, 0]}
    row = {"kind": "gail", "kills": 1, "during saves": 0, "runs": 0, "failures": [failure]}
    monkeypatch.setattr(command, "killed", lambda *args: row)
    monkeypatch.setattr(Place, "made", classmethod(lambda cls, folder, cache: Place(folder, folder, cache)))
    words = ["--only", "gail", "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "soak.json")]
    assert command.main(words) == 1
    report = json.loads((tmp_path / "soak.json").read_text())
    assert report["failures"] == [{"kind": "gail"} | failure] and report["rows"][0]["kills"] == 1
    assert "FAILED gail: differs (seed [0, 0])" in capsys.readouterr().err
    row["failures"] = []
    assert command.main(words) == 0


def test_every_kind_of_run_is_killed():
    assert {case.name for case in CASES.values() if case.processes > 1} == {"two hosts"}
    assert {case.name for case in CASES.values() if case.sweeps} == {"sweep"}
    assert {"gail", "gailfe", "mail", "gasil", "sac", "td3", "svg"} <= set(CASES)
    assert command.KILLS >= 100 and command.DAMAGED >= 200 and len(kills.MOMENTS) == 3


@pytest.mark.slow
def test_a_run_that_is_killed_comes_to_the_same_and_a_changed_one_is_told(tmp_path):
    place = Place.made(tmp_path, ROOT / "build" / "soak_cache")
    case = CASES["gail"]
    whole = tmp_path / "whole"
    assert runs.carry_out(place, case.command(place, whole))[0] == [0]
    tally = kills.Killer(case, place, whole, [0, 0]).soak(3)
    assert tally.kills >= 3 and tally.during_saves >= 1 and tally.rounds >= 1 and tally.failures == []
    change(whole / "policies" / "seed_1.safetensors")
    tally = kills.Killer(case, place, whole, [0, 1]).soak(1)
    assert [failure["what"] for failure in tally.failures] == ["differs from the uninterrupted run: policies"]
    assert (tmp_path / tally.failures[0]["folder"]).is_dir()


@pytest.mark.slow
def test_it_runs_from_the_command_line(tmp_path):
    words = ["-m", "benchmarks.soak", "--only", "surroundings", "--times", "1", "--out", str(tmp_path / "soak.json")]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "soak.json").read_text())
    assert [row["kind"] for row in report["rows"]] == list(surroundings.PARTS)
    assert all(row["inputs"] == 1 or "skipped" in row for row in report["rows"])
