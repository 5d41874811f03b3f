"""Buffers that keep where each action led: it is drawn beside the pair, to the end of an episode and beyond a ring."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.buffers.labelled import LabelledTrajectories
from gailfe_jax.buffers.top_k import TopK
from gailfe_jax.data.annotators import terminated
from gailfe_jax.data.trajectories import Trajectories
from gailfe_jax.types import Transition

SIZES = {"max_length": 6, "num_envs": 3, "obs_size": 2, "action_size": 1, "follows": True}


def unrolls(count: int, length: int = 5) -> list[Transition]:
    """Steps `obs = (n, .)` that lead to `(n + 0.5, .)` at an episode's end and to the next row's obs elsewhere."""
    rng, found = np.random.default_rng(0), []
    number, steps = 1.0, np.zeros(3, int)
    obs = np.zeros((3, 2), np.float32)
    for env in range(3):
        obs[env] = number
        number += 1
    for _ in range(count):
        rows = []
        for _ in range(length):
            steps = steps + 1
            fell = rng.random(3) < 0.3
            cut = ~fell & (steps >= SIZES["max_length"])
            following, after = np.zeros_like(obs), np.zeros_like(obs)
            for env in range(3):
                following[env], number = number, number + 1
                after[env] = following[env]
                if (fell | cut)[env]:
                    following[env] = obs[env] + 0.5
                    steps[env] = 0
            flat = np.zeros(3, np.float32)
            rows.append(Transition(obs, obs[:, :1] * 10, flat, following, flat + 1, fell, cut))
            obs = after
        found.append(jax.tree.map(lambda *x: jnp.asarray(np.stack(x)), *rows))
    return found


@pytest.mark.parametrize("kind", ["failures", "best"])
def test_where_an_action_led_is_drawn_with_it(kind):
    buffer = LabelledTrajectories(4, annotator=terminated(), **SIZES) if kind == "failures" else TopK(4, **SIZES)
    state, led = buffer.init(), {}
    add = jax.jit(buffer.add)
    for unroll in unrolls(6):
        state = add(state, unroll)
        led |= dict(zip(np.ravel(unroll.obs[..., 0]).tolist(), np.ravel(unroll.next_obs[..., 0]).tolist()))
    assert int(buffer.num_trajectories(state)) == 4
    obs, action, next_obs = (np.asarray(x) for x in buffer.sample(state, jax.random.key(1), 400))
    assert len(set(obs[:, 0])) == int(buffer.num_transitions(state)) and obs[:, 0].min() > 0
    np.testing.assert_array_equal(action[:, 0], 10 * obs[:, 0])
    np.testing.assert_array_equal(next_obs[:, 0], [led[number] for number in obs[:, 0].tolist()])
    assert buffer.memory_bytes == state.storage.nbytes


def test_what_is_preloaded_says_where_it_led_and_lacks_actions_that_nobody_recorded():
    obs = np.arange(10, dtype=np.float32).reshape(5, 2)
    after = obs + 2
    after[2], after[4] = 90, 91
    ends = np.array([False, False, True, False, True])
    held = Trajectories(obs, np.zeros((5, 0), np.float32), after, None, ends, ~ends & False, np.array([0, 3, 5]))
    buffer = LabelledTrajectories(4, annotator=terminated(), **SIZES)
    state = jax.jit(buffer.preload)(buffer.init(), jax.tree.map(jnp.asarray, buffer.pad(held)))
    drawn = [np.asarray(x) for x in buffer.sample(state, jax.random.key(0), 60)]
    assert np.isnan(drawn[1]).all() and set(drawn[0][:, 0]) == set(obs[:, 0])
    expected = dict(zip(obs[:, 0].tolist(), after.tolist()))
    np.testing.assert_array_equal(drawn[2], [expected[number] for number in drawn[0][:, 0].tolist()])
    # An empty one is told by zeros.
    assert not np.any(buffer.sample(buffer.init(), jax.random.key(0), 3)[2])
