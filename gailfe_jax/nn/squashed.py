"""A Gaussian squashed into the action's bounds by `tanh` (Haarnoja et al. 2018).

Shapes: `a` action size; leading batch dimensions are free.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from gailfe_jax.nn.constants import SQUASHED_LOG_STD
from gailfe_jax.nn.distributions import ActionUnits, Gaussian
from gailfe_jax.nn.mlp import MLP
from gailfe_jax.types import Array

_INSIDE = 1.0 - 1e-6  # Nearer to a bound an action has no finite origin in float32.


class SquashedPolicy(nn.Module):
    """A squashed Gaussian over actions: mean and log standard deviation `[2 a]` by one MLP."""

    hidden: Sequence[int]
    action_size: int
    activation: str = "relu"
    init_log_std: float = 0.0
    units: ActionUnits | None = None

    @nn.compact
    def __call__(self, obs: Array) -> Squashed:
        start = jnp.concatenate([jnp.zeros(self.action_size), jnp.full(self.action_size, self.init_log_std)])
        bias = lambda key, shape, dtype=jnp.float32, out_sharding=None: start.astype(dtype)  # noqa: E731
        out = MLP(self.hidden, 2 * self.action_size, self.activation, 0.01, bias, name="squashed")(obs)
        mean, log_std = jnp.split(out, 2, axis=-1)
        return Squashed(Gaussian(mean, jnp.clip(log_std, *SQUASHED_LOG_STD)), self.units)


@struct.dataclass
class Squashed:
    """`centre + half * tanh(u)` of a diagonal Gaussian `u`.

    Attributes:
      inner: the Gaussian, mean and log standard deviation `[..., a]`.
      units: centre and half distance of the bounds; None for -1 and 1.
    """

    inner: Gaussian
    units: ActionUnits | None = struct.field(pytree_node=False, default=None)

    def _out(self, u: Array) -> Array:
        return jnp.tanh(u) if self.units is None else self.units.mean(jnp.tanh(u))

    def _in(self, action: Array) -> Array:
        action = action if self.units is None else self.units.output(action)
        return jnp.arctanh(jnp.clip(action, -_INSIDE, _INSIDE))

    @property
    def mode(self) -> Array:
        """`[..., a]` the squashed mean, which is the median."""
        return self._out(self.inner.mean)

    def sample(self, key: Array) -> Array:
        """`[..., a]` one draw per batch entry."""
        return self._out(self.inner.sample(key))

    def log_prob(self, action: Array) -> Array:
        """`[...]` log-density of `action [..., a]`; one on a bound is taken for one just inside."""
        u = self._in(action)
        inside = self.unit_log_prob(u)
        return inside if self.units is None else inside - jnp.sum(jnp.log(jnp.asarray(self.units.half)))

    def unit_log_prob(self, u: Array) -> Array:
        """`[...]` log-density of `tanh(u)`, in units of the bounds, where `u [..., a]` is before the squashing."""
        # log(1 - tanh(u)^2), which does not underflow.
        slope = 2.0 * (jnp.log(2.0) - u - jax.nn.softplus(-2.0 * u))
        return self.inner.log_prob(u) - jnp.sum(slope, axis=-1)

    def draw_noise(self, key: Array) -> Array:
        """`[..., a]` standard normal."""
        return self.inner.draw_noise(key)

    def from_noise(self, noise: Array) -> Array:
        """`[..., a]` the actions that `noise [..., a]` stands for."""
        return self._out(self.inner.from_noise(noise))

    def infer_noise(self, action: Array) -> Array:
        """`[..., a]` the noise that made `action [..., a]`."""
        return self.inner.infer_noise(self._in(action))

    def retrace(self, noise: Array) -> Array:
        """As `from_noise`: one noise makes one action."""
        return self.from_noise(noise)

    def kl(self, other: Squashed) -> Array:
        """`[...]` KL(self || other): squashing both alike changes nothing."""
        return self.inner.kl(other.inner)
