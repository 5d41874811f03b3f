"""The order of rows; what the optimisers do to parameters shows in the tests of the learners."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from gailfe_jax.nn.optimisers import shuffled


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
