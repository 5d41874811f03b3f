"""Checkpoints whose seal is right and whose content is not, another run's, and a disk that is full."""

from __future__ import annotations

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.errors import GailfeError
from gailfe_jax.io.digests import json_sha256
from gailfe_jax.training import checkpoint
from gailfe_jax.training.checkpoint import CheckpointManager
from tests.runs import assert_same_run, contents
from tests.tiny import tiny
from tests.training.cliff import CHUNK, EVALUATIONS, settings


def state(fill):
    return {"a": jnp.full((5, 3), fill, jnp.float32), "b": jnp.arange(4) + int(fill)}


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    manager = CheckpointManager(tmp_path_factory.mktemp("sealed") / "checkpoints")
    for step in (1, 2):
        manager.save(step, state(step), {"env": "toy"}, {"known": step})
    return manager.directory


def reseal(step, change):
    path = step / "manifest.json"
    body = json.loads(path.read_text())["body"]
    change(body)
    path.write_text(json.dumps({"body": body, "sha256": json_sha256(body)}))


def put(*place_and_value):
    *place, last, value = place_and_value

    def change(body):
        for name in place:
            body = body[name]
        body[last] = value

    return change


def drop(name):
    return lambda body: body.pop(name)


def but_one_file(which=0):
    return lambda body: body["files"].pop(sorted(body["files"])[which])


@pytest.mark.parametrize(
    "change",
    [
        put("parts", []), put("parts", None), put("parts", 3), put("parts", [{}]), put("parts", ["x"]),
        put("parts", 0, {"00000_000000000000000": [9, 0, 15]}), put("parts", 0, {"00000_000000000000000": [0, 3, 15]}),
        put("parts", 0, {"00000_000000000000000": [0, 0]}), put("parts", 0, {"00000_000000000000000": [-1, 0, 15]}),
        put("leaves", 0, "data_shape", [5, 4]), put("leaves", 0, "data_shape", [-5, -3]),
        put("leaves", 0, "data_shape", "x"), put("leaves", 0, "data_dtype", "complicated"),
        put("leaves", 0, "sha256", 5), put("leaves", 0, {}), put("leaves", None), put("leaves", [1]),
        put("files", 3), put("files", {"part_0000/../manifest.json": "x"}), put("files", {"missing": "x"}),
        put("files", {}), put("files", []), put("files", None), drop("files"), but_one_file(), but_one_file(-1),
        *(put("notes", odd) for odd in (5, [], "x", None, {"metrics": 5}, {"metrics": {"lines": "x", "sha256": ""}})),
        *(put("notes", {"metrics": {"lines": lines, "sha256": ""}}) for lines in (-5, True, None)),
        *(put("notes", {"diverged": odd}) for odd in (5, [5], [{"seed": "x"}], None)),
        put("config_sha256", 1), drop("parts"), drop("leaves"), drop("config_sha256"),
    ],
)  # fmt: skip
def test_sealed_nonsense_is_walked_back_from(two_steps, tmp_path, change):
    folder = shutil.copytree(two_steps, tmp_path / "checkpoints")
    reseal(folder / "step_000000000002", change)
    manager = CheckpointManager(folder)
    step, restored = manager.restore(state(0))
    assert step == 1 and list(manager.skipped) == [2] and manager.notes == {"known": 1}
    np.testing.assert_array_equal(restored["a"], state(1)["a"])


def test_a_file_that_was_not_written_with_it_is_walked_back_from(two_steps, tmp_path):
    folder = shutil.copytree(two_steps, tmp_path / "checkpoints")
    (folder / "step_000000000002" / "part_0000" / "more").write_bytes(b"x")
    manager = CheckpointManager(folder)
    assert manager.restore(state(0))[0] == 1
    assert manager.skipped == {2: "part_0000/more is none of its files"}


def test_a_checkpoint_of_a_release_without_digests_of_files_is_held_to_those_of_its_leaves(two_steps, tmp_path):
    def older(body):
        body.pop("files")
        body.pop("notes")

    folder = shutil.copytree(two_steps, tmp_path / "checkpoints")
    newest = folder / "step_000000000002"
    reseal(newest, older)
    assert CheckpointManager(folder).restore(state(0))[0] == 2
    shutil.rmtree(newest / "part_0000")
    shutil.copytree(folder / "step_000000000001" / "part_0000", newest / "part_0000")
    manager = CheckpointManager(folder)
    assert manager.restore(state(0))[0] == 1
    assert "does not match its SHA-256" in manager.skipped[2]


