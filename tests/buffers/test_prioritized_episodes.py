"""The episode replay against a plain Python list of episodes."""

from __future__ import annotations

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gailfe_jax.buffers.prioritized_episodes import PrioritizedEpisodes
from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Transition

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

# Episodes last up to three unrolls.
LIMIT, STEPS, OBS, ACTION = 11, 4, 2, 1
DRAWS = 40_000


class PythonReplay:
    """What `PrioritizedEpisodes` must hold, with lists."""

    def __init__(self, capacity, num_envs):
        self.episodes = collections.deque(maxlen=capacity)
        self.running = [[] for _ in range(num_envs)]

    def add(self, unroll: Transition, gamma: float):
        for t in range(STEPS):
            for b, running in enumerate(self.running):
                running.append((unroll.obs[t, b], unroll.action[t, b], unroll.reward[t, b]))
                if not (unroll.terminated[t, b] or unroll.truncated[t, b]):
                    continue
                obs, action, rewards = (np.array(column) for column in zip(*running, strict=True))
                running.clear()
                size = len(rewards)
                returns = [sum(gamma ** (k - i) * float(rewards[k]) for k in range(i, size)) for i in range(size)]
                self.episodes.append((obs, action, np.array(returns)))


def unrolls(seed: int, num_envs: int, count: int = 8, together: bool = False) -> list[Transition]:
    """Episodes of every length up to `LIMIT`, with recognisable steps; `together` ends them at the same steps."""
    rng = np.random.default_rng(seed)
    shape = (count, STEPS, num_envs)
    fall, truncated = rng.random(shape) < 0.15, np.zeros(shape, bool)
    if together:
        fall[:] = fall[..., :1]
    age = np.zeros(num_envs, int)
    for u, t in np.ndindex(count, STEPS):
        age += 1
        truncated[u, t] = (age == LIMIT) & ~fall[u, t]
        age[fall[u, t] | truncated[u, t]] = 0
    serial = 1 + np.arange(fall.size, dtype=np.float32).reshape(shape)
    obs, action = np.stack([serial, serial % 5], axis=-1), -serial[..., None]
    reward = rng.normal(size=shape).astype(np.float32)
    parts = zip(obs, action, reward, fall, truncated, strict=True)
    return [Transition(o, a, np.zeros_like(r), o, r, f, c) for o, a, r, f, c in parts]  # type: ignore[arg-type]


@functools.cache
def adder(replay: PrioritizedEpisodes):
    return jax.jit(replay.add, donate_argnums=0)


@functools.cache
def sampler(replay: PrioritizedEpisodes):
    return jax.jit(replay.sample, static_argnums=2)


def make(capacity: int, num_envs: int, alpha: float = 0.6) -> PrioritizedEpisodes:
    return PrioritizedEpisodes(capacity, LIMIT, num_envs, OBS, ACTION, alpha)


def fill(replay: PrioritizedEpisodes, parts: list[Transition], gamma: float = 0.9):
    state = replay.init()
    for part in parts:
        state = adder(replay)(state, part, gamma)
    return state


def held_index(replay: PrioritizedEpisodes, state) -> np.ndarray:
    """Index of every step held, the oldest first, worked out from the layout."""
    order, lengths = np.asarray(state.order), np.asarray(state.lengths)
    ring = [(int(state.head) + i) % replay.capacity for i in range(replay.capacity)]
    return np.concatenate([order[p] * LIMIT + np.arange(lengths[p]) for p in ring])


@functools.cache
def prioritiser(replay: PrioritizedEpisodes):
    return jax.jit(replay.reprioritise)


def prioritised(alpha: float = 0.6):
    """A filled replay whose steps have different priorities: `(replay, state, index, priority)`."""
    replay = make(4, 3, alpha)
    state = fill(replay, unrolls(1, 3))
    index = held_index(replay, state)
    priority = np.random.default_rng(0).gamma(0.7, 2.0, len(index)).astype(np.float32) + np.float32(0.01)
    return replay, prioritiser(replay)(state, jnp.asarray(index), jnp.asarray(priority)), index, priority


def assert_frequencies(index, expected_index, probability):
    """Draws are of `expected_index` only, as often as `probability` says within five standard deviations."""
    drawn, counts = np.unique(index, return_counts=True)
    assert set(drawn.tolist()) <= set(expected_index.tolist())
    count = dict(zip(drawn.tolist(), counts.tolist(), strict=True))
    counts = np.array([count.get(i, 0) for i in expected_index.tolist()])
    mean = len(index) * probability
    assert np.all(np.abs(counts - mean) <= 5 * np.sqrt(mean * (1 - probability)) + 1)


