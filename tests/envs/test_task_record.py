"""The files of a user's task: which they are, what is recorded of them, and that a change of any of them is seen."""

from __future__ import annotations

import pathlib
import shutil
import struct

import numpy as np
import pytest

from gailfe_jax.envs import (
    DelayedReward,
    canonical_name,
    changed_files,
    copy_task,
    differ_by_file,
    make_env,
    on_file,
    register_task,
    task_file,
    task_record,
)
from gailfe_jax.envs.mujoco_task import mujoco_task
from gailfe_jax.envs.physics.model_files import model_files
from gailfe_jax.envs.task_file import load_task
from gailfe_jax.envs.tasks import HOPPER

MAIN = """<mujoco>
  <compiler meshdir="meshes"/>
  <include file="parts/motor.xml"/>
  <asset><mesh name="tetra" file="tetra.stl"/></asset>
  <worldbody>
    <body name="cart"><joint name="slide" type="slide" axis="1 0 0"/><geom type="mesh" mesh="tetra"/></body>
  </worldbody>
</mujoco>"""
MOTOR = '<mujoco><actuator><motor joint="slide" ctrllimited="true" ctrlrange="-1 1"/></actuator></mujoco>'
TOML = 'model = "{model}"\nobserve = ["qpos", "qvel"]\n'


def tetrahedron(size):
    """A binary STL file."""
    corners = size * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    faces = [(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)]
    body = b"".join(struct.pack("<12fH", 0, 0, 0, *corners[list(face)].ravel(), 0) for face in faces)
    return b"\0" * 80 + struct.pack("<I", len(faces)) + body


@pytest.fixture
def folder(tmp_path):
    """A task whose files lie in several folders: `robot/cart.toml`, and its model beside it."""
    root = tmp_path / "robot"
    (root / "model" / "meshes").mkdir(parents=True)
    (root / "model" / "parts").mkdir()
    (root / "model" / "cart.xml").write_text(MAIN)
    (root / "model" / "parts" / "motor.xml").write_text(MOTOR)
    (root / "model" / "meshes" / "tetra.stl").write_bytes(tetrahedron(0.1))
    np.savez(root / "starts.npz", qpos=np.zeros((2, 1)), qvel=np.ones((2, 1)))
    (root / "cart.toml").write_text(TOML.format(model="model/cart.xml") + '[start]\nstates = "starts.npz"\n')
    return root


def test_a_models_files_are_found_through_includes_and_folders(folder):
    model = folder / "model"
    assert model_files(model / "cart.xml") == {
        model / "cart.xml": True, model / "parts" / "motor.xml": True, model / "meshes" / "tetra.stl": True,
    }  # fmt: skip
    (model / "far.xml").write_text(MAIN.replace('meshdir="meshes"', f'meshdir="{model}/meshes"'))
    assert model_files(model / "far.xml")[model / "meshes" / "tetra.stl"] is False


def test_what_a_record_says_of_them(folder):
    record = task_record(load_task(folder / "cart.toml"))
    assert record is not None and (record["name"], record["file"]) == ("cart", "cart.toml")
    assert set(record["files"]) == {"cart.xml", "parts/motor.xml", "meshes/tetra.stl", "starts.npz", "cart.toml"}
    assert str(folder) not in str(record)
    assert task_record(HOPPER) is None


def test_wrappers_have_the_record_of_what_they_wrap(folder):
    env = make_env(f"delayed5:{folder / 'cart.toml'}", "mujoco_c")
    assert isinstance(env, DelayedReward) and task_record(env) == task_record(load_task(folder / "cart.toml"))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("cart.toml", "\n", "\r\n"),
        ("cart.toml", "observe", "# A comment.\nobserve"),
        ("model/cart.xml", "  <asset>", "\r\n<!-- A comment. --> <asset>"),
        ("model/parts/motor.xml", 'joint="slide" ctrllimited="true"', 'ctrllimited="true"\n joint="slide"'),
    ],
)
def test_how_a_file_is_written_is_not_what_it_says(folder, file, old, new):
    before, path = task_record(load_task(folder / "cart.toml")), folder / file
    text = path.read_bytes().decode()
    assert old in text
    path.write_bytes(text.replace(old, new).encode())
    assert task_record(load_task(folder / "cart.toml")) == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("cart.toml", b'"qvel"]', b'"2 * qvel"]'),
        ("model/cart.xml", b"1 0 0", b"0 1 0"),
        ("model/parts/motor.xml", b"-1 1", b"-2 1"),
        ("model/meshes/tetra.stl", tetrahedron(0.1), tetrahedron(0.2)),
    ],
)
def test_a_change_of_any_file_is_named_and_reloads_the_task(folder, file, old, new):
    before, env = task_record(load_task(folder / "cart.toml")), make_env(str(folder / "cart.toml"), "mujoco_c")
    assert make_env(str(folder / "cart.toml"), "mujoco_c") is env
    path = folder / file
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    after = task_record(load_task(folder / "cart.toml"))
    assert changed_files(before, after) == [file.removeprefix("model/")]
    anew = make_env(str(folder / "cart.toml"), "mujoco_c")
    assert anew is not env and make_env(str(folder / "cart.toml"), "mujoco_c") is anew
    if "motor" in file:
        assert anew.spec.action_low == (-2.0,)


