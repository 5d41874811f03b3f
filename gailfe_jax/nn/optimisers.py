"""Adam with a traced learning rate, gradient clipping, and rows in random order."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from gailfe_jax.types import Array, PyTree, Scalar

_ADAM = optax.scale_by_adam(eps=1e-5)


def adam(params: PyTree) -> PyTree:
    """Adam's state for `params`; the learning rate is applied outside, because it is traced."""
    return _ADAM.init(params)


def adam_step(
    grads: PyTree, opt: PyTree, params: PyTree, lr: Scalar, weight_decay: Scalar | None = None
) -> tuple[PyTree, PyTree]:
    """One descent step; returns `(params, opt)`.

    `weight_decay` is decoupled (Loshchilov & Hutter 2019): each step takes `lr * weight_decay` of every kernel. Biases
    and log standard deviations stay as they are, for zero is nothing that those should tend to.
    """
    updates, opt = _ADAM.update(grads, opt)
    if weight_decay is not None:

        def decayed(path: Any, update: Array, param: Array) -> Array:
            return update + weight_decay * param if path[-1] == jax.tree_util.DictKey("kernel") else update

        updates = jax.tree_util.tree_map_with_path(decayed, updates, params)
    return jax.tree.map(lambda p, u: p - lr * u, params, updates), opt


def clip_by_norm(grads: PyTree, max_norm: Scalar) -> PyTree:
    """`grads` scaled so that their global norm is at most `max_norm`."""
    scale = jnp.minimum(1.0, max_norm / (optax.global_norm(grads) + 1e-8))
    return jax.tree.map(lambda g: g * scale, grads)


def shuffled(key: Array, size: int) -> Array:
    """`[size]` int32, the rows of a batch in random order."""
    bits = (size - 1).bit_length()
    if bits > 16:
        return jax.random.permutation(key, size)
    # On a CPU ten times as fast: one sort of plain numbers whose low bits are the row, where `permutation` sorts pairs
    # more than once. Rows whose other bits, 16 or more, are alike keep their order.
    drawn = jax.random.bits(key, (size,), jnp.uint32) >> bits << bits
    rows = jnp.sort(drawn | jnp.arange(size, dtype=jnp.uint32)) & jnp.uint32((1 << bits) - 1)
    return rows.astype(jnp.int32)


def shuffled_minibatches(key: Array, size: int, count: int) -> Array:
    """`[count, size // count]` indices, a random partition of `range(size)` (a remainder is left out)."""
    each = size // count
    return shuffled(key, size)[: count * each].reshape(count, each)
