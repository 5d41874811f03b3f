"""Trajectories in memory, and where demonstrations say they come from."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gailfe_jax.data.trajectories import Trajectories, make_provenance
from gailfe_jax.errors import GailfeError
from tests.data.made import ACTION, OBS, assert_equal, make_trajectories


def test_properties_and_single_trajectories():
    stored = make_trajectories([5, 3, 1])
    assert (stored.num_trajectories, stored.num_transitions) == (3, 9)
    assert stored.lengths.tolist() == [5, 3, 1]
    expected = [math.fsum(stored.reward[a:b].tolist()) for a, b in ((0, 5), (5, 8), (8, 9))]
    np.testing.assert_allclose(stored.returns, expected, rtol=1e-12)
    second = stored.trajectory(1)
    assert second.offsets.tolist() == [0, 3]
    np.testing.assert_array_equal(second.obs, stored.obs[5:8])
    np.testing.assert_array_equal(second.simulator_state, stored.simulator_state[5:8])
    with pytest.raises(GailfeError, match="no number 3, expected 0 to 2"):
        stored.trajectory(3)


def test_concatenate_inverts_trajectory():
    stored = make_trajectories([5, 3, 1])
    assert_equal(Trajectories.concatenate([stored.trajectory(i) for i in range(3)]), stored)
    assert_equal(Trajectories.concatenate([Trajectories.empty(OBS, ACTION), stored]), stored)
    mixed = Trajectories.concatenate([stored, make_trajectories([2], state=False)])
    assert mixed.simulator_state is None
    assert mixed.lengths.tolist() == [5, 3, 1, 2]
    with pytest.raises(GailfeError, match="size"):
        Trajectories.concatenate([stored, Trajectories.empty(OBS + 1, ACTION)])
    with pytest.raises(GailfeError, match="nothing"):
        Trajectories.concatenate([])


def test_select_by_index_and_by_mask():
    stored = make_trajectories([5, 3, 1])
    chosen = stored.select(np.array([False, True, True]))
    assert_equal(chosen, stored.select([1, 2]))
    assert chosen.lengths.tolist() == [3, 1]
    assert stored.select([]).num_trajectories == 0


def test_take():
    stored = make_trajectories([1, 2, 3, 4, 5])
    assert stored.take(2).lengths.tolist() == [1, 2]
    assert_equal(stored.take(5), stored)
    drawn = {tuple(stored.take(2, seed=seed).lengths.tolist()) for seed in range(60)}
    assert all(a != b for a, b in drawn)
    assert len(drawn) > 10
    assert_equal(stored.take(3, seed=7), stored.take(3, seed=7))
    for n in (0, 6):
        with pytest.raises(GailfeError, match=f"asked for {n}, expected 1 to 5"):
            stored.take(n)


@given(st.lists(st.integers(1, 12), max_size=5), st.integers(1, 7), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_subsample_keeps_one_in_k(lengths, k, seed):
    stored = make_trajectories(lengths) if lengths else Trajectories.empty(OBS, ACTION)
    pairs = stored.subsample(k, seed)
    for i, length in enumerate(lengths):
        step = pairs.step[pairs.trajectory == i]
        assert 0 <= step[0] < min(k, length)
        assert step.tolist() == list(range(step[0], length, k))
    rows = stored.offsets[pairs.trajectory] + pairs.step
    np.testing.assert_array_equal(pairs.obs, stored.obs[rows])
    np.testing.assert_array_equal(pairs.action, stored.action[rows])
    assert len(pairs) == len(pairs.obs) == len(pairs.action)
    assert np.all(np.diff(pairs.trajectory) >= 0)


def test_subsample_phase_is_random_per_trajectory():
    pairs = make_trajectories([20] * 400).subsample(5, seed=0)
    phases = np.bincount(pairs.step[pairs.step < 5], minlength=5)
    assert phases.sum() == 400
    assert np.all(np.abs(phases - 80) < 4 * np.sqrt(80))
    other = make_trajectories([20] * 400).subsample(5, seed=1)
    assert not np.array_equal(pairs.step, other.step)


def test_all_pairs():
    stored = make_trajectories([5, 3])
    np.testing.assert_array_equal(stored.pairs().obs, stored.obs)
    with pytest.raises(GailfeError, match="k is 0"):
        stored.subsample(0)


def test_provenance():
    provenance = make_provenance(
        env_id="Hopper-v5",
        expert="hopper",
        failure_source="noised expert",
        noise=0.3,
        action_mode="stochastic",
        task="x",
    )
    assert provenance["noise"] == 0.3
    assert provenance["task"] == "x"
    assert provenance["format_version"] == 1
    assert provenance["versions"]["numpy"] == np.__version__
    assert json.loads(json.dumps(provenance)) == provenance
    with pytest.raises(GailfeError, match="failure_source"):
        make_provenance(env_id="Hopper-v5", expert="hopper", failure_source="found")
    with pytest.raises(GailfeError, match="action_mode"):
        make_provenance(env_id="Hopper-v5", expert="hopper", failure_source="none", action_mode="greedy")
