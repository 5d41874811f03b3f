"""Action values `Q(s, a)`: an ensemble of networks, and the slow copies that targets are made with.

Shapes: `E` networks, `m` pairs, `o`, `a` observation and action sizes.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gailfe_jax.config.parts import Part, setting, traced
from gailfe_jax.nn.mlp import MLP
from gailfe_jax.parallel.devices import mean_over_devices
from gailfe_jax.types import Array, PyTree


class Critics(Part):
    """The ensemble's sizes and step sizes. Functions are for one seed."""

    hidden: tuple[int, ...] = setting((256, 256))
    """Hidden layers of each critic."""
    ensemble: int = setting(2, least=1)
    """Critics."""
    subset: int = setting(0, least=0)
    """Targets take the least of so many critics, drawn anew for each minibatch (REDQ, Chen et al. 2021); 0 takes the
    least of all (clipped double Q-learning)."""
    layer_norm: bool = setting(True)
    """Standardise the critics' hidden layers over their units, which bounds what they say of actions never tried."""
    lr: float = traced(1e-3, step_size="value")
    """Adam learning rate of the critics."""
    bounded: bool = setting(False)
    """Clip what targets take from the critics to what the rewards drawn lately come to if they are paid for ever: a new
    extreme counts at once, an old one fades with tau. Zero, what is behind the task's end, is always inside."""
    huber: float = setting(0.0, least=0)
    """Errors beyond so many times a minibatch's root mean square count linearly (Huber's loss); 0 squares all."""
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

    def least(self, params: PyTree, x: Array, action: Array, key: Array) -> Array:
        """`[m]` the least value that `subset` of the critics give; `key []` draws which."""
        if 0 < self.subset < self.ensemble:
            chosen = jax.random.choice(key, self.ensemble, (self.subset,), replace=False)
            params = jax.tree.map(lambda p: p[chosen], params)
        return jnp.min(self.values(params, x, action), axis=0)

    def loss(self, values: Array, target: Array) -> Array:
        """`[]` what a fit descends, the sum over the critics: `values [E, m]` against `target [m]`."""
        error = values - target
        square = jnp.square(error)
        if self.huber:
            rms = jnp.sqrt(mean_over_devices(jnp.mean(jax.lax.stop_gradient(square))))
            knee = self.huber * rms
            # Level and slope are those of the square at the knee.
            square = jnp.where(jnp.abs(error) <= knee, square, knee * (2 * jnp.abs(error) - knee))
        return jnp.sum(jnp.mean(square, axis=-1))

    def follow(self, target: PyTree, params: PyTree) -> PyTree:
        """The slow copies, a step of `tau` nearer to the critics."""
        return jax.tree.map(lambda t, p: t + self.tau * (p - t), target, params)
