from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np

from gailfe_jax.policies.advantage import generalised_advantage

GAMMA, LAMBDA = 0.9, 0.8


def closed_form(reward, value, next_value, terminated, done):
    """The defining double sum, sum_l (gamma lambda)^l delta_{t+l}, cut at the end of the episode."""
    steps = len(reward)
    delta = [reward[t] + GAMMA * (0.0 if terminated[t] else next_value[t]) - value[t] for t in range(steps)]
    out = []
    for t in range(steps):
        total, weight = 0.0, 1.0
        for k in range(t, steps):
            total += weight * delta[k]
            if done[k]:
                break
            weight *= GAMMA * LAMBDA
        out.append(total)
    return np.array(out)


def test_equals_the_closed_form_over_falls_and_time_limits():
    rng = np.random.default_rng(0)
    shape = (40, 5)
    reward, value, next_value = (rng.normal(size=shape).astype(np.float32) for _ in range(3))
    terminated = rng.random(shape) < 0.1
    done = terminated | (rng.random(shape) < 0.1)
    advantage = jax.jit(generalised_advantage)(
        reward, value, next_value, terminated, done, gamma=jnp.float32(GAMMA), gae_lambda=jnp.float32(LAMBDA)
    )
    for b in range(shape[1]):
        expected = closed_form(reward[:, b], value[:, b], next_value[:, b], terminated[:, b], done[:, b])
        np.testing.assert_allclose(advantage[:, b], expected, rtol=1e-5, atol=1e-5)


def test_a_time_limit_bootstraps_and_a_fall_does_not():
    one = jnp.ones((1, 1))
    kwargs = {"gamma": jnp.float32(GAMMA), "gae_lambda": jnp.float32(LAMBDA)}
    yes, no = jnp.array([[True]]), jnp.array([[False]])
    cut = generalised_advantage(one, one, 10 * one, no, yes, **kwargs)
    fall = generalised_advantage(one, one, 10 * one, yes, yes, **kwargs)
    np.testing.assert_allclose(cut, 1 + GAMMA * 10 - 1, rtol=1e-6)
    np.testing.assert_allclose(fall, 0.0, atol=1e-6)


def test_lambda_one_is_the_return_less_the_value():
    reward, value = jnp.arange(1.0, 5.0)[:, None], jnp.full((4, 1), 0.5)
    done = jnp.array([[False], [False], [False], [True]])
    advantage = generalised_advantage(
        reward, value, value, done, done, gamma=jnp.float32(GAMMA), gae_lambda=jnp.float32(1.0)
    )
    # The values telescope: what is left is sum gamma^k r_{t+k} - V(s_t).
    returns = [sum(GAMMA**k * r for k, r in enumerate(range(t, 5))) for t in range(1, 5)]
    np.testing.assert_allclose(advantage[:, 0], np.array(returns) - 0.5, rtol=1e-5)


def test_shapes_are_checked():
    one = jnp.ones((2, 1))
    flag = jnp.zeros((2, 1), bool)
    with np.testing.assert_raises(AssertionError):
        generalised_advantage(one, one, jnp.ones((3, 1)), flag, flag, gamma=0.9, gae_lambda=0.9)
    chex.assert_shape(generalised_advantage(one, one, one, flag, flag, gamma=0.9, gae_lambda=0.9), (2, 1))
