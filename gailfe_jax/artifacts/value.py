"""A trained value network: what a policy expects of the reward that it was trained on. Plain NumPy, like `policy`."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from gailfe_jax.artifacts.numpy_mlp import (
    ACTIVATIONS,
    Layers,
    check_layers,
    forward,
    layer_tensors,
    normalise,
    pop_layers,
)
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.safetensors_io import read_metadata, read_tensors, write_tensors

_FORMAT = "gailfe_jax value 1"
FOLDER = "values"
"""Where a run folder keeps them, one file per seed."""


@dataclasses.dataclass(frozen=True, eq=False)
class ValueEstimate:
    """The discounted sum of rewards that is expected from an observation on.

    Attributes:
      layers: `(kernel [i, j], bias [j])` of the network, in units of that sum.
      activation: `tanh` or `relu`.
      obs_mean, obs_std: `[o]` of its inputs.
      metadata: where it comes from, as text.
    """

    layers: Layers
    activation: str
    obs_mean: np.ndarray
    obs_std: np.ndarray
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises GailfeError where its parts do not fit one another."""
        if self.activation not in ACTIVATIONS:
            raise GailfeError(f"activation: got {self.activation!r}; expected one of {', '.join(ACTIVATIONS)}")
        check_layers(self.layers)
        if self.layers[-1][1].shape != (1,):
            raise GailfeError(f"layers: the last one gives {len(self.layers[-1][1])} numbers; expected 1, the value")
        size = len(self.layers[0][0])
        for name, array in (("obs_mean", self.obs_mean), ("obs_std", self.obs_std)):
            if array.shape != (size,):
                raise GailfeError(f"{name}: got shape {list(array.shape)}; expected [{size}], as the network's input")

    def __call__(self, obs: Any) -> np.ndarray:
        """`[...]` float64 at `obs [..., o]`.

        Raises:
          GailfeError: `obs` has another size.
        """
        obs = np.asarray(obs, np.float64)
        if obs.ndim == 0 or obs.shape[-1] != len(self.obs_mean):
            raise GailfeError(f"obs: expected shape [..., {len(self.obs_mean)}], got {list(obs.shape)}")
        x = normalise(obs, self.obs_mean, self.obs_std)
        return forward(self.layers, x, ACTIVATIONS[self.activation])[..., 0]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes a safetensors file, whole or not at all."""
        tensors = layer_tensors(self.layers) | {"obs_mean": self.obs_mean, "obs_std": self.obs_std}
        header = {"activation": self.activation, "metadata": json.dumps(self.metadata, sort_keys=True)}
        return write_tensors(path, _FORMAT, tensors, header)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ValueEstimate:
        """Reads a file that `save` wrote.

        Raises:
          GailfeError: the file is missing, foreign or damaged; the message names it.
        """
        tensors, header = read_tensors(path, _FORMAT)
        try:
            layers = pop_layers(tensors)
            if sorted(tensors) != ["obs_mean", "obs_std"]:
                raise GailfeError("obs_mean, obs_std: expected both beside the layers and nothing else")
            return cls(
                layers=layers,
                activation=header.get("activation", ""),
                obs_mean=tensors["obs_mean"],
                obs_std=tensors["obs_std"],
                metadata=read_metadata(header),
            )
        except GailfeError as error:
            raise GailfeError(f"{path}: not a valid value network ({error})") from None
