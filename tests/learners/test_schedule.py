"""What changes over a run beside the learned."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tiny import tiny
from tests.toy import Drift

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


@pytest.mark.parametrize(("decays", "expected"), [(True, [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]), (False, [1.0] * 6)])
def test_the_fitted_rewards_weight_beside_the_true_one_decays_where_it_is_asked_to(decays, expected):
    method = tiny("gasil", true_reward__add=True, true_reward__alpha=0.5, true_reward__alpha_decay=decays)
    learner = method.on(Drift(), total_iterations=4)
    scaled = [learner.scaled(learner._factors(jnp.int32(i))) for i in range(6)]
    np.testing.assert_allclose([float(method.true_reward.alpha) / 0.5 for method in scaled], expected)
    # Nothing else does.
    assert all(method.policy.lr == learner.policy.lr and method.reward.lr == learner.reward.lr for method in scaled)


@pytest.mark.slow
def test_at_the_runs_end_the_true_reward_alone_is_left():
    method = tiny("gasil", true_reward__add=True, true_reward__alpha=50.0, true_reward__alpha_decay=True)
    learner = method.on(Drift(), total_iterations=3)

    @jax.jit
    def rewards(key):
        # An episode of the toy takes six of an unroll's eight steps, so from the first on there is one of its own.
        return jax.lax.scan(lambda state, _: learner.step(state, None), learner.init(key, None), length=4)[1]

    reward = np.asarray(rewards(jax.random.key(0))["reward_mean"])
    # Scaled by their running deviation, rewards of the toy are within a few units; fifty times -log D are not.
    assert reward[0] > 10 and reward[0] > reward[1] > reward[2] > reward[3] and abs(reward[3]) < 3
