from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.nn.normaliser import RunningStats, normalise


def test_before_the_first_update_nothing_changes():
    x = jnp.array([[-3.0, 0.5], [2.0, -1e-3]])
    np.testing.assert_allclose(RunningStats.init(2).normalise(x), x, rtol=1e-6)


def test_batches_merge_to_the_statistics_of_all_samples():
    x = 3 * jax.random.normal(jax.random.key(0), (4, 25, 3)) + jnp.array([0.0, 5.0, -40.0])
    stats = RunningStats.init(3)
    for batch in (x[0], x[1:3], x[3]):
        stats = stats.update(batch)
    rows = np.asarray(x, np.float64).reshape(-1, 3)
    np.testing.assert_allclose(stats.mean, rows.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(stats.var, rows.var(axis=0), rtol=1e-3)
    np.testing.assert_allclose(stats.std, rows.std(axis=0), rtol=1e-3)
    np.testing.assert_allclose(stats.count, 100.0, rtol=1e-5)


def test_hand_computed_normalisation():
    x, mean, std = jnp.array([3.0, 100.0, -7.0]), jnp.array([1.0, 0.0, 3.0]), jnp.array([2.0, 0.5, 0.5])
    assert normalise(x, mean, std).tolist() == [1.0, 10.0, -10.0]


def test_a_constant_input_is_no_division_by_zero():
    stats = RunningStats.init(1).update(jnp.full((1000, 1), 2.0))
    assert float(stats.std[0]) > 0.0
    assert float(jnp.abs(stats.normalise(jnp.array([3.0]))[0])) <= 10.0


@pytest.mark.parametrize("pairs", [10, 50, 2000])
@pytest.mark.parametrize(
    ("mean", "spread"),
    [(1000.0, 0.0), (300.0, 0.01), (-50.0, 0.1), (0.0, 0.0), (0.0, 1e-3), (0.5, 0.0), (0.5, 1e-3), (0.0, 0.02)],
)
def test_the_start_is_no_spread(pairs, mean, spread):
    x = mean + spread * jax.random.normal(jax.random.key(0), (pairs, 1))
    stats = RunningStats.init(1).update(x)
    np.testing.assert_allclose(stats.mean, jnp.mean(x), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(
        stats.std, np.hypot(np.std(np.asarray(x, np.float64)), 1e-4), rtol=1e-2, atol=3e-8 * abs(mean)
    )


def test_where_the_start_does_not_matter_nothing_changes():
    """Features of ordinary tasks, to the bit of the merge without an exception; and no later batch is an exception."""
    x = jax.random.normal(jax.random.key(0), (64, 4)) * jnp.array([1.0, 0.3, 5.0, 0.05]) + jnp.array(
        [0.0, 1.2, -9.0, 0]
    )
    count, n = np.float32(1e-4), np.float32(64)
    mean, var, total = jnp.mean(x, axis=0), jnp.var(x, axis=0), count + n
    expected = (jnp.ones(4) * count + var * n + jnp.square(mean) * count * n / total) / total
    first = RunningStats.init(4).update(x)
    np.testing.assert_array_equal(first.var, expected)
    far = first.update(x + 1e4)
    assert (far.std > 4e3).all()
