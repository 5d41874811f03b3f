"""The failure buffer against a plain Python list of trajectories."""

from __future__ import annotations

import collections
import dataclasses
import functools
import math

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gailfe_jax.buffers.labelled import LabelledTrajectories
from gailfe_jax.data import annotators
from gailfe_jax.data.trajectories import Trajectories
from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Transition

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

LIMIT = 6
OBS, ACTION = 3, 2
UNROLLS, STEPS = 3, 11


@dataclasses.dataclass
class Episode:
    """A finished episode as plain Python sees it."""

    obs: np.ndarray
    action: np.ndarray
    next_obs: np.ndarray
    rewards: list[float]
    terminated: bool
    earlier_returns: list[float]


def _streak(angles):
    count = 0
    for angle in reversed(angles):
        if abs(math.remainder(angle, 2 * math.pi)) <= math.pi / 2:
            break
        count += 1
    return count


def _in_bottom(episode: Episode, q: float, window: int, least: int) -> bool:
    recent = episode.earlier_returns[-window:]
    return len(recent) >= least and sum(r <= sum(episode.rewards) for r in recent) < q * len(recent)


def _even_sum(view: annotators.EpisodeView):
    # Uses every field; stale rows behind the end of the episode would change the sum.
    total = jnp.sum(view.obs[:, 1]) + jnp.sum(view.action[:, 0])
    last = view.obs[view.length - 1, 1]
    counted = jnp.sum(view.mask, dtype=jnp.int32) == view.length
    return counted & ((total + last + view.final_obs[1] + view.terminated.astype(jnp.float32)) % 2 == 0)


# name -> (annotator, the same in plain Python)
ANNOTATORS = {
    "terminated": (annotators.terminated(), lambda e: e.terminated),
    "truncated": (annotators.truncated(), lambda e: not e.terminated),
    "return_below": (annotators.return_below(1.0), lambda e: sum(e.rewards) < 1.0),
    "flipped": (annotators.flipped(2, min_steps=2), lambda e: _streak(e.next_obs[:, 2]) >= 2),
    "bottom_quantile": (
        annotators.bottom_quantile(0.4, window=4, min_episodes=2),
        lambda e: _in_bottom(e, 0.4, 4, 2),
    ),
    "from_function": (
        annotators.from_function(_even_sum, reads_reward=False),
        lambda e: (e.obs[:, 1].sum() + e.action[:, 0].sum() + e.obs[-1, 1] + e.next_obs[-1, 1] + e.terminated) % 2 == 0,
    ),
}
# One that only reads what the buffer tracks, one that keeps a history, one that reads the pool.
KINDS = ("flipped", "bottom_quantile", "from_function")


class PythonBuffer:
    """What `LabelledTrajectories` must hold, with lists."""

    def __init__(self, capacity, num_envs, failed):
        self.failures = collections.deque(maxlen=capacity)
        self.running = [[] for _ in range(num_envs)]
        self.returns: list[float] = []
        self.failed = failed
        self.num_failures = 0

    def add(self, unroll: Transition):
        for t in range(unroll.reward.shape[0]):
            earlier = list(self.returns)
            for b, running in enumerate(self.running):
                running.append((unroll.obs[t, b], unroll.action[t, b], unroll.next_obs[t, b], unroll.reward[t, b]))
                if not (unroll.terminated[t, b] or unroll.truncated[t, b]):
                    continue
                obs, action, next_obs, rewards = (list(column) for column in zip(*running))
                running.clear()
                arrays = (np.stack(obs), np.stack(action), np.stack(next_obs))
                episode = Episode(*arrays, rewards, bool(unroll.terminated[t, b]), earlier)
                self.returns.append(sum(rewards))
                if self.failed(episode):
                    self.failures.append((episode.obs, episode.action))
                    self.num_failures += 1


def _simulate(fall: np.ndarray, reward: np.ndarray, angle: np.ndarray) -> list[Transition]:
    """Unrolls in which episodes end where `fall [U, T, B]` says and after `LIMIT` steps; every row is recognisable."""
    num_envs = fall.shape[2]
    serial = np.arange(fall.size, dtype=np.float32).reshape(fall.shape)
    obs = np.stack([serial, serial % 5, np.zeros_like(serial)], axis=-1)
    next_obs = np.stack([serial + 0.5, serial % 3, angle], axis=-1)
    action = np.stack([serial % 7, -serial], axis=-1)
    truncated = np.zeros_like(fall)
    age = np.zeros(num_envs, int)
    for u, t in np.ndindex(fall.shape[:2]):
        age += 1
        truncated[u, t] = (age == LIMIT) & ~fall[u, t]
        age[fall[u, t] | truncated[u, t]] = 0
    fields = {"obs": obs, "action": action, "next_obs": next_obs, "reward": reward}
    fields |= {"log_prob": np.zeros_like(reward), "terminated": fall, "truncated": truncated}
    return [Transition(**{name: array[u] for name, array in fields.items()}) for u in range(len(fall))]


