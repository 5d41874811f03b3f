from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from gailfe_jax.rewards.base import RewardBatch
from gailfe_jax.rewards.constant import ConstantReward
from gailfe_jax.types import StateAction


def test_the_constant_reward_looks_at_nothing():
    reward = ConstantReward()
    state = reward.init(jax.random.key(0), None)
    pairs = StateAction(jnp.ones((1, 1, 3)), jnp.ones((1, 1, 2)))
    fitted, metrics = reward.fit(state, RewardBatch(pairs), jax.random.key(1))
    assert fitted == state == () and metrics == {} and reward.draws == (1, 1)
    score = reward.score(state, jnp.zeros((4, 5, 3)), jnp.zeros((4, 5, 2)))
    np.testing.assert_array_equal(score, np.ones((4, 5)))