# More ends at one step than places; a ring that evicts now and then; and one that is never full.
@pytest.mark.parametrize(("capacity", "num_envs"), [(1, 5), (3, 1), (3, 5), (200, 2)])
def test_it_holds_what_a_python_list_holds(capacity, num_envs):
    replay = make(capacity, num_envs)

    @settings(max_examples=8, deadline=None)
    @given(st.integers(0, 10**6), st.sampled_from([0.0, 0.9, 0.99, 1.0]), st.booleans())
    def check(seed, gamma, together):
        reference, state = PythonReplay(capacity, num_envs), replay.init()
        for part in unrolls(seed, num_envs, together=together):
            reference.add(part, gamma)
            state = adder(replay)(state, part, gamma)
            contents = replay.contents(state)
            assert len(contents) == len(reference.episodes)
            for (obs, action, returns), expected in zip(contents, reference.episodes, strict=True):
                np.testing.assert_array_equal(obs, expected[0])
                np.testing.assert_array_equal(action, expected[1])
                np.testing.assert_allclose(returns, expected[2], rtol=1e-4, atol=1e-5)
        assert int(replay.num_trajectories(state)) == len(reference.episodes)
        assert int(replay.num_transitions(state)) == sum(len(obs) for obs, _, _ in reference.episodes)
        slots = np.concatenate([state.order, state.slot])
        assert len(set(slots.tolist())) == len(slots)

    check()


def test_returns_of_a_long_episode():
    replay, gamma = PrioritizedEpisodes(1, 1000, 1, 1, 1), 0.995
    reward = np.random.default_rng(0).normal(size=(1000, 1)).astype(np.float32)
    zeros, no = np.zeros((1000, 1, 1), np.float32), np.zeros((1000, 1), bool)
    cut = no.copy()
    cut[-1] = True
    state = replay.add(replay.init(), Transition(zeros, zeros, reward, zeros, reward, no, cut), gamma)  # type: ignore[arg-type]
    expected, total = np.zeros(1000), 0.0
    for t in reversed(range(1000)):
        expected[t] = total = float(reward[t, 0]) + gamma * total
    np.testing.assert_allclose(replay.contents(state)[0][2], expected, atol=1e-4)


def test_unrolls_cut_anywhere_give_the_same_state():
    replay, parts = make(3, 4), unrolls(0, 4)
    joined = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    apart, together = fill(replay, parts), fill(replay, [joined])
    for one, other in zip(replay.contents(apart), replay.contents(together), strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, other)
    for index, state in ((held_index(replay, apart), apart), (held_index(replay, together), together)):
        np.testing.assert_array_equal(state.priorities.reshape(-1)[index], 1.0)


def test_vmap_over_seeds_equals_a_loop(fully_optimised):
    replay = make(3, 4)
    seeds = [unrolls(seed, 4) for seed in range(3)]
    keys = jax.random.split(jax.random.key(0), 3)

    def use(state, key):
        drawn = replay.sample(state, key, 6, 0.4)
        return replay.reprioritise(state, drawn.index, drawn.returns), drawn

    states = jax.vmap(lambda _: replay.init())(jnp.arange(3))
    for parts in zip(*seeds, strict=True):
        stacked = jax.tree.map(lambda *x: np.stack(x), *parts)
        states = jax.jit(jax.vmap(replay.add, in_axes=(0, 0, None)))(states, stacked, 0.9)
    together = jax.jit(jax.vmap(use))(states, keys)
    for i, parts in enumerate(seeds):
        alone = jax.jit(use)(fill(replay, parts), keys[i])
        jax.tree.map(lambda x, y, i=i: np.testing.assert_array_equal(x[i], y), together, alone)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_steps_are_drawn_by_priority(alpha):
    replay, state, index, priority = prioritised(alpha)
    drawn = sampler(replay)(state, jax.random.key(0), DRAWS, 0.4)
    assert_frequencies(np.asarray(drawn.index), index, priority**alpha / np.sum(priority**alpha))
    # The rows are those of the index.
    steps = [np.concatenate(column) for column in zip(*replay.contents(state), strict=True)]
    row = {i: k for k, i in enumerate(index.tolist())}
    rows = [row[i] for i in np.asarray(drawn.index).tolist()]
    for actual, expected in zip((drawn.obs, drawn.action, drawn.returns), steps, strict=True):
        np.testing.assert_array_equal(actual, expected[rows])


def test_fresh_steps_are_drawn_uniformly():
    # Most positions were never used, and slots hold running episodes.
    replay = make(50, 3)
    state = fill(replay, unrolls(1, 3, count=4))
    index = held_index(replay, state)
    assert 0 < int(replay.num_trajectories(state)) < 50
    drawn = sampler(replay)(state, jax.random.key(1), DRAWS, 0.4)
    assert_frequencies(np.asarray(drawn.index), index, np.full(len(index), 1 / len(index)))
    np.testing.assert_array_equal(drawn.weight, 1.0)


def test_new_priorities_change_the_frequencies():
    replay, state, index, priority = prioritised()
    priority[::2], priority[1] = 1e-6, 5.0
    state = prioritiser(replay)(state, jnp.asarray(index), jnp.asarray(np.where(priority > 1e-6, priority, -1.0)))
    drawn = sampler(replay)(state, jax.random.key(2), DRAWS, 0.4)
    assert_frequencies(np.asarray(drawn.index), index, priority**0.6 / np.sum(priority**0.6))