def _random_unrolls(seed: int, num_envs: int, unrolls: int = UNROLLS, fall: float = 0.3) -> list[Transition]:
    rng = np.random.default_rng(seed)
    shape = (unrolls, STEPS, num_envs)
    return _simulate(
        rng.random(shape) < fall,
        rng.integers(-2, 3, shape).astype(np.float32),
        rng.uniform(-7, 7, shape).astype(np.float32),
    )


def _buffer(capacity: int, num_envs: int, annotator="terminated", **options) -> LabelledTrajectories:
    if isinstance(annotator, str):
        annotator = ANNOTATORS[annotator][0]
    return LabelledTrajectories(capacity, LIMIT, num_envs, OBS, ACTION, annotator, **options)


@functools.cache
def _add(buffer: LabelledTrajectories):
    return jax.jit(buffer.add, donate_argnums=0)


def _fill(buffer: LabelledTrajectories, unrolls: list[Transition]):
    state = buffer.init()
    for unroll in unrolls:
        state = _add(buffer)(state, unroll)
    return state


@functools.cache
def _sample(buffer: LabelledTrajectories):
    return jax.jit(buffer.sample, static_argnums=2)


def _assert_same_trajectories(actual, expected):
    assert len(actual) == len(expected)
    for (obs, action), (expected_obs, expected_action) in zip(actual, expected):
        np.testing.assert_array_equal(obs, expected_obs)
        np.testing.assert_array_equal(action, expected_action)


@st.composite
def _unrolls(draw, num_envs: int):
    shape = (UNROLLS, STEPS, num_envs)
    fall = draw(hnp.arrays(np.bool_, shape))
    reward = draw(hnp.arrays(np.int8, shape, elements=st.integers(-2, 2)))
    # Multiples of 0.7 keep clear of the quarter turn, where float32 and float64 may disagree.
    angle = draw(hnp.arrays(np.int8, shape, elements=st.integers(-9, 9)))
    return _simulate(fall, reward.astype(np.float32), angle.astype(np.float32) * np.float32(0.7))


# More failures at one step than slots; a ring that evicts now and then; and, for one annotator, the extremes.
_SIZES = [(name, capacity, num_envs) for name in ANNOTATORS for capacity, num_envs in ((2, 5), (4, 2))]


@pytest.mark.parametrize(("name", "capacity", "num_envs"), [*_SIZES, ("terminated", 1, 3), ("terminated", 99, 3)])
def test_contents_equal_a_python_list(name, capacity, num_envs):
    buffer = _buffer(capacity, num_envs, name)

    @settings(max_examples=25, deadline=None)
    @given(_unrolls(num_envs))
    def check(unrolls):
        reference = PythonBuffer(capacity, num_envs, ANNOTATORS[name][1])
        state = buffer.init()
        for unroll in unrolls:
            reference.add(unroll)
            state = _add(buffer)(state, unroll)
            _assert_same_trajectories(buffer.contents(state), reference.failures)
        assert int(buffer.num_trajectories(state)) == len(reference.failures)
        assert int(buffer.num_transitions(state)) == sum(len(obs) for obs, _ in reference.failures)
        assert int(state.num_episodes) == len(reference.returns)
        assert int(state.num_failures) == reference.num_failures

    check()


