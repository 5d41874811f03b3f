"""The trained discriminator as a measure of confidence: how much like the expert's is what the policy does here?

Plain NumPy, like `gailfe_jax.artifacts.policy`: no environment, no compilation, no device.
Source: Baram et al. 2016, section 5.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Mapping
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
from gailfe_jax.io.json_text import parse_json
from gailfe_jax.io.safetensors_io import read_metadata, read_tensors, write_tensors

_FORMAT, _FORMAT_OF_INPUTS = "gailfe_jax discriminator 1", "gailfe_jax discriminator 2"
"""The second says what is judged, where that is another thing than pairs of all that is observed and done."""
INPUTS = ("state-action", "states", "transitions")
"""What may be judged: `[obs, action]`, `[obs]`, or `[obs, next_obs - obs]`."""
FOLDER = "discriminators"
"""Where a run folder keeps them, one file per seed."""


@dataclasses.dataclass(frozen=True, eq=False)
class Confidence:
    """A trained discriminator that says how likely a pair is the expert's rather than the policy's.

    Attributes:
      layers: `(kernel [i, j], bias [j])` of the logit network of `D = P(policy)`.
      activation: `tanh` or `relu`.
      mean, std: `[k]` of its inputs, `[o + a]` for pairs of all that is observed and done.
      obs_size: `o`.
      slope, offset: Platt's scaling of the logit, found by `gailfe confidence`; 1 and 0 before.
      calibrated: whether they have been.
      metadata: where it comes from, as text.
      inputs: one of `INPUTS`.
      features: which numbers of an observation it sees; None for all of them.
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
    inputs: str = "state-action"
    features: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Raises GailfeError where its parts do not fit one another."""
        if self.inputs not in INPUTS:
            raise GailfeError(f"inputs: got {self.inputs!r}; expected one of {', '.join(INPUTS)}")
        if self.activation not in ACTIVATIONS:
            raise GailfeError(f"activation: got {self.activation!r}; expected one of {', '.join(ACTIVATIONS)}")
        check_layers(self.layers)
        if self.layers[-1][1].shape != (1,):
            raise GailfeError(f"layers: the last one gives {len(self.layers[-1][1])} numbers; expected 1, the logit")
        judged = len(self.layers[0][0])
        for name, array in (("mean", self.mean), ("std", self.std)):
            if array.shape != (judged,):
                raise GailfeError(f"{name}: got shape {list(array.shape)}; expected [{judged}], as the network's input")
        rest = judged - self._seen_size
        wanted = {"state-action": rest > 0, "states": rest == 0, "transitions": rest == self._seen_size}
        fits = self._seen_size > 0 and all(0 <= index < self.obs_size for index in self.features or ())
        if not fits or not wanted[self.inputs]:
            raise GailfeError(f"inputs: {judged} numbers do not fit {self.inputs} of {self._seen_size} observed")
        if (said := self.metadata.get("reward_inputs", self.inputs)) != self.inputs:
            raise GailfeError(f"inputs: got {self.inputs}; expected {said}, as the metadata say")

    @property
    def _seen_size(self) -> int:
        return self.obs_size if self.features is None else len(self.features)

    @property
    def action_size(self) -> int:
        """`a`; 0 where actions are not judged."""
        return len(self.mean) - self._seen_size if self.inputs == "state-action" else 0

    def logit(self, obs: Any, action: Any = None, next_obs: Any = None) -> np.ndarray:
        """`[...]` the discriminator's own logit, positive where it takes the pair for the policy's.

        Args:
          obs: `[..., o]`.
          action: `[..., a]` inside its bounds; only read where `inputs` is `state-action`.
          next_obs: `[..., o]` where it led; only read where `inputs` is `transitions`.

        Raises:
          GailfeError: something is missing, other sizes, or what is not finite.
        """
        seen = slice(None) if self.features is None else list(self.features)
        parts = self._parts({"obs": obs, "action": action, "next_obs": next_obs})
        rows = [parts["obs"][..., seen]]
        if self.inputs == "state-action":
            rows.append(parts["action"])
        elif self.inputs == "transitions":
            rows.append((parts["next_obs"] - parts["obs"])[..., seen])
        x = normalise(np.concatenate(rows, axis=-1), self.mean, self.std)
        return forward(self.layers, x, ACTIVATIONS[self.activation])[..., 0]

    def _parts(self, given: dict[str, Any]) -> dict[str, np.ndarray]:
        """Those of `given` that are judged, checked, in float64."""
        sizes = {"obs": self.obs_size}
        sizes |= {"state-action": {"action": self.action_size}, "transitions": {"next_obs": self.obs_size}}.get(
            self.inputs, {}
        )
        parts: dict[str, np.ndarray] = {}
        for name, size in sizes.items():
            if given[name] is None:
                raise GailfeError(f"{name}: missing; this discriminator judges {self.inputs}")
            array = np.asarray(given[name])
            if array.dtype.kind not in "fiub":
                raise GailfeError(f"{name}: expected real numbers, got {array.dtype}")
            if array.ndim == 0 or array.shape[-1] != size:
                raise GailfeError(f"{name}: expected shape [..., {size}], got {list(array.shape)}")
            if not np.isfinite(array).all():
                raise GailfeError(f"{name}: expected finite numbers, got nan or infinity")
            parts[name] = array.astype(np.float64)
            if array.shape[:-1] != parts["obs"].shape[:-1]:
                raise GailfeError(
                    f"{name}: expected as many as obs {list(parts['obs'].shape[:-1])}, got {list(array.shape)}"
                )
        return parts

    def __call__(self, obs: Any, action: Any = None, next_obs: Any = None) -> np.ndarray:
        """`[...]` probability that the pair is the expert's, where both are equally likely before; as in `logit`."""
        return sigmoid(-(self.slope * self.logit(obs, action, next_obs) + self.offset))

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
        if self.inputs == "state-action" and self.features is None:
            return write_tensors(path, _FORMAT, tensors, header)
        header |= {"inputs": self.inputs, "features": json.dumps(self.features)}
        return write_tensors(path, _FORMAT_OF_INPUTS, tensors, header)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Confidence:
        """Reads a file that `save` wrote.

        Raises:
          GailfeError: the file is missing, foreign or damaged; the message names it.
        """
        tensors, header = read_tensors(path, _FORMAT, _FORMAT_OF_INPUTS)
        try:
            features = parse_json(header.get("features", "null"))
            layers = pop_layers(tensors)
            if sorted(tensors) != ["mean", "std"] or not (tensors["std"] > 0).all():
                raise GailfeError("mean, std: expected both beside the layers and nothing else, and a positive std")
            return cls(
                layers=layers,
                activation=header["activation"],
                mean=tensors["mean"],
                std=tensors["std"],
                obs_size=_number(header, "obs_size", int),
                slope=_number(header, "slope", float),
                offset=_number(header, "offset", float),
                calibrated={"0": False, "1": True}[header["calibrated"]],
                metadata=read_metadata(header),
                inputs=header.get("inputs", "state-action"),
                features=None if features is None else _features(features),
            )
        except KeyError as error:
            raise GailfeError(f"{path}: not a valid discriminator (its header has no such {error})") from None
        except GailfeError as error:
            raise GailfeError(f"{path}: not a valid discriminator ({error})") from None


