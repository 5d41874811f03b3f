"""How seeds are batched so that one seed's bits do not depend on its neighbours, and one seed's work over devices.

The work of one seed is shared by the devices along the mesh axis `ENVS`, inside `jax.shard_map`. All of them hold the
seed's whole state but for its environments, and take the same steps; what is a mean over rows is computed by each on
its share of them and then averaged. Outside of `shard_map`, and with one device along the axis, every function here
that has to do with devices is the identity.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap, sequential_vmap
from jax.flatten_util import ravel_pytree

from gailfe_jax.types import Array, PyTree

SEEDS, ENVS = "seeds", "envs"
"""Mesh axes: seeds are independent, environments share a seed."""


def env_shards() -> int:
    """How many devices share the seed that is being traced."""
    try:
        return jax.lax.axis_size(ENVS)
    except NameError:
        return 1


def local_rows(tree: PyTree, axis: int = 0) -> PyTree:
    """This device's share of the rows along `axis` of every leaf; all of them where the devices do not divide them.

    Means over shares are equally weighted means over devices either way: see `mean_over_devices`.
    """
    shards = env_shards()

    def cut(x: Array) -> Array:
        if shards == 1 or x.shape[axis] % shards:
            return x
        size = x.shape[axis] // shards
        return jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index(ENVS) * size, size, axis)

    return jax.tree.map(cut, tree)


def draw_rows(draw: Callable[[Array], PyTree], rows: Array) -> PyTree:
    """Noise for this device's `rows [n, ...]`, the same for any number of devices: drawn for all and cut.

    Args:
      draw: `rows -> noise` with as many rows, which depends on their number only.
      rows: `[n, ...]`.
    """
    shards = env_shards()
    if shards == 1:
        return draw(rows)
    return local_rows(draw(jnp.zeros((shards * rows.shape[0], *rows.shape[1:]), rows.dtype)))


def gather_rows(tree: PyTree, axis: int = 0) -> PyTree:
    """All devices' rows, in the order from which `local_rows` would cut them."""
    if env_shards() == 1:
        return tree
    return jax.tree.map(lambda x: jax.lax.all_gather(x, ENVS, axis=axis, tiled=True), tree)


def sum_over_devices(tree: PyTree) -> PyTree:
    """Sums of the devices' leaves."""
    return tree if env_shards() == 1 else jax.lax.psum(tree, ENVS)


def mean_over_devices(tree: PyTree) -> PyTree:
    """Means of the devices' float leaves, the same bits on all of them.

    To be taken of gradients, not inside what is differentiated.
    """
    if env_shards() == 1:
        return tree
    # What a small all-reduce costs is its latency, so all leaves travel together.
    flat, unravel = ravel_pytree(tree)
    return unravel(jax.lax.pmean(flat, ENVS))


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


def per_seed(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Makes `vmap` of `fn` over seeds a loop on the CPU, and leaves it a batched program on accelerators.

    A batched matrix product may round differently from the same product alone, and reinforcement learning amplifies
    the last bit. On the CPU a loop over seeds is as fast as the batched program (the products of one seed already fill
    the cores), so there the learning parts are wrapped in this, and seed `i` gives the same bits alone, without any
    `vmap`, or among fifty.

    Args:
      fn: a function of arrays and pytrees of arrays, written for one seed, that returns arrays of numbers (no keys).
        It must not close over traced values.

    Returns:
      A function with the same signature and results.
    """
    if jax.default_backend() != "cpu":
        return fn
    # With one seed, or with none mapped, the compiler leaves no loop around `fn`.
    return functools.wraps(fn)(sequential_vmap(isolated_compilation(fn)))


def isolated_compilation(fn: Callable[..., Any]) -> Callable[..., Any]:
    """On the CPU makes `fn` a program of its own inside the program, so that its bits do not depend on what is around.

    The compiler fuses across everything but a branch, optimisation barriers included, and what is fused is rounded
    otherwise (a product and a sum become one operation). On accelerators, where nothing is promised to the bit, `fn`
    is left as it is.

    Args:
      fn: a function of arrays and pytrees of arrays that returns arrays of numbers (no keys).

    Returns:
      A function with the same signature and results.
    """
    if jax.default_backend() != "cpu":
        return fn

    def run(*args: PyTree) -> PyTree:
        shapes = jax.eval_shape(fn, *args)
        # Always true, which only the barrier knows.
        taken = jax.lax.optimization_barrier(jnp.bool_(True))
        return jax.lax.cond(taken, fn, lambda *_: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes), *args)

    return run


def computed_where(fn: Callable[..., Any]) -> Callable[..., Any]:
    """On the CPU skips `fn` in steps where no element of the batch, however nested, wants its result.

    Under `vmap` a `cond` computes both sides for every element; here one `cond` stands around the whole batch. On
    accelerators, where a branch costs a synchronisation, `fn` is computed always.

    Args:
      fn: a function of arrays (or keys), written for one element, that returns arrays of numbers.

    Returns:
      `(wanted [] bool, *args) -> fn(*args)`; unspecified numbers where not `wanted`.
    """
    if jax.default_backend() != "cpu":
        return lambda wanted, *args: fn(*args)

    @custom_vmap
    def flat(wanted: Array, *args: PyTree) -> PyTree:
        shapes = jax.eval_shape(jax.vmap(fn), *args)
        skip = lambda *_: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)  # noqa: E731
        return jax.lax.cond(jnp.any(wanted), jax.vmap(fn), skip, *args)

    @flat.def_vmap
    def _(size: int, batched: list[Any], *args: PyTree) -> tuple[PyTree, PyTree]:
        def merge(x: Array, has: bool) -> Array:
            x = x if has else jnp.broadcast_to(x, (size, *x.shape))
            return x.reshape(-1, *x.shape[2:])

        merged = [jax.tree.map(merge, x, b) for x, b in zip(args, batched, strict=True)]
        out = jax.tree.map(lambda x: x.reshape(size, -1, *x.shape[1:]), flat(*merged))
        return out, jax.tree.map(lambda _: True, out)

    def call(wanted: Array, *args: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x[0], flat(*jax.tree.map(lambda x: x[None], (wanted, *args))))

    return call