def test_a_manifest_that_is_a_folder_is_none(two_steps, tmp_path):
    folder = shutil.copytree(two_steps, tmp_path / "checkpoints")
    (folder / "step_000000000002" / "manifest.json").unlink()
    (folder / "step_000000000002" / "manifest.json").mkdir()
    assert CheckpointManager(folder).restore(state(0))[0] == 1
    assert CheckpointManager(folder).unusable() == {"step_000000000002": "its manifest is damaged"}


def test_a_damaged_file_never_reaches_orbax(two_steps, tmp_path, monkeypatch):
    folder = shutil.copytree(two_steps, tmp_path / "checkpoints")
    for path in (folder / "step_000000000002").glob("part_*/**/d/*"):
        path.write_bytes(path.read_bytes()[::-1])
    load, read = checkpoint.ocp.load, []
    monkeypatch.setattr(checkpoint.ocp, "load", lambda path: read.append(path) or load(path))
    manager = CheckpointManager(folder)
    assert manager.restore(state(0))[0] == 1
    assert "does not match its SHA-256" in manager.skipped[2]
    assert all("step_000000000001" in path for path in read)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (ValueError("RESOURCE_EXHAUSTED: Error writing\n[tensorstore_spec='{}']"), r"\(No space left on device\)"),
        (RuntimeError("INTERNAL: disk\non fire"), r"\(INTERNAL: disk\)"),
    ],
)
def test_what_orbax_cannot_write_is_one_line_and_the_last_whole_step_stays(tmp_path, monkeypatch, raised, said):
    manager = CheckpointManager(tmp_path)
    manager.save(1, state(1), {})

    def fail(path, tree):
        raise raised

    monkeypatch.setattr(checkpoint.ocp, "save", fail)
    with pytest.raises(GailfeError, match=rf"a checkpoint cannot be written {said}$") as error:
        manager.save(2, state(2), {})
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["step_000000000001"]
    assert manager.restore(state(0))[0] == 1


@pytest.mark.usefixtures("quick_programs")
def test_another_runs_checkpoint_is_none_of_ours(go, whole, half, tmp_path, capsys):
    """Of equal shapes, under another discount."""
    folder = shutil.copytree(half, tmp_path / "run")
    other = go(tmp_path / "other", settings(EVALUATIONS - 1), tiny("gailfe", policy__gamma=0.9)).run_dir
    newest = max((other / "checkpoints").glob("step_*"))
    shutil.copytree(newest, folder / "checkpoints" / newest.name)
    go(folder, settings(quiet=False), resume=True)
    assert f"checkpoint at step {3 * CHUNK} is damaged (configuration field method.policy.gamma is 0.9" in (
        capsys.readouterr().out
    )
    assert_same_run(folder, whole.run_dir)


@pytest.mark.usefixtures("quick_programs")
def test_a_run_is_continued_by_one_process_at_a_time(go, tmp_path):
    said = []

    def meanwhile(step, row):
        with pytest.raises(GailfeError, match=r"run: process \d+ on .* writes to it since ") as error:
            go(tmp_path / "run", resume=True)
        said.append(error)

    go(tmp_path / "run", settings(1), on_evaluation=meanwhile)
    assert len(said) == 1
    go(tmp_path / "run", settings(1), resume=True)


@pytest.mark.usefixtures("quick_programs")
def test_a_run_whose_folder_is_gone_stops_and_makes_none_anew(go, tmp_path):
    def remove(step, row):
        shutil.move(tmp_path / "run", tmp_path / "moved")

    with pytest.raises(GailfeError, match=r"run: was removed, moved or replaced while it was written to; stopping"):
        go(tmp_path / "run", settings(3, tensorboard=True), on_evaluation=remove)
    assert not (tmp_path / "run").exists()
    assert len(contents(tmp_path / "moved" / "checkpoints")) > 0


@pytest.mark.usefixtures("quick_programs")
@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_that_is_moved_during_a_save_is_not_made_anew(go, whole, tmp_path, monkeypatch, replaced):
    """Orbax makes the folders that it writes into."""
    save, folder, saves = checkpoint.ocp.save, tmp_path / "run", []

    def move_first(path, tree):
        saves.append(path)
        if len(saves) == 2:
            shutil.move(folder, tmp_path / "moved")
            if replaced:
                folder.mkdir()
                (folder / "notes.txt").write_text("mine")
        save(path, tree)

    monkeypatch.setattr(checkpoint.ocp, "save", move_first)
    with pytest.raises(GailfeError, match=r"run: was removed, moved or replaced while it was written to; stopping"):
        go(folder)
    assert folder.exists() is replaced
    assert not replaced or contents(folder) == {"notes.txt": b"mine"}
    go(tmp_path / "moved", resume=True)
    assert_same_run(tmp_path / "moved", whole.run_dir)
