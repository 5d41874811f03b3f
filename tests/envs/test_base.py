"""Time limit, fall and self-reset of the built-in environments (on the C engine; engines agree elsewhere)."""

from __future__ import annotations

import dataclasses

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.envs import find_task, make_env
from gailfe_jax.envs.base import MujocoEnv
from gailfe_jax.envs.physics.model import without_expected_warning
from gailfe_jax.envs.physics.mujoco_c import MujocoC
from gailfe_jax.envs.tasks import HALFCHEETAH, HOPPER, TASKS
from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Fields


def roll(env, key, action, steps):
    """`(states before the steps, steps)` under one constant action."""

    def body(state, _):
        after, step = env.step(state, action)
        return after, (state, step)

    return jax.jit(lambda key: jax.lax.scan(body, env.reset(key), length=steps)[1])(key)


def limited(task, limit=None):
    """The task on the C engine, with another time limit."""
    task = dataclasses.replace(task, max_episode_steps=limit or task.max_episode_steps)
    return MujocoEnv(task, MujocoC(task))


def test_time_limit_truncates_at_1000_and_does_not_terminate():
    before, step = roll(make_env("halfcheetah", "mujoco_c"), jax.random.key(0), jnp.full(6, 0.3), 2001)
    assert np.flatnonzero(step.truncated).tolist() == [999, 1999]
    assert not step.terminated.any()
    assert before.step_count[:3].tolist() == [0, 1, 2]
    assert before.step_count[998:1002].tolist() == [998, 999, 0, 1]
    assert np.asarray(before.episode)[[0, 999, 1000, 1999, 2000]].tolist() == [0, 0, 1, 1, 2]


def test_a_fall_terminates_and_is_never_also_a_truncation():
    key, action = jax.random.key(1), jnp.ones(3)
    _, step = roll(limited(HOPPER), key, action, 200)
    fall = int(np.flatnonzero(step.terminated)[0])
    assert not step.truncated.any()

    # The limit on the very step of the fall: Gymnasium would report both.
    _, step = roll(limited(HOPPER, fall + 1), key, action, fall + 1)
    assert (bool(step.terminated[fall]), bool(step.truncated[fall])) == (True, False)
    # One step earlier there is no fall yet.
    _, step = roll(limited(HOPPER, fall), key, action, fall)
    assert (bool(step.terminated[fall - 1]), bool(step.truncated[fall - 1])) == (False, True)


@pytest.mark.parametrize(
    "task", [pytest.param(HALFCHEETAH, id="halfcheetah", marks=pytest.mark.slow), pytest.param(HOPPER, id="hopper")]
)
def test_next_obs_is_before_the_reset_and_obs_after_it(task):
    key, action, limit = jax.random.key(2), jnp.zeros(task.action_size), 5
    before, short = roll(limited(task, limit), key, action, 7)
    _, endless = roll(limited(task), key, action, 7)
    # The observation the episode ended on is the one it would have gone on from.
    assert np.array_equal(short.next_obs[:limit], endless.next_obs[:limit])
    assert np.array_equal(short.obs[: limit - 1], short.next_obs[: limit - 1])
    assert not np.array_equal(short.obs[limit - 1], short.next_obs[limit - 1])
    # What the policy acts on next is what the step handed out.
    assert np.array_equal(before.obs[1:], short.obs[:-1])
    # The second episode is the one that its own key draws.
    draw = limited(task, limit)._draw(jax.random.fold_in(key, 1))
    np.testing.assert_allclose(short.obs[limit - 1], task.observe(jnp, Fields(qpos=draw[0], qvel=draw[1])), rtol=1e-6)


def test_episode_return_sums_the_rewards_of_the_running_episode():
    before, step = roll(limited(HALFCHEETAH, 4), jax.random.key(3), jnp.full(6, -0.5), 9)
    for t in range(9):
        start = t - int(before.step_count[t])
        np.testing.assert_allclose(before.episode_return[t], np.sum(step.reward[start:t], dtype=np.float32), rtol=1e-6)


def test_an_episode_is_its_keys_whatever_runs_beside_it():
    env = limited(HOPPER, 6)
    keys = jax.random.split(jax.random.key(4), 5)

    def run(key):
        def body(state, _):
            return env.step(state, jnp.full(3, 0.4))

        return jax.lax.scan(body, env.reset(key), length=20)[1]

    five = jax.jit(jax.vmap(run))(keys)
    two = jax.jit(jax.vmap(run))(keys[3:])
    for a, b in zip(jax.tree.leaves(five), jax.tree.leaves(two), strict=True):
        assert np.array_equal(a[3:], b)


def test_specs_are_gymnasiums():
    for name in TASKS:
        spec = make_env(name, "mujoco_c").spec
        with without_expected_warning():
            theirs = gymnasium.make(spec.gymnasium_id)
        assert theirs.observation_space.shape == (spec.obs_size,)
        np.testing.assert_array_equal(theirs.action_space.low, np.float32(spec.action_low))
        np.testing.assert_array_equal(theirs.action_space.high, np.float32(spec.action_high))
        assert theirs.spec.max_episode_steps == spec.max_episode_steps
        theirs.close()


def test_names_are_short_or_gymnasiums_and_cached():
    assert find_task("Hopper-v5") is HOPPER
    assert make_env("HalfCheetah-v5", "mujoco_c") is make_env("halfcheetah", "mujoco_c")


@pytest.mark.parametrize(
    ("name", "engine", "message"),
    [
        ("humanoyd", "mujoco_c", r"^env: unknown task 'humanoyd'; did you mean humanoid\?"),
        ("hopper", "bullet", r"^engine: unknown engine 'bullet'; expected auto, mujoco_c, mjx, warp"),
        ("brax:nothing", "auto", r"^env: unknown brax environment 'nothing'; expected one of ant, fast, .*walker2d"),
    ],
)
def test_unknown_names_are_one_clear_error(name, engine, message):
    with pytest.raises(GailfeError, match=message) as caught:
        make_env(name, engine)
    assert "\n" not in str(caught.value)


def test_options_reach_the_engine_or_are_refused():
    assert make_env("delayed2:hopper", "mjx", iterations=3).env.physics.model.opt.iterations == 3
    for name, engine in (("hopper", "mujoco_c"), ("brax:fast", "auto")):
        with pytest.raises(GailfeError, match="takes no option iterations"):
            make_env(name, engine, iterations=3)