@pytest.mark.parametrize("name", KINDS)
def test_unrolls_cut_anywhere_give_the_same_state(name):
    buffer = _buffer(3, 4, name)
    unrolls = _random_unrolls(0, 4)
    joined = jax.tree.map(lambda *parts: np.concatenate(parts), *unrolls)
    for a, b in zip(jax.tree.leaves(_fill(buffer, unrolls)), jax.tree.leaves(_fill(buffer, [joined])), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", KINDS)
def test_vmap_over_seeds_equals_a_loop(name, fully_optimised):
    buffer = _buffer(3, 2, name)
    per_seed = [_random_unrolls(seed, 2) for seed in range(4)]
    stack = functools.partial(jax.tree.map, lambda *leaves: jnp.stack(leaves))
    batched = jax.vmap(lambda _: buffer.init())(jnp.arange(4))
    add = jax.jit(jax.vmap(buffer.add), donate_argnums=0)
    for u in range(UNROLLS):
        batched = add(batched, stack(*[unrolls[u] for unrolls in per_seed]))
    looped = stack(*[_fill(buffer, unrolls) for unrolls in per_seed])
    keys = jax.random.split(jax.random.key(0), 4)
    sampled = jax.jit(jax.vmap(lambda state, key: buffer.sample(state, key, 5)))(batched, keys)
    sampled_loop = stack(*[_sample(buffer)(jax.tree.map(lambda x: x[i], looped), keys[i], 5) for i in range(4)])  # noqa: B023
    for a, b in zip(jax.tree.leaves((batched, sampled)), jax.tree.leaves((looped, sampled_loop)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("last_steps", [0, 1, 3])
@pytest.mark.parametrize("capacity", [5, 100])
def test_samples_are_uniform_over_the_stored_transitions(capacity, last_steps):
    buffer = _buffer(capacity, 3, last_steps=last_steps)
    state = _fill(buffer, _random_unrolls(1, 3))
    kept = [(o[-last_steps:], a[-last_steps:]) for o, a in buffer.contents(state)]
    obs = np.concatenate([o for o, _ in kept])
    action = {o[0]: a for o, a in zip(obs, np.concatenate([a for _, a in kept]))}
    assert int(buffer.num_transitions(state)) == len(obs) > 4

    n = 400 * len(obs)
    drawn_obs, drawn_action = _sample(buffer)(state, jax.random.key(2), n)
    serials, counts = np.unique(np.asarray(drawn_obs)[:, 0], return_counts=True)
    np.testing.assert_array_equal(serials, np.sort(obs[:, 0]))
    np.testing.assert_array_equal(drawn_action, np.stack([action[s] for s in np.asarray(drawn_obs)[:, 0]]))
    chi_square = np.sum((counts - 400.0) ** 2) / 400.0
    freedom = len(obs) - 1
    assert abs(chi_square - freedom) < 4 * np.sqrt(2 * freedom)


def test_long_episodes_weigh_more_than_short_ones():
    buffer = _buffer(2, 1)
    fall = np.zeros((1, 6, 1), bool)
    fall[0, [0, 5]] = True  # lengths 1 and 5
    state = _fill(buffer, _simulate(fall, np.zeros(fall.shape, np.float32), np.zeros(fall.shape, np.float32)))
    obs, _ = _sample(buffer)(state, jax.random.key(0), 6000)
    assert abs(np.mean(np.asarray(obs)[:, 0] == 0) - 1 / 6) < 0.02


@pytest.mark.parametrize("last_steps", [0, 3])
@pytest.mark.parametrize("half_life", [0.5, 2.0])
def test_steps_near_the_end_are_drawn_more_often_by_the_half_life_and_failures_alike(half_life, last_steps):
    buffer = _buffer(5, 3, last_steps=last_steps, half_life=half_life)
    state = _fill(buffer, _random_unrolls(1, 3))
    kept = [o[-last_steps:, 0] for o, _ in buffer.contents(state)]
    assert len({len(o) for o in kept}) > 1
    expected = {}
    for serials in kept:
        weights = 0.5 ** (np.arange(len(serials))[::-1] / half_life)
        expected |= dict(zip(serials, weights / weights.sum() / len(kept), strict=True))
    n = 40_000
    drawn, _ = _sample(buffer)(state, jax.random.key(2), n)
    serials, counts = np.unique(np.asarray(drawn)[:, 0], return_counts=True)
    found = dict(zip(serials, counts / n, strict=True))
    assert found.keys() <= expected.keys()
    for serial, share in expected.items():
        assert abs(found.get(serial, 0.0) - share) < 5 * np.sqrt(share / n) + 1e-4


@pytest.mark.parametrize("half_life", [0.0, 2.0])
def test_an_empty_buffer_samples_zeros(half_life):
    buffer = _buffer(3, 2, half_life=half_life)
    # A running episode fills working slots, which must not leak.
    no_falls = np.zeros((1, LIMIT - 1, 2), bool)
    running = _simulate(no_falls, np.ones(no_falls.shape, np.float32), np.ones(no_falls.shape, np.float32))
    for state in (buffer.init(), _fill(buffer, running)):
        obs, action = _sample(buffer)(state, jax.random.key(0), 7)
        assert obs.shape == (7, OBS)
        assert action.shape == (7, ACTION)
        assert not np.any(obs)
        assert not np.any(action)
        assert int(buffer.num_trajectories(state)) == int(buffer.num_transitions(state)) == 0
        assert buffer.contents(state) == []


def _stored(lengths: list[int]) -> Trajectories:
    n = sum(lengths)
    serial = 1000 + np.arange(n, dtype=np.float32)
    last = np.zeros(n, bool)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    last[offsets[1:] - 1] = True
    return Trajectories(
        obs=np.repeat(serial[:, None], OBS, axis=1),
        action=np.repeat(-serial[:, None], ACTION, axis=1),
        next_obs=np.zeros((n, OBS), np.float32),
        reward=np.zeros(n, np.float32),
        terminated=last,
        truncated=np.zeros(n, bool),
        offsets=offsets,
    )


@pytest.mark.parametrize("lengths", [[], [3], [2, 5, 1], [1, 2, 3, 4, 5, 6, 1]])
def test_preloaded_failures_are_the_oldest_and_the_first_to_go(lengths):
    capacity = 4
    buffer = _buffer(capacity, 2)
    stored = _stored(lengths)
    pairs = [(stored.trajectory(i).obs, stored.trajectory(i).action) for i in range(len(lengths))]
    state = buffer.preload(buffer.init(), stored)
    _assert_same_trajectories(buffer.contents(state), pairs[-capacity:])

    unrolls = _random_unrolls(3, 2, unrolls=1, fall=0.15)
    reference = PythonBuffer(capacity, 2, ANNOTATORS["terminated"][1])
    reference.failures.extend(pairs)
    for unroll in unrolls:
        reference.add(unroll)
        state = _add(buffer)(state, unroll)
    _assert_same_trajectories(buffer.contents(state), reference.failures)


def test_preload_of_padded_arrays_under_jit_and_vmap():
    buffer = _buffer(4, 2)
    padded = buffer.pad(_stored([2, 5, 1]))
    states = jax.vmap(lambda _: buffer.init())(jnp.arange(3))
    states = jax.jit(jax.vmap(buffer.preload, in_axes=(0, None)))(states, padded)
    expected = buffer.contents(buffer.preload(buffer.init(), _stored([2, 5, 1])))
    for seed in range(3):
        _assert_same_trajectories(buffer.contents(jax.tree.map(lambda x: x[seed], states)), expected)  # noqa: B023


def test_preload_refuses_what_does_not_fit():
    buffer = _buffer(4, 2)
    with pytest.raises(GailfeError, match=f"{LIMIT + 1} steps, expected at most {LIMIT}"):
        buffer.preload(buffer.init(), _stored([2, LIMIT + 1]))
    with pytest.raises(GailfeError, match="sizes"):
        buffer.pad(Trajectories.empty(OBS + 1, ACTION))
    too_many = dataclasses.replace(buffer, capacity=5).pad(_stored([1] * 5))
    with pytest.raises(GailfeError, match="5 trajectories"):
        buffer.preload(buffer.init(), too_many)


def test_without_collecting_only_preloaded_failures_stay():
    buffer = _buffer(3, 2, collect=False)
    state = buffer.preload(buffer.init(), _stored([2, 1]))
    after = buffer.add(state, _random_unrolls(0, 2)[0])
    _assert_same_trajectories(buffer.contents(after), buffer.contents(state))
    obs, _ = _sample(buffer)(after, jax.random.key(0), 100)
    assert set(np.asarray(obs)[:, 0]) == {1000.0, 1001.0, 1002.0}


@pytest.mark.parametrize("collect", [True, False])
def test_memory_is_that_of_the_pool(collect):
    buffer = _buffer(7, 3, collect=collect)
    assert buffer.memory_bytes == buffer.init().storage.nbytes == (7 + 3 * collect) * LIMIT * (OBS + ACTION) * 4


@pytest.mark.parametrize("name", KINDS)
def test_the_pool_is_never_copied(name, fully_optimised):
    # 40 MB of pool: a copy of it, per step or per iteration, would show up as temporary memory.
    buffer = LabelledTrajectories(500, 1000, 8, OBS, ACTION, ANNOTATORS[name][0])
    states = jax.eval_shape(jax.vmap(lambda _: buffer.init()), jnp.arange(2))
    shape = jax.ShapeDtypeStruct
    scalars = {field: shape((2, 32, 8), jnp.float32) for field in ("log_prob", "reward")}
    ends = {field: shape((2, 32, 8), jnp.bool_) for field in ("terminated", "truncated")}
    obs = shape((2, 32, 8, OBS), jnp.float32)
    unroll = Transition(obs=obs, action=shape((2, 32, 8, ACTION), jnp.float32), next_obs=obs, **scalars, **ends)

    def chunk(states, unroll, keys):
        def iteration(states, keys):
            states = jax.vmap(buffer.add)(states, unroll)
            return states, jax.vmap(lambda state, key: buffer.sample(state, key, 16))(states, keys)

        return jax.lax.scan(iteration, states, keys)

    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), (5, 2)))
    memory = jax.jit(chunk, donate_argnums=0).lower(states, unroll, keys).compile().memory_analysis()
    pool = 2 * buffer.memory_bytes
    assert memory.temp_size_in_bytes < pool / 10
    assert memory.alias_size_in_bytes >= pool


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("capacity", 0),
        ("max_length", 0),
        ("num_envs", 0),
        ("obs_size", 0),
        ("action_size", -1),
        ("last_steps", -1),
        ("half_life", -1.0),
    ],
)
def test_bad_sizes_are_refused_by_name(field, value):
    with pytest.raises(GailfeError, match=field):
        dataclasses.replace(_buffer(1, 1), **{field: value})
