"""The ring of consecutive steps against lists of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.buffers.steps import StepReplay
from gailfe_jax.errors import GailfeError

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

ENVS, LENGTH = 3, 4
STEP = (jnp.zeros(2), jnp.int32(0))


def unroll(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Unroll `number`: every step knows when it was, and in which environment."""
    time = np.broadcast_to(number * LENGTH + np.arange(LENGTH)[:, None], (LENGTH, ENVS))
    env = np.broadcast_to(np.arange(ENVS), (LENGTH, ENVS))
    return np.stack([time, env], axis=-1).astype(np.float32), time.astype(np.int32)


def filled(replay: StepReplay, unrolls: int):
    state, add = replay.init(STEP), jax.jit(replay.add, donate_argnums=0)
    for number in range(unrolls):
        state = add(state, unroll(number))
    return state


@pytest.mark.parametrize("unrolls", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("length", [1, 3, 4])
def test_windows_are_consecutive_steps_of_one_environment_and_all_come(unrolls, length):
    replay = StepReplay(capacity=3 * ENVS * LENGTH + 5, num_envs=ENVS, unroll_length=LENGTH)
    assert replay.rows == 3 * LENGTH
    steps, time = replay.sample(filled(replay, unrolls), jax.random.key(0), 3000, length)
    assert steps.shape == (3000, length, 2) and time.shape == (3000, length)
    np.testing.assert_array_equal(np.diff(time, axis=1), 1)
    np.testing.assert_array_equal(np.ptp(np.asarray(steps[..., 1]), axis=1), 0)
    np.testing.assert_array_equal(steps[..., 0], time)
    # The last three unrolls are held.
    kept = range(max(0, unrolls - 3) * LENGTH, unrolls * LENGTH - length + 1)
    starts, counts = np.unique(np.stack([time[:, 0], steps[:, 0, 1]]), axis=1, return_counts=True)
    assert {tuple(start) for start in starts.T.astype(int)} == {(t, env) for t in kept for env in range(ENVS)}
    expected = 3000 / len(counts)
    assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected))


@pytest.mark.parametrize(("newest", "first"), [(1, 11), (7, 9), (9, 9), (1000, 0)])
def test_the_newest_steps_are_drawn_alike_and_no_others(newest, first):
    replay = StepReplay(capacity=3 * ENVS * LENGTH, num_envs=ENVS, unroll_length=LENGTH)
    # Twelve steps of each environment are held; 7 steps of three environments are rounded up to three rows.
    _, time = replay.sample(filled(replay, 3), jax.random.key(0), 3000, 1, newest)
    times, counts = np.unique(time, return_counts=True)
    np.testing.assert_array_equal(times, range(first, 12))
    assert np.all(np.abs(counts - 3000 / len(counts)) < 5 * np.sqrt(3000 / len(counts)))
    # A window that does not fit is the newest there is, and while there is less, all is new.
    _, time = replay.sample(filled(replay, 1), jax.random.key(0), 200, 3, newest)
    assert set(time[:, 0].tolist()) == ({0, 1} if newest == 1000 else {1})


def test_vmap_over_seeds_equals_a_loop(fully_optimised):
    replay = StepReplay(2 * ENVS * LENGTH, ENVS, LENGTH)
    states = jax.vmap(lambda _: replay.init(STEP))(jnp.arange(2))
    for number in range(3):
        both = [unroll(number), unroll(number + 10)]
        states = jax.vmap(replay.add)(states, tuple(jnp.stack(column) for column in zip(*both, strict=True)))
    keys = jax.random.split(jax.random.key(1), 2)
    drawn = jax.vmap(lambda state, key: replay.sample(state, key, 5, 2))(states, keys)
    for seed, first in enumerate((0, 10)):
        alone = replay.init(STEP)
        for number in range(3):
            alone = replay.add(alone, unroll(first + number))
        for a, b in zip(drawn, replay.sample(alone, keys[seed], 5, 2), strict=True):
            np.testing.assert_array_equal(a[seed], b)


def test_less_than_an_unroll_is_refused():
    with pytest.raises(GailfeError, match=r"^replay: capacity is 11, expected an unroll's 12 or more"):
        StepReplay(11, ENVS, LENGTH)
