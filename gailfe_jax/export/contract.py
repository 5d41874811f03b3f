"""What every export says of itself: what goes in and out, where it comes from, and actions to test it by."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gailfe_jax import __version__
from gailfe_jax.artifacts.numpy_mlp import ACTIVATIONS, forward, normalise
from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.errors import GailfeError
from gailfe_jax.nn.constants import OBS_CLIP

FORMAT = "gailfe_jax export 1"
TESTS = 32
"""Observations of a self-test."""
_DRAWN = 64 * TESTS
_SAFETY = 16


@dataclasses.dataclass(frozen=True)
class SelfTest:
    """Observations, and what the policy does there.

    Attributes:
      obs: `[n, o]` float32.
      action: `[n, a]` float32, or `[n]` int64 choices: those of `Policy.act`.
      tolerance: `[a]` how far another program's action may be off for rounding alone; `[1]` zero of a choice.
    """

    obs: np.ndarray
    action: np.ndarray
    tolerance: np.ndarray


def self_test(policy: Policy, seed: int = 0) -> SelfTest:
    """Observations around those that the policy was trained on, some beyond what it clips.

    A program in single precision may be off by sixteen times what NumPy's own single precision is at these
    observations. Where the policy chooses, a choice or a mixture's component, only observations are taken whose choice
    rounding does not change.
    """
    rng = np.random.default_rng(seed)
    scale = policy.obs_std.astype(np.float64)
    # A tenth of the numbers lie where they are clipped, or near it.
    far = np.where(rng.random((_DRAWN, policy.obs_size)) < 0.1, 10.0, 1.0)
    obs = policy.obs_mean + scale * far * rng.standard_normal((_DRAWN, policy.obs_size))
    obs = np.clip(obs, -np.finfo(np.float32).max, np.finfo(np.float32).max).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        exact, rounded = (_outputs(policy, obs, dtype) for dtype in (np.float64, np.float32))
    error = np.abs(exact - rounded)
    if not np.isfinite(error).all():
        raise GailfeError("policy: its network overflows in single precision; expected smaller weights")
    choosing = exact.shape[1] if policy.discrete else policy.components if policy.components > 1 else 0
    rows = np.arange(_DRAWN)
    if choosing > 1:
        top = np.sort(exact[:, -choosing:], axis=1)
        margin = top[:, -1] - top[:, -2]
        # The widest first where there are too few: a policy may hardly care.
        clear = margin > _SAFETY * error[:, -choosing:].max()
        rows = np.flatnonzero(clear) if clear.sum() >= TESTS else np.argsort(-margin, kind="stable")[:TESTS]
        # Each choice in turn, so that rare ones are among them.
        chosen = exact[rows, -choosing:].argmax(axis=1)
        turn = np.array([np.sum(chosen[:i] == choice) for i, choice in enumerate(chosen)])
        rows = rows[np.argsort(turn, kind="stable")]
    action = policy.act(obs[rows])
    if not policy.discrete:
        # Half of them where no bound hides what the network gives, as far as there are such.
        inside = ((action > policy.action_low) & (action < policy.action_high)).all(axis=1)
        seen, hidden = np.flatnonzero(inside), np.flatnonzero(~inside)
        half = TESTS // 2
        order = np.concatenate([seen[:half], hidden[: TESTS - half], seen[half:], hidden[TESTS - half :]])
        rows, action = rows[order], action[order]
    rows, action = rows[:TESTS], action[:TESTS]
    if policy.discrete:
        return SelfTest(obs[rows], action, np.zeros(1))
    size = policy.action_size
    means = error[:, : policy.components * size].reshape(-1, size).max(axis=0)
    return SelfTest(obs[rows], action, _SAFETY * means + 4 * np.spacing(np.abs(action).max(axis=0)).astype(np.float64))


def _outputs(policy: Policy, obs: np.ndarray, dtype: Any) -> np.ndarray:
    """The network's outputs `[n, ...]`, squashed where they are to be, computed in a precision."""
    layers = [(kernel.astype(dtype), bias.astype(dtype)) for kernel, bias in policy.deterministic_layers]
    x = normalise(obs, policy.obs_mean, policy.obs_std).astype(dtype)
    x = forward(layers, x, ACTIVATIONS[policy.activation])
    if not policy.squashed:
        return x
    low, high = policy.action_low.astype(dtype), policy.action_high.astype(dtype)
    return dtype(0.5) * (low + high) + dtype(0.5) * (high - low) * np.tanh(x)


def contract(
    policy: Policy,
    obs: Sequence[tuple[str, str]],
    action: Sequence[tuple[str, str]],
    seconds_per_step: float | None,
    source: Mapping[str, Any],
) -> dict[str, Any]:
    """What an export says of itself, as JSON types.

    Args:
      policy: what is exported.
      obs: `(name, unit)` of each number of an observation.
      action: likewise of an action, or of each choice.
      seconds_per_step: how long an action is held; None where that is not known.
      source: where the policy comes from.
    """
    test = self_test(policy)
    kind = "choice" if policy.discrete else "continuous"
    bounds = {} if policy.discrete else {"low": _finite(policy.action_low), "high": _finite(policy.action_high)}
    return {
        "format": FORMAT,
        "gailfe_jax": __version__,
        "source": dict(source),
        "seconds_per_step": seconds_per_step,
        "observation": {
            "size": policy.obs_size,
            "names": [name for name, _ in obs],
            "units": [unit for _, unit in obs],
            "mean": _numbers(policy.obs_mean),
            "std": _numbers(policy.obs_std),
            "clip": OBS_CLIP,
        },
        "action": {
            "kind": kind,
            "size": policy.action_size,
            "names": [name for name, _ in action],
            "units": [unit for _, unit in action],
            **bounds,
        },
        "network": {
            "activation": policy.activation,
            "layers": [list(kernel.shape) for kernel, _ in policy.deterministic_layers],
            "components": policy.components,
            "squashed": policy.squashed,
        },
        "self_test": {
            "obs": _numbers(test.obs),
            "action": test.action.tolist(),
            "tolerance": test.tolerance.tolist(),
        },
    }


def _numbers(array: np.ndarray) -> list[Any]:
    return array.tolist()


def _finite(bound: np.ndarray) -> list[float | None]:
    """JSON has no infinity: None is no bound."""
    return [float(x) if np.isfinite(x) else None for x in bound]
