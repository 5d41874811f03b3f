from __future__ import annotations

import dataclasses
import itertools
import sys

import gymnasium
import imageio.v3 as iio
import imageio_ffmpeg
import mujoco
import numpy as np
import pytest

from gailfe_jax.analysis import evaluation, video
from gailfe_jax.analysis.evaluation import evaluate_policy
from gailfe_jax.analysis.filming import Panel, written_over
from gailfe_jax.analysis.opengl import platforms
from gailfe_jax.analysis.video import VideoResult, record_video
from gailfe_jax.artifacts.confidence import Confidence
from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.errors import GailfeError
from gailfe_jax.io import user_modules
from tests.toy import cliff_expert


def make_policy(obs: int = 17, action: int = 6) -> Policy:
    weights = [(np.random.default_rng(0).normal(size=(obs, action)), np.zeros(action))]
    return Policy(weights, "tanh", np.zeros(obs), np.ones(obs), np.full(action, -1.0), -1.0, 1.0)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> VideoResult:
    path = tmp_path_factory.mktemp("video") / "new folder" / "cheetah.mp4"
    try:
        return record_video(make_policy(), "HalfCheetah-v5", path, width=160, height=96, max_steps=20, seed=2)
    except GailfeError as error:
        if "no OpenGL" in str(error):
            pytest.skip(f"this machine cannot render: {error}")
        raise


def test_video_has_a_frame_per_step_of_the_right_size_and_speed(recorded):
    frames = iio.imread(recorded.path)
    assert frames.shape == (21, 96, 160, 3)
    assert recorded.frames == 21
    reader = imageio_ffmpeg.read_frames(str(recorded.path))
    meta = next(reader)
    reader.close()
    assert (meta["fps"], meta["codec"], meta["size"]) == (20.0, "h264", (160, 96))
    assert meta["pix_fmt"].startswith("yuv420p")
    assert recorded.fps == 20.0
    assert [entry.name for entry in recorded.path.parent.iterdir()] == ["cheetah.mp4"]


def test_video_shows_something_that_moves(recorded):
    frames = iio.imread(recorded.path).astype(float)
    assert frames[0].std() > 20
    # Coding noise of a still picture is a level or two.
    assert all(np.abs(after - before).max() > 30 for before, after in itertools.pairwise(frames))


def test_a_plain_film_shows_the_same_with_coarser_edges(recorded, tmp_path):
    size = {"width": 160, "height": 96, "max_steps": 20, "seed": 2}
    plain = record_video(make_policy(), "HalfCheetah-v5", tmp_path / "plain.mp4", **size, plain=True)
    assert (plain.frames, plain.returns) == (recorded.frames, recorded.returns)
    fine, coarse = (iio.imread(made.path).astype(float) for made in (recorded, plain))
    assert 0 < np.abs(fine - coarse).mean() < 12 < fine.std()


def test_camera_is_the_one_that_follows(recorded):
    # It looks along the ground, so the upper rows are sky; Gymnasium's fixed one looks down on a chequered floor.
    assert iio.imread(recorded.path)[:, :12].std(axis=(1, 2)).max() < 20


def test_video_shows_the_evaluated_episode(recorded):
    evaluated = evaluate_policy(make_policy(), "HalfCheetah-v5", episodes=1, seed=2, max_steps=20)
    assert list(recorded.returns) == evaluated.returns.tolist()


