"""What `tests.toy` says of its environments is so."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.apps.collection import collect_demonstrations
from gailfe_jax.artifacts.oracle import Oracle
from gailfe_jax.envs.rollout import evaluate
from tests.toy import Cliff, Drift, cliff_expert


def returns(env, act, agent, episodes):
    run = jax.jit(lambda agent, key: evaluate(env, act, agent, key, episodes))
    return jax.tree.map(np.asarray, run(agent, jax.random.key(0)))


def test_the_best_action_on_drift_has_the_expected_return():
    episodes = returns(Drift(), lambda agent, obs: -1.8 * obs, None, 5000)
    assert (episodes.lengths == 6).all()
    error = np.std(episodes.returns) / np.sqrt(5000)
    assert np.mean(episodes.returns) == pytest.approx(-0.64 / 13.5, abs=4 * error)
    assert error < 2e-3


def test_the_expert_on_the_cliff_reaches_the_highest_return():
    episodes = returns(Cliff(), Oracle.act, Oracle.of(cliff_expert()), 64)
    np.testing.assert_allclose(episodes.returns, 12.0, rtol=1e-6)
    assert (episodes.lengths == 12).all()
    assert not episodes.terminated.any()


def test_demonstrations_of_the_expert_show_it():
    shown = collect_demonstrations(Cliff(), cliff_expert(), trajectories=8, seed=0).expert
    assert shown.returns.min() > 11.99
    assert not shown.terminated.any()


def test_who_does_nothing_falls_off_the_cliff_when_it_says():
    key, count = jax.random.key(0), 500
    episodes = returns(Cliff(), lambda agent, obs: jnp.zeros_like(obs), None, count)
    start = np.asarray(jax.vmap(Cliff().reset)(jax.random.split(key, count)).obs, np.float64)
    larger = np.abs(start).max(axis=1)
    first = np.floor(np.log(1 / larger) / np.log(1.2)) + 1
    np.testing.assert_array_equal(episodes.terminated, first <= 12)
    np.testing.assert_array_equal(episodes.lengths, np.minimum(first, 12))
    assert episodes.lengths.min() == 6
    assert np.mean(episodes.terminated) == pytest.approx(1 - (1.2**-12 / 0.4) ** 2, abs=0.05)
