"""How far a policy is from demonstrations, where no reward tells: by the pairs that each of them visits.

Imitation matches occupancies, the distributions of state-action pairs (Ho & Ermon 2016). Two numbers compare samples of
two of them:

* the accuracy of a classifier of its own on pairs that it was not fitted to, "classifier two-sample test" (Lopez-Paz &
  Oquab 2017): 0.5 where the two cannot be told apart, 1 where they always can;
* the sliced 2-Wasserstein distance (Rabin et al. 2011; Bonneel et al. 2015): the root mean square, over random
  directions, of the distance between the samples along one. Pairs are standardised by the demonstrations, so between
  two normal distributions that differ by a shift it is the shift's length over the root of the dimension.

Pairs of one trajectory are alike. So both samples are split into halves by whole trajectories where there are two or
more: the classifier is fitted to the first halves and judged on the others. Small samples are apart by chance. So the
distance between the halves of the demonstrations, with as many pairs, is the scale: a policy as near as that cannot be
told from the demonstrator.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from gailfe_jax.data.trajectories import Trajectories
from gailfe_jax.errors import GailfeError

MAX_PAIRS = 1000
"""Pairs of each side that are compared; drawn at random where there are more."""
MOST_STEPS = 1000
"""Of an episode whose pairs are compared."""
_SPLITS, _DIRECTIONS, _FEATURES, _RIDGE, _NEWTON = 4, 64, 64, 1.0, 10


class Distance(NamedTuple):
    """How far a policy's pairs are from the demonstrations'.

    Attributes:
      accuracy: held-out accuracy of a classifier that tells them apart.
      distance: sliced Wasserstein distance, in standard deviations of the demonstrations.
      distance_of_halves: the same between halves of the demonstrations.
    """

    accuracy: float
    distance: float
    distance_of_halves: float


def sliced_wasserstein(one: np.ndarray, two: np.ndarray, rng: np.random.Generator) -> float:
    """The sliced 2-Wasserstein distance between samples `[n, d]` and `[m, d]`.

    Along each direction it is the distance between the quantile functions, at `min(n, m)` levels.
    """
    directions = rng.standard_normal((one.shape[1], _DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    count = min(len(one), len(two))
    quantiles = [_quantiles(np.sort(sample @ directions, axis=0), count) for sample in (one, two)]
    return float(np.sqrt(np.mean(np.square(quantiles[0] - quantiles[1]))))


def _quantiles(ordered: np.ndarray, count: int) -> np.ndarray:
    """`count` quantiles at the middles of as many equal shares, `[count, k]`, of ordered numbers `[n, k]`."""
    if count == len(ordered):
        return ordered
    at = (np.arange(count) + 0.5) / count * len(ordered) - 0.5
    low = np.clip(np.floor(at).astype(int), 0, len(ordered) - 2)
    return ordered[low] + (at - low)[:, None] * (ordered[low + 1] - ordered[low])


def classifier_accuracy(
    fit: tuple[np.ndarray, np.ndarray], judge: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
) -> float:
    """How often a classifier fitted to `fit` tells the two samples of `judge` apart; each kind counts for one half.

    It is logistic regression on the standardised pairs `[n, d]` and as many random `tanh` features of them as are
    worth their while, with a ridge, by Newton's method: the same bits for the same draws, and no step size.
    """
    size = fit[0].shape[1]
    weights, offsets = rng.standard_normal((size, _FEATURES)) / np.sqrt(size), rng.uniform(-1, 1, _FEATURES)

    def features(sample: np.ndarray) -> np.ndarray:
        # What is far out is plainly told apart, and would only spoil the fit.
        sample = np.clip(sample, -10, 10)
        return np.concatenate([np.ones((len(sample), 1)), sample, np.tanh(sample @ weights + offsets)], axis=1)

    x, y = np.concatenate([features(sample) for sample in fit]), np.repeat([0.0, 1.0], [len(s) for s in fit])
    share = np.repeat([0.5 / len(sample) for sample in fit], [len(sample) for sample in fit]) * len(x)
    ridge = np.full(x.shape[1], _RIDGE)
    ridge[0] = 1e-6
    theta = np.zeros(x.shape[1])
    for _ in range(_NEWTON):
        p = 1.0 / (1.0 + np.exp(-np.clip(x @ theta, -30, 30)))
        gradient = x.T @ (share * (p - y)) + ridge * theta
        curvature = (x * (share * p * (1 - p))[:, None]).T @ x + np.diag(ridge)
        theta -= np.linalg.solve(curvature, gradient)
    right = [np.mean((features(sample) @ theta > 0) == kind) for kind, sample in enumerate(judge)]
    return float(np.mean(right))


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """Demonstrated pairs that policies are compared with.

    Attributes:
      pairs: `[n, o + a]`; `[n, o]` where nobody recorded actions, and observations alone are compared.
      trajectory: `[n]` which pairs belong together.
      seed: of all draws: the same pairs give the same numbers.
    """

    pairs: np.ndarray
    trajectory: np.ndarray
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises GailfeError where there are fewer than four pairs."""
        if len(self.pairs) < 4:
            raise GailfeError(f"demos: got {len(self.pairs)} pair(s) to compare a policy with; expected at least 4")

    def compare_visited(self, obs: np.ndarray, action: np.ndarray, inside: np.ndarray) -> Distance | None:
        """`compare` of `obs [T, E, o]`, `action [T, E, a]` where `inside [T, E]`; None for what is too little or not
        finite."""
        pairs = np.concatenate([obs, action], axis=-1)[inside][:, : self.pairs.shape[1]]
        if len(pairs) < 4 or not np.isfinite(pairs).all():
            return None
        return self.compare(pairs, np.broadcast_to(np.arange(inside.shape[1]), inside.shape)[inside])

    def compare(self, pairs: np.ndarray, trajectory: np.ndarray) -> Distance:
        """How far the pairs `[m, o + a]` of a policy's trajectories `[m]` are from the demonstrations.

        Each number is the mean over several splits of both into halves, and over samples of one size.

        Raises:
          GailfeError: fewer than four pairs, or other sizes.
        """
        if pairs.shape[1:] != self.pairs.shape[1:] or len(pairs) < 4:
            raise GailfeError(f"pairs: got {list(pairs.shape)}; expected [m, {self.pairs.shape[1]}] with m from 4")
        mean, std = self.pairs.mean(axis=0), self.pairs.std(axis=0)
        # A number that the demonstrator never changes is compared as it is.
        std = np.where(std > 1e-6, std, 1.0)
        demos, policy = ((np.asarray(x, np.float64) - mean) / std for x in (self.pairs, pairs))
        rng = np.random.default_rng(self.seed)
        rows = []
        for _ in range(_SPLITS):
            halves = [*_halves(self.trajectory, rng), *_halves(np.asarray(trajectory), rng)]
            count = min(MAX_PAIRS, *(len(half) for half in halves))
            a, b, c, d = (
                sample[rng.choice(half, count, replace=False)]
                for sample, half in zip((demos, demos, policy, policy), halves, strict=True)
            )
            draws = int(rng.integers(2**32))
            # The same directions and features for both, so that chance is the same too.
            same = lambda draws=draws: np.random.default_rng(draws)  # noqa: E731
            rows.append(
                (
                    classifier_accuracy((a, c), (b, d), same()),
                    sliced_wasserstein(a, c, same()),
                    sliced_wasserstein(a, b, same()),
                )
            )
        return Distance(*np.mean(rows, axis=0).tolist())


def reference_of(expert: Trajectories) -> Reference:
    """The pairs of demonstrated trajectories."""
    pairs = np.concatenate([expert.obs, expert.action], axis=1)
    return Reference(pairs, np.repeat(np.arange(expert.num_trajectories), expert.lengths))


def _halves(trajectory: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows of two halves, by whole trajectories where there are two or more; of one, its first and its last pairs."""
    names = np.unique(trajectory)
    if len(names) < 2:
        return np.array_split(np.arange(len(trajectory)), 2)
    first = rng.permutation(names)[: len(names) // 2]
    inside = np.isin(trajectory, first)
    return [np.flatnonzero(inside), np.flatnonzero(~inside)]
