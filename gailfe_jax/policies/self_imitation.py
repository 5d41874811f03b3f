"""The losses of Self-Imitation Learning (Oh et al. 2018).

The return of a step and the value of its observation come in one unit, that of the rewards or the value network's;
losses and priorities are in it too.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from gailfe_jax.types import Array


def clipped_advantage(returns: Array, value: Array) -> Array:
    """`(R - V)_+ = max(R - V, 0)`, `[n]`, by how much a past return beats the value; the replay's new priorities.

    Args:
      returns: `[n]` discounted Monte-Carlo returns; value: `[n]`.
    """
    chex.assert_equal_shape([returns, value])
    return jnp.maximum(returns - value, 0.0)


def self_imitation_policy_loss(log_prob: Array, returns: Array, value: Array, weight: Array) -> Array:
    """`[]` policy loss, to be minimised, mean of `w * -log pi(a | s) * (R - V)_+` (Oh et al. 2018, eq. 2).

    No gradient flows into the value.

    Args:
      log_prob: `[n]` of the past actions under the policy that learns.
      returns: `[n]` discounted Monte-Carlo returns; value: `[n]`.
      weight: `[n]` importance weights of the draws.
    """
    chex.assert_equal_shape([log_prob, returns, value, weight])
    return jnp.mean(weight * -log_prob * jax.lax.stop_gradient(clipped_advantage(returns, value)))


def self_imitation_value_loss(returns: Array, value: Array, weight: Array) -> Array:
    """`[]` value loss, to be minimised, mean of `w * (R - V)_+^2 / 2` (Oh et al. 2018, eq. 3); only ever raises values.

    Args:
      returns: `[n]` discounted Monte-Carlo returns; value: `[n]` of the network that learns.
      weight: `[n]` importance weights of the draws.
    """
    chex.assert_equal_shape([returns, value, weight])
    return jnp.mean(weight * 0.5 * jnp.square(clipped_advantage(returns, value)))
