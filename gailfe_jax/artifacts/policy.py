"""Trained policies as small files that act in plain NumPy: no environment, no compilation, no device, not even JAX.

Shapes: `o`, `a` observation and action sizes, `K` components of a mixture, `S` policies, `n` observations each;
leading batch dimensions are free.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
import math
import os
import re
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gailfe_jax.artifacts.numpy_mlp import ACTIVATIONS, forward, layer_tensors, normalise, pop_layers
from gailfe_jax.errors import GailfeError, GailfeWarning
from gailfe_jax.io.env_names import means
from gailfe_jax.io.safetensors_io import read_metadata, read_tensors, write_tensors
from gailfe_jax.nn.constants import SQUASHED_LOG_STD

if TYPE_CHECKING:
    from gailfe_jax.artifacts.host_policy import HostPolicy

    # Its module imports JAX; a policy acts without.
    from gailfe_jax.types import EnvSpec

_FORMAT = "gailfe_jax policy 1"
_CHOICES, _SQUASHED = "choices", "squashed"
"""What a file's header says of actions that are choices, or squashed into their bounds; else it says nothing."""

_ROWS = 16
"""Rows of every matrix product. BLAS rounds differently for different shapes, and a simulator turns one last bit into
another trajectory; with one fixed shape an observation's action does not depend on what else is in the batch."""

_normal_cdf = np.vectorize(lambda z: 0.5 * math.erfc(-z / math.sqrt(2)), otypes=[np.float64])


