"""Statistics over seeds: interquartile means, bootstrap intervals, and what a number of seeds can detect.

Follows Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (2021): point estimates
are interquartile means, intervals are percentile intervals of a bootstrap that resamples seeds within each task.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import scipy.optimize
import scipy.stats

from gailfe_jax.errors import GailfeError

Axis: TypeAlias = int | tuple[int, ...] | None
Statistic: TypeAlias = Callable[..., Any]
"""`(x, axis) -> x reduced over axis`, as `iqm`, `numpy.mean` and `numpy.median` are."""

_CHUNK_NUMBERS = 4_000_000  # numbers held at a time while resampling, 32 MB


@dataclasses.dataclass(frozen=True)
class Interval:
    """A point estimate and the ends of its confidence interval: floats, or `[k]` arrays for a band."""

    estimate: Any
    low: Any
    high: Any


def iqm(x: Any, axis: Axis = None) -> Any:
    """Interquartile mean: the mean of what is left after dropping a quarter of the values at each end.

    The number dropped at each end is `floor(n / 4)`, as in `scipy.stats.trim_mean`; with fewer than four values it is
    the mean.

    Args:
      x: numbers of any shape.
      axis: axis or axes to reduce; None reduces all.

    Raises:
      GailfeError: there is no value to take a mean of.
    """
    x = np.asarray(x, np.float64)
    axes = tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    axes = tuple(a % x.ndim for a in axes)
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    flat = x.transpose(kept + axes).reshape([x.shape[a] for a in kept] + [-1])
    count = flat.shape[-1]
    if count == 0:
        raise GailfeError("iqm: got no values; expected at least one")
    cut = count // 4
    ordered = np.sort(flat, axis=-1)
    return ordered[..., cut : count - cut].mean(axis=-1)[()]


def bootstrap_interval(
    x: Any,
    *,
    statistic: Statistic = iqm,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a stratified bootstrap: seeds are drawn with replacement within each task.

    Args:
      x: `[seeds]` scores, or `[seeds, tasks]`.
      statistic: reduces over the axes it is given.
      confidence: share of resampled statistics between the interval's ends.
      resamples: number of resamples.
      seed: of the resampling.

    Raises:
      GailfeError: `x` is empty, not finite or of another rank, or `confidence` is not in (0, 1).
    """
    scores = _scores("x", x)
    rng = np.random.default_rng(seed)
    values = np.concatenate([statistic(part, axis=(1, 2)) for part in _stratified_resamples(rng, scores, resamples)])
    low, high = np.quantile(values, _tails(confidence))
    return Interval(float(statistic(scores, axis=(0, 1))), float(low), float(high))


