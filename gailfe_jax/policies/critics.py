"""Action values `Q(s, a)`: an ensemble of networks, and the slow copies that targets are made with.

Shapes: `E` networks, `m` pairs, `o`, `a` observation and action sizes.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gailfe_jax.config.parts import Part, setting, traced
from gailfe_jax.nn.mlp import MLP
from gailfe_jax.types import Array, PyTree


class Critics(Part):
    """The ensemble's sizes and step sizes. Functions are for one seed."""

    hidden: tuple[int, ...] = setting((256, 256))
    """Hidden layers of each critic."""
    ensemble: int = setting(2, least=1)
    """Critics; targets take the least of them (clipped double Q-learning)."""
    layer_norm: bool = setting(True)
    """Standardise the critics' hidden layers over their units, which bounds what they say of actions never tried."""
    lr: float = traced(1e-3, step_size="value")
    """Adam learning rate of the critics."""
    tau: float = traced(0.01, least=0, most=1)
    """Share of the critics that their targets' slow copies take over at each update."""

    @property
    def _net(self) -> MLP:
        return MLP(self.hidden, 1, "relu", layer_norm=self.layer_norm)

    def init(self, key: Array) -> PyTree:
        """`[E]` parameters from `key []`."""
        row = jnp.zeros((1, self.problem.pair_size))
        return jax.vmap(lambda k: self._net.init(k, row))(jax.random.split(key, self.ensemble))

    def values(self, params: PyTree, x: Array, action: Array) -> Array:
        """`[E, m]` values of `action [m, a]`, in units of its bounds, at normalised observations `x [m, o]`."""
        row = jnp.concatenate([x, action], axis=-1)
        values: Any = jax.vmap(lambda p: self._net.apply(p, row))(params)
        return values[..., 0]

    def follow(self, target: PyTree, params: PyTree) -> PyTree:
        """The slow copies, a step of `tau` nearer to the critics."""
        return jax.tree.map(lambda t, p: t + self.tau * (p - t), target, params)
