"""Networks: a plain multi-layer perceptron, and one in which the action gates the state.

Leading batch dimensions are free.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Array

ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {"tanh": jnp.tanh, "relu": jax.nn.relu}
"""Activations of hidden layers."""


def orthogonal(scale: float) -> nn.initializers.Initializer:
    """Flax's orthogonal weights (Saxe et al. 2014), one matrix after the other under `jax.vmap`.

    JAX before 0.11.2 has the threads of XLA share a batch of QR factorisations while each that asked waits. Where as
    many ask as there are threads, all of them wait for ever.
    """
    of_one = nn.initializers.orthogonal(scale)

    def init(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        return jax.custom_batching.sequential_vmap(lambda key: of_one(key, shape, dtype))(key)

    return init


class MLP(nn.Module):
    """A plain multi-layer perceptron: orthogonal weights, biases that start at zero, linear output.

    Attributes:
      hidden: sizes of the hidden layers.
      out: output size.
      activation: `tanh` or `relu`.
      out_scale: gain of the output layer's orthogonal weights.
      out_bias: how the output layer's biases start.
      layer_norm: whether each hidden layer is standardised over its units before its activation (Ba et al. 2016).
    """

    hidden: Sequence[int]
    out: int
    activation: str = "tanh"
    out_scale: float = 1.0
    out_bias: nn.initializers.Initializer = nn.initializers.zeros_init()
    layer_norm: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if self.activation not in ACTIVATIONS:
            raise GailfeError(f"activation: {self.activation!r}; expected one of {', '.join(ACTIVATIONS)}")
        activation = ACTIVATIONS[self.activation]
        for size in self.hidden:
            x = nn.Dense(size, kernel_init=orthogonal(math.sqrt(2.0)))(x)
            x = activation(nn.LayerNorm()(x) if self.layer_norm else x)
        kernel = orthogonal(self.out_scale)
        return nn.Dense(self.out, kernel_init=kernel, bias_init=self.out_bias)(x)


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
