from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from gailfe_jax.analysis.statistics import (
    bootstrap_band,
    bootstrap_interval,
    iqm,
    mean_difference,
    minimum_detectable_difference,
    probability_of_improvement,
)
from gailfe_jax.errors import GailfeError


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7.0], 7.0),
        ([0.0, 1.0, 5.0], 2.0),  # floor(3 / 4) = 0 dropped
        ([0.0, 1.0, 2.0, 100.0], 1.5),  # one at each end
        ([9.0, -50.0, 1.0, 2.0, 3.0, 4.0, 5.0, 1000.0], 3.5),  # two at each end: (2 + 3 + 4 + 5) / 4
        ([[0.0, 1.0], [2.0, 100.0]], 1.5),  # all axes at once
    ],
)
def test_iqm_by_hand(values, expected):
    assert iqm(values) == expected


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_iqm_is_the_trimmed_mean(values):
    np.testing.assert_allclose(iqm(values), scipy.stats.trim_mean(values, 0.25), rtol=1e-9, atol=1e-9)


def test_iqm_over_axes_equals_loop():
    x = np.random.default_rng(0).normal(size=(3, 5, 4))
    np.testing.assert_allclose(iqm(x, axis=(1, 2)), [iqm(part) for part in x])
    np.testing.assert_allclose(iqm(x, axis=1), [[iqm(x[i, :, j]) for j in range(4)] for i in range(3)])


def test_bootstrap_of_equal_scores_has_no_width():
    interval = bootstrap_interval([3.0] * 6)
    assert (interval.estimate, interval.low, interval.high) == (3.0, 3.0, 3.0)


def test_bootstrap_of_the_mean_matches_its_standard_error():
    x = np.random.default_rng(1).normal(10.0, 2.0, size=200)
    interval = bootstrap_interval(x, statistic=np.mean, resamples=4000)
    half = 1.96 * x.std() / np.sqrt(200)
    np.testing.assert_allclose([interval.low, interval.high], [x.mean() - half, x.mean() + half], atol=0.05 * half)


def test_bootstrap_is_stratified_by_task():
    # Two tasks of very different scale: resampled within tasks the mean never moves, across tasks it would.
    x = np.stack([np.zeros(5), np.full(5, 1000.0)], axis=1)
    interval = bootstrap_interval(x, statistic=np.mean)
    assert (interval.low, interval.high) == (500.0, 500.0)


def test_bootstrap_repeats_with_its_seed_and_does_not_depend_on_chunks(monkeypatch):
    x = np.random.default_rng(2).normal(size=(7, 3))
    first = bootstrap_interval(x, seed=3, resamples=500)
    assert first == bootstrap_interval(x, seed=3, resamples=500)
    assert first != bootstrap_interval(x, seed=4, resamples=500)
    monkeypatch.setattr("gailfe_jax.analysis.statistics._CHUNK_NUMBERS", 100)
    assert first == bootstrap_interval(x, seed=3, resamples=500)


def test_coverage_is_near_nominal():
    rng = np.random.default_rng(4)
    hits = 0
    for trial in range(200):
        interval = bootstrap_interval(rng.normal(size=20), statistic=np.mean, resamples=300, seed=trial)
        hits += interval.low <= 0.0 <= interval.high
    assert 0.87 <= hits / 200 <= 0.98


def test_band_equals_interval_of_each_column_and_passes_gaps():
    x = np.random.default_rng(5).normal(size=(6, 3))
    x[2, 1] = np.nan
    band = bootstrap_band(x, resamples=400, seed=1)
    assert np.isnan([band.estimate[1], band.low[1], band.high[1]]).all()
    for column in (0, 2):
        alone = bootstrap_interval(x[:, column], resamples=400, seed=1)
        np.testing.assert_allclose(
            [band.estimate[column], band.low[column], band.high[column]], [alone.estimate, alone.low, alone.high]
        )


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ([2.0, 3.0], [0.0, 1.0], 1.0),
        ([0.0, 1.0], [2.0, 3.0], 0.0),
        ([1.0], [1.0], 0.5),
        ([1.0, 4.0], [0.0, 2.0, 5.0], 0.5),  # pairs won: 1 of 3 and 2 of 3
        ([[1.0, 0.0]], [[0.0, 1.0]], 0.5),  # one task won, one lost
    ],
)
def test_probability_of_improvement_by_hand(x, y, expected):
    interval = probability_of_improvement(x, y, resamples=200)
    assert interval.estimate == expected
    assert 0.0 <= interval.low <= interval.estimate <= interval.high <= 1.0


@pytest.mark.parametrize(("effect", "n"), [(0.5, 64), (0.8, 26), (1.0, 17)])
def test_minimum_detectable_difference_against_cohens_table(effect, n):
    # Cohen (1988): n is the smallest group size with power .8 at alpha .05, so n detects the effect and n - 1 does not.
    assert minimum_detectable_difference(1.0, n, n) <= effect < minimum_detectable_difference(1.0, n - 1, n - 1)


def test_minimum_detectable_difference_scales_and_has_its_power():
    assert minimum_detectable_difference(450.0, 20, 20) == pytest.approx(450 * minimum_detectable_difference(1, 20, 20))
    difference = minimum_detectable_difference(2.0, 5, 9, power=0.9, alpha=0.01)
    rng = np.random.default_rng(6)
    x, y = rng.normal(0, 2, size=(20000, 5)), rng.normal(difference, 2, size=(20000, 9))
    found = scipy.stats.ttest_ind(x, y, axis=1).pvalue < 0.01
    assert found.mean() == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: iqm([]), "iqm"),
        (lambda: bootstrap_interval([]), "x"),
        (lambda: bootstrap_interval([1.0, np.nan]), "x"),
        (lambda: bootstrap_interval([1.0], confidence=95), "confidence"),
        (lambda: bootstrap_band([1.0, 2.0]), "x"),
        (lambda: probability_of_improvement([[1.0, 2.0]], [[1.0]]), "y"),
        (lambda: minimum_detectable_difference(1.0, 1, 5), "n_x"),
        (lambda: minimum_detectable_difference(np.nan, 5, 5), "std"),
        (lambda: minimum_detectable_difference(1.0, 5, 5, power=0.01), "power"),
    ],
)
def test_bad_input_is_one_clear_line(call, field):
    with pytest.raises(GailfeError, match=rf"^{field}.*expected") as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_the_mean_difference_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        x, y = rng.normal(size=20), 0.5 + rng.normal(size=20)
        found = mean_difference(x, y, resamples=300, seed=seed)
        assert found.estimate == pytest.approx(y.mean() - x.mean())
        hits += found.low <= 0.5 <= found.high
    # 0.95 less what a percentile interval of 20 scores falls short, and three standard errors of 200 trials.
    assert 0.86 <= hits / 200 <= 0.99


def test_the_mean_difference_wants_finite_scores():
    with pytest.raises(GailfeError, match=r"^y: "):
        mean_difference([1.0, 2.0], [1.0, np.nan])
