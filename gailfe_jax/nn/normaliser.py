"""Running statistics of observations, and the input that networks see: standardised and clipped."""

from __future__ import annotations

import jax.numpy as jnp
from flax import struct

from gailfe_jax.nn.constants import OBS_CLIP
from gailfe_jax.types import Array

_PRIOR_MATTERS = 0.01
"""Share of a feature's variance from which on the start, of mean 0 and variance 1, matters."""


def normalise(x: Array, mean: Array, std: Array) -> Array:
    """`x [..., d]` less `mean [d]`, over `std [d]`, clipped to `OBS_CLIP`."""
    return jnp.clip((x - mean) / std, -OBS_CLIP, OBS_CLIP)


@struct.dataclass
class RunningStats:
    """Mean and variance of everything seen, merged batch by batch (Chan, Golub & LeVeque 1979).

    Attributes:
      mean: `[d]`.
      var: `[d]` population variance.
      count: `[]` samples seen.
    """

    mean: Array
    var: Array
    count: Array

    @staticmethod
    def init(size: int) -> RunningStats:
        """Statistics that normalise by the identity until the first update."""
        return RunningStats(jnp.zeros(size), jnp.ones(size), jnp.float32(1e-4))

    def update(self, batch: Array) -> RunningStats:
        """Merges `batch [..., d]`."""
        batch = batch.reshape(-1, batch.shape[-1])
        n = jnp.float32(batch.shape[0])
        mean, var = jnp.mean(batch, axis=0), jnp.var(batch, axis=0)
        total = self.count + n
        delta = mean - self.mean
        between = jnp.square(delta) * self.count * n / total
        merged = (self.var * self.count + var * n + between) / total
        # What `init` starts from stands for nothing that was seen. Where a feature hardly varies, or its mean lies far
        # from zero beside its spread, it would be taken for spread; elsewhere it is too light to matter.
        unseen = (self.count < 1.0) & (self.var * self.count + between > _PRIOR_MATTERS * var * n)
        merged = jnp.where(unseen, var, merged)
        return RunningStats(self.mean + delta * n / total, merged, total)

    @property
    def std(self) -> Array:
        """`[d]` standard deviation, bounded away from zero."""
        return jnp.sqrt(self.var + 1e-8)

    def normalise(self, x: Array) -> Array:
        """`[..., d]` standardised and clipped to `OBS_CLIP`."""
        return normalise(x, self.mean, self.std)
