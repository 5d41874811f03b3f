"""Policy steps on a mixture of Gaussians."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.policies.actor import CloneStart
from gailfe_jax.policies.trpo import TRPO
from gailfe_jax.types import EnvSpec, Problem, StateAction

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


@pytest.mark.slow
def test_a_mixture_clones_two_habits_where_a_gaussian_clones_their_mean():
    """The demonstrator turns left or right at random; straight on is what it never does."""
    spec = EnvSpec("fork", None, "none", 2, 1, (-1.0,), (1.0,), 10)
    keys = jax.random.split(jax.random.key(0), 4)
    obs = jax.random.normal(keys[0], (1000, 2))
    side = jnp.where(jax.random.bernoulli(keys[1], 0.5, (1000, 1)), 0.8, -0.8)
    demos = StateAction(obs, side + 0.05 * jax.random.normal(keys[2], side.shape))

    def cloned(mixture):
        policy = TRPO(hidden=(16,), mixture=mixture).bind(Problem(spec, num_envs=8, unroll_length=128))
        start = CloneStart(steps=800, minibatch=128, lr=1e-2)

        @jax.jit
        def run(demos, key):
            state = policy.init_normaliser(policy.init(key), demos)
            state = policy.clone(state, demos, None, key, start)
            return policy.deterministic_action(state, obs), *policy.act(state, obs, jax.random.key(7))

        mode, action, log_prob = (np.asarray(x) for x in run(demos, keys[3]))
        return mode, action, log_prob.mean()

    mode, action, _ = cloned(1)
    assert np.abs(mode).max() < 0.45
    assert np.mean(np.abs(np.abs(action) - 0.8) < 0.2) < 0.5
    mode, action, log_prob = cloned(2)
    np.testing.assert_allclose(np.abs(mode), 0.8, atol=0.1)
    assert np.mean(np.abs(np.abs(action) - 0.8) < 0.2) > 0.97
    assert 0.35 < np.mean(action > 0) < 0.65
    # The demonstrator's own: a fair choice, then a normal of standard deviation 0.05.
    assert log_prob == pytest.approx(-np.log(2) - 0.5 * np.log(2 * np.pi * np.e * 0.05**2), abs=0.15)
