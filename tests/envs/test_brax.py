"""The brax adapter, on brax's dummy task, on its cart pole and on a counter with known answers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax.envs.base import Env, State

from gailfe_jax.envs import make_env
from gailfe_jax.envs.brax import BraxEnv, make_brax_env
from gailfe_jax.errors import GailfeError


class Counter(Env):
    """Counts up by the action from a random start; falls at 3 above it. Careless about types and its
    input's dictionaries, as brax's own are."""

    def __init__(self, own_limit=False, shape=()):
        self.own_limit, self.shape = own_limit, shape

    def reset(self, rng):
        assert rng.dtype == jnp.uint32
        start = jax.random.uniform(rng, self.shape)
        zero = jnp.zeros(())
        info = {"truncation": zero} if self.own_limit else {}
        return State(None, jnp.stack([start, start], axis=-1), zero, zero, {"count": zero}, info)

    def step(self, state, action):
        obs = state.obs + jnp.array([1.0, 0.0]) * action[0]
        done = (obs[0] - obs[1]) >= 3
        info = {"truncation": done.astype(jnp.int32)} if self.own_limit else {}
        state.metrics.update(count=1.0)
        return state.replace(obs=obs, reward=2, done=done, info=info)

    observation_size = property(lambda self: 2)
    action_size = property(lambda self: 1)
    backend = property(lambda self: "none")


def roll(env, key, steps, action=1.0):
    def body(state, _):
        after, step = env.step(state, jnp.full(env.spec.action_size, action))
        return after, (state, step)

    return jax.jit(lambda key: jax.lax.scan(body, env.reset(key), length=steps)[1])(key)


def test_a_fall_terminates_and_the_next_episode_starts_anew():
    before, step = roll(BraxEnv(Counter()), jax.random.key(0), 9)
    assert step.terminated.tolist() == [False, False, True] * 3
    assert not step.truncated.any()
    assert before.step_count.tolist() == [0, 1, 2] * 3
    assert before.episode.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert before.episode_return.tolist() == [0.0, 2.0, 4.0] * 3
    starts = np.asarray(before.obs)[::3, 0]
    assert len(np.unique(starts)) == 3
    # Before the reset: three above the start it came from; after: the new start.
    np.testing.assert_allclose(step.next_obs[2::3, 0] - starts, 3, rtol=1e-6)
    assert np.array_equal(step.obs[:-1], before.obs[1:])


def test_our_time_limit_truncates():
    before, step = roll(BraxEnv(Counter(), max_episode_steps=2), jax.random.key(0), 6)
    assert step.truncated.tolist() == [False, True] * 3
    assert not step.terminated.any()
    np.testing.assert_allclose(step.next_obs[1::2, 0] - before.obs[0::2, 0], 2, rtol=1e-6)


def test_a_fall_at_the_time_limit_is_a_fall():
    _, step = roll(BraxEnv(Counter(), max_episode_steps=3), jax.random.key(0), 3)
    assert step.terminated.tolist() == [False, False, True]
    assert not step.truncated.any()


def test_an_environments_own_time_limit_truncates():
    _, step = roll(BraxEnv(Counter(own_limit=True)), jax.random.key(0), 6)
    assert step.truncated.tolist() == [False, False, True] * 2
    assert not step.terminated.any()


def test_vmap_equals_loop():
    env = BraxEnv(Counter())
    keys = jax.random.split(jax.random.key(1), (2, 2))
    _, nested = jax.vmap(jax.vmap(lambda key: roll(env, key, 5)))(keys)
    for i in range(2):
        for j in range(2):
            _, one = roll(env, keys[i, j], 5)
            for a, b in zip(jax.tree.leaves(nested), jax.tree.leaves(one), strict=True):
                assert np.array_equal(a[i, j], b)


def test_braxs_dummy_task_goes_fast():
    env = make_env("brax:fast")
    spec = env.spec
    assert (spec.name, spec.engine, spec.gymnasium_id, spec.obs_size, spec.action_size) == (
        "brax:fast",
        "brax",
        None,
        2,
        1,
    )
    _, step = roll(env, jax.random.key(0), 3)
    # Speed grows by 0.02 a step and the clock ticks 0.02: positions 0.02^2 * (1, 3, 6).
    np.testing.assert_allclose(step.next_obs[:, 0], np.array([1, 3, 6]) * 0.02**2, rtol=1e-5)
    np.testing.assert_allclose(step.reward, step.next_obs[:, 0])


@pytest.mark.slow
def test_a_real_brax_task_falls_and_resets():
    env = make_brax_env("inverted_pendulum", max_episode_steps=40)
    before, step = roll(env, jax.random.key(0), 61, action=0.05)
    ends = np.flatnonzero(step.terminated[:-1])
    assert 2 <= len(ends) < 20
    assert (np.abs(step.next_obs[:, 1])[ends] > 0.2).all()
    assert not (step.terminated & step.truncated).any()
    starts = np.asarray(before.obs)[np.asarray(before.step_count) == 0]
    assert len(np.unique(starts, axis=0)) == len(starts) == len(ends) + 1
    assert (np.abs(starts) < 0.011).all()
    assert np.isfinite(step.next_obs).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ant", "hopper"])
def test_braxs_own_tasks_keep_their_state_in_shape(name):
    env = make_brax_env(name)
    state = jax.eval_shape(env.reset, jax.random.key(0))
    after, step = jax.eval_shape(env.step, state, jax.ShapeDtypeStruct((env.spec.action_size,), jnp.float32))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert step.next_obs.shape == (env.spec.obs_size,)


def test_an_environment_that_jax_outgrew_is_one_clear_error():
    class Outgrown(Counter):
        def step(self, state, action):
            return state.replace(obs=jnp.clip(state.obs, no_such_argument=0))

    with pytest.raises(GailfeError, match=r"^env 'mine': does not run on jax .*no_such_argument.*; expected another"):
        BraxEnv(Outgrown(), name="mine")


def test_batched_environment_is_one_clear_error():
    with pytest.raises(GailfeError, match=r"^env 'brax': observation has shape \(3, 2\); expected one vector"):
        BraxEnv(Counter(shape=(3,)))


def test_dictionary_observations_are_one_clear_error():
    with pytest.raises(GailfeError, match=r"^env 'brax:fast': observation has shape .*state.*; expected one vector"):
        make_brax_env("fast", obs_mode="dict_state")


def test_bad_limit_is_one_clear_error():
    with pytest.raises(GailfeError, match=r"^env 'brax.*': max_episode_steps is 0; expected a whole number from 1"):
        BraxEnv(Counter(), max_episode_steps=0)


def test_registering_again_takes_effect(monkeypatch):
    from brax import envs

    monkeypatch.setattr(envs, "_envs", dict(envs._envs))
    envs.register_environment("counter", Counter)
    first = make_env("brax:counter")
    assert make_env("brax:counter") is first and make_env("delayed2:brax:counter").env is first
    envs.register_environment("counter", type("Longer", (Counter,), {"observation_size": property(lambda self: 3)}))
    assert make_env("brax:counter").env.observation_size == 3 and first.env.observation_size == 2
    assert make_env("delayed2:brax:counter").env is make_env("brax:counter")


def test_options_stand_behind_the_name():
    env = make_env("brax:fast?max_episode_steps=7")
    assert (env.spec.name, env.spec.max_episode_steps) == ("brax:fast?max_episode_steps=7", 7)
