"""A policy file's network on the device: an expert that a program may ask for its action at any observation."""

from __future__ import annotations

from typing import Protocol

import jax.numpy as jnp
from flax import struct

from gailfe_jax.artifacts.numpy_mlp import forward
from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.nn.categorical import chosen_row
from gailfe_jax.nn.distributions import most_probable, split_outputs
from gailfe_jax.nn.mlp import ACTIVATIONS
from gailfe_jax.nn.normaliser import normalise
from gailfe_jax.types import Array


class AsksExpert(Protocol):
    """An expert as an argument of a program."""

    def act(self, obs: Array) -> Array:
        """The action `[..., a]` at `obs [..., o]`; a choice as its row."""
        ...


def ask(oracle: AsksExpert, obs: Array) -> Array:
    """The action `[..., a]` at `obs [..., o]`; a choice as its row."""
    return oracle.act(obs)


@struct.dataclass
class Oracle:
    """The deterministic `Policy`, as an argument of a program.

    Attributes:
      weights: `(kernel [i, j], bias [j])` per layer.
      mean, std: `[o]` of the observations.
      low, high: `[a]` bounds of its actions.
      activation: `tanh` or `relu`.
      components: `K` of a mixture, whose most probable component acts; 1 for others.
      discrete: whether its actions are choices, of which the most probable is taken.
      squashed: whether its mean is squashed into the bounds.
    """

    weights: tuple[tuple[Array, Array], ...]
    mean: Array
    std: Array
    low: Array
    high: Array
    activation: str = struct.field(pytree_node=False)
    components: int = struct.field(pytree_node=False)
    discrete: bool = struct.field(pytree_node=False, default=False)
    squashed: bool = struct.field(pytree_node=False, default=False)

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
            discrete=policy.discrete,
            squashed=policy.squashed,
        )

    def act(self, obs: Array) -> Array:
        """The action `[..., a]` at `obs [..., o]`, inside the expert's bounds; a choice as its row."""
        x = forward(self.weights, normalise(obs, self.mean, self.std), ACTIVATIONS[self.activation])
        if self.discrete:
            return chosen_row(x)
        if self.squashed:
            mean, _ = jnp.split(x, 2, axis=-1)
            return 0.5 * (self.low + self.high) + 0.5 * (self.high - self.low) * jnp.tanh(mean)
        if self.components > 1:
            x = most_probable(*split_outputs(x, self.components))
        return jnp.clip(x, self.low, self.high)