@pytest.mark.slow
def test_a_later_episode_is_filmed_alone_and_steps_are_left_out(recorded, tmp_path):
    film = record_video(
        make_policy(),
        "HalfCheetah-v5",
        tmp_path / "x.mp4",
        width=160,
        height=96,
        max_steps=20,
        seed=2,
        first=1,
        most_fps=7,
    )
    evaluated = evaluate_policy(make_policy(), "HalfCheetah-v5", episodes=2, seed=2, max_steps=20)
    assert list(film.returns) == evaluated.returns.tolist()[1:]
    # At 20 frames a second one in three: the start, steps 3 to 18, and the last one.
    assert film.fps == pytest.approx(20 / 3) and film.frames == 1 + 6 + 1
    assert len(iio.imread(film.path)) == film.frames


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"episodes": 0}, "episodes"),
        ({"max_steps": 0}, "max_steps"),
        ({"width": 101}, "width: expected an even"),
        ({"height": 8}, "height"),
        ({"fps": 0}, "fps"),
        ({"most_fps": 0}, "most_fps"),
        ({"first": -1}, "first"),
        ({"path": "film.gif"}, r"film\.gif: expected a file name that ends in \.mp4"),
        ({"path": "file/film.mp4"}, "expected a folder"),
    ],
)
def test_bad_arguments_are_refused_at_once(tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(GailfeError, match=message):
        record_video(make_policy(), "HalfCheetah-v5", change.pop("path", "film.mp4"), **change)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("gymnasium_id", "message"),
    [("HalfChetah-v5", "HalfChetah.*can make"), ("Hopper-v5", r"observation space of shape \(17,\)")],
)
def test_environments_that_cannot_be_filmed(tmp_path, gymnasium_id, message):
    with pytest.raises(GailfeError, match=message) as caught:
        record_video(make_policy(), gymnasium_id, tmp_path / "film.mp4")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_platform_that_does_not_exist_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "holodeck")
    with pytest.raises(GailfeError, match=r"no OpenGL platform renders.*holodeck.*set MUJOCO_GL") as caught:
        record_video(make_policy(), "HalfCheetah-v5", tmp_path / "film.mp4")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_next_platform_is_tried_and_every_episode_recorded(tmp_path, monkeypatch, recorded):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"an older film")
    monkeypatch.setattr(video, "platforms", lambda: ["holodeck", recorded.backend])
    result = record_video(
        make_policy(), "HalfCheetah-v5", path, width=64, height=32, episodes=2, max_steps=3, fps=12.5, seed=2
    )
    assert (result.backend, result.fps, result.frames) == (recorded.backend, 12.5, 8)
    assert iio.imread(path).shape == (8, 32, 64, 3)
    evaluated = evaluate_policy(make_policy(), "HalfCheetah-v5", episodes=2, seed=2, max_steps=3)
    assert list(result.returns) == evaluated.returns.tolist()


@pytest.mark.slow
def test_an_environment_that_an_imported_module_registers_is_filmed(tmp_path, monkeypatch, recorded):
    """The child process that films imports the module too; the module's environment draws without OpenGL."""
    (tmp_path / "flat_world.py").write_text(
        """
import gymnasium
import numpy as np


class Flat(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = gymnasium.spaces.Box(-1, 1, (3,))
    action_space = gymnasium.spaces.Box(-1, 1, (2,))

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample() * 0, {}

    def step(self, action):
        return self.observation_space.sample() * 0, 2.0, False, False, {}

    def render(self):
        return np.full((32, 64, 3), 200, np.uint8)


gymnasium.register("Flat-v0", Flat)
"""
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.setattr(user_modules, "_imported", [])
    user_modules.import_user_module("flat_world")
    try:
        result = record_video(make_policy(3, 2), "Flat-v0", "film.mp4", max_steps=4)
    finally:
        del sys.modules["flat_world"], gymnasium.registry["Flat-v0"]
    assert (result.returns, result.frames) == ((8.0,), 5)
    assert iio.imread(tmp_path / "film.mp4").shape == (5, 32, 64, 3)


def test_order_of_platforms(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    assert platforms() == ["egl", "osmesa"]
    monkeypatch.setenv("DISPLAY", ":0")
    assert platforms() == ["egl", "osmesa", "glfw"]
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert platforms() == ["osmesa"]
    monkeypatch.delenv("MUJOCO_GL")
    monkeypatch.setattr("sys.platform", "darwin")
    assert platforms() == ["glfw"]


ROBOT = """<mujoco>
<statistic center="0 0 0.5" extent="1"/>
<worldbody>
  <light pos="0 0 3"/><geom type="plane" size="5 5 0.1" rgba="0.9 0.9 0.9 1"/>
  {camera}
  <body name="box" pos="0 0 1"><freejoint/><geom type="box" size="0.1 0.1 0.1" rgba="1 0 0 1"/>
    <body pos="0 0 0.15"><joint name="arm" axis="0 1 0" range="-1 1"/>
      <geom type="capsule" size="0.03" fromto="0 0 0 0 0 0.2"/></body></body>
</worldbody>
<actuator><motor name="m" joint="arm" ctrllimited="true" ctrlrange="-1 1"/></actuator>
</mujoco>"""
THROWN = """
model = "robot.xml"
frame_skip = 10
max_episode_steps = 12
observe = ["qpos", "qvel"]
terminated = ["body:box.z in [0.5, 9]"]
[start]
states = "start.npz"
"""


@pytest.mark.slow
@pytest.mark.parametrize("camera", ["", '<camera name="track" pos="0 -5 1" xyaxes="1 0 0 0 0 1"/>'])
def test_a_task_of_ones_own_is_filmed_to_where_it_ends(camera, tmp_path, recorded):
    """The camera goes along with a body that flies off, unless the model has its own; here its own stands still."""
    (tmp_path / "robot.xml").write_text(ROBOT.format(camera=camera))
    (tmp_path / "robot.toml").write_text(THROWN)
    qvel = np.zeros((1, 7))
    qvel[0, 0] = 20.0
    np.savez(tmp_path / "start.npz", qpos=[[0, 0, 1.0, 1, 0, 0, 0, 0]], qvel=qvel)
    policy = make_policy(obs=15, action=1)
    path = tmp_path / "film.mp4"
    result = record_video(policy, f"gailfe_jax/{tmp_path / 'robot.toml'}", path, width=192, height=128)
    assert (result.frames, result.fps, result.returns) == (13, 50.0, (0.0,))
    frames = iio.imread(path).astype(float)
    red = [np.argwhere((frame[..., 0] > 110) & (frame[..., 1:] < 90).all(-1)) for frame in frames]
    assert len(red[0]) > 2
    if camera:
        # It flies 4.8 m to the right, and the picture ends 3.1 m from its middle.
        assert len(red[-1]) == 0
    else:
        assert abs(red[-1][:, 1].mean() - red[0][:, 1].mean()) < 10
    assert np.abs(frames[-1] - frames[0]).max() > 20


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("paint", r"env 'pond': expected one that renders \(RuntimeError: the paint is dry\)"),
        ("blank", r"env 'pond': render gives a NoneType; expected an array \[height, width, 3\]"),
    ],
)
def test_an_environments_own_failure_is_not_the_platforms(tmp_path, fault, message):
    policy = str(cliff_expert().save(tmp_path / "policy.safetensors"))
    order = {"gymnasium_id": f"tests.hosted:Pond-v0?fault={fault}", "called": "pond", "seed": 0, "policies": [policy]}
    order |= {"width": 32, "height": 32, "fps": None, "most_fps": None, "first": 0, "episodes": 1, "max_steps": 2}
    order |= {"judge": None, "overlay": False, "labels": [""], "deterministic": True, "plain": False}
    with pytest.raises(GailfeError, match=message):
        video._record(order, evaluation)


