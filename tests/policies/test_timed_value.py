"""A value network that sees how far the episode is on its way to the time limit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.config.tree import set_values
from gailfe_jax.envs.rollout import unroll
from gailfe_jax.errors import GailfeError
from gailfe_jax.policies.base import Objective
from gailfe_jax.policies.ppo import PPO
from gailfe_jax.policies.trpo import TRPO
from gailfe_jax.types import Problem, Transition
from tests.tiny import noise_demos, tiny

pytestmark = pytest.mark.usefixtures("compiled_in_haste")
T, B = 3, 2


@pytest.fixture
def problem(drift_env):
    return Problem(drift_env.spec, B, T)


def made(kind, problem, **values):
    return set_values(kind(), {"hidden": (8,), "timed_value": True} | values).replace(problem=problem)


def steps(problem, **ends):
    none = jnp.zeros((T, B), bool)
    number = jnp.arange(T * B, dtype=jnp.int32).reshape(T, B)
    at = jnp.ones((T, B, problem.spec.obs_size))
    action = jnp.zeros((T, B, problem.spec.action_size))
    return Transition(at, action, none * 0.0, at, none + 1.0, none, none, number).replace(**ends)


def constant_value(step, key, value):
    """An agent whose value is `value` everywhere."""
    state = step.init(key)
    zeros = jax.tree.map(jnp.zeros_like, state.value)
    last = sorted(zeros["params"])[-1]
    zeros["params"][last]["bias"] += value
    return state.replace(value=zeros)


PAID = Objective(score=lambda obs, action, next_obs=None: jnp.ones(obs.shape[:-1]))


def targets(timed, problem, key, **ends):
    step = made(TRPO, problem, timed_value=timed, gamma=0.5, gae_lambda=1.0)
    transition = steps(problem, **ends)
    if not timed:
        transition = transition.replace(step=None)
    state, batch, _ = step.make_batch(constant_value(step, key, 8.0), transition, PAID)
    mean, std = state.return_scale.moments
    return (batch.target * std + mean).reshape(T, B)


def test_the_time_limit_ends_what_it_sums_up(problem, key):
    truncated = jnp.zeros((T, B), bool).at[1].set(True)
    # Three rewards of 1 at a discount of 1/2, cut after the second; behind an end a value of 8 is promised, or is not.
    np.testing.assert_allclose(targets(True, problem, key, truncated=truncated)[:, 0], [1.5, 1.0, 5.0], atol=1e-4)
    np.testing.assert_allclose(targets(False, problem, key, truncated=truncated)[:, 0], [3.5, 5.0, 5.0], atol=1e-4)
    np.testing.assert_allclose(
        targets(False, problem, key, terminated=truncated), targets(True, problem, key, truncated=truncated), atol=1e-4
    )


def after_one_update(step, transition, key):
    return jax.jit(lambda: step.update(step.init(key), transition, PAID, key))()[0]


@pytest.mark.parametrize("kind", [TRPO, PPO])
def test_it_tells_times_apart_where_observations_are_the_same(kind, problem, key):
    """The rewards to come are 3, 2 and 1, and every observation is the same."""
    more = {"epochs": 300, "minibatches": 1} if kind is PPO else {"value_epochs": 300, "value_minibatch": T * B}
    found = {}
    limit = problem.spec.max_episode_steps
    number = (jnp.arange(T)[:, None] * jnp.ones((1, B)) * limit / T).astype(jnp.int32)
    truncated = jnp.zeros((T, B), bool).at[-1].set(True)
    for timed in (True, False):
        step = made(kind, problem, timed_value=timed, gamma=1.0, gae_lambda=1.0, value_lr=0.01, **more)
        transition = steps(problem, truncated=truncated, step=number if timed else None)
        if not timed:
            transition = transition.replace(truncated=truncated & False, terminated=truncated)
        state = after_one_update(step, transition, key)
        share = number / limit if timed else None
        found[timed] = step._values(state, transition.obs, share)
        np.testing.assert_allclose(found[timed].mean(), 2.0, atol=0.2)
    np.testing.assert_allclose(found[True], [[3.0] * B, [2.0] * B, [1.0] * B], atol=0.2)
    assert found[False].std() < 1e-5


def test_an_unroll_counts_the_steps_of_each_episode(drift_env, key):
    limit = drift_env.spec.max_episode_steps
    act = lambda agent, obs, key: (jnp.zeros((B, drift_env.spec.action_size)), jnp.zeros(B))  # noqa: E731
    state = jax.vmap(drift_env.reset)(jax.random.split(key, B))
    _, transition, _ = jax.jit(lambda: unroll(drift_env, act, None, state, key, limit + 3, timed=True))()
    done, expected, count = np.asarray(transition.done), [], np.zeros(B, int)
    for row in done:
        expected.append(count.copy())
        count = np.where(row, 0, count + 1)
    np.testing.assert_array_equal(transition.step, expected)
    assert done.any()
    _, untimed, _ = jax.jit(lambda: unroll(drift_env, act, None, state, key, 3))()
    assert untimed.step is None


@pytest.mark.parametrize(("name", "policy"), [("fem", "trpo"), ("gail", "ppo")])
def test_methods_train_with_it(name, policy, drift_env, key):
    method = tiny(name, policy, policy__timed_value=True).on(drift_env)
    demos = noise_demos(drift_env)
    state, metrics = jax.jit(method.step)(method.init(key, demos), demos)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.agent.value, metrics["value_loss"])))


def test_where_nobody_says_when_it_is_refused():
    with pytest.raises(GailfeError, match=r"timed_value.*the ends of windows do not say when they are"):
        tiny("mail", policy__timed_value=True)
    with pytest.raises(GailfeError, match=r"self_imitation.updates.*expected no policy.timed_value"):
        tiny("ppo", policy__timed_value=True, self_imitation__updates=2)
