"""How seeds are batched so that one seed's bits do not depend on its neighbours."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap

from gailfe_jax.types import PyTree


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
    return functools.wraps(fn)(sequential_vmap(sealed(fn)))


def sealed(fn: Callable[..., Any]) -> Callable[..., Any]:
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
