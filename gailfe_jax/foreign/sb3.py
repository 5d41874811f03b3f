"""Stable-Baselines3's saved models: the weights of their multi-layer perceptrons, read without that package.

The zip's `data` is JSON. Beside readable text it holds pickled objects, which are left alone. `policy.pth` is read by
`state_dict`.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from gailfe_jax.artifacts.host_policy import AnyPolicy, HostPolicy
from gailfe_jax.artifacts.numpy_mlp import ACTIVATIONS, forward
from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.errors import GailfeError
from gailfe_jax.foreign.state_dict import LARGEST_FILE, open_archive, read_member, read_state_dict
from gailfe_jax.io.digests import file_sha256
from gailfe_jax.io.json_text import parse_json
from gailfe_jax.io.limited import read_limited
from gailfe_jax.types import EnvSpec

_LARGEST_DATA = 16 * 2**20
_ACTIVATIONS = {"Tanh": "tanh", "ReLU": "relu"}
_SCALE = np.float32(2.0**20)
"""Such a model's observations are not normalised and not clipped: a scale of two's power changes no bit, and puts the
clip at ten million."""
Layers = list[tuple[np.ndarray, np.ndarray]]


def read_sb3(path: pathlib.Path, spec: EnvSpec) -> AnyPolicy:
    """The policy in a Stable-Baselines3 zip.

    PPO and A2C become a `Policy` with their distribution; SAC, TD3, DDPG and DQN act deterministically.

    Args:
      path: the file that `model.save` wrote.
      spec: the environment it is for.

    Raises:
      GailfeError: it is damaged, too large, no multi-layer perceptron, or not for this environment.
    """
    where = str(path)
    content = read_limited(path, LARGEST_FILE, "Stable-Baselines3 zip")
    archive = open_archive(content, where)
    data = _read_data(read_member(archive, "data", _LARGEST_DATA, where), where)
    state = read_state_dict(read_member(archive, "policy.pth", LARGEST_FILE, where), f"{where}: 'policy.pth'")
    _check_spaces(data, spec, where)
    return _Model(state, data, spec, where, file_sha256(path)).policy()


def _read_data(content: bytes, where: str) -> dict[str, Any]:
    try:
        data = parse_json(content, nonfinite=True)
    except GailfeError:
        data = None
    if not isinstance(data, dict):
        raise GailfeError(f"{where}: 'data' is damaged; expected the JSON that Stable-Baselines3 writes")
    return data


def _check_spaces(data: Mapping[str, Any], spec: EnvSpec, where: str) -> None:
    """Holds that the model's spaces, as far as they are readable, are the environment's."""
    for name, kinds in (
        ("observation_space", ("Box",)),
        ("action_space", ("Discrete",) if spec.discrete else ("Box",)),
    ):
        space = data.get(name)
        space = space if isinstance(space, dict) else {}
        text = space.get(":type:")
        match = re.search(r"(\w+)'>$", text) if isinstance(text, str) else None
        if match is None or match[1] not in kinds:
            found = "missing" if match is None else match[1]
            raise GailfeError(f"{where}: {name!r} is {found}; expected {' or '.join(kinds)} for {spec.name}")
        shape = space.get("_shape")
        if match[1] == "Box" and isinstance(shape, list) and len(shape) != 1:
            raise GailfeError(f"{where}: {name!r} has shape {shape}; expected one axis")
        if name == "action_space" and not spec.discrete:
            for side, bounds in (("low", spec.action_low), ("high", spec.action_high)):
                held, task = _vector(space.get(side)), spec.name
                wanted = np.broadcast_to(np.asarray(bounds), (spec.action_size,))
                if held is not None and held.shape == wanted.shape and not np.allclose(held, wanted, 1e-5, 1e-6):
                    raise GailfeError(
                        f"{where}: 'action_space' has {side} {held.tolist()}; expected {wanted.tolist()} for {task}"
                    )


def _vector(text: Any) -> np.ndarray | None:
    """The numbers of `[-1.  0.5]`; None where they are not all there."""
    if not isinstance(text, str) or not re.fullmatch(r"\[[-+\d.einf\s]*\]", text):
        return None
    try:
        return np.array([float(word) for word in text.strip("[]").split()])
    except ValueError:
        return None


class _Model:
    """A model's tensors and settings."""

    def __init__(self, state: dict[str, np.ndarray], data: Mapping[str, Any], spec: EnvSpec, where: str, digest: str):
        self._state, self._spec, self._where, self._digest = state, spec, where, digest
        kwargs = data.get("policy_kwargs")
        self._kwargs = kwargs if isinstance(kwargs, dict) else {}
        if data.get("use_sde") is True:
            raise GailfeError(f"{where}: 'use_sde' is true; expected a model without state-dependent exploration")
        self._used: set[str] = set()

    def policy(self) -> AnyPolicy:
        """What acts as the model does."""
        state = self._state
        if "action_net.weight" in state:
            return self._actor_critic()
        if "actor.mu.weight" in state:
            return self._squashed([*self._sequence("actor.latent_pi"), self._layer("actor.mu")])
        if "actor.mu.0.weight" in state:
            return self._squashed(self._sequence("actor.mu"))
        if "q_net.q_net.0.weight" in state:
            layers, activation = self._checked(self._sequence("q_net.q_net"), "relu")
            self._refuse_rest(("q_net_target.",))
            return self._host(lambda obs: forward(layers, obs, ACTIVATIONS[activation]), discrete=True)
        raise GailfeError(f"{self._where}: holds none of the policies known; expected PPO, A2C, SAC, TD3, DDPG or DQN")

    def _actor_critic(self) -> Policy:
        hidden = self._sequence("mlp_extractor.shared_net") + self._sequence("mlp_extractor.policy_net")
        layers, activation = self._checked([*hidden, self._layer("action_net")], "tanh")
        log_std = self._state.get("log_std")
        self._used.add("log_std")
        self._refuse_rest(("value_net.", "mlp_extractor.value_net."))
        if (log_std is None) != self._spec.discrete:
            kind = "choices" if log_std is None else "continuous"
            raise GailfeError(f"{self._where}: its actions are {kind}; expected another kind for {self._spec.name}")
        size = (self._spec.action_size,)
        if log_std is not None and log_std.shape != size:
            raise GailfeError(f"{self._where}: 'log_std' has shape {list(log_std.shape)}; expected {list(size)}")
        scaled = [(layers[0][0] * _SCALE, layers[0][1]), *layers[1:]]
        mean, std = np.zeros(self._spec.obs_size), np.full(self._spec.obs_size, _SCALE)
        try:
            return Policy(scaled, activation, mean, std, log_std, *self._bounds(), {"algo": "stable-baselines3"})
        except GailfeError as error:
            raise GailfeError(f"{self._where}: not a valid policy ({error})") from None

    def _squashed(self, layers: Layers) -> HostPolicy:
        layers, activation = self._checked(layers, "relu")
        self._refuse_rest(("actor_target.", "critic.", "critic_target.", "actor.log_std."))
        low, high = (bound.astype(np.float64) for bound in self._bounds())

        def act(obs: np.ndarray) -> np.ndarray:
            return low + 0.5 * (np.tanh(forward(layers, obs, ACTIVATIONS[activation])) + 1) * (high - low)

        return self._host(act, discrete=False)

    def _host(self, act: Any, discrete: bool) -> HostPolicy:
        if discrete != self._spec.discrete:
            kind = "choices" if discrete else "continuous"
            raise GailfeError(f"{self._where}: its actions are {kind}; expected another kind for {self._spec.name}")
        metadata = {"algo": "stable-baselines3"}
        return HostPolicy(act, self._spec.obs_size, *self._bounds(), discrete, self._where, self._digest, metadata)

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """`[a]` each."""
        spec = self._spec
        bounds = (np.asarray(bound, np.float32) for bound in (spec.action_low, spec.action_high))
        low, high = (np.broadcast_to(bound, (spec.action_size,)) for bound in bounds)
        return low, high

    def _checked(self, layers: Layers, default: str) -> tuple[Layers, str]:
        """The layers, held to be a network of the environment's sizes, and their activation."""
        size = self._spec.obs_size
        for kernel, bias in layers:
            if kernel.ndim != 2 or kernel.shape[0] != size or bias.shape != kernel.shape[1:]:
                raise GailfeError(
                    f"{self._where}: a layer has weights {list(kernel.shape)} and biases {list(bias.shape)}; expected "
                    f"{size} inputs, as {self._spec.name} or the layer before gives"
                )
            size = kernel.shape[1]
        if size != self._spec.action_size:
            raise GailfeError(
                f"{self._where}: gives {size} numbers; expected {self._spec.action_size} of {self._spec.name}"
            )
        for kernel, bias in layers:
            if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
                raise GailfeError(f"{self._where}: holds weights that are not finite; expected finite numbers")
        extractor = self._kwargs.get("features_extractor_class")
        if extractor is not None and "FlattenExtractor" not in str(extractor):
            raise GailfeError(
                f"{self._where}: features_extractor_class is {str(extractor)[:80]!r}; expected the flat one"
            )
        if self._kwargs.get("squash_output"):
            raise GailfeError(f"{self._where}: 'squash_output' is true; expected false")
        said = self._kwargs.get("activation_fn")
        if said is None:
            return layers, default
        name = str(said).rstrip("'>").rpartition(".")[2]
        if name not in _ACTIVATIONS:
            raise GailfeError(
                f"{self._where}: activation_fn is {str(said)[:80]!r}; expected {' or '.join(_ACTIVATIONS)}"
            )
        return layers, _ACTIVATIONS[name]

    def _layer(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        parts = []
        for end in ("weight", "bias"):
            tensor = self._state.get(f"{name}.{end}")
            if tensor is None or tensor.dtype.kind != "f":
                raise GailfeError(f"{self._where}: tensor '{name}.{end}' is missing; expected one of floats")
            self._used.add(f"{name}.{end}")
            parts.append(tensor.astype(np.float32))
        return parts[0].T, parts[1]

    def _sequence(self, prefix: str) -> Layers:
        """The linear layers of a torch Sequential, in which an activation follows each."""
        pattern = re.compile(re.escape(prefix) + r"\.(\d{1,3})\.weight")
        numbers = sorted(int(match[1]) for name in self._state if (match := pattern.fullmatch(name)))
        if numbers != list(range(0, 2 * len(numbers), 2)):
            raise GailfeError(
                f"{self._where}: {prefix!r} has layers {numbers}; expected linear ones with activations alone"
            )
        return [self._layer(f"{prefix}.{number}") for number in numbers]

    def _refuse_rest(self, others: tuple[str, ...]) -> None:
        """Refuses tensors that would be left out though they take part in the action."""
        for name in self._state:
            if name not in self._used and not name.startswith(others):
                raise GailfeError(f"{self._where}: holds tensor {name[:80]!r}; expected a multi-layer perceptron alone")
