"""The C engine equals Gymnasium to the bit, however it is batched."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gailfe_jax.envs.base import MujocoEnv
from gailfe_jax.envs.physics.mujoco_c import MujocoC
from gailfe_jax.envs.tasks import HOPPER, TASKS
from gailfe_jax.types import is_key

pytestmark = pytest.mark.exact

SEEDS = (0, 1, 2)
STEPS = 1000
# Of a range: by how much two samples of thousands of normal numbers differ in their extremes.
SLACK = 0.4
each_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
# Gymnasium steps slowly, and no program that calls the host back comes out of a cache: one task is quick.
each_long = pytest.mark.parametrize(
    "task",
    [pytest.param(task, id=name, marks=() if task is HOPPER else pytest.mark.slow) for name, task in TASKS.items()],
)


@functools.cache
def make_env(task):
    return MujocoEnv(task, MujocoC(task))


def all_actions(actions, task, steps):
    """`[steps, n, a]`: every mode with every seed."""
    table = [actions(mode, seed, steps, task.action_size) for seed in SEEDS for mode in actions.modes]
    return np.stack(table, axis=1)


@pytest.mark.slow
@each_task
def test_float64_steps_equal_gymnasium(task, oracle, actions):
    gym, physics = oracle(task), MujocoC(task)
    table = all_actions(actions, task, STEPS)
    n = table.shape[1]
    starts = [gym.reset(seed=int(seed)) for seed in np.repeat(SEEDS, len(actions.modes))]
    qpos, qvel = np.stack([s[1] for s in starts]), np.stack([s[2] for s in starts])

    rows, fresh = np.zeros((n, physics.nrow)), np.ones(n, bool)
    ours = []
    for action in table:
        rows, obs, reward, terminated = physics.host_step(rows, fresh, qpos, qvel, action)
        fresh = np.zeros(n, bool)
        ours.append((obs.copy(), reward.copy(), terminated.copy()))

    for i in range(n):
        gym.set_state(qpos[i], qvel[i])
        for t in range(STEPS):
            # Past the fall too: there the contacts are.
            for mine, theirs in zip(ours[t], gym.step(table[t, i])):
                assert np.array_equal(mine[i], theirs), (i, t)


@pytest.fixture(scope="module")
def rollouts(actions):
    """A jitted, vmapped, scanned rollout per task: the states the steps started from, their steps, the actions."""

    @functools.cache
    def roll(task):
        env = make_env(task)
        table = all_actions(actions, task, STEPS + 10)
        key = jax.random.key(7)

        @jax.jit
        def run(table):
            def body(state, action):
                view = jax.vmap(env.physics.view)(state.phys)
                after, step = jax.vmap(env.step)(state, action)
                return after, (state.obs, state.step_count, view, step)

            return jax.lax.scan(body, jax.vmap(env.reset)(jax.random.split(key, table.shape[1])), table)[1]

        return (*jax.device_get(run(table)), table)

    return roll


@each_long
def test_float32_env_equals_gymnasium_over_episodes(task, oracle, rollouts):
    """Through `jit`, `vmap` and `scan`; every episode after a lazy reset included."""
    gym = oracle(task)
    obs, step_count, (qpos, qvel), step, table = rollouts(task)
    episodes = 0
    for i in range(table.shape[1]):
        for t in range(table.shape[0]):
            if step_count[t, i] == 0:
                start = gym.set_state(qpos[t, i], qvel[t, i])
                assert np.array_equal(obs[t, i], start.astype(np.float32)), (i, t)
                episodes += 1
            next_obs, reward, terminated = gym.step(table[t, i])
            assert np.array_equal(step.next_obs[t, i], next_obs.astype(np.float32)), (i, t)
            assert step.reward[t, i] == np.float32(reward), (i, t)
            assert step.terminated[t, i] == terminated, (i, t)
            assert step.truncated[t, i] == (step_count[t, i] == task.max_episode_steps - 1 and not terminated), (i, t)
    assert episodes > table.shape[1]


@each_long
def test_every_episode_starts_anew(task, rollouts):
    _, step_count, (qpos, qvel), _, _ = rollouts(task)
    starts = np.concatenate([qpos, qvel], axis=-1)[step_count == 0]
    assert len(starts) > step_count.shape[1]
    assert len(np.unique(starts, axis=0)) == len(starts)


@each_long
def test_the_start_has_gymnasiums_distribution(task, oracle):
    env, gym = make_env(task), oracle(task)
    n = 2000

    @jax.jit
    @jax.vmap
    def start(key):
        return jnp.concatenate(env.physics.view(env.reset(key).phys))

    ours = np.asarray(start(jax.random.split(jax.random.key(3), n)))
    gym.env.reset(seed=11)
    theirs = []
    for _ in range(n):
        gym.env.reset()
        theirs.append(np.concatenate([gym.env.data.qpos, gym.env.data.qvel]))
    theirs = np.stack(theirs)
    for d in range(ours.shape[1]):
        # Fixed keys, so the test is deterministic; a wrong scale or family gives p below 1e-10 at this size.
        assert stats.ks_2samp(ours[:, d], theirs[:, d]).pvalue > 1e-4, d
    # No draw lies outside of what Gymnasium draws from.
    assert (ours.min(axis=0) >= theirs.min(axis=0) - SLACK * np.ptp(theirs, axis=0)).all()
    assert (ours.max(axis=0) <= theirs.max(axis=0) + SLACK * np.ptp(theirs, axis=0)).all()


@each_long
def test_nested_vmap_is_flat_vmap_is_one_by_one_in_one_engine_call(task, monkeypatch):
    physics = MujocoC(task)
    env = MujocoEnv(task, physics)
    calls = []
    host_step = physics.host_step

    def counting(rows, *args, **kwargs):
        calls.append(len(rows))
        return host_step(rows, *args, **kwargs)

    monkeypatch.setattr(physics, "host_step", counting)
    shape, steps = (2, 3), 5
    keys = jax.random.split(jax.random.key(0), shape)
    table = jax.random.uniform(jax.random.key(1), (steps, *shape, task.action_size), minval=-1.0, maxval=1.0)

    def run(step, state, table):
        return jax.lax.scan(step, state, table)

    nested = jax.jit(functools.partial(run, jax.vmap(jax.vmap(env.step))))(jax.vmap(jax.vmap(env.reset))(keys), table)
    jax.block_until_ready(nested)
    assert calls == [6] * steps

    calls.clear()
    flat = jax.jit(functools.partial(run, jax.vmap(env.step)))(
        jax.vmap(env.reset)(keys.reshape(6)), table.reshape(steps, 6, -1)
    )
    jax.block_until_ready(flat)
    assert calls == [6] * steps

    single = jax.jit(functools.partial(run, env.step))
    for i in range(6):
        one = single(env.reset(keys.reshape(6)[i]), table.reshape(steps, 6, -1)[:, i])
        _assert_same(jax.tree.map(lambda x, i=i: x.reshape(6, *x.shape[2:])[i], nested[0]), one[0])
        _assert_same(jax.tree.map(lambda x, i=i: x.reshape(steps, 6, *x.shape[3:])[:, i], nested[1]), one[1])
        _assert_same(jax.tree.map(lambda x, i=i: x[i], flat[0]), one[0])
        _assert_same(jax.tree.map(lambda x, i=i: x[:, i], flat[1]), one[1])


def _assert_same(left, right):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        if is_key(a):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        # Bits, not values: the engine's row holds halves of float64 numbers.
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_callback_without_shared_buffers_gives_the_same(monkeypatch):
    """The way the engine is called from an accelerator's program."""
    env = MujocoEnv(HOPPER, MujocoC(HOPPER))
    state = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 3))
    action = jax.random.uniform(jax.random.key(1), (3, 3), minval=-1.0, maxval=1.0)
    shared = jax.vmap(env.physics.step)(state.phys, action)
    with monkeypatch.context() as context:
        context.setattr(jax, "default_backend", lambda: "gpu")
        copied = jax.vmap(env.physics.step)(state.phys, action)
    _assert_same(shared, copied)


