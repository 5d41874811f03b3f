"""Policy-gradient surrogates."""

from __future__ import annotations

import jax.numpy as jnp

from gailfe_jax.nn.distributions import Distribution
from gailfe_jax.types import Array, Scalar


def importance_surrogate(dist: Distribution, action: Array, log_prob: Array, advantage: Array) -> Array:
    """`[]` mean importance-weighted advantage, to be maximised (TRPO, Schulman et al. 2015, eq. 14).

    Args:
      dist: the policy at `[n]` observations.
      action: `[n, a]`; log_prob: `[n]` under the policy that drew it; advantage: `[n]`.
    """
    return jnp.mean(jnp.exp(dist.log_prob(action) - log_prob) * advantage)


def clipped_surrogate(dist: Distribution, action: Array, log_prob: Array, advantage: Array, clip: Scalar) -> Array:
    """`[]` PPO's clipped surrogate, to be maximised (Schulman et al. 2017, eq. 7); arguments as above."""
    ratio = jnp.exp(dist.log_prob(action) - log_prob)
    return jnp.mean(jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage))


def clip_fraction(dist: Distribution, action: Array, log_prob: Array, clip: Scalar) -> Array:
    """`[]` share of samples whose ratio lies outside the clip range."""
    return jnp.mean(jnp.abs(jnp.exp(dist.log_prob(action) - log_prob) - 1) > clip)