@dataclasses.dataclass(frozen=True, eq=False)
class Policy:
    """An MLP policy on normalised observations: a diagonal Gaussian, plain or squashed, a mixture of them, or a choice.

    A Gaussian's mean is the network's output `[a]`. A mixture's output is `[K * a + K]`: the means, component by
    component, and then the logits of the weights. A choice among `a` has their logits `[a]` for its output. `log_std`
    and `squashed` tell which of the four a policy is. A squashed Gaussian's output is `[2 a]`, the mean and the log
    standard deviation before the squashing; its action is `centre + half * tanh(...)`, by the middle and half the width
    of the bounds, which are finite.

    The network is `x = clip((obs - obs_mean) / obs_std, -10, 10)`, then `x = activation(x @ kernel + bias)` for every
    layer but the last, which is linear. Arrays are kept as float32 and read-only.

    Attributes:
      weights: `(kernel [i, j], bias [j])` per layer.
      activation: `tanh` or `relu`.
      obs_mean, obs_std: `[o]`.
      log_std: `[a]` of a Gaussian, `[K, a]` of a mixture, None of a choice or a squashed Gaussian.
      action_low, action_high: `[a]` bounds that actions are clipped to; a single number is one bound for all. Those of
        a choice are 0 and 1, of its row.
      metadata: where the policy comes from (env, algo, seed, steps, return, command, versions, ...), as text.
      squashed: whether it is a squashed Gaussian.
    """

    weights: Sequence[tuple[np.ndarray, np.ndarray]]
    activation: str
    obs_mean: np.ndarray
    obs_std: np.ndarray
    log_std: np.ndarray | None
    action_low: np.ndarray
    action_high: np.ndarray
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    squashed: bool = False

    def __post_init__(self):
        """Raises GailfeError where a field has another shape than its neighbours imply, or holds no finite numbers."""
        if self.activation not in ACTIVATIONS:
            raise GailfeError(f"activation: expected one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")
        if not self.weights:
            raise GailfeError("weights: expected at least one layer, got none")
        layers = []
        for index, (kernel, bias) in enumerate(self.weights):
            kernel = _array(f"weights[{index}] kernel", kernel, ndim=2)
            if layers and kernel.shape[0] != layers[-1][0].shape[1]:
                raise GailfeError(
                    f"weights[{index}] kernel: expected {layers[-1][0].shape[1]} rows, got {kernel.shape[0]}"
                )
            layers.append((kernel, _array(f"weights[{index}] bias", bias, shape=kernel.shape[1:])))
        obs_shape = layers[0][0].shape[:1]
        fields: dict[str, Any] = {"weights": tuple(layers)}
        for name in ("obs_mean", "obs_std"):
            fields[name] = _array(name, getattr(self, name), shape=obs_shape)
        outputs = layers[-1][0].shape[1]
        log_std = None if self.log_std is None else _log_std(self.log_std, outputs)
        fields["log_std"] = log_std
        if self.squashed and (log_std is not None or outputs % 2):
            raise GailfeError(f"log_std: expected none, and outputs for mean and log_std, squashed; got {outputs}")
        action_shape = (outputs // (1 + self.squashed),) if log_std is None else log_std.shape[-1:]
        for name in ("action_low", "action_high"):
            bound = np.asarray(getattr(self, name), np.float32)
            bound = np.broadcast_to(bound, action_shape) if bound.ndim == 0 else bound
            fields[name] = _array(name, bound, shape=action_shape, finite=False)
        if not (fields["obs_std"] > 0).all():
            raise GailfeError("obs_std: expected positive numbers")
        if not (fields["action_low"] <= fields["action_high"]).all():
            raise GailfeError("action_low: expected bounds at most action_high")
        if self.squashed and not (np.isfinite(fields["action_low"]) & np.isfinite(fields["action_high"])).all():
            raise GailfeError("action_low, action_high: expected finite bounds for a policy that is squashed into them")
        if self.discrete and (fields["action_low"].any() or not (fields["action_high"] == 1).all()):
            raise GailfeError("action_low, action_high: expected 0 and 1 for a policy that chooses")
        fields["metadata"] = {str(name): str(value) for name, value in self.metadata.items()}
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def obs_size(self) -> int:
        """`o`."""
        return self.obs_mean.shape[0]

    @property
    def action_size(self) -> int:
        """`a`, the size of an action or the number of choices."""
        return self.action_low.shape[0]

    @property
    def discrete(self) -> bool:
        """Whether its actions are choices."""
        return self.log_std is None and not self.squashed

    @property
    def deterministic_layers(self) -> Sequence[tuple[np.ndarray, np.ndarray]]:
        """The layers behind the deterministic action: a squashed Gaussian's without its standard deviations."""
        if not self.squashed:
            return self.weights
        kernel, bias = self.weights[-1]
        return (*self.weights[:-1], (kernel[:, : self.action_size], bias[: self.action_size]))

    @property
    def components(self) -> int:
        """`K`; 1 for a Gaussian and for a choice."""
        return self.log_std.shape[0] if self.log_std is not None and self.log_std.ndim == 2 else 1

    @property
    def noise_size(self) -> int:
        """Standard normal draws behind one stochastic action: `a`, and for a mixture one more; 1 for a choice."""
        if self.discrete:
            return 1
        return self.action_size + (self.log_std is not None and self.log_std.ndim == 2)

    def act(self, obs: Any, *, deterministic: bool = True, rng: np.random.Generator | None = None) -> np.ndarray:
        """The action for each observation, clipped to the bounds.

        An observation's deterministic action is the same to the bit whatever batch it is in.

        Args:
          obs: `[..., o]`, any real dtype; rounded to float32, as in training.
          deterministic: the mean, of a mixture the most probable component's, or the most probable choice; otherwise
            a draw.
          rng: source of the draws, needed when not deterministic.

        Returns:
          `[..., a]` float32; of a policy that chooses the numbers of its choices, `[...]` int64, as Gymnasium's
          discrete environments take them (see `act_rows`).

        Raises:
          GailfeError: `obs` has another size or is not finite, or `rng` is missing.
        """
        obs = np.asarray(obs)
        if obs.ndim == 0 or obs.shape[-1] != self.obs_size:
            raise GailfeError(f"obs: expected shape [..., {self.obs_size}], got {list(obs.shape)}")
        noise = None
        if not deterministic:
            if rng is None:
                raise GailfeError("rng: expected a numpy.random.Generator for stochastic actions, got None")
            noise = rng.standard_normal((1, obs.size // self.obs_size, self.noise_size))
        action = PolicyBatch([self]).act(obs.reshape(1, -1, self.obs_size), noise=noise)
        return action.reshape(obs.shape[:-1] + action.shape[2:])

    def act_rows(self, obs: Any, *, deterministic: bool = True, rng: np.random.Generator | None = None) -> np.ndarray:
        """As `act`, in the form in which this package's environments and demonstrations hold actions: `[..., a]`
        float32, a choice as a row with 1 there and 0 elsewhere."""
        action = self.act(obs, deterministic=deterministic, rng=rng)
        return np.eye(self.action_size, dtype=np.float32)[action] if self.discrete else action

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
        *,
        rng: np.random.Generator | None = None,
    ) -> tuple[np.ndarray, Any]:
        """As `act`, called as Stable-Baselines3's `predict` is, for code that was written for its models.

        There, an action is a draw unless `deterministic=True` is given; here it is deterministic unless False is.

        Args:
          observation: `[..., o]`, one or a batch.
          state, episode_start: of recurrent policies; handed through and ignored, as a policy here has no memory.
          deterministic: see `act`.
          rng: source of the draws; one seeded by the operating system if None.

        Returns:
          `(action, state)`, the action as `act` gives it.

        Raises:
          GailfeError: see `act`.
        """
        del episode_start
        if not deterministic and rng is None:
            rng = np.random.default_rng()
        return self.act(observation, deterministic=deterministic, rng=rng), state

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a safetensors file (about 50 KB for 2 x 100 units), whole or not at all; folders are made.

        The same policy gives the same bytes.

        Raises:
          OSError: the file cannot be written.
        """
        header = {"activation": self.activation, "metadata": json.dumps(self.metadata, sort_keys=True)}
        if self.discrete or self.squashed:
            header["actions"] = _CHOICES if self.discrete else _SQUASHED
        return write_tensors(path, _FORMAT, self._tensors(), header)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Policy:
        """Read a file that `save` wrote.

        Raises:
          GailfeError: the file is missing, foreign or damaged; the message names it.
        """
        tensors, header = read_tensors(path, _FORMAT)
        try:
            weights = pop_layers(tensors, unbounded=("action_low", "action_high"))
            fields: dict[str, Any] = {"metadata": read_metadata(header)}
            if header.get("actions") in (_CHOICES, _SQUASHED):
                # Given twice where the file has one, and refused.
                fields |= {"log_std": None, "squashed": header["actions"] == _SQUASHED}
            arrays: dict[str, Any] = dict(tensors)
            return cls(weights, header["activation"], **fields, **arrays)
        except (GailfeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise GailfeError(f"{path}: not a valid policy ({error})") from None

    def _tensors(self) -> dict[str, np.ndarray]:
        tensors = layer_tensors(self.weights)
        for name in ("obs_mean", "obs_std", "log_std", "action_low", "action_high"):
            if getattr(self, name) is not None:
                tensors[name] = getattr(self, name)
        return tensors


class PolicyBatch:
    """Policies of one architecture (say, the seeds of a run) that act in one vectorised call.

    Each policy acts to the bit as it does alone.
    """

    def __init__(self, policies: Sequence[Policy]):
        """Raises GailfeError where there is no policy or they differ in layer sizes, components, kind of action or
        activation."""
        if not policies:
            raise GailfeError("policies: expected at least one, got none")
        first = architecture(policies[0])
        for index, policy in enumerate(policies):
            if architecture(policy) != first:
                raise GailfeError(f"policies[{index}]: expected architecture {first}, got {architecture(policy)}")
        self._activation = ACTIVATIONS[policies[0].activation]
        # Float64 makes the mean the correctly rounded one for nearly every input, whichever BLAS computes it.
        self._layers = [
            (
                np.stack([policy.weights[i][0] for policy in policies]).astype(np.float64)[:, None],
                np.stack([policy.weights[i][1] for policy in policies]).astype(np.float64)[:, None, None],
            )
            for i in range(len(policies[0].weights))
        ]

        def stack(name: str) -> np.ndarray:
            return np.stack([getattr(policy, name) for policy in policies])[:, None]

        self._mean, self._scale = stack("obs_mean"), stack("obs_std")
        self.discrete, self.squashed = policies[0].discrete, policies[0].squashed
        bare = self.discrete or self.squashed
        self._std = None if bare else np.exp(stack("log_std").astype(np.float64))
        self._low, self._high = stack("action_low"), stack("action_high")
        self.size, self.obs_size, self.action_size = len(policies), policies[0].obs_size, policies[0].action_size
        self.noise_size = policies[0].noise_size

    def act(self, obs: Any, *, noise: np.ndarray | None = None) -> np.ndarray:
        """Each policy's actions on its own observations, clipped to its bounds.

        Args:
          obs: `[S, n, o]`, any real dtype; rounded to float32, as in training.
          noise: `[S, n, noise_size]` standard normal draws, the last one choosing a mixture's component, or the choice;
            None for the deterministic action.

        Returns:
          `[S, n, a]` float32, or `[S, n]` int64 choices.

        Raises:
          GailfeError: `obs` has another shape or is not finite.
        """
        obs = np.asarray(obs)
        if obs.ndim != 3 or obs.shape[::2] != (self.size, self.obs_size):
            raise GailfeError(f"obs: expected shape [{self.size}, n, {self.obs_size}], got {list(obs.shape)}")
        if obs.dtype.kind not in "fiub":
            raise GailfeError(f"obs: expected real numbers, got {obs.dtype}")
        with np.errstate(over="ignore"):
            x = obs.astype(np.float32)
        if not np.isfinite(x).all():
            raise GailfeError("obs: expected finite numbers, got nan or infinity")
        n = obs.shape[1]
        blocks = -(-n // _ROWS)
        # Normalised in float32: training does, and (obs - mean) cancels there.
        x = normalise(x, self._mean, self._scale)
        padded = np.zeros((self.size, blocks * _ROWS, self.obs_size))
        padded[:, :n] = x
        x = forward(self._layers, padded.reshape(self.size, blocks, _ROWS, self.obs_size), self._activation)
        x = x.reshape(self.size, blocks * _ROWS, x.shape[-1])[:, :n]
        if self.squashed:
            return self._squash(x, noise)
        if self._std is None:
            return _choice(x, noise)
        action, std = self._chosen(x, self._std, noise) if self._std.ndim == 4 else (x, self._std)
        if noise is not None:
            action = action + std * noise[..., : self.action_size]
        return np.clip(action.astype(np.float32), self._low, self._high)

    def _squash(self, x: np.ndarray, noise: np.ndarray | None) -> np.ndarray:
        """`[S, n, a]` the network's mean, or a draw, inside the bounds."""
        mean, log_std = np.split(x, 2, axis=-1)
        if noise is not None:
            mean = mean + np.exp(np.clip(log_std, *SQUASHED_LOG_STD)) * noise
        low, high = self._low.astype(np.float64), self._high.astype(np.float64)
        action = 0.5 * (low + high) + 0.5 * (high - low) * np.tanh(mean)
        return np.clip(action.astype(np.float32), self._low, self._high)

    def _chosen(self, x: np.ndarray, std: np.ndarray, noise: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation `[S, n, a]` of a component: the one `noise` chooses, else the most probable."""
        components = std.shape[2]
        means, logits = np.split(x, [components * self.action_size], axis=-1)
        choice = _choice(logits, noise)
        means = means.reshape(*x.shape[:2], components, self.action_size)
        mean = np.take_along_axis(means, choice[..., None, None], axis=2)[:, :, 0]
        return mean, std[np.arange(self.size)[:, None], 0, choice]


def _choice(logits: np.ndarray, noise: np.ndarray | None) -> np.ndarray:
    """`[...]` int64: what the last number of `noise [..., k]` chooses by the weights of `logits [..., a]`; without
    noise the most probable."""
    if noise is None:
        return logits.argmax(axis=-1)
    cumulative = np.exp(logits - logits.max(axis=-1, keepdims=True)).cumsum(axis=-1)
    # The share of a standard normal's draws that are lower is uniform.
    level = _normal_cdf(noise[..., -1:]) * cumulative[..., -1:]
    return (level > cumulative[..., :-1]).sum(axis=-1)


def architecture(policy: Policy) -> tuple[Any, ...]:
    """`(activation, o, hidden sizes ..., a)`, or `(K, a)` or `a choices` last: what policies share to stack in a
    `PolicyBatch`."""
    hidden = (bias.shape[0] for _, bias in policy.weights[:-1])
    if policy.squashed:
        return (policy.activation, policy.obs_size, *hidden, f"{policy.action_size} squashed")
    last = policy.log_std.shape if policy.log_std is not None and policy.log_std.ndim == 2 else policy.action_size
    return (policy.activation, policy.obs_size, *hidden, f"{last} choices" if policy.discrete else last)


def expert_names() -> list[str]:
    """The tasks an expert is shipped for."""
    folder = importlib.resources.files("gailfe_jax.artifacts") / "experts"
    if not folder.is_dir():
        return []
    return sorted(entry.name.removesuffix(".safetensors") for entry in folder.iterdir() if _is_policy(entry.name))


def load_expert(env_name: str) -> Policy:
    """The expert shipped for a task, e.g. `hopper`.

    Raises:
      GailfeError: there is none for this task; the message lists those there are.
    """
    if env_name not in expert_names():
        listed = ", ".join(expert_names()) or "none"
        raise GailfeError(f"env: expected a task with a shipped expert ({listed}), got {env_name!r}")
    resource = importlib.resources.files("gailfe_jax.artifacts") / "experts" / f"{env_name}.safetensors"
    with importlib.resources.as_file(resource) as path:
        return Policy.load(path)


def check_policy(name: str, policy: Policy | HostPolicy, spec: EnvSpec, also: Collection[str] = ()) -> None:
    """Checks that a policy is for an environment; a warning says where that has another name.

    Args:
      name: opens the message.
      policy: which.
      spec: of the environment.
      also: other names of the same task.

    Raises:
      GailfeError: it was trained on another one, or has other sizes, bounds or another kind of action.
    """
    task = _task_of(policy, spec)
    if not means(task, spec, also):
        raise GailfeError(f"{name}: a policy for {task}; expected one for {spec.name}")
    check_spaces(name, policy, spec)
    check_borrowed(name, policy, spec)


def check_borrowed(name: str, policy: Policy | HostPolicy, spec: EnvSpec) -> None:
    """Warns where a policy is for a task of another name, `name` opens the message.

    Raises:
      GailfeError: then it also has other bounds.
    """
    task = _task_of(policy, spec)
    if means(task, spec):
        return
    for side in ("action_low", "action_high"):
        own = getattr(policy, side)
        theirs = np.broadcast_to(np.asarray(getattr(spec, side), np.float32), own.shape)
        if not np.array_equal(own, theirs):
            raise GailfeError(
                f"{name}: a policy for {task} with {side} {own.tolist()}; expected {theirs.tolist()} for {spec.name}"
            )
    warnings.warn(f"{name}: a policy for {task}, used on {spec.name}", GailfeWarning, stacklevel=2)


def _task_of(policy: Policy | HostPolicy, spec: EnvSpec) -> str | None:
    """The task that a policy file names; that of `spec` where it names none."""
    return policy.metadata.get("task", policy.metadata.get("env", spec.name))


def check_spaces(name: str, policy: Policy | HostPolicy, spec: EnvSpec) -> None:
    """Checks that a policy sees and does what an environment shows and takes; `name` opens the message.

    Raises:
      GailfeError: other sizes, or another kind of action.
    """
    sizes, expected = (policy.obs_size, policy.action_size), (spec.obs_size, spec.action_size)
    if sizes != expected:
        raise GailfeError(f"{name}: observation and action sizes are {sizes}; expected {expected} for {spec.name}")
    if policy.discrete != spec.discrete:
        kinds = {True: "choices", False: "continuous"}
        raise GailfeError(
            f"{name}: its actions are {kinds[policy.discrete]}; expected {kinds[spec.discrete]} for {spec.name}"
        )


def _is_policy(name: str) -> bool:
    return re.fullmatch(r"[^.].*\.safetensors", name) is not None


def _log_std(value: Any, outputs: int) -> np.ndarray:
    """`[a]`, or `[K, a]` for a mixture, as a network with so many outputs wants it."""
    array = _array("log_std", value, ndim=None)
    if array.ndim != 2:
        return _array("log_std", array, shape=(outputs,))
    if array.shape[0] * (array.shape[1] + 1) != outputs:
        raise GailfeError(
            f"log_std: expected shape [K, a] with K * (a + 1) = {outputs} outputs, got {list(array.shape)}"
        )
    return array


def _array(
    name: str, value: Any, *, ndim: int | None = 1, shape: tuple[int, ...] | None = None, finite: bool = True
) -> np.ndarray:
    try:
        array = np.array(value, np.float32, order="C")
    except (TypeError, ValueError):
        raise GailfeError(f"{name}: expected numbers, got {type(value).__name__}") from None
    ndim = ndim if shape is None else len(shape)
    if (ndim is not None and array.ndim != ndim) or 0 in array.shape:
        raise GailfeError(f"{name}: expected {ndim} dimension(s) and no empty one, got shape {list(array.shape)}")
    if shape is not None and array.shape != shape:
        raise GailfeError(f"{name}: expected shape {list(shape)}, got {list(array.shape)}")
    if np.isnan(array).any() or (finite and not np.isfinite(array).all()):
        raise GailfeError(f"{name}: expected finite numbers, got nan or infinity")
    array.setflags(write=False)
    return array