def bootstrap_band(
    x: Any,
    *,
    statistic: Statistic = iqm,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Pointwise percentile band of a curve; a resample draws whole curves.

    Args:
      x: `[seeds, k]` one curve per seed. Columns that hold a value that is not finite come out as nan.
      statistic, confidence, resamples, seed: as in `bootstrap_interval`.

    Returns:
      An `Interval` of `[k]` arrays.

    Raises:
      GailfeError: `x` is not `[seeds, k]` with at least one seed, or `confidence` is not in (0, 1).
    """
    curves = np.asarray(x, np.float64)
    if curves.ndim != 2 or curves.shape[0] == 0:
        raise GailfeError(f"x: got shape {curves.shape}; expected [seeds, k] with at least one seed")
    tails = _tails(confidence)
    finite = np.isfinite(curves).all(axis=0)
    estimate, low, high = (np.full(curves.shape[1], np.nan) for _ in range(3))
    if finite.any():
        held = curves[:, finite]
        rng = np.random.default_rng(seed)
        chunk = max(1, _CHUNK_NUMBERS // held.size)
        values = [
            statistic(held[rng.integers(held.shape[0], size=(min(chunk, resamples - start), held.shape[0]))], axis=1)
            for start in range(0, resamples, chunk)
        ]
        estimate[finite] = statistic(held, axis=0)
        low[finite], high[finite] = np.quantile(np.concatenate(values), tails, axis=0)
    return Interval(estimate, low, high)


def probability_of_improvement(
    x: Any, y: Any, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Probability that a random run of `x` beats a random run of `y` on a random task; ties count half.

    Args:
      x: `[n]` or `[n, tasks]` scores.
      y: `[m]` or `[m, tasks]` scores on the same tasks.
      confidence, resamples, seed: as in `bootstrap_interval`; `x` and `y` are resampled independently.

    Raises:
      GailfeError: a shape does not fit, or a score is not finite.
    """
    x, y = _scores("x", x), _scores("y", y)
    if x.shape[1] != y.shape[1]:
        raise GailfeError(f"y: got {y.shape[1]} tasks; expected the {x.shape[1]} of x")

    def probability(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        difference = x[:, :, None, :] - y[:, None, :, :]
        return (0.5 * (1.0 + np.sign(difference))).mean(axis=(1, 2, 3))

    rng_x, rng_y = np.random.default_rng(seed).spawn(2)
    cost = x.size * y.shape[0]
    pairs = zip(
        _stratified_resamples(rng_x, x, resamples, cost), _stratified_resamples(rng_y, y, resamples, cost), strict=True
    )
    low, high = np.quantile(np.concatenate([probability(a, b) for a, b in pairs]), _tails(confidence))
    return Interval(float(probability(x[None], y[None])[0]), float(low), float(high))


def mean_difference(x: Any, y: Any, *, confidence: float = 0.95, resamples: int = 5000, seed: int = 0) -> Interval:
    """How much higher the mean of `y [m]` is than that of `x [n]`, with a percentile bootstrap interval.

    Args:
      x, y: scores of independent runs, resampled independently.
      confidence, resamples, seed: as in `bootstrap_interval`.

    Raises:
      GailfeError: a shape does not fit, or a score is not finite.
    """
    x, y = _scores("x", x)[:, 0], _scores("y", y)[:, 0]
    rng = np.random.default_rng(seed)
    draws = [rng.choice(y, len(y)).mean() - rng.choice(x, len(x)).mean() for _ in range(resamples)]
    low, high = np.quantile(draws, _tails(confidence))
    return Interval(float(y.mean() - x.mean()), float(low), float(high))


def minimum_detectable_difference(std: float, n_x: int, n_y: int, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest true difference of means that a two-sided two-sample t-test finds with probability `power`.

    Exact for normal scores of equal variance (noncentral t distribution); in the unit of `std`.

    Args:
      std: standard deviation over seeds, common to both methods.
      n_x, n_y: seeds of each method, at least 2.
      power: probability of finding the difference.
      alpha: level of the test.

    Raises:
      GailfeError: an argument is out of range.
    """
    if not (np.isfinite(std) and std >= 0):
        raise GailfeError(f"std: got {std}; expected a finite number, 0 or more")
    if min(n_x, n_y) < 2:
        raise GailfeError(f"n_x, n_y: got {n_x} and {n_y}; expected at least 2 seeds each")
    if not 0 < alpha < power < 1:
        raise GailfeError(f"power, alpha: got {power} and {alpha}; expected 0 < alpha < power < 1")
    freedom = n_x + n_y - 2
    critical = scipy.stats.t.ppf(1 - alpha / 2, freedom)

    def shortfall(noncentrality: float) -> float:
        above = scipy.stats.nct.sf(critical, freedom, noncentrality)
        below = scipy.stats.nct.cdf(-critical, freedom, noncentrality)
        return float(above + below) - power

    upper = float(critical) + 1.0
    while shortfall(upper) < 0:
        upper *= 2
    noncentrality: Any = scipy.optimize.brentq(shortfall, 0.0, upper, xtol=1e-10)
    return float(noncentrality) * std * float(np.sqrt(1 / n_x + 1 / n_y))


def _scores(name: str, x: Any) -> np.ndarray:
    """`x` as a finite `[seeds, tasks]` array."""
    scores = np.asarray(x, np.float64)
    if scores.ndim == 1:
        scores = scores[:, None]
    if scores.ndim != 2 or scores.size == 0:
        raise GailfeError(f"{name}: got shape {np.shape(x)}; expected [seeds] or [seeds, tasks], not empty")
    if not np.isfinite(scores).all():
        raise GailfeError(f"{name}: got a score that is not finite; expected numbers")
    return scores


def _tails(confidence: float) -> tuple[float, float]:
    if not 0 < confidence < 1:
        raise GailfeError(f"confidence: got {confidence}; expected a share in (0, 1)")
    return (1 - confidence) / 2, (1 + confidence) / 2


def _stratified_resamples(rng: np.random.Generator, x: np.ndarray, resamples: int, cost: int | None = None):
    """Yields `[r, seeds, tasks]` resamples, `resamples` in all; `cost` numbers are needed for each."""
    seeds, tasks = x.shape
    chunk = max(1, _CHUNK_NUMBERS // (cost or x.size))
    for start in range(0, resamples, chunk):
        index = rng.integers(seeds, size=(min(chunk, resamples - start), seeds, tasks))
        yield x[index, np.arange(tasks)]
