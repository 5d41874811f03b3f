from __future__ import annotations

import heapq

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gailfe_jax.buffers.top_k import TopK
from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Transition

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

LIMIT, STEPS, OBS, ACTION = 6, 8, 2, 1


class PythonHeap:
    """What `TopK` must hold, with a heap of (return, number of the episode) and a dictionary."""

    def __init__(self, capacity, num_envs):
        self.capacity, self.count = capacity, 0
        self.heap: list[tuple[float, int]] = []
        self.held: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.running = [[] for _ in range(num_envs)]

    def add(self, unroll: Transition):
        for t in range(unroll.reward.shape[0]):
            for b, running in enumerate(self.running):
                running.append((unroll.obs[t, b], unroll.action[t, b], unroll.reward[t, b]))
                if not (unroll.terminated[t, b] or unroll.truncated[t, b]):
                    continue
                obs, action, rewards = (np.array(column) for column in zip(*running, strict=True))
                running.clear()
                number, self.count = self.count, self.count + 1
                if any(np.array_equal(obs, o) and np.array_equal(action, a) for o, a in self.held.values()):
                    continue
                heapq.heappush(self.heap, (float(rewards.sum()), number))
                self.held[number] = (obs, action)
            # All that ended at this step are there before any of them leaves.
            while len(self.heap) > self.capacity:
                self.held.pop(heapq.heappop(self.heap)[1])

    @property
    def contents(self):
        return [self.held[number] for _, number in sorted(self.heap, reverse=True)]


def unrolls(seed: int, num_envs: int, count: int = 6, values: int = 2) -> list[Transition]:
    """Episodes of every length up to `LIMIT`; few different numbers, so that returns tie and trajectories repeat."""
    rng = np.random.default_rng(seed)
    age = np.zeros(num_envs, int)
    out = []
    for _ in range(count):
        shape = (STEPS, num_envs)
        fall, truncated = rng.random(shape) < 0.35, np.zeros(shape, bool)
        for t in range(STEPS):
            age += 1
            truncated[t] = (age == LIMIT) & ~fall[t]
            age[fall[t] | truncated[t]] = 0
        obs = rng.integers(0, values, (*shape, OBS)).astype(np.float32)
        action = rng.integers(0, values, (*shape, ACTION)).astype(np.float32)
        # The return is a function of the trajectory, as in an environment.
        reward = obs[..., 0] - action[..., 0]
        out.append(Transition(obs, action, np.zeros(shape), obs, reward, fall, truncated))  # type: ignore[arg-type]
    return out


def fill(buffer: TopK, parts: list[Transition]):
    add, state = jax.jit(buffer.add), buffer.init()
    for part in parts:
        state = add(state, part)
    return state


def assert_same(actual, expected):
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        for x, y in zip(one, other, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("num_envs", [1, 5])
@pytest.mark.parametrize("capacity", [1, 3, 50])
def test_it_holds_what_a_python_heap_holds(capacity, num_envs):
    buffer = TopK(capacity, LIMIT, num_envs, OBS, ACTION)
    add = jax.jit(buffer.add)

    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 10**6), st.sampled_from([2, 9]))
    def check(seed, values):
        heap, state = PythonHeap(capacity, num_envs), buffer.init()
        for part in unrolls(seed, num_envs, values=values):
            heap.add(part)
            state = add(state, part)
            assert_same(buffer.contents(state), heap.contents)
        assert int(state.num_episodes) == heap.count
        assert int(buffer.num_trajectories(state)) == len(heap.heap)
        assert float(buffer.best_return(state)) == max(r for r, _ in heap.heap)
        slots = np.concatenate([state.order, state.slot])
        assert len(set(slots.tolist())) == len(slots)

    check()


def test_vmap_over_seeds_equals_a_loop(fully_optimised):
    buffer = TopK(3, LIMIT, 4, OBS, ACTION)
    seeds = [unrolls(seed, 4) for seed in range(3)]
    alone = [fill(buffer, parts) for parts in seeds]
    states = jax.vmap(lambda _: buffer.init())(jnp.arange(3))
    for parts in zip(*seeds, strict=True):
        states = jax.jit(jax.vmap(buffer.add))(states, jax.tree.map(lambda *x: np.stack(x), *parts))
    for i, state in enumerate(alone):
        jax.tree.map(lambda x, y, i=i: np.testing.assert_array_equal(x[i], y), states, state)


def test_samples_are_uniform_over_the_transitions_held():
    buffer = TopK(4, LIMIT, 3, OBS, ACTION)
    state = fill(buffer, unrolls(1, 3, values=1000))
    obs, action = buffer.sample(state, jax.random.key(0), 40_000)
    held = np.concatenate([np.concatenate(pair, axis=1) for pair in buffer.contents(state)])
    assert int(buffer.num_transitions(state)) == len(held)
    drawn, counts = np.unique(np.concatenate([obs, action], axis=1), axis=0, return_counts=True)
    np.testing.assert_array_equal(drawn, np.unique(held, axis=0))
    # Five standard deviations of a binomial count.
    expected = 40_000 / len(held)
    assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected))


def test_a_return_that_is_no_number_is_never_kept():
    part = unrolls(0, 2)[0]
    buffer = TopK(3, LIMIT, 2, OBS, ACTION)
    state = fill(buffer, [part.replace(reward=np.full_like(part.reward, np.nan))])
    assert int(state.num_episodes) > 0
    assert int(buffer.num_trajectories(state)) == 0
    assert np.isnan(buffer.best_return(state))
    np.testing.assert_array_equal(buffer.sample(state, jax.random.key(0), 4)[0], 0.0)


def test_a_size_that_is_not_positive_is_refused():
    with pytest.raises(GailfeError, match=r"^best trajectories: capacity is 0, expected 1 or more"):
        TopK(0, LIMIT, 1, OBS, ACTION)
