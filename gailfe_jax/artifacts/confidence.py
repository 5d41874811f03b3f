"""The trained discriminator as a measure of confidence: how much like the expert's is what the policy does here?

Plain NumPy, like `gailfe_jax.artifacts.policy`: no environment, no compilation, no device.
Source: Baram et al. 2016, section 5.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from gailfe_jax.artifacts.numpy_mlp import ACTIVATIONS, Layers, forward, layer_tensors, normalise, pop_layers
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.safetensors_io import read_tensors, write_tensors

_FORMAT = "gailfe_jax discriminator 1"
FOLDER = "discriminators"
"""Where a run folder keeps them, one file per seed."""


@dataclasses.dataclass(frozen=True, eq=False)
class Confidence:
    """A trained discriminator that says how likely a pair is the expert's rather than the policy's.

    Attributes:
      layers: `(kernel [i, j], bias [j])` of the logit network of `D = P(policy)`.
      activation: `tanh` or `relu`.
      mean, std: `[o + a]` of its inputs.
      obs_size: `o`.
      slope, offset: Platt's scaling of the logit, found by `gailfe confidence`; 1 and 0 before.
      calibrated: whether they have been.
      metadata: where it comes from, as text.
    """

    layers: Layers
    activation: str
    mean: np.ndarray
    std: np.ndarray
    obs_size: int
    slope: float = 1.0
    offset: float = 0.0
    calibrated: bool = False
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def action_size(self) -> int:
        """`a`."""
        return len(self.mean) - self.obs_size

    def logit(self, obs: Any, action: Any) -> np.ndarray:
        """`[...]` the discriminator's own logit, positive where it takes the pair for the policy's.

        Args:
          obs: `[..., o]`.
          action: `[..., a]` inside its bounds.

        Raises:
          GailfeError: other sizes, or what is not finite.
        """
        parts = []
        for name, value, size in (("obs", obs, self.obs_size), ("action", action, self.action_size)):
            array = np.asarray(value)
            if array.dtype.kind not in "fiub":
                raise GailfeError(f"{name}: expected real numbers, got {array.dtype}")
            if array.ndim == 0 or array.shape[-1] != size:
                raise GailfeError(f"{name}: expected shape [..., {size}], got {list(array.shape)}")
            if not np.isfinite(array).all():
                raise GailfeError(f"{name}: expected finite numbers, got nan or infinity")
            parts.append(array.astype(np.float64))
        if parts[0].shape[:-1] != parts[1].shape[:-1]:
            raise GailfeError(
                f"action: expected as many as obs {list(parts[0].shape[:-1])}, got {list(parts[1].shape)}"
            )
        x = normalise(np.concatenate(parts, axis=-1), self.mean, self.std)
        return forward(self.layers, x, ACTIVATIONS[self.activation])[..., 0]

    def __call__(self, obs: Any, action: Any) -> np.ndarray:
        """`[...]` probability that the pair is the expert's, where both are equally likely before; as in `logit`."""
        return sigmoid(-(self.slope * self.logit(obs, action) + self.offset))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes a safetensors file, whole or not at all."""
        tensors = layer_tensors(self.layers) | {"mean": self.mean, "std": self.std}
        header = {
            "activation": self.activation,
            "obs_size": str(self.obs_size),
            "slope": repr(float(self.slope)),
            "offset": repr(float(self.offset)),
            "calibrated": str(int(self.calibrated)),
            "metadata": json.dumps(self.metadata, sort_keys=True),
        }
        return write_tensors(path, _FORMAT, tensors, header)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Confidence:
        """Reads a file that `save` wrote.

        Raises:
          GailfeError: the file is missing, foreign or damaged; the message names it.
        """
        tensors, header = read_tensors(path, _FORMAT)
        try:
            return cls(
                layers=pop_layers(tensors),
                activation={name: name for name in ACTIVATIONS}[header["activation"]],
                mean=tensors["mean"],
                std=tensors["std"],
                obs_size=int(header["obs_size"]),
                slope=float(header["slope"]),
                offset=float(header["offset"]),
                calibrated=header["calibrated"] == "1",
                metadata=json.loads(header["metadata"]),
            )
        except (KeyError, ValueError) as error:
            raise GailfeError(f"{path}: not a valid discriminator ({error})") from None


def sigmoid(x: np.ndarray) -> np.ndarray:
    """`1 / (1 + exp(-x))` without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(x, np.float64)))


def confidence_files(run: str | os.PathLike[str]) -> list[Path]:
    """The discriminator files of a run folder, in order of their seeds.

    Raises:
      GailfeError: there are none.
    """
    folder = Path(run) / FOLDER
    numbered = [path for path in folder.glob("seed_*.safetensors") if path.stem.removeprefix("seed_").isdecimal()]
    if not numbered:
        raise GailfeError(f"{folder}: no discriminators; expected the folder of an imitation run that ended")
    return sorted(numbered, key=lambda path: int(path.stem.removeprefix("seed_")))


def confidence(policy_run: str | os.PathLike[str], obs: Any, action: Any, *, seed_index: int = 0) -> np.ndarray:
    """How much like the expert's a run's discriminator finds `action` at `obs`.

    In a control loop load it once: `Confidence.load("runs/x/discriminators/seed_0.safetensors")`.

    Args:
      policy_run: run folder of an imitation method; calibrate it first with `gailfe confidence`.
      obs: `[..., o]`.
      action: `[..., a]`.
      seed_index: which of the run's seeds.

    Returns:
      `[...]` in [0, 1]: the probability that the pair is the expert's.

    Raises:
      GailfeError: no such run or seed, a damaged file, or inputs of other sizes.
    """
    files = confidence_files(policy_run)
    if not 0 <= seed_index < len(files):
        raise GailfeError(f"seed_index: got {seed_index}; expected 0 to {len(files) - 1}")
    return Confidence.load(files[seed_index])(obs, action)
