"""What every environment promises (see `gailfe_jax.types.Env`), of every task there is."""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.envs import CLASSIC, TASKS, check_env, make_env, registry, task_names
from gailfe_jax.types import Array, Env, EnvState, TimeStep, is_key
from tests import toy

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "new_environment.py"
REGISTERED = ["cliff", "drift", "puck"]
NAMES = [*sorted((*TASKS, *CLASSIC)), *REGISTERED, "delayed3:hopper", "delayed3:cliff"]
BATCH, STEPS, LAST = 3, 6, 3
"""Environments, steps, and after how many of those the time limit is reached."""


@pytest.fixture(scope="module", autouse=True)
def registered():
    """The toy tasks and the example's are known, in this module only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_REGISTERED", {})
        toy.register()
        spec = importlib.util.spec_from_file_location("new_environment", EXAMPLE)
        assert spec is not None and spec.loader is not None
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        yield


def numbers(tree: Any) -> Any:
    """The tree in NumPy, keys as their numbers."""
    return jax.tree.map(lambda x: np.asarray(jax.random.key_data(x) if is_key(x) else x), tree)


def identical(one: Any, two: Any) -> bool:
    pairs = zip(jax.tree.leaves(numbers(one)), jax.tree.leaves(numbers(two)), strict=True)
    return all(a.tobytes() == b.tobytes() for a, b in pairs)


@dataclasses.dataclass
class Record:
    """A few steps of a batch, jitted and vmapped, from `LAST` steps before the time limit.

    Attributes:
      states: `STEPS + 1` times `[BATCH]`.
      steps: `STEPS` times `[BATCH]`.
      actions: `[STEPS, BATCH, a]`, small.
    """

    env: Env
    keys: Array
    states: list[EnvState]
    steps: list[TimeStep]
    actions: Array
    step: Any

    def start(self, keys: Array) -> EnvState:
        state = jax.jit(jax.vmap(self.env.reset))(keys)
        return state.replace(step_count=jnp.full(BATCH, self.env.spec.max_episode_steps - LAST, jnp.int32))

    def run(self, keys: Array) -> tuple[list[EnvState], list[TimeStep]]:
        states, steps = [self.start(keys)], []
        for action in self.actions:
            state, step = self.step(states[-1], action)
            states.append(state)
            steps.append(step)
        return states, steps


# One of each kind among the physics: what reads positions alone, contact forces, and other fields.
QUICK = {*REGISTERED, "mountain_car", "hopper", "ant", "inverted_double_pendulum", "delayed3:cliff"}
EACH = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES]


@pytest.fixture(scope="module", params=EACH)
def record(request, registered) -> Record:
    env = make_env(request.param, "mujoco_c")
    keys = jax.random.split(jax.random.key(1), BATCH)
    actions = 0.1 * jax.random.normal(jax.random.key(2), (STEPS, BATCH, env.spec.action_size))
    made = Record(env, keys, [], [], actions, jax.jit(jax.vmap(env.step)))
    made.states, made.steps = made.run(keys)
    return made


def test_every_task_is_covered():
    assert {name.rpartition(":")[2] for name in NAMES} == set(task_names())


def test_it_keeps_its_promises_of_types_and_shapes(record):
    check_env(record.env)
    spec = record.env.spec
    # Not only when traced.
    for state, step in zip(record.states[1:], record.steps, strict=True):
        for obs in (state.obs, step.obs, step.next_obs):
            assert (obs.shape, obs.dtype) == ((BATCH, spec.obs_size), jnp.float32)
        assert (step.reward.shape, step.reward.dtype) == ((BATCH,), jnp.float32)
        assert (step.terminated.dtype, step.truncated.dtype) == (jnp.bool_, jnp.bool_)
        assert all(np.isfinite(x).all() for x in (step.next_obs, step.reward))


def test_the_time_limit_truncates_and_nothing_else_does(record):
    assert not np.any([step.terminated for step in record.steps])
    assert np.array_equal([step.truncated.all() for step in record.steps], np.arange(STEPS) == LAST - 1)
    assert np.array_equal([step.truncated.any() for step in record.steps], np.arange(STEPS) == LAST - 1)


def test_an_episode_that_ends_is_followed_by_a_fresh_one(record):
    first, fresh = record.states[0], record.states[LAST]
    assert (first.episode == 0).all() and (fresh.episode == 1).all()
    assert (fresh.step_count == 0).all() and (fresh.episode_return == 0).all()
    assert [int(state.step_count[0]) for state in record.states[LAST:]] == list(range(STEPS - LAST + 1))
    ended = record.steps[LAST - 1]
    # The policy sees the fresh observation; the one before it is kept apart, and no two episodes start alike.
    assert np.array_equal(ended.obs, fresh.obs)
    assert not np.array_equal(ended.obs, ended.next_obs)
    starts = np.concatenate([first.obs, fresh.obs])
    assert len(np.unique(starts, axis=0)) == 2 * BATCH
    for before, step, after in zip(record.states[:-1], record.steps, record.states[1:], strict=True):
        assert np.array_equal(step.obs, after.obs)
        going = ~np.asarray(step.terminated | step.truncated)
        assert np.array_equal(step.obs[going], step.next_obs[going])
        assert np.array_equal(jax.random.key_data(before.key), jax.random.key_data(after.key))


def test_a_fresh_episode_is_drawn_from_its_own_number(record):
    """The i-th episode of an environment does not depend on how the ones before it went."""
    idle = record.start(record.keys)
    for _ in range(LAST):
        idle, _ = record.step(idle, jnp.zeros_like(record.actions[0]))
    assert np.array_equal(idle.obs, record.states[LAST].obs)


def test_rewards_add_up_to_the_return(record):
    total = np.zeros(BATCH, np.float32)
    for step, state in zip(record.steps, record.states[1:], strict=True):
        total = np.where(step.terminated | step.truncated, 0.0, total + step.reward)
        # What is earned and not paid yet, where rewards are delayed, is no part of it.
        np.testing.assert_allclose(state.episode_return, total, rtol=1e-5, atol=1e-6)


@pytest.mark.exact
def test_the_same_key_gives_the_same_bits(record):
    again = record.run(record.keys)
    assert identical((record.states, record.steps), again)
    other = record.start(jax.random.split(jax.random.key(3), BATCH))
    assert not np.array_equal(other.obs, record.states[0].obs)


@pytest.mark.exact
def test_vmap_equals_a_loop(record):
    step = jax.jit(record.env.step)
    for i in range(BATCH):
        state = jax.tree.map(lambda x, i=i: x[i], record.states[0])
        for t, action in enumerate(record.actions[:, i]):
            state, one = step(state, action)
            for alone, among in zip(jax.tree.leaves(one), jax.tree.leaves(record.steps[t]), strict=True):
                np.testing.assert_allclose(alone, among[i], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["cliff", "puck", "hopper"])
def test_a_fall_terminates_and_is_never_also_a_truncation(name):
    env = make_env(name, "mujoco_c")
    spec = env.spec

    @jax.jit
    def run(keys: Array) -> tuple[EnvState, TimeStep]:
        def body(state: EnvState, _: None) -> tuple[EnvState, tuple[EnvState, TimeStep]]:
            after, step = jax.vmap(env.step)(state, jnp.ones((BATCH, spec.action_size)))
            return after, (state, step)

        return jax.lax.scan(body, jax.vmap(env.reset)(keys), length=60)[1]

    states, steps = run(jax.random.split(jax.random.key(1), BATCH))
    before, step = numbers((states, steps))
    assert step.terminated.any(axis=0).all()
    assert not (step.terminated & step.truncated).any()
    ended = (step.terminated | step.truncated)[:-1]
    assert np.array_equal(before.step_count[1:], np.where(ended, 0, before.step_count[:-1] + 1))
    assert np.array_equal(before.episode, np.concatenate([np.zeros((1, BATCH)), np.cumsum(ended, axis=0)]))
    assert not (step.obs == step.next_obs)[step.terminated].all(axis=-1).any()

    # A fall on the very last step of the time limit is a fall.
    t = int(np.flatnonzero(step.terminated[:, 0])[0])
    late = jax.tree.map(lambda x: x[t, 0], states).replace(step_count=jnp.int32(spec.max_episode_steps - 1))
    _, last = jax.jit(env.step)(late, jnp.ones(spec.action_size))
    assert (bool(last.terminated), bool(last.truncated)) == (True, False)
