"""Advantages and returns."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from gailfe_jax.parallel.phases import phase
from gailfe_jax.types import Array, Scalar


def generalised_advantage(
    reward: Array, value: Array, next_value: Array, terminated: Array, done: Array, *, gamma: Scalar, gae_lambda: Scalar
) -> Array:
    """Generalised advantage estimates (Schulman et al. 2016, eq. 16), bootstrapped through time limits.

    `A_t = delta_t + gamma lambda (1 - done_t) A_{t+1}`, `delta_t = r_t + gamma (1 - terminated_t) V(s'_t) - V(s_t)`,
    where `s'_t` is the observation before any reset: a fall ends the return, a time limit only cuts the sum.

    Args:
      reward, value, next_value: `[T, B]`; `next_value` is the value of `next_obs`.
      terminated, done: `[T, B]` bool.
      gamma, gae_lambda: discount and trace decay.

    Returns:
      `[T, B]` advantages; add `value` for the lambda-return.
    """
    chex.assert_equal_shape([reward, value, next_value, terminated, done])
    delta = reward + gamma * jnp.where(terminated, 0.0, next_value) - value

    def backward(advantage, step):
        delta_t, done_t = step
        advantage = delta_t + gamma * gae_lambda * jnp.where(done_t, 0.0, advantage)
        return advantage, advantage

    # Starts from zeros shaped like the data so that the carry has one type under vmap and shard_map.
    with phase("rest"):
        _, advantages = jax.lax.scan(backward, jnp.zeros_like(delta[0]), (delta, done), reverse=True, unroll=8)
    return advantages
