"""Bounds on a network's slope: no layer stretches any input by more than a limit.

A kernel's greatest singular value is followed by power iteration from where it was found last, one product each way
for each change of the kernel.

Source: Gouk et al. 2021 (kernels are projected after each step), Miyato et al. 2018 (one power iteration at a time).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gailfe_jax.types import Array, PyTree, Scalar

_KERNEL = jax.tree_util.DictKey("kernel")


def directions(params: PyTree, key: Array) -> list[Array]:
    """For each kernel `[i, j]` of `params`, in order, a unit vector `[j]` drawn from `key []` to look from first."""
    sizes = [x.shape[-1] for path, x in jax.tree_util.tree_leaves_with_path(params) if path[-1] == _KERNEL]
    return [_unit(jax.random.normal(jax.random.fold_in(key, i), (size,))) for i, size in enumerate(sizes)]


def limited(params: PyTree, looked: list[Array], limit: Scalar) -> tuple[PyTree, list[Array]]:
    """Scales kernels down to a greatest singular value of `limit` where it is more.

    Args:
      params: of a network of dense layers.
      looked: as `directions`, or as the last call gave them.
      limit: `[]`.

    Returns:
      `(params, the directions that are stretched most)`.
    """
    found: list[Array] = []

    def project(path: Any, kernel: Array) -> Array:
        if path[-1] != _KERNEL:
            return kernel
        back = _unit(kernel @ looked[len(found)])
        along = kernel.T @ back
        found.append(_unit(along))
        greatest = jnp.sqrt(jnp.sum(jnp.square(along)))
        return kernel * jnp.minimum(1.0, jnp.maximum(limit, 0.0) / jnp.maximum(greatest, 1e-12))

    return jax.tree_util.tree_map_with_path(project, params), found


def _unit(x: Array) -> Array:
    return x / jnp.maximum(jnp.sqrt(jnp.sum(jnp.square(x))), 1e-12)
