"""A distribution over choices, and the network whose output it is.

Shapes: `o` observation size, `a` choices; leading batch dimensions are free. An action is a row `[a]` with 1 at the
choice and 0 elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from gailfe_jax.nn.distributions import CHOICE_TEMPERATURE
from gailfe_jax.nn.mlp import MLP
from gailfe_jax.types import Array


class CategoricalPolicy(nn.Module):
    """A choice among `action_size`: the logits by an MLP. All choices are about equally likely at first."""

    hidden: Sequence[int]
    action_size: int
    activation: str = "tanh"

    @nn.compact
    def __call__(self, obs: Array) -> Categorical:
        return Categorical(MLP(self.hidden, self.action_size, self.activation, out_scale=0.01, name="logits")(obs))


def chosen_row(logits: Array) -> Array:
    """`[..., a]` the row of the highest of `logits [..., a]`; of equal ones, the first."""
    return jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1], dtype=logits.dtype)


@struct.dataclass
class InferredChoice:
    """What a categorical distribution drew.

    Attributes:
      action: `[..., a]` the row.
      weight: `[..., a]` the distribution's weights then.
    """

    action: Array
    weight: Array


@struct.dataclass
class Categorical:
    """A distribution over choices (see `gailfe_jax.nn.distributions.Distribution`).

    Attributes:
      logits: `[..., a]` of the weights.
    """

    logits: Array

    @property
    def log_weights(self) -> Array:
        """`[..., a]`."""
        return jax.nn.log_softmax(self.logits)

    @property
    def weights(self) -> Array:
        """`[..., a]`."""
        return jax.nn.softmax(self.logits)

    @property
    def mode(self) -> Array:
        """`[..., a]` the row of the most probable choice."""
        return chosen_row(self.logits)

    def sample(self, key: Array) -> Array:
        """`[..., a]` one drawn row per batch entry."""
        return self.from_noise(self.draw_noise(key))

    def log_prob(self, action: Array) -> Array:
        """`[...]` log-probability of the row `action [..., a]`."""
        return jnp.sum(action * self.log_weights, axis=-1)

    def entropy(self) -> Array:
        """`[]` nats, a mean over the batch."""
        return -jnp.mean(jnp.sum(self.weights * self.log_weights, axis=-1))

    def kl(self, other: Categorical) -> Array:
        """`[...]` KL(self || other)."""
        return jnp.sum(self.weights * (self.log_weights - other.log_weights), axis=-1)

    def fisher(self, tangent: Categorical) -> Categorical:
        """The Hessian of the batch's mean `kl` at the distribution itself, times `tangent`: `(diag(w) - w w^T) / n`."""
        w = self.weights
        n = w[..., 0].size
        return Categorical(w * (tangent.logits - jnp.sum(w * tangent.logits, axis=-1, keepdims=True)) / n)

    def draw_noise(self, key: Array) -> Array:
        """`[..., a]` standard Gumbel."""
        return jax.random.gumbel(key, self.logits.shape)

    def from_noise(self, noise: Array) -> Array:
        """`[..., a]` the rows that `noise [..., a]` stands for.

        Values are draws. The derivative is the straight-through Gumbel-softmax estimator (Jang, Gu & Poole 2016) at
        `CHOICE_TEMPERATURE`: the choice is differentiated as if it were a softmax's. It is biased, for it knows what
        the score does beside the drawn row by the score's slope there only.
        """
        perturbed = self.logits + noise
        soft = jax.nn.softmax(perturbed / CHOICE_TEMPERATURE)
        # Their difference first: it is zero to the bit, and the row stays one.
        return chosen_row(perturbed) + (soft - jax.lax.stop_gradient(soft))

    def infer_noise(self, action: Array) -> InferredChoice:
        """What was drawn where the row was `action [..., a]`."""
        return InferredChoice(action, self.weights)

    def retrace(self, noise: InferredChoice) -> Array:
        """`[..., a]` the rows that were drawn, moved as the weights have since: the straight-through estimator
        (Bengio, Leonard & Courville 2013), `action + w - w then`.

        Under another distribution it is a relaxed choice, between the rows. Its derivative is exact in expectation for
        scores that are linear in the row, and biased for others.
        """
        return noise.action + (self.weights - noise.weight)
