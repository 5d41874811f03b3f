"""A simulation that blows up begins a new episode and is counted, on tasks of a user's own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.config.run import EnvSettings
from gailfe_jax.envs import DelayedReward, make_env, register_task, resets_nonfinite
from gailfe_jax.envs.base import GuardedEnv, MujocoEnv
from gailfe_jax.envs.physics.mujoco_c import MujocoC
from gailfe_jax.envs.physics.solver import settled
from gailfe_jax.errors import GailfeError

STEPS = 12


def pushed(env, force, steps=STEPS):
    """`(states, time steps)` of two environments, the second of which is pushed by `force` from the third step on."""
    state = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), 2))
    step, found = jax.jit(jax.vmap(env.step)), []
    for i in range(steps):
        state, time_step = step(state, jnp.array([[0.0], [force if i >= 2 else 0.0]]))
        found.append((state, time_step))
    return found


@pytest.fixture
def light(slider, own_registry, tmp_path, monkeypatch):
    """A task whose ball weighs so little that a push sends it beyond any number."""
    monkeypatch.chdir(tmp_path)
    task = slider(range='gear="1e30" ctrllimited="true" ctrlrange="-2 2"')
    register_task(task, name="light")
    return task


@pytest.mark.parametrize("engine", ["mujoco_c", "mjx"])
def test_the_one_that_blows_up_begins_anew_and_the_other_goes_on(light, engine):
    env = make_env("light", engine)
    assert isinstance(env, GuardedEnv)
    alone = MujocoEnv(light, make_env("light", engine).physics)
    found = pushed(env, 1.0)
    for (state, step), (other, calm) in zip(found, pushed(alone, 0.0), strict=True):
        for name in ("obs", "next_obs", "reward", "terminated", "truncated"):
            ours = np.asarray(getattr(step, name))
            assert np.isfinite(ours).all()
            np.testing.assert_array_equal(ours[0], np.asarray(getattr(calm, name))[0])
        np.testing.assert_array_equal(state.obs[0], other.obs[0])
    ends = np.array([step.truncated for _, step in found])
    resets = np.asarray(resets_nonfinite(found[-1][0]))
    assert resets.tolist() == [0, ends[:, 1].sum()] and resets[1] > 1
    last = int(ends[:, 1].argmax())
    state, step = found[last]
    assert not step.terminated[1] and step.reward[1] == 0 and state.step_count[1] == 0
    np.testing.assert_array_equal(step.next_obs[1], found[last - 1][0].obs[1])


def test_mujoco_keeps_no_log_of_what_is_counted(light, tmp_path, capfd):
    assert np.asarray(resets_nonfinite(pushed(make_env("light", "mujoco_c"), 1.0)[-1][0]))[1] > 1
    assert "unstable" not in capfd.readouterr().err and not (tmp_path / "MUJOCO_LOG.TXT").exists()


def test_rewards_paid_late_are_counted_too(light):
    state = pushed(DelayedReward(make_env("light", "mujoco_c"), 4), 1.0)[-1][0]
    assert np.asarray(resets_nonfinite(state))[1] > 1


def test_gymnasiums_tasks_stay_as_they_are():
    env = make_env("hopper", "mujoco_c")
    assert type(env) is MujocoEnv and resets_nonfinite(env.reset(jax.random.key(0))) is None
    assert env.physics.model.opt.disableflags == make_env("hopper", "mujoco_c").physics.model.opt.disableflags
    assert type(make_env("hopper", "mujoco_c", reset_nonfinite=True)) is GuardedEnv


def test_the_choice_is_settled_by_whose_task_it_is(light):
    assert settled(EnvSettings(env="light"), "mujoco_c").reset_nonfinite is True
    assert settled(EnvSettings(env="light", reset_nonfinite=False), "mujoco_c").reset_nonfinite is False
    assert settled(EnvSettings(env="hopper"), "mujoco_c").reset_nonfinite is None
    assert type(make_env("light", "mujoco_c", reset_nonfinite=False)) is MujocoEnv
    with pytest.raises(GailfeError, match="cartpole brings its own engine and takes no option reset_nonfinite"):
        make_env("cartpole", reset_nonfinite=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.1e10, -1e300])
def test_what_is_not_finite_is_told_by_the_bits(light, value):
    physics = MujocoC(light, autoreset=False)
    rows = np.zeros((3, physics.nrow))
    rows[:, 1:3] = [[0.5, -2.0], [9.9e9, -9.9e9], [0.0, value]]
    state = physics.init(jnp.zeros(1), jnp.zeros(1))
    states = jax.vmap(lambda row: state.replace(row=row))(jnp.asarray(rows.view(np.uint32)))
    assert jax.vmap(physics.is_finite)(states).tolist() == [True, True, False]
