"""Headless pictures: something is drawn, it moves with the robot's limbs, and the camera moves with the robot."""

from __future__ import annotations

import numpy as np
import pytest

from gailfe_jax.envs.tasks import HOPPER, TASKS
from gailfe_jax.physics import render
from gailfe_jax.physics.model import load_model
from gailfe_jax.physics.render import choose_backend, iterate_frames, render_frames
from gailfe_jax.types import GailfeError


@pytest.fixture
def opengl():
    try:
        choose_backend()
    except GailfeError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("opengl")
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_frames_show_a_robot_that_the_camera_follows(task):
    start = load_model(task).qpos0
    # At rest; with its last joint bent; at rest a kilometre further on.
    qpos = np.stack([start, start, start])
    qpos[1, -1] -= 0.7
    qpos[2, 0] += 1000.0
    frames = render_frames(task, qpos, width=192, height=128)
    assert frames.shape == (3, 128, 192, 3)
    assert frames.dtype == np.uint8
    # Only the robot is redder than blue: sky and floor are grey and green.
    rest, bent, far = [frame[..., 0].astype(int) - frame[..., 2] > 30 for frame in frames]
    assert rest.sum() > 100
    assert (rest != bent).sum() > 20
    assert 0.5 < far.sum() / rest.sum() < 2
    assert np.abs(np.argwhere(far).mean(axis=0) - np.argwhere(rest).mean(axis=0)).max() < 6


@pytest.mark.usefixtures("opengl")
def test_the_floor_is_below_and_any_size_works():
    # Larger than the model's own 640 x 480; odd sizes have rows that OpenGL pads unless told not to.
    frame = render_frames(HOPPER, load_model(HOPPER).qpos0[None], width=701, height=501)[0]
    assert frame.shape == (501, 701, 3)
    # The sky shades smoothly, the floor is a checkerboard.
    assert frame[-100:].std() > 2 * frame[:50].std()
    assert render_frames(HOPPER, np.empty((0, 6)), width=8, height=8).shape == (0, 8, 8, 3)


@pytest.mark.usefixtures("opengl")
def test_two_videos_at_once_do_not_mix():
    one, other = load_model(HOPPER).qpos0[None].repeat(2, axis=0), load_model(HOPPER).qpos0[None].repeat(2, axis=0)
    other[:, 2] = 1.0
    size = {"width": 64, "height": 48}
    mixed = [np.stack(pair) for pair in zip(iterate_frames(HOPPER, one, **size), iterate_frames(HOPPER, other, **size))]
    assert np.array_equal(mixed[1][0], render_frames(HOPPER, one, **size)[1])
    assert np.array_equal(mixed[1][1], render_frames(HOPPER, other, **size)[1])
    assert not np.array_equal(mixed[1][0], mixed[1][1])


def test_without_opengl_the_error_says_what_to_install(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(render.platform, "system", lambda: "Linux")
    monkeypatch.setattr(render, "_works", lambda backend: False)
    monkeypatch.setattr(render, "choose_backend", choose_backend.__wrapped__)
    with pytest.raises(GailfeError, match=r"^video: nothing here renders without a display; expected .*libegl1"):
        render_frames(HOPPER, np.zeros((1, 6)))


def test_osmesa_is_tried_where_egl_fails(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(render.platform, "system", lambda: "Linux")
    monkeypatch.setattr(render, "_works", lambda backend: backend == "osmesa")
    assert choose_backend.__wrapped__() == "osmesa"


@pytest.mark.parametrize("wanted", ["disabled", "nonsense"])
def test_the_users_own_choice_is_not_overruled(monkeypatch, wanted):
    monkeypatch.setenv("MUJOCO_GL", wanted)
    with pytest.raises(GailfeError, match=rf"^video: MUJOCO_GL={wanted} does not render here; expected"):
        choose_backend.__wrapped__()


@pytest.mark.parametrize(
    ("qpos", "options", "message"),
    [
        (np.zeros((2, 5)), {}, r"^qpos: got shape \(2, 5\); expected \(frames, 6\) for task 'hopper'"),
        (np.zeros(6), {}, r"^qpos: got shape \(6,\); expected \(frames, 6\)"),
        (np.zeros((1, 6)), {"camera": "moon"}, r"^camera: task 'hopper' has no camera 'moon'; expected one of track"),
        (np.zeros((1, 6)), {"width": 0}, r"^width, height: got 0 x 480; expected at least 1 x 1"),
    ],
)
def test_bad_arguments_are_one_clear_error(qpos, options, message):
    with pytest.raises(GailfeError, match=message):
        render_frames(HOPPER, qpos, **options)
