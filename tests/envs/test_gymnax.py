"""The adapter for gymnax's functions, on an object with known answers, and on gymnax itself where it is installed."""

from __future__ import annotations

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from gailfe_jax.envs import as_env, check_env, make_env
from gailfe_jax.envs.gymnax import GymnaxEnv
from gailfe_jax.errors import GailfeError


@struct.dataclass
class Params:
    size: float = 2.0
    max_steps_in_episode: int = 4


class Counter:
    """Counts up by the action from a random start; falls behind `params.size` above it. Careless about types."""

    default_params = Params()
    space = types.SimpleNamespace(low=-1.0, high=2.0, shape=(1,))

    def action_space(self, params):
        return self.space

    def reset(self, key, params):
        start = jax.random.uniform(key)
        return jnp.stack([start, start]), {"obs": jnp.stack([start, start]), "steps": 0}

    def step(self, key, state, action, params):
        obs = state["obs"] + jnp.array([1.0, 0.0]) * jnp.sum(action)
        noise = jax.random.uniform(key)
        return obs, {"obs": obs, "steps": state["steps"] + 1}, 3, obs[0] - obs[1] > params.size, {"noise": noise}


class Choices(Counter):
    space = types.SimpleNamespace(n=3)

    def reset_env(self, key, params):
        return super().reset(key, params)

    def step_env(self, key, state, action, params):
        assert action.dtype == jnp.int32 and action.shape == ()
        return super().step(key, state, action.astype(jnp.float32), params)

    def step(self, key, state, action, params):
        raise AssertionError("this one resets by itself")

    def is_truncated(self, state, params):
        return state["steps"] >= 2


def roll(env, action, steps=9):
    def body(state, _):
        after, step = env.step(state, jnp.asarray(action))
        return after, (state, step)

    return jax.jit(lambda key: jax.lax.scan(body, env.reset(key), length=steps)[1])(jax.random.key(0))


def test_an_object_with_reset_and_step():
    env = as_env(Counter())
    check_env(env)
    spec = env.spec
    assert (spec.name, spec.engine, spec.obs_size, spec.action_size, spec.discrete) == (
        "Counter",
        "gymnax",
        2,
        1,
        False,
    )
    assert (spec.action_low, spec.action_high, spec.max_episode_steps) == ((-1.0,), (2.0,), 4)
    before, step = roll(env, [1.0])
    # 3 above the start is the first number above 2.
    assert step.terminated.tolist() == [False, False, True] * 3 and not step.truncated.any()
    np.testing.assert_allclose(step.next_obs[2::3, 0] - before.obs[0::3, 0], 3, rtol=1e-6)
    assert len(np.unique(before.obs[0::3, 0])) == 3 and (step.reward == 3).all() and step.reward.dtype == jnp.float32
    _, step = roll(env, [0.1])
    assert step.truncated.tolist() == ([False] * 3 + [True]) * 2 + [False] and not step.terminated.any()


def test_choices_and_a_limit_of_its_own():
    env = GymnaxEnv(Choices(), Params(size=1.0), name="mine", max_episode_steps=7)
    check_env(env)
    assert (env.spec.discrete, env.spec.action_size, env.spec.action_high) == (True, 3, (1.0,) * 3)
    assert env.spec.max_episode_steps == env.params.max_steps_in_episode == 7
    before, step = roll(env, [0.0, 0.0, 1.0], 4)
    np.testing.assert_allclose(step.next_obs[:, 0] - before.obs[:, 0], 2, rtol=1e-6)
    assert step.terminated.all()
    _, step = roll(env, [1.0, 0.0, 0.0], 4)
    assert step.truncated.tolist() == [False, True] * 2 and not step.terminated.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"default_params": None}, r"max_episode_steps is None; expected a time limit of at least 1"),
        ({"default_params": Params(max_steps_in_episode=0)}, r"max_episode_steps is 0; expected a time limit"),
        ({"space": types.SimpleNamespace(spaces={})}, r"action space is namespace\(.*; expected a Box, or Discrete"),
        (
            {"reset": lambda self, key, params: (jnp.zeros((3, 3)), {})},
            r"observation has shape \(3, 3\); expected one v",
        ),
        ({"step": lambda self, key, state, action: None}, r"does not run on jax .*; expected another task"),
    ],
)
def test_what_does_not_fit_is_one_line(change, message):
    with pytest.raises(GailfeError, match=rf"^env 'Odd': {message}"):
        GymnaxEnv(type("Odd", (Counter,), change)())


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gymnax", None)
    with pytest.raises(
        GailfeError, match=r"^env: package gymnax does not import .*expected `pip install 'gailfe-jax\[gy"
    ):
        make_env("gymnax:CartPole-v1")


def test_gymnax_itself():
    pytest.importorskip("gymnax")
    env = make_env("gymnax:CartPole-v1?max_episode_steps=5&gravity=1.5")
    assert (env.spec.obs_size, env.spec.action_size, env.spec.discrete, env.params.gravity) == (4, 2, True, 1.5)
    _, step = roll(env, [0.0, 1.0], 10)
    assert step.truncated.tolist() == ([False] * 4 + [True]) * 2
    pendulum = make_env("gymnax:Pendulum-v1")
    assert (pendulum.spec.action_high, pendulum.spec.max_episode_steps) == ((2.0,), 200)
    for name, message in (("Breakout-MinAtar", "observation has shape"), ("Nope", "unknown gymnax environment 'Nope'")):
        with pytest.raises(GailfeError, match=message):
            make_env(f"gymnax:{name}")
    with pytest.raises(GailfeError, match="expected options that it takes"):
        make_env("gymnax:CartPole-v1?depth=3")
