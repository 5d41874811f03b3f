"""Features of state and action that linear rewards are linear in: a table by name, to which users add theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax.numpy as jnp

from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Array

FeatureFn: TypeAlias = Callable[[Array], Array]
"""Features: standardised `[obs, action]` `[..., o + a] -> [..., k]`, in JAX, for any leading shape."""


def _linear(x: Array) -> Array:
    return jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)


def _quadratic(x: Array) -> Array:
    return jnp.concatenate([x, jnp.square(0.01 * x), jnp.ones_like(x[..., :1])], axis=-1)


def _moments(x: Array) -> Array:
    return jnp.concatenate([x, jnp.square(x), jnp.ones_like(x[..., :1])], axis=-1)


_BUILT_IN: dict[str, FeatureFn] = {"linear": _linear, "quadratic": _quadratic, "moments": _moments}
_features = dict(_BUILT_IN)


def register_features(name: str, fn: FeatureFn) -> None:
    """Makes `fn` what `reward.features = name` means in this process; a later registration replaces an earlier one.

    Args:
      name: any but a built-in one.
      fn: standardised `[obs, action]` `[..., o + a] -> [..., k]`, pure JAX.

    Raises:
      GailfeError: the name is built in or not a word.
    """
    if name in _BUILT_IN or not name or name.split() != [name]:
        raise GailfeError(f"features: got the name {name!r}; expected one word other than {', '.join(_BUILT_IN)}")
    _features[name] = fn


def find_features(name: str) -> FeatureFn:
    """The features called `name`.

    `linear` is `[x, 1]`, `quadratic` is `[x, (0.01 x)^2, 1]` (the public code of GAIL's baselines; its squares all but
    vanish beside `x`), `moments` is `[x, x^2, 1]`.

    Raises:
      GailfeError: no such features.
    """
    if name not in _features:
        raise GailfeError(
            f"features: unknown features {name!r}; expected one of {', '.join(_features)}, or a name given to "
            "gailfe_jax.register_features"
        )
    return _features[name]