@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_importance_weights(beta):
    replay, state, index, priority = prioritised()
    drawn = sampler(replay)(state, jax.random.key(3), 50, beta)
    probability = dict(zip(index.tolist(), priority.astype(float) ** 0.6 / np.sum(priority.astype(float) ** 0.6)))
    weight = np.array([(len(index) * probability[i]) ** -beta for i in np.asarray(drawn.index).tolist()])
    np.testing.assert_allclose(drawn.weight, weight / weight.max(), rtol=1e-4)


def test_fresh_steps_get_the_largest_priority_ever_seen():
    replay, parts = make(8, 2), unrolls(2, 2)
    state = fill(replay, parts[:4])
    index = held_index(replay, state)
    np.testing.assert_array_equal(state.priorities.reshape(-1)[index], 1.0)
    state = prioritiser(replay)(state, jnp.asarray(index[:2]), jnp.array([0.5, 7.0]))
    state = prioritiser(replay)(state, jnp.asarray(index[:2]), jnp.array([0.5, 0.1]))
    old = {obs[0, 0] for obs, _, _ in replay.contents(state)}
    for part in parts[4:]:
        state = adder(replay)(state, part, 0.9)
    fresh = np.concatenate([np.full(len(obs), obs[0, 0] not in old) for obs, _, _ in replay.contents(state)])
    assert 0 < np.sum(fresh) < len(fresh)
    after = np.asarray(state.priorities).reshape(-1)[held_index(replay, state)]
    np.testing.assert_array_equal(after[fresh], 7.0)
    assert np.all(after[~fresh] <= 1.0)


def test_of_a_step_drawn_twice_the_largest_priority_counts():
    replay, state, index, _ = prioritised()
    i, j, k = index[:3].tolist()
    state = prioritiser(replay)(state, jnp.array([i, j, i, k]), jnp.array([0.3, jnp.nan, 0.2, jnp.inf]))
    np.testing.assert_allclose(state.priorities.reshape(-1)[jnp.array([i, j, k])], [0.3, 1e-6, 1e-6])
    assert np.isfinite(state.max_priority)


def test_an_empty_replay_gives_zeros_and_takes_no_priorities():
    replay = make(3, 2)
    no = np.zeros((STEPS, 2), bool)
    running = unrolls(0, 2)[0].replace(terminated=no, truncated=no)
    # A running episode fills working slots, which must not leak.
    for state in (replay.init(), fill(replay, [running])):
        drawn = sampler(replay)(state, jax.random.key(0), 7, 0.4)
        for name, shape in {"obs": (7, OBS), "action": (7, ACTION), "returns": (7,), "weight": (7,)}.items():
            np.testing.assert_array_equal(getattr(drawn, name), np.zeros(shape))
        assert int(replay.num_trajectories(state)) == int(replay.num_transitions(state)) == 0
        assert replay.contents(state) == []
        after = replay.reprioritise(state, drawn.index, jnp.full(7, 9.0))
        jax.tree.map(np.testing.assert_array_equal, after, state)


def test_the_pool_is_never_copied_in_a_scan(fully_optimised):
    replay = PrioritizedEpisodes(50, 1000, 8, 40, 20)
    state = jax.eval_shape(jax.vmap(lambda _: replay.init()), jnp.arange(2))
    shape = jax.ShapeDtypeStruct
    scalar, flag = shape((2, 16, 8), jnp.float32), shape((2, 16, 8), jnp.bool_)
    obs = shape((2, 16, 8, 40), jnp.float32)
    unroll = Transition(obs, shape((2, 16, 8, 20), jnp.float32), scalar, obs, scalar, flag, flag)  # type: ignore[arg-type]

    def chunk(states, unroll, keys, gamma):
        def iteration(states, keys):
            states = jax.vmap(replay.add, in_axes=(0, 0, None))(states, unroll, gamma)
            drawn = jax.vmap(lambda state, key: replay.sample(state, key, 16, 0.4))(states, keys)
            return jax.vmap(replay.reprioritise)(states, drawn.index, drawn.returns), drawn

        return jax.lax.scan(iteration, states, keys)

    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), (5, 2)))
    compiled = jax.jit(chunk, donate_argnums=0).lower(state, unroll, keys, shape((), jnp.float32)).compile()
    memory = compiled.memory_analysis()
    assert memory.temp_size_in_bytes < 2 * replay.memory_bytes / 4
    assert memory.alias_size_in_bytes >= 2 * replay.memory_bytes


def test_memory_is_that_of_its_arrays():
    replay = make(7, 3)
    state = replay.init()
    assert replay.memory_bytes == state.storage.nbytes + state.returns.nbytes + state.priorities.nbytes


def test_bad_settings_are_refused():
    with pytest.raises(GailfeError, match=r"^episode replay: capacity is 0, expected 1 or more"):
        make(0, 1)
    with pytest.raises(GailfeError, match=r"^episode replay: alpha is -0.1, expected 0 or more"):
        make(1, 1, -0.1)
