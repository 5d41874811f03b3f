"""The replay ring against a deque."""

from __future__ import annotations

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.buffers.replay import Replay
from gailfe_jax.errors import GailfeError

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

ROW = (jnp.zeros(2), jnp.zeros(1))


def _rows(start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    serial = np.arange(start, start + count, dtype=np.float32)
    return np.stack([serial, serial + 0.5], axis=1), -serial[:, None]


@pytest.mark.parametrize("counts", [[3], [3, 3, 3, 3], [7, 7], [20], [5, 16, 1], [1] * 9], ids=str)
def test_ring_holds_the_last_pairs(counts):
    replay = Replay(7)
    state, reference, start = replay.init(ROW), collections.deque(maxlen=7), 0
    add = jax.jit(replay.add, donate_argnums=0)
    for count in counts:
        obs, action = _rows(start, count)
        start += count
        state = add(state, (obs, action))
        reference.extend(zip(obs, action))
    assert int(state.size) == len(reference)
    oldest = (int(state.head) - int(state.size)) % 7
    rows = (oldest + np.arange(len(reference))) % 7
    np.testing.assert_array_equal(np.asarray(state.rows[0])[rows], [obs for obs, _ in reference])
    np.testing.assert_array_equal(np.asarray(state.rows[1])[rows], [action for _, action in reference])

    obs, action = replay.sample(state, jax.random.key(0), 300 * len(reference))
    serials, times = np.unique(np.asarray(obs)[:, 0], return_counts=True)
    np.testing.assert_array_equal(serials, [obs[0] for obs, _ in reference])
    np.testing.assert_array_equal(np.asarray(obs)[:, 0], -np.asarray(action)[:, 0])
    assert np.all(np.abs(times - 300) < 5 * np.sqrt(300))


def test_empty_ring_samples_zeros():
    replay = Replay(4)
    obs, action = replay.sample(replay.init(ROW), jax.random.key(0), 3)
    np.testing.assert_array_equal(obs, np.zeros((3, 2)))
    np.testing.assert_array_equal(action, np.zeros((3, 1)))


def test_vmap_over_seeds_equals_a_loop(fully_optimised):
    replay = Replay(5)
    batches = [_rows(100 * seed, 4) for seed in range(3)]
    states = jax.vmap(lambda _: replay.init(ROW))(jnp.arange(3))
    for _ in range(2):
        states = jax.vmap(replay.add)(states, tuple(jnp.stack(column) for column in zip(*batches)))
    for seed, batch in enumerate(batches):
        alone = replay.add(replay.add(replay.init(ROW), batch), batch)
        for a, b in zip(jax.tree.leaves(states), jax.tree.leaves(alone), strict=True):
            np.testing.assert_array_equal(a[seed], b)


def test_a_capacity_that_is_not_positive_is_refused_by_name():
    with pytest.raises(GailfeError, match="capacity"):
        Replay(0)
