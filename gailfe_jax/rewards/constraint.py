"""The failure constraint of GAILFE and its dual variable."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp

from gailfe_jax.config.parts import Part, setting, traced
from gailfe_jax.types import Array, Metrics, Scalar


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


class FailureConstraint(Part):
    """Failures keep the discriminator's mean log D on them above a threshold (Zhu et al. 2020, eq. 2 to 4)."""

    multiplier: Literal["dual", "fixed"] = setting("dual")
    """lambda_F: adapted as a dual variable, or held fixed."""
    threshold: float = traced(-0.6931471805599453, most=0)
    """Z_F, the least allowed mean log D on failures; log(1/2)."""
    dual_lr: float = traced(0.05, least=0)
    """Step size eta of the dual variable."""
    dual_init: float = traced(1.0, least=0)
    """First value of the dual variable."""
    weight: float = traced(1.0, least=0)
    """lambda_F where the multiplier is fixed."""

    def unread(self) -> dict[str, str]:
        if self.multiplier == "dual":
            return {"weight": "multiplier is dual"}
        return dict.fromkeys(("dual_lr", "dual_init"), "multiplier is fixed")

    def init(self) -> Array:
        """`[]` the dual variable before the first iteration."""
        return jnp.asarray(self.dual_init, jnp.float32)

    def weigh(self, dual: Array) -> Array:
        """`[]` lambda_F: the dual variable, or the fixed weight."""
        return dual if self.multiplier == "dual" else jnp.asarray(self.weight, jnp.float32)

    def update(self, dual: Array, failure_log_d: Array, active: Array) -> Array:
        """`[]` the dual variable after one step; see `update_dual`. It moves where the weight is fixed, too, unused."""
        return update_dual(dual, failure_log_d, self.threshold, self.dual_lr, active)

    def metrics(self, dual: Array, failure_log_d: Array) -> Metrics:
        """The multiplier and how far the constraint is broken."""
        return {"multiplier": self.weigh(dual), "violation": violation(failure_log_d, self.threshold)}
