"""How seeds are batched so that one seed's bits do not depend on its neighbours."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap, sequential_vmap

from gailfe_jax.parallel.devices import computes_on_cpu
from gailfe_jax.types import Array, PyTree


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
    if not computes_on_cpu():
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
    if not computes_on_cpu():
        return fn

    # The cache of `jit` spares the second trace, of which nested calls would make two to the power of their depth.
    traced = jax.jit(fn, inline=True)

    def run(*args: PyTree) -> PyTree:
        shapes = jax.eval_shape(traced, *args)
        # Always true, which only the barrier knows.
        taken = jax.lax.optimization_barrier(jnp.bool_(True))
        return jax.lax.cond(
            taken, traced, lambda *_: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes), *args
        )

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
        if not computes_on_cpu():
            return fn(*args)
        return jax.tree.map(lambda x: x[0], flat(*jax.tree.map(lambda x: x[None], (wanted, *args))))

    return call
