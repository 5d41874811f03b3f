"""What the learners' bits rest on is tested there; here, the order of rows, and that unwanted work is skipped."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.parallel.seeds import computed_where, shuffled


@pytest.mark.parametrize("size", [1, 2, 100, 4096, 2**16 + 1])
def test_shuffled_is_an_order_of_all_rows(size):
    rows = np.asarray(shuffled(jax.random.key(0), size))
    assert rows.dtype == np.int32
    np.testing.assert_array_equal(np.sort(rows), np.arange(size))


def test_every_row_is_as_often_in_every_place():
    orders = jax.vmap(lambda key: shuffled(key, 5))(jax.random.split(jax.random.key(1), 20_000))
    counts = np.stack([np.bincount(column, minlength=5) for column in np.asarray(orders).T])
    # Six standard deviations of a binomial count.
    assert np.abs(counts - 4000).max() < 6 * np.sqrt(4000 * 0.8)
    # A large batch too, whose rows have fewer bits to themselves: half of the places are below the middle on average.
    large = np.asarray(shuffled(jax.random.key(2), 2**16))
    assert abs(np.corrcoef(np.arange(2**16), large)[0, 1]) < 0.02


def test_computed_where_runs_once_for_the_whole_batch_or_not_at_all():
    shapes = []

    def host(x):
        shapes.append(x.shape)
        return np.asarray(x) + 1

    def add_one(x, key):
        noise = 0.0 * jax.random.uniform(key)
        return jax.pure_callback(host, jax.ShapeDtypeStruct((), jnp.float32), x + noise, vmap_method="broadcast_all")

    guarded = computed_where(add_one)
    x, key = jnp.arange(6.0).reshape(2, 3), jax.random.key(0)
    # Two nested maps, one of them over `wanted` and `x` only: the key is shared.
    run = jax.jit(jax.vmap(jax.vmap(guarded, (0, 0, None)), (0, 0, None)))
    nothing = run(jnp.zeros((2, 3), bool), x, key)
    assert nothing.shape == (2, 3) and shapes == []
    wanted = jnp.zeros((2, 3), bool).at[1, 2].set(True)
    assert run(wanted, x, key)[1, 2] == 6.0
    assert shapes == [(6,)]


def test_computed_where_without_a_batch():
    guarded = jax.jit(computed_where(lambda x: 2 * x))
    assert guarded(jnp.array(True), jnp.float32(3.0)) == 6.0
    assert guarded(jnp.array(False), jnp.float32(3.0)).shape == ()
