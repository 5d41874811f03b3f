"""Where in the space of observations a discriminator tells a policy from its demonstrations."""

from __future__ import annotations

import dataclasses

import numpy as np

from gailfe_jax.artifacts.confidence import Confidence
from gailfe_jax.errors import GailfeError

MOST_POINTS = 800
"""Of each kind; drawn at random where there are more."""
_NAMED = 3
"""Observations that an axis is named after."""


@dataclasses.dataclass(frozen=True)
class Axis:
    """A principal component of the observations.

    Attributes:
      share: of their variance.
      parts: `(name, weight)` of the observations that it is mostly made of, the largest first.
    """

    share: float
    parts: tuple[tuple[str, float], ...]


@dataclasses.dataclass(frozen=True, eq=False)
class StateSpace:
    """Pairs of a policy and of an expert in the plane of two principal components.

    Attributes:
      axes: the two components.
      points: `[n, 2]` where the observations lie, in standard deviations of the demonstrations' along each axis.
      expert_probability: `[n]` how likely the discriminator takes the pair for the expert's.
      is_policy: `[n]` bool, whether it is the policy's.
      policy_found, expert_found: share of all pairs of each kind that the discriminator sorts rightly.
      calibrated: whether the probabilities have been calibrated.
      about: whose they are, in words.
    """

    axes: tuple[Axis, Axis]
    points: np.ndarray
    expert_probability: np.ndarray
    is_policy: np.ndarray
    policy_found: float
    expert_found: float
    calibrated: bool
    about: str


def state_space(
    judge: Confidence,
    expert: tuple[np.ndarray, np.ndarray],
    policy: tuple[np.ndarray, np.ndarray],
    names: tuple[str, ...],
    about: str,
    seed: int = 0,
) -> StateSpace:
    """Projects both kinds of pairs and asks the discriminator about each.

    The components are those of the demonstrations and as many of the policy's observations, standardised by the
    demonstrations; what never changes in these counts for nothing.

    Args:
      judge: the discriminator.
      expert, policy: `(obs [n, o], action [n, a])` of each kind.
      names: of the observations' numbers.
      about: whose they are, in words.
      seed: of what is drawn where there are more pairs than points.

    Raises:
      GailfeError: fewer than two pairs of a kind or two observations that change, or pairs of other sizes than the
        discriminator's.
    """
    rng = np.random.default_rng(seed)
    if min(len(expert[0]), len(policy[0])) < 2:
        raise GailfeError("state space: got fewer than two pairs of a kind; expected more")
    picked = [_draw(rng, *pairs) for pairs in (expert, policy)]
    mean, std = expert[0].mean(axis=0, dtype=np.float64), expert[0].std(axis=0, dtype=np.float64)
    changes = std > 1e-6 * np.maximum(1.0, np.abs(mean))
    if changes.sum() < 2:
        raise GailfeError("state space: fewer than two observations change in the demonstrations; expected more")
    scaled = [np.where(changes, (obs - mean) / np.where(changes, std, 1.0), 0.0) for obs, _ in picked]
    both = np.concatenate(scaled)
    centre = both.mean(axis=0)
    _, sizes, directions = np.linalg.svd(both - centre, full_matrices=False)
    # A component has no sign of its own: the largest weight is taken to be positive.
    directions = [row * np.sign(row[np.argmax(np.abs(row))]) for row in directions[:2]]
    shares = np.square(sizes) / np.square(sizes).sum()
    points = (both - centre) @ np.stack(directions, axis=1)
    axes = [
        Axis(float(share), tuple((names[i], float(row[i])) for i in np.argsort(-np.abs(row))[:_NAMED]))
        for share, row in zip(shares, directions)
    ]
    probability = [judge(obs, action) for obs, action in picked]
    found = [judge(obs, action) for obs, action in (expert, policy)]
    return StateSpace(
        axes=(axes[0], axes[1]),
        points=points,
        expert_probability=np.concatenate(probability),
        is_policy=np.repeat([False, True], [len(part) for part in probability]),
        expert_found=float(np.mean(found[0] > 0.5)),
        policy_found=float(np.mean(found[1] < 0.5)),
        calibrated=judge.calibrated,
        about=about,
    )


def _draw(rng: np.random.Generator, obs: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(obs) <= MOST_POINTS:
        return obs, action
    rows = rng.choice(len(obs), MOST_POINTS, replace=False)
    return obs[rows], action[rows]