def test_what_mujoco_raises_is_the_platforms():
    def failure(function):
        with pytest.raises(Exception) as caught:
            function()
        return caught.value

    model = mujoco.MjModel.from_xml_string("<mujoco/>")
    assert video._is_platforms(failure(lambda: mujoco.Renderer(model, 10**6, 10)))
    assert video._is_platforms(mujoco.FatalError("no screen"))
    assert not video._is_platforms(failure(lambda: {}["colour"]))


def test_words_stand_over_the_picture():
    frame = np.full((48, 64, 3), 200, np.uint8)
    written = written_over(frame, ["expert", "step 3"])
    assert written.shape == frame.shape and (frame == 200).all()
    # Darker below the words, bright where they are, and nothing further down.
    assert written[:20].min() == 90 and written[:20].max() > 220
    assert (written[40:] == 200).all()
    assert written_over(frame, []).shape == frame.shape


def test_a_panel_says_how_its_episode_goes():
    class Env:
        def __init__(self):
            self.steps = 0

        def reset(self, seed):
            self.steps = 0
            return np.zeros(2), {}

        def step(self, action):
            self.steps += 1
            return np.full(2, self.steps if self.steps < 3 else np.nan), 1.5, self.steps == 3, False, {}

        def render(self):
            return np.full((33, 65, 3), self.steps, np.uint8)

    judge = Confidence([(np.zeros((3, 1)), np.full(1, -2.0))], "tanh", np.zeros(3), np.ones(3), 2)
    panel = Panel(Env(), make_policy(2, 1), evaluation, "x", label="mine", judge=judge, overlay=True)
    panel.begin(0, 0)
    assert panel.lines() == ["mine", "step 0   return 0.0"]
    panel.step()
    assert panel.lines() == ["mine", "step 1   return 1.5   belief 0.88"] and panel.frame().shape == (32, 64, 3)
    for _ in range(5):
        panel.step()
    assert (panel.steps, panel.total, panel.over) == (3, 4.5, True)
    assert panel.lines() == ["mine", "step 3   return 4.5   belief 0.88   ended"]


@pytest.mark.slow
def test_another_policy_is_filmed_beside(tmp_path, recorded):
    still = dataclasses.replace(make_policy(), weights=[(np.zeros((17, 6)), np.zeros(6))])
    film = record_video(
        make_policy(), "HalfCheetah-v5", tmp_path / "x.mp4", width=96, height=64, max_steps=4, seed=2, beside=still,
        overlay=True, labels=("mine", "still"),
    )  # fmt: skip
    own, other = (
        evaluate_policy(policy, "HalfCheetah-v5", episodes=1, seed=2, max_steps=4) for policy in (make_policy(), still)
    )
    assert list(film.returns) == own.returns.tolist() and list(film.beside_returns) == other.returns.tolist()
    frames = iio.imread(film.path).astype(float)
    assert frames.shape == (5, 64, 192, 3)
    # Words on both, and both from the same state.
    assert np.abs(frames[0][30:, :96] - frames[0][30:, 96:]).mean() < 3
    assert frames[0][:20, :96].max() > 200 and frames[0][:20, 96:].max() > 200
