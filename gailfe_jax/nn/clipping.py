"""Clipping to bounds, with a derivative that leads back inside them."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gailfe_jax.types import Array


@jax.custom_vjp
def clip_inward(x: Array, low: Array, high: Array) -> Array:
    """Clips `x`; the derivative of what is to be *maximised* passes at a bound only where it points back inside.

    An action drawn beyond its bound could otherwise never learn that it should not be there, or, with a derivative
    let through both ways, would run off for ever.
    """
    return jnp.clip(x, low, high)


def _clip_forward(x: Array, low: Array, high: Array):
    return jnp.clip(x, low, high), (x, low, high)


def _clip_backward(kept, gradient: Array):
    x, low, high = kept
    blocked = ((x >= high) & (gradient > 0)) | ((x <= low) & (gradient < 0))
    return jnp.where(blocked, 0.0, gradient), None, None


clip_inward.defvjp(_clip_forward, _clip_backward)
