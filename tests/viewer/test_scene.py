"""What is seen of a model, and where its bodies are."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from gailfe_jax.envs import find_task
from gailfe_jax.envs.physics.model import load_model
from gailfe_jax.envs.physics.scene import body_poses, scene_of, tendon_ends
from tests.viewer.made import make_task, moving


def test_every_kind_of_shape_is_there(tmp_path):
    scene = scene_of(make_task(tmp_path))
    kinds = [shape.kind for shape in scene.shapes]
    assert kinds == ["plane", "mesh", "ellipsoid", "box", "capsule", "cylinder", "mesh", "box"]
    hills, ellipsoid, wedge, goal = (scene.shapes[i] for i in (1, 2, 6, 7))
    # A texture's mean colour times the material's.
    assert ellipsoid.rgba == pytest.approx((0.2, 0.2, 0.8, 1), abs=0.01)
    assert hills.surface is not None and wedge.surface is not None
    vertices, faces = hills.surface
    assert vertices[:, 2].max() == 0.5 and vertices[:, 0].max() == 2 and len(faces) == 2 * 2 * 3
    # Seen from above.
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()
    assert wedge.surface[1].shape == (4, 3)
    assert goal.rgba == (1, 0, 0, 0.5) and goal.body == 0
    assert scene.moving == (1, 2) and scene.undrawn == ()
    # Nothing is called track: the camera goes along with what moves freely.
    # It is in the middle of the picture, however far from the model's own one.
    assert scene.view.body == 1 and scene.view.target == (0, 0, 0)


def test_a_mesh_has_the_colours_of_its_texture(tmp_path):
    (wedge,) = [shape for shape in scene_of(make_task(tmp_path, textured=True)).shapes if _is_wedge(shape)]
    assert wedge.surface is not None and wedge.rgba == (1, 1, 1, 1)
    colours = wedge.surface[0][:, 3:]
    assert set(map(tuple, colours)) == {(1, 1, 0), (1, 0, 1)}
    # The fields lie across from each other, and so do the corners.
    assert (colours[0] == colours[3]).all() and (colours[1] == colours[2]).all() and (colours[0] != colours[1]).any()
    # Without a material it has its own colour alone.
    text = (tmp_path / "robot.xml").read_text()
    (tmp_path / "robot.xml").write_text(text.replace('mesh="wedge" material="c"', 'mesh="wedge"'))
    (plain,) = [shape for shape in scene_of(find_task(str(tmp_path / "robot.toml"))).shapes if _is_wedge(shape)]
    assert plain.surface is not None and plain.surface[0].shape == (4, 3)


def _is_wedge(shape):
    return shape.kind == "mesh" and shape.body == 2


def test_the_camera_is_the_models(tmp_path):
    view = scene_of(find_task("hopper")).view
    # 3 m to the side, at the height where the torso begins.
    assert view.direction == pytest.approx((0, -1, 0), abs=1e-6) and view.distance == pytest.approx(3, abs=0.1)
    assert view.body == 1 and view.fovy == 45
    assert scene_of(find_task("reacher")).view.body is None


def test_tendons_are_where_mujoco_has_them(tmp_path):
    task = make_task(tmp_path, ropes=True)
    scene, qpos = scene_of(task), moving(6)
    straight, broken, wrapped = scene.tendons
    assert (straight.segments, broken.segments, wrapped.segments) == (1, 4, 3)
    assert straight.rgba == (1, 0, 1, 1) and straight.width == 0.02
    ends = tendon_ends(task, qpos, scene.tendons)
    assert ends.shape == (7, 16, 3)
    model = load_model(task)
    data = mujoco.MjData(model)
    for row, found in zip(qpos, ends):
        data.qpos[:] = row
        mujoco.mj_forward(model, data)
        goal, tip, far = (data.site(name).xpos for name in ("goal", "tip", "far"))
        np.testing.assert_allclose(found[0:2], [goal, tip], atol=1e-12)
        # Nothing is drawn across a pulley.
        np.testing.assert_allclose(found[2:6], [goal, tip, far, goal], atol=1e-12)
        np.testing.assert_allclose(found[6:10], [goal] * 4, atol=1e-12)
        # As long as MuJoCo has it, but for the arc around what it touches.
        lengths = np.linalg.norm(found[10:16:2] - found[11:16:2], axis=1)
        assert lengths.sum() <= data.ten_length[2] + 1e-9
        np.testing.assert_allclose(found[[10, 15]], [goal, far], atol=1e-12)
    assert (np.linalg.norm(ends[:, 12] - ends[:, 13], axis=1) > 0.01).any()  # It does touch it.
    # A joint's tendon is nothing to see.
    assert scene_of(find_task("humanoid")).tendons == () and scene_of(find_task("humanoid")).undrawn == ()
    assert tendon_ends(find_task("hopper"), np.zeros((2, 6)), ()).shape == (2, 0, 3)


def test_bodies_are_where_mujoco_has_them(tmp_path):
    task = make_task(tmp_path)
    model = load_model(task)
    data, qpos = mujoco.MjData(model), moving(6)
    # Half a turn and more, whose quaternion comes back with the other sign.
    qpos[:, 3], qpos[:, 6] = np.cos(np.linspace(0, 4, 7) / 2), np.sin(np.linspace(0, 4, 7) / 2)
    pos, quat = body_poses(task, qpos, (2, 1))
    for t, row in enumerate(qpos):
        data.qpos[:] = row
        mujoco.mj_forward(model, data)
        np.testing.assert_allclose(pos[t], data.xpos[[2, 1]], atol=1e-12)
        np.testing.assert_allclose(np.abs(np.sum(quat[t] * data.xquat[[2, 1]], axis=-1)), 1, atol=1e-12)
    assert (np.sum(quat[1:] * quat[:-1], axis=-1) > 0).all()
