"""The failure constraint of GAILFE and its dual variable."""

from __future__ import annotations

import jax.numpy as jnp

from gailfe_jax.types import Array, Scalar


def violation(failure_log_d: Array, threshold: Scalar) -> Array:
    """`[]` how far `E_F[log D] > Z_F` (GAILFE eq. 2) is broken, `Z_F - E_F[log D]`; negative is slack."""
    return threshold - failure_log_d


def update_dual(dual: Array, failure_log_d: Array, threshold: Scalar, step_size: Scalar, active: Array) -> Array:
    """One projected step on the Lagrangian (GAILFE eq. 4), `lambda <- max(0, lambda - eta (E_F[log D] - Z_F))`.

    Args:
      dual: `[]` lambda_F.
      failure_log_d: `[]` mean log D over failures.
      threshold: `[]` Z_F; step_size: `[]` eta.
      active: `[]` bool, whether there are failures, and a discriminator that learns; else the multiplier stays.
    """
    moved = jnp.maximum(0.0, dual + step_size * violation(failure_log_d, threshold))
    return jnp.where(active, moved, dual)
