"""A policy file's network on the device: an expert that a program may ask for its action at any observation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.nn.networks import OBS_CLIP
from gailfe_jax.types import Array


@struct.dataclass
class Oracle:
    """The deterministic `Policy`, as an argument of a program.

    Attributes:
      weights: `(kernel [i, j], bias [j])` per layer.
      mean, std: `[o]` of the observations.
      low, high: `[a]` bounds of its actions.
      activation: `tanh` or `relu`.
      components: `K` of a mixture, whose most probable component acts; 1 for a Gaussian.
    """

    weights: tuple[tuple[Array, Array], ...]
    mean: Array
    std: Array
    low: Array
    high: Array
    activation: str = struct.field(pytree_node=False)
    components: int = struct.field(pytree_node=False)

    @classmethod
    def of(cls, policy: Policy) -> Oracle:
        """The same network as `policy`; in float32, so its actions agree with `Policy.act` to rounding only."""
        return cls(
            weights=tuple((jnp.asarray(kernel), jnp.asarray(bias)) for kernel, bias in policy.weights),
            mean=jnp.asarray(policy.obs_mean),
            std=jnp.asarray(policy.obs_std),
            low=jnp.asarray(policy.action_low),
            high=jnp.asarray(policy.action_high),
            activation=policy.activation,
            components=policy.components,
        )

    def act(self, obs: Array) -> Array:
        """The action `[..., a]` at `obs [..., o]`, inside the expert's bounds."""
        activation = jnp.tanh if self.activation == "tanh" else jax.nn.relu
        x = jnp.clip((obs - self.mean) / self.std, -OBS_CLIP, OBS_CLIP)
        for kernel, bias in self.weights[:-1]:
            x = activation(x @ kernel + bias)
        x = x @ self.weights[-1][0] + self.weights[-1][1]
        if self.components > 1:
            size = self.low.shape[0]
            means = x[..., : self.components * size].reshape(*x.shape[:-1], self.components, size)
            choice = jnp.argmax(x[..., self.components * size :], axis=-1)
            x = jnp.take_along_axis(means, choice[..., None, None], axis=-2)[..., 0, :]
        return jnp.clip(x, self.low, self.high)
