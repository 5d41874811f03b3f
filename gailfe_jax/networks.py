"""Networks, the Gaussian policy head and running statistics.

Shapes: `o`, `a` observation and action sizes; leading batch dimensions are free.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from gailfe_jax.types import Array, GailfeError

OBS_CLIP = 10.0
"""Normalised inputs are clipped to this many standard deviations."""

_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"tanh": jnp.tanh, "relu": jax.nn.relu}


class MLP(nn.Module):
    """A plain multi-layer perceptron: orthogonal weights, zero biases, linear output.

    Attributes:
      hidden: sizes of the hidden layers.
      out: output size.
      activation: `tanh` or `relu`.
      out_scale: gain of the output layer's orthogonal weights.
    """

    hidden: Sequence[int]
    out: int
    activation: str = "tanh"
    out_scale: float = 1.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if self.activation not in _ACTIVATIONS:
            raise GailfeError(f"activation: {self.activation!r}; expected one of {', '.join(_ACTIVATIONS)}")
        activation = _ACTIVATIONS[self.activation]
        for size in self.hidden:
            x = activation(nn.Dense(size, kernel_init=nn.initializers.orthogonal(jnp.sqrt(2.0)))(x))
        return nn.Dense(self.out, kernel_init=nn.initializers.orthogonal(self.out_scale))(x)


class GatedForward(nn.Module):
    """A forward model in which the action gates the state, as in a recurrent cell.

    The state is embedded; one gate, computed from state and action, mixes that embedding with a candidate computed
    from both, which a last hidden layer turns into the output.

    Attributes:
      obs_size: how many of the inputs are the observation; the rest are the action.
      hidden: sizes of the embedding and of the layer above it; further sizes add layers.
      out: output size.
    """

    obs_size: int
    hidden: Sequence[int]
    out: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        size = self.hidden[0]
        state = nn.relu(nn.Dense(size, name="state")(x[..., : self.obs_size]))
        both = jnp.concatenate([state, x[..., self.obs_size :]], axis=-1)
        gate = nn.sigmoid(nn.Dense(size, name="gate")(both))
        candidate = jnp.tanh(nn.Dense(size, name="candidate")(both))
        mixed = gate * state + (1 - gate) * candidate
        return MLP(self.hidden[1:], self.out, "relu", name="head")(mixed)


class GaussianPolicy(nn.Module):
    """A diagonal Gaussian over actions: mean by an MLP, one learned log standard deviation per action dimension."""

    hidden: Sequence[int]
    action_size: int
    activation: str = "tanh"
    init_log_std: float = 0.0

    @nn.compact
    def __call__(self, obs: Array) -> Gaussian:
        mean = MLP(self.hidden, self.action_size, self.activation, out_scale=0.01, name="mean")(obs)
        log_std = self.param("log_std", nn.initializers.constant(self.init_log_std), (self.action_size,))
        return Gaussian(mean, log_std)


@struct.dataclass
class Gaussian:
    """A diagonal Gaussian.

    Attributes:
      mean: `[..., a]`.
      log_std: `[a]`.
    """

    mean: Array
    log_std: Array

    def sample(self, key: Array) -> Array:
        """`[..., a]` one draw per batch entry."""
        return self.mean + jnp.exp(self.log_std) * jax.random.normal(key, self.mean.shape)

    def log_prob(self, action: Array) -> Array:
        """`[...]` log-density of `action [..., a]`."""
        z = (action - self.mean) * jnp.exp(-self.log_std)
        return -0.5 * jnp.sum(jnp.square(z) + jnp.log(2 * jnp.pi), axis=-1) - jnp.sum(self.log_std)

    def entropy(self) -> Array:
        """`[]` differential entropy in nats; the same for every observation."""
        return jnp.sum(self.log_std + 0.5 * jnp.log(2 * jnp.pi * jnp.e))

    def kl(self, other: Gaussian) -> Array:
        """`[...]` KL(self || other)."""
        ratio = jnp.exp(2 * (self.log_std - other.log_std))
        shift = jnp.square((self.mean - other.mean) * jnp.exp(-other.log_std))
        return 0.5 * jnp.sum(ratio + shift - 1.0 - 2 * (self.log_std - other.log_std), axis=-1)


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
        merged = (self.var * self.count + var * n + jnp.square(delta) * self.count * n / total) / total
        return RunningStats(self.mean + delta * n / total, merged, total)

    @property
    def std(self) -> Array:
        """`[d]` standard deviation, bounded away from zero."""
        return jnp.sqrt(self.var + 1e-8)

    def normalise(self, x: Array) -> Array:
        """`[..., d]` standardised and clipped to `OBS_CLIP`."""
        return jnp.clip((x - self.mean) / self.std, -OBS_CLIP, OBS_CLIP)
