"""A record that was damaged, emptied or changed is said to be; nothing starts at 0 or is deleted by itself."""

from __future__ import annotations

import json
import shutil

import pytest

from gailfe_jax.cli.main import main
from gailfe_jax.errors import GailfeError, GailfeWarning
from gailfe_jax.io.digests import json_sha256
from gailfe_jax.io.lock import HOLDER
from gailfe_jax.training.checkpoint import CheckpointManager
from gailfe_jax.training.run_folder import SEAL, load_run, read_record
from tests.runs import assert_same_run, contents, metrics_of
from tests.tiny import tiny
from tests.training.cliff import CHUNK, EVALUATIONS, SEEDS, settings

pytestmark = pytest.mark.usefixtures("quick_programs")


def spoil_manifests(folder):
    for step in (folder / "checkpoints").glob("step_*"):
        (step / "manifest.json").write_text("x")


def remove_checkpoints(folder):
    shutil.rmtree(folder / "checkpoints")


def empty_checkpoints(folder):
    for step in (folder / "checkpoints").glob("step_*"):
        shutil.rmtree(step)


def remove_checkpoints_and(name):
    def remove(folder):
        remove_checkpoints(folder)
        (folder / "metrics.jsonl").unlink()
        for other in {"summary.json", "policies", "snapshots"} - {name}:
            path = folder / other
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    return remove


def spoil_data(folder):
    for path in (folder / "checkpoints").glob("step_*/part_*/**/d/*"):
        path.write_bytes(path.read_bytes()[::-1])


def test_a_run_that_was_killed_while_its_folder_was_made_starts(go, whole, tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copy(whole.run_dir / "config.json", folder)
    manager = CheckpointManager(folder / "checkpoints")
    assert not manager.awaits_first
    manager.begin()
    # A kill between its first measurement and its first checkpoint is then no loss either.
    assert manager.awaits_first
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / f".config.json.{'0f' * 16}.partial").write_text("{")
    (folder / HOLDER).write_text("{}")
    go(folder, resume=True)
    assert_same_run(folder, whole.run_dir)
    assert not [path.name for path in folder.rglob("*.partial")]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_manifests, r"none of 2 checkpoint\(s\) can be used \(step_0+64: its manifest is damaged; step_"),
        (remove_checkpoints, rf"has measured up to step {2 * CHUNK} and holds no checkpoint; expected .*checkpoints"),
        (empty_checkpoints, rf"has measured up to step {2 * CHUNK} and holds no checkpoint"),
        (remove_checkpoints_and("summary.json"), r"holds summary\.json of a run and holds no checkpoint; expected "),
        (remove_checkpoints_and("policies"), r"holds policies of a run and holds no checkpoint; expected "),
        (spoil_data, r"expected a checkpoint that verifies, all are damaged \(step 64: "),
    ],
)
def test_without_a_checkpoint_that_can_be_used_nothing_starts_or_goes(go, half, tmp_path, spoil, message):
    folder = shutil.copytree(half, tmp_path / "run")
    spoil(folder)
    before = contents(folder)
    with pytest.raises(GailfeError, match=message + r".*; --restart moves the run aside and starts it anew$"):
        go(folder, resume=True)
    assert contents(folder) == before


def test_restart_moves_the_record_aside_and_starts_with_its_settings(toy_tasks, go, whole, half, tmp_path, capsys):
    folder = shutil.copytree(half, tmp_path / "run")
    shutil.copytree(half, tmp_path / "run.1")
    spoil_manifests(folder)
    before = contents(folder)
    words = ["train", "--out", str(folder), "--restart", "--steps", str(EVALUATIONS * CHUNK), "--no-quiet"]
    assert main(words) == 0
    assert contents(tmp_path / "run.2") == before
    assert f"moved the old run to {tmp_path / 'run.2'}" in capsys.readouterr().out
    assert_same_run(folder, whole.run_dir)
    assert "resumed" not in load_run(folder)


