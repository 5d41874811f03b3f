"""The adapter for MuJoCo Playground: what is its own, on a stand-in; and Playground itself where it is installed."""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.envs import check_env, make_env
from gailfe_jax.envs.playground import PlaygroundEnv
from gailfe_jax.errors import GailfeError
from tests.envs.test_brax import Counter


class TwoViews(Counter):
    """A policy and a critic see different things."""

    def reset(self, rng):
        state = super().reset(rng)
        return state.replace(obs={"state": state.obs, "privileged_state": jnp.zeros(5)})

    def step(self, state, action):
        after = super().step(state.replace(obs=state.obs["state"]), action)
        return after.replace(obs={"state": after.obs, "privileged_state": jnp.ones(5)})


def test_a_policy_is_shown_what_is_meant_for_it():
    env = PlaygroundEnv(TwoViews(), name="playground:Two", max_episode_steps=2)
    check_env(env)
    assert (env.spec.name, env.spec.engine, env.spec.obs_size) == ("playground:Two", "playground", 2)
    state, step = jax.jit(env.step)(env.reset(jax.random.key(0)), jnp.ones(1))
    assert np.array_equal(step.next_obs, state.phys.obs["state"]) and step.next_obs[0] > 1


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco_playground", None)
    with pytest.raises(
        GailfeError, match=r"^env: package playground does not import .*`pip install 'gailfe-jax\[playgr"
    ):
        make_env("playground:CheetahRun")


@pytest.mark.slow
def test_playground_itself():
    pytest.importorskip("mujoco_playground")
    env = make_env("playground:CartpoleBalance?max_episode_steps=3")
    assert (env.spec.obs_size, env.spec.action_size, env.spec.max_episode_steps) == (5, 1, 3)
    states = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), 2))
    step = jax.jit(jax.vmap(env.step))
    for _ in range(3):
        states, found = step(states, jnp.zeros((2, 1)))
        assert np.isfinite(found.next_obs).all()
    assert found.truncated.all() and not found.terminated.any()
    with pytest.raises(
        GailfeError, match=r"^env: unknown Playground environment 'Nope'; expected one of AcrobotSwingup"
    ):
        make_env("playground:Nope")
    with pytest.raises(GailfeError, match=r"^env 'playground:CheetahRun\?depth=3': cannot be made"):
        make_env("playground:CheetahRun?depth=3")
