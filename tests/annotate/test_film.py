"""What there is to see of episodes."""

from __future__ import annotations

import dataclasses
import io

import imageio.v3 as iio
import numpy as np
import pytest

from gailfe_jax.analysis.opengl import HINT
from gailfe_jax.annotate.film import Film
from gailfe_jax.annotate.session import Session
from gailfe_jax.data.trajectories import Demonstrations, Trajectories
from gailfe_jax.errors import GailfeError
from tests.data.made import make_demonstrations, make_trajectories
from tests.host_episodes import random_episode


@pytest.fixture(scope="module")
def hopper(tmp_path_factory) -> str:
    """Two demonstrations and a failure, of random actions."""
    shown = Trajectories.concatenate([random_episode("hopper", 100, seed) for seed in range(3)])
    path = str(tmp_path_factory.mktemp("hopper") / "demos.npz")
    Demonstrations("Hopper-v5", shown.take(2), shown.select([2])).save(path)
    return path


@pytest.mark.slow
def test_where_no_platform_renders_there_are_curves(hopper, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "holodeck")
    film = Film(Session(hopper))
    with pytest.raises(GailfeError, match="no OpenGL platform renders on this machine \\(holodeck: ") as error:
        film.picture(0, 0)
    assert str(error.value).endswith(HINT) and "\n" not in str(error.value)
    assert film.problem == str(error.value)
    assert film.about(0)["words"].startswith("No pictures, for no OpenGL platform")
    film.close()


def test_what_is_no_task_here_has_curves(tmp_path):
    demos = make_demonstrations()
    for env_id, why in {
        "Lift": "Lift is not known here; --env names the environment",
        "Hopper-v5": "observations and actions have other sizes than those of hopper",
    }.items():
        Demonstrations(env_id, demos.expert, demos.failures).save(tmp_path / "x.npz")
        film = Film(Session(str(tmp_path / "x.npz")))
        assert film.problem == why
        assert film.meaning.obs[0][0] == "obs[0]"
        with pytest.raises(GailfeError, match="pictures: none"):
            film.picture(0, 0)
    with pytest.raises(GailfeError, match="env: unknown task 'hoper'; did you mean hopper"):
        Film(Session(str(tmp_path / "x.npz")), "hoper")


def test_classic_control_has_curves(tmp_path):
    made = make_trajectories([4])
    arrays = {"obs": made.obs[:, :2], "next_obs": made.next_obs[:, :2], "action": np.eye(3, dtype=np.float32)[[0] * 4]}
    shown = dataclasses.replace(made, **arrays)
    Demonstrations("MountainCar-v0", shown, shown.select([])).save(tmp_path / "x.npz")
    assert Film(Session(str(tmp_path / "x.npz"))).problem == "mountain_car is no MuJoCo task"


@pytest.mark.slow
def test_pictures_are_drawn_of_stored_states_and_of_replayed_ones(hopper, tmp_path):
    film = Film(Session(hopper), size=128)
    try:
        first = film.picture(0, 0)
    except GailfeError as error:
        film.close()
        pytest.skip(f"this machine cannot render: {error}")
    frame = iio.imread(io.BytesIO(first))
    assert frame.shape == (128, 128, 3) and frame.std() > 20
    assert film.problem is None and film.about(0) == {
        "words": "Drawn from the simulator states in the file.",
        "warns": False,
    }
    last = len(film.states(0).qpos) - 1
    fallen = iio.imread(io.BytesIO(film.picture(0, last)))
    assert np.abs(fallen.astype(float) - frame).max() > 60
    with pytest.raises(GailfeError, match=f"step: got {last + 1}; expected 0 to {last}"):
        film.picture(0, last + 1)
    film.close()
    demos = Demonstrations.load(hopper)
    bare = [dataclasses.replace(part, simulator_state=None) for part in (demos.expert, demos.failures)]
    Demonstrations("Hopper-v5", *bare).save(tmp_path / "bare.npz")
    film = Film(Session(str(tmp_path / "bare.npz")), size=128)
    again = iio.imread(io.BytesIO(film.picture(0, last)))
    # Where it stands is not observed, and the ground's pattern with it.
    assert np.abs(again.astype(float) - fallen).mean() < 25
    assert film.about(0)["words"].startswith("Replayed from observations and actions")
    film.close()