def test_reset_touches_only_what_is_done():
    physics = MujocoC(HOPPER)
    qpos, qvel = jnp.asarray(physics.init_qpos), jnp.asarray(physics.init_qvel)
    phys, _ = physics.step(physics.init(qpos, qvel), jnp.ones(3))
    _assert_same(physics.reset(phys, jnp.array(False), qpos, qvel), phys)

    moved = qpos.at[1].add(0.125)
    action = jnp.array([0.5, -0.25, 1.0])
    _assert_same(
        physics.step(physics.reset(phys, jnp.array(True), moved, qvel), action),
        physics.step(physics.init(moved, qvel), action),
    )


def test_simulator_state_is_the_exact_state(oracle):
    physics, gym = MujocoC(HOPPER), oracle(HOPPER)
    qpos, qvel = physics.init_qpos + np.float32(0.003), physics.init_qvel
    phys = physics.init(qpos, qvel)
    assert np.array_equal(physics.simulator_state(phys)[: 1 + 6 + 6], np.concatenate([[0.0], qpos, qvel]))

    gym.set_state(qpos, qvel)
    for _ in range(3):
        action = np.array([1.0, -1.0, 0.5], np.float32)
        phys, _ = physics.step(phys, action)
        gym.step(action)
    data = gym.env.data
    expected = np.concatenate([[data.time], data.qpos, data.qvel, data.qacc_warmstart])
    assert np.array_equal(physics.simulator_state(phys), expected)