def _number(header: Mapping[str, str], name: str, kind: type) -> Any:
    """A number in a header, which is text; GailfeError where it is none, or not finite."""
    text = header[name]
    try:
        # Digits of other scripts, spaces and underscores are Python's, not ours.
        number = kind(text) if re.fullmatch(r"[-+.0-9a-z]{1,40}", text) else None
    except ValueError:
        number = None
    if number is None or not math.isfinite(number):
        raise GailfeError(f"{name}: got {text[:40]!r}; expected a finite number")
    return number


def _features(given: Any) -> tuple[int, ...]:
    """Columns of an observation as a file holds them."""
    if (
        not isinstance(given, list)
        or not given
        or any(type(x) is not int for x in given)
        or len(set(given)) < len(given)
    ):
        raise GailfeError("features: expected a list of different whole numbers, or null")
    return tuple(given)


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


def confidence(
    policy_run: str | os.PathLike[str], obs: Any, action: Any = None, next_obs: Any = None, *, seed_index: int = 0
) -> np.ndarray:
    """How much like the expert's a run's discriminator finds `action` at `obs`.

    In a control loop load it once: `Confidence.load("runs/x/discriminators/seed_0.safetensors")`.

    Args:
      policy_run: run folder of an imitation method; calibrate it first with `gailfe confidence`.
      obs: `[..., o]`.
      action: `[..., a]`; only read by a discriminator of state-action pairs.
      next_obs: `[..., o]` where the action led; only read by one of transitions.
      seed_index: which of the run's seeds.

    Returns:
      `[...]` in [0, 1]: the probability that the pair is the expert's.

    Raises:
      GailfeError: no such run or seed, a damaged file, or inputs of other sizes.
    """
    files = confidence_files(policy_run)
    if not 0 <= seed_index < len(files):
        raise GailfeError(f"seed_index: got {seed_index}; expected 0 to {len(files) - 1}")
    return Confidence.load(files[seed_index])(obs, action, next_obs)