def test_restart_takes_nothing_but_a_run(go, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(GailfeError, match="exists and holds no run; expected the folder of a run to restart"):
        go(tmp_path, restart=True)
    with pytest.raises(GailfeError, match=r"^restart: got true beside resume; expected one of the two"):
        go(tmp_path, restart=True, resume=True)
    with pytest.raises(GailfeError, match=r"^restart: got true without out"):
        go(None, restart=True)
    assert contents(tmp_path) == {"notes.txt": b"mine"}


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(go, whole, half, tmp_path, capsys):
    folder = shutil.copytree(half, tmp_path / "run")
    remove_checkpoints(folder)
    CheckpointManager(folder / "checkpoints").begin()
    go(folder, settings(quiet=False), resume=True)
    assert "no checkpoint had been saved yet; starting at step 0" in capsys.readouterr().out
    assert_same_run(folder, whole.run_dir)
    assert not CheckpointManager(folder / "checkpoints").awaits_first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-2], "2 of 4 lines up to step 64 are missing"),
        (lambda lines: lines[1:], "1 of 4 lines up to step 64 are missing"),
        (lambda lines: [], "4 of 4 lines up to step 64 are missing"),
        (
            lambda lines: [lines[0].replace('_mean": ', '_mean": 1'), *lines[1:]],
            "are not those that the run wrote",
        ),
    ],
)
def test_lines_that_went_missing_are_noticed_and_remembered(go, half, tmp_path, change, message):
    folder = shutil.copytree(half, tmp_path / "run")
    path = folder / "metrics.jsonl"
    path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))
    with pytest.warns(GailfeWarning, match=rf"metrics\.jsonl: .*{message}"):
        go(folder, settings(EVALUATIONS - 1), resume=True)
    # Once said, it stays in the record, and is no news any more.
    result = go(folder, resume=True)
    assert message in result.summary["metrics_incomplete"]
    assert metrics_of(folder)[-1] == metrics_of(half)[-1] | metrics_of(folder)[-1]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda path: path.write_text("x\n" + path.read_text()),
            r"line 1: damaged, is no JSON .*; without its ",
        ),
        (lambda path: path.write_text(path.read_text() + '{"seed": 3}\n'), r"line 5: damaged; expected a JSON object"),
        (lambda path: path.write_bytes(b"\xff\n" + path.read_bytes()), r"not a text file"),
        (lambda path: (path.unlink(), path.mkdir()), r"metrics\.jsonl: is a folder; expected the metrics of a run$"),
    ],
)
def test_a_line_that_is_no_record_is_told_before_anything_is_written(go, half, tmp_path, spoil, message):
    folder = shutil.copytree(half, tmp_path / "run")
    spoil(folder / "metrics.jsonl")
    before = contents(folder)
    with pytest.raises(GailfeError, match=message):
        go(folder, resume=True)
    assert contents(folder) == before


def test_a_whole_record_is_no_news(go, half, tmp_path, recwarn):
    folder = shutil.copytree(half, tmp_path / "run")
    with (folder / "metrics.jsonl").open("a") as file:
        # Behind the checkpoint, as a kill leaves it.
        file.write('{"seed": 3, "step": 96, "return_mean": 1.0}\n{"seed": 4, "st')
    result = go(folder, resume=True)
    assert "metrics_incomplete" not in result.summary
    assert not [said for said in recwarn if isinstance(said.message, GailfeWarning)]


def change(folder, part, name, value, *, sealed):
    path = folder / "config.json"
    record = json.loads(path.read_text())
    place = record[part] if part else record
    *outer, last = name.split(".")
    for word in outer:
        place = place[word]
    place[last] = value
    if sealed:
        del record[SEAL]
        record[SEAL] = json_sha256(record)
    path.write_text(json.dumps(record))


def test_a_config_that_was_changed_is_not_resumed(go, half, tmp_path):
    """The seal tells any change; behind a new seal, or none, the checkpoint does."""
    folder = shutil.copytree(half, tmp_path / "run")
    change(folder, "run", "quiet", False, sealed=False)
    with pytest.raises(GailfeError, match=r"config\.json: was changed after it was written \(field 'sha256'\)"):
        go(folder, resume=True)
    folder = shutil.copytree(half, tmp_path / "again")
    gamma = load_run(half)["method"]["policy"]["gamma"]
    change(folder, "method", "policy.gamma", 0.895, sealed=True)
    before = contents(folder)
    with pytest.raises(
        GailfeError, match=rf"config\.json: .*policy\.gamma is {gamma} in the checkpoint and 0\.895 now"
    ):
        go(folder, method=read_record(load_run(folder)).method, resume=True)
    assert contents(folder) == before


def test_fewer_steps_leave_the_record_as_it_was(go, whole, tmp_path):
    folder = shutil.copytree(whole.run_dir, tmp_path / "run")
    result = go(folder, settings(1), resume=True)
    assert result.steps == EVALUATIONS * CHUNK and load_run(folder)["run"]["steps"] == EVALUATIONS * CHUNK
    assert_same_run(folder, whole.run_dir)


def test_a_checkpoint_knows_of_the_metrics(half):
    manager = CheckpointManager(half / "checkpoints")
    body = json.loads((max(manager.directory.glob("step_*")) / "manifest.json").read_text())["body"]
    assert body["notes"]["metrics"]["lines"] == len(SEEDS) * EVALUATIONS // 2 and body["notes"]["diverged"] == []


@pytest.mark.parametrize(("evaluations", "said"), [(4, True), (2, False), (1, False)])
def test_a_schedule_that_goes_on_by_another_length_is_said(go, tmp_path, evaluations, said, recwarn):
    method = tiny("ppo", schedule__anneal=True)
    go(tmp_path / "run", settings(2), method)
    go(tmp_path / "run", settings(evaluations), method, resume=True)
    warned = [str(one.message) for one in recwarn if isinstance(one.message, GailfeWarning)]
    line = "schedule.anneal: goes by 128 steps now, and went by 64; at step 64 the share of them that is left is 0.50 "
    assert warned == ([line + "instead of 0.00"] if said else [])