def test_a_registered_task_is_made_anew_too(folder, own_registry):
    register_task(mujoco_task(folder / "model" / "cart.xml", observe=lambda xp, data: data.qpos, name="own-cart"))
    env = make_env("own-cart", "mujoco_c")
    assert make_env("own-cart", "mujoco_c") is env
    motor = folder / "model" / "parts" / "motor.xml"
    motor.write_text(MOTOR.replace("-1 1", "-3 1"))
    assert make_env("own-cart", "mujoco_c").spec.action_low == (-3.0,)
    record = task_record(env)
    assert record is not None and "file" not in record and "parts/motor.xml" in record["files"]


def test_a_mesh_that_comes_later_is_looked_for_again(folder):
    mesh = folder / "model" / "meshes" / "tetra.stl"
    content = mesh.read_bytes()
    mesh.unlink()
    with pytest.raises(ValueError, match=r"MuJoCo does not load model file"):
        load_task(folder / "cart.toml")
    mesh.write_bytes(content)
    load_task(folder / "cart.toml")


@pytest.mark.parametrize("model", ["model/cart.xml", "./model/../model/cart.xml", "{folder}/model/cart.xml"])
def test_a_copy_is_the_same_task_wherever_it_lies(folder, tmp_path, model):
    text = TOML.format(model=model.format(folder=folder)) + '[start]\nstates = "starts.npz"\n'
    (folder / "cart.toml").write_text(text)
    record = task_record(load_task(folder / "cart.toml"))
    copy_task(make_env(str(folder / "cart.toml"), "mujoco_c"), tmp_path / "copy")
    shutil.rmtree(folder)
    moved = pathlib.Path(shutil.move(tmp_path / "copy", tmp_path / "elsewhere"))
    task = load_task(moved / "cart.toml")
    assert task_record(task) == record and make_env(str(moved / "cart.toml"), "mujoco_c").spec.obs_size == 2


def test_names_of_task_files(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert canonical_name(str(folder / "cart.toml")) == canonical_name("robot/cart.toml") == "robot/cart.toml"
    assert canonical_name("delayed:robot/cart.toml") == "delayed20:robot/cart.toml"
    monkeypatch.chdir(folder / "model")
    assert canonical_name("../cart.toml") == str(folder / "cart.toml")
    assert task_file("delayed20:a/b.toml") == "a/b.toml" and task_file("hopper") is None
    assert on_file("delayed20:a/b.toml", "c.toml") == "delayed20:c.toml"
    assert differ_by_file("delayed20:a/b.toml", "delayed20:c.toml")
    assert not differ_by_file("delayed20:a/b.toml", "c.toml") and not differ_by_file("hopper", "c.toml")


def test_a_file_that_is_as_it_was_is_not_named_because_another_came(folder):
    """Names go by the folder that holds all files, and a mesh beside the model's folder moves that up."""
    before = task_record(load_task(folder / "cart.toml"))
    (folder / "more").mkdir()
    (folder / "more" / "other.stl").write_bytes(tetrahedron(0.3))
    model = folder / "model" / "cart.xml"
    model.write_text(MAIN.replace("</asset>", '<mesh name="other" file="../../more/other.stl"/></asset>'))
    after = task_record(load_task(folder / "cart.toml"))
    assert after is not None and "model/parts/motor.xml" in after["files"]
    assert changed_files(before, after) == ["cart.xml", "model/cart.xml", "more/other.stl"]


def test_two_files_of_one_name_are_told_apart():
    before = {"files": {"a/x.stl": "1", "b/x.stl": "2"}}
    assert changed_files(before, {"files": {"a/x.stl": "2", "b/x.stl": "1"}}) == ["a/x.stl", "b/x.stl"]
    # Where nothing else differs, the places do.
    assert changed_files({"files": {"a/x.stl": "1"}}, {"files": {"x.stl": "1"}}) == ["a/x.stl", "x.stl"]


def test_records_of_other_kinds_tell_of_no_change():
    for record in (None, {}, "text", {"files": 3}):
        assert changed_files(record, {"files": {"a": "b"}}) == []
    assert changed_files({"files": {"a": "1", "b": "2"}}, {"files": {"b": "3", "c": "4"}}) == ["a", "b", "c"]
