"""States of recorded episodes, stored and replayed."""

from __future__ import annotations

import numpy as np
import pytest

from gailfe_jax.envs import make_env
from gailfe_jax.envs.physics.recorded import observed_coordinates, recorded_states
from tests.host_episodes import random_episode


def recorded(name):
    """`(physics, obs [T + 1, o], one random episode)`."""
    episode = random_episode(name, 40, seed=3)
    return make_env(name, "mujoco_c").physics, np.concatenate([episode.obs, episode.next_obs[-1:]]), episode


@pytest.fixture(scope="module")
def hopper():
    return recorded("hopper")


def test_stored_states_are_taken_as_they_are(hopper):
    physics, obs, episode = hopper
    states = recorded_states(physics, obs, episode.action, episode.simulator_state)
    assert states.stored and states.faithful
    assert states.qpos.shape == (len(episode.action) + 1, 6)
    np.testing.assert_array_equal(states.qpos[:-1], episode.simulator_state[:, 1:7])
    np.testing.assert_array_equal(states.qvel[:-1], episode.simulator_state[:, 7:13])
    # What the last action led to is not stored; the engine makes it.
    np.testing.assert_allclose(states.qpos[:, 1:], obs[:, :5], atol=1e-6)


def test_an_observation_shows_coordinates_as_they_are(hopper):
    place, column = observed_coordinates(hopper[0])
    # All but how far it has run; velocities stand behind positions, which are one more than those observed.
    assert place.tolist() == list(range(1, 12)) and column.tolist() == list(range(11))


@pytest.mark.parametrize("width", [None, 3, 1000])
def test_without_states_an_episode_is_replayed(hopper, width):
    """States of another model's size are no states of this one."""
    physics, obs, episode = hopper
    states = recorded_states(physics, obs, episode.action, None if width is None else np.zeros((len(obs) - 1, width)))
    assert not states.stored and states.faithful and states.guessed == 0
    np.testing.assert_allclose(states.qpos[:, 1:], obs[:, :5], atol=1e-3)
    # How far it has run follows from its velocity; where it started nobody knows.
    moved = episode.simulator_state[:, 1] - episode.simulator_state[0, 1]
    np.testing.assert_allclose(states.qpos[:-1, 0] - states.qpos[0, 0], moved, atol=1e-2)


def test_a_replay_follows_what_was_observed_under_wrong_actions(hopper):
    physics, obs, episode = hopper
    states = recorded_states(physics, obs, -episode.action)
    assert states.apart > 0.1
    np.testing.assert_allclose(states.qpos[:, 1:], obs[:, :5], atol=1e-3)


def test_an_angle_is_found_by_its_sine_and_cosine_and_a_target_by_its_distance():
    physics, obs, episode = recorded("reacher")
    states = recorded_states(physics, obs, episode.action)
    assert states.guessed == 2 and states.faithful
    np.testing.assert_allclose(states.qpos[:-1], episode.simulator_state[:, 1:5], atol=1e-5)
    wrong = recorded_states(physics, obs, -episode.action)
    assert not wrong.faithful
