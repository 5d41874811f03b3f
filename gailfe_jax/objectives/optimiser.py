"""Adam with a traced learning rate, gradient clipping and minibatches."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from gailfe_jax.types import Array, PyTree, Scalar

_ADAM = optax.scale_by_adam(eps=1e-5)


def adam(params: PyTree) -> PyTree:
    """Adam's state for `params`; the learning rate is applied outside, because it is traced."""
    return _ADAM.init(params)


def adam_step(grads: PyTree, opt: PyTree, params: PyTree, lr: Scalar) -> tuple[PyTree, PyTree]:
    """One descent step; returns `(params, opt)`."""
    updates, opt = _ADAM.update(grads, opt)
    return jax.tree.map(lambda p, u: p - lr * u, params, updates), opt


def clip_by_norm(grads: PyTree, max_norm: Scalar) -> PyTree:
    """`grads` scaled so that their global norm is at most `max_norm`."""
    scale = jnp.minimum(1.0, max_norm / (optax.global_norm(grads) + 1e-8))
    return jax.tree.map(lambda g: g * scale, grads)


def shuffled_minibatches(key: Array, size: int, count: int) -> Array:
    """`[count, size // count]` indices, a random partition of `range(size)` (a remainder is left out)."""
    each = size // count
    return jax.random.permutation(key, size)[: count * each].reshape(count, each)
