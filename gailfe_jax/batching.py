"""How seeds are batched so that one seed's bits do not depend on its neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.custom_batching import sequential_vmap


def per_seed(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Makes `vmap` of `fn` over seeds a loop on the CPU, and leaves it a batched program on accelerators.

    A batched matrix product may round differently from the same product alone, and reinforcement learning amplifies
    the last bit. On the CPU a loop over seeds is as fast as the batched program (the products of one seed already fill
    the cores), so there the learning parts are wrapped in this, and seed `i` gives the same bits alone or among fifty.

    Args:
      fn: a function of arrays and pytrees of arrays, written for one seed. It must not close over traced values.

    Returns:
      A function with the same signature and results.
    """
    if jax.default_backend() == "cpu":
        return sequential_vmap(fn)
    return fn
