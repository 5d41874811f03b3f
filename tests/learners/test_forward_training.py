from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.forward_training import forward_training
from tests.learners.stages import SETTINGS, expert_returns

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


@pytest.mark.slow
def test_forward_training_recovers_the_expert_at_each_step(drift_env, linear_expert, key):
    horizon = 4
    result = forward_training(drift_env, linear_expert, SETTINGS, horizon=horizon, seeds=(0, 1))
    assert result.horizon == horizon and (result.metrics["alive"] == 1).all()
    for seed in range(2):
        obs = jax.vmap(drift_env.reset)(jax.random.split(jax.random.key(5), 50)).obs
        for step in range(horizon):
            action, expected = result.act(obs, step, seed), linear_expert.act(np.asarray(obs))
            np.testing.assert_allclose(action, expected, atol=0.03)
            obs = 0.9 * obs + 0.5 * expected
    episodes = result.evaluate(key, 10)
    assert (episodes.lengths == horizon).all()
    assert (episodes.returns >= expert_returns(drift_env, linear_expert, key, 10) - 0.1).all()


def test_a_policy_of_a_later_step_is_trained_where_the_earlier_lead(drift_env, linear_expert):
    result = forward_training(drift_env, linear_expert, SETTINGS, horizon=3)
    spread = np.asarray(result.policies.obs_stats.std)[0]
    # The expert draws states together, so later policies saw narrower ones.
    assert (spread[1:] < 0.85 * spread[:-1]).all()


def test_forward_training_refuses(drift_env, linear_expert):
    with pytest.raises(GailfeError, match=r"^horizon: got 7; expected 1 to 6, the time limit"):
        forward_training(drift_env, linear_expert, SETTINGS, horizon=7)
    foreign = dataclasses.replace(linear_expert, metadata={"env": "hopper"})
    with pytest.raises(GailfeError, match=r"^expert: a policy for hopper; expected one for drift"):
        forward_training(drift_env, foreign, SETTINGS, horizon=2)
