"""Probe environments with known answers: both policy steps must find them, with the true reward and with a score."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.config.tree import leaves, put
from gailfe_jax.envs.rollout import evaluate, unroll
from gailfe_jax.learners.methods import find_method
from gailfe_jax.policies.actor import CloneStart
from gailfe_jax.policies.base import Objective
from gailfe_jax.policies.ppo import PPO
from gailfe_jax.policies.trpo import TRPO
from gailfe_jax.types import EnvSpec, EnvState, Problem, StateAction, TimeStep

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


class TargetEnv:
    """Reward -(a - s)^2 with s drawn anew each step; the best policy is a = s, value 0. Ends by time limit only."""

    spec = EnvSpec("target", None, "none", 1, 1, (-1.0,), (1.0,), 10)

    def _obs(self, key, episode, step):
        draw = jax.random.fold_in(jax.random.fold_in(key, episode), step)
        return jax.random.uniform(draw, (1,), minval=-0.8, maxval=0.8)

    def reset(self, key):
        zero = jnp.int32(0)
        return EnvState(
            phys=(),
            obs=self._obs(key, zero, zero),
            step_count=zero,
            episode=zero,
            episode_return=jnp.float32(0.0),
            key=key,
        )

    def step(self, state, action):
        reward = -jnp.square(action[0] - state.obs[0])
        count = state.step_count + 1
        truncated = count >= self.spec.max_episode_steps
        episode = state.episode + truncated
        next_obs = self._obs(state.key, state.episode, count)
        count = jnp.where(truncated, 0, count)
        obs = jnp.where(truncated, self._obs(state.key, episode, 0), next_obs)
        total = jnp.where(truncated, 0.0, state.episode_return + reward)
        new = EnvState(phys=(), obs=obs, step_count=count, episode=episode, episode_return=total, key=state.key)
        return new, TimeStep(obs, next_obs, reward, jnp.array(False), truncated)


class SurviveEnv:
    """Reward 1 each step until the time limit: with discount g the value is 1 / (1 - g) only if limits bootstrap."""

    spec = EnvSpec("survive", None, "none", 1, 1, (-1.0,), (1.0,), 5)

    def reset(self, key):
        zero = jnp.int32(0)
        return EnvState(
            phys=(), obs=jnp.ones(1), step_count=zero, episode=zero, episode_return=jnp.float32(0.0), key=key
        )

    def step(self, state, action):
        count = state.step_count + 1
        truncated = count >= self.spec.max_episode_steps
        new = state.replace(step_count=jnp.where(truncated, 0, count), episode=state.episode + truncated)
        one = jnp.ones(1)
        return new, TimeStep(one, one, jnp.float32(1.0), jnp.array(False), truncated)


def probed(name, env, values, iterations):
    """`(learner, first state, last state, metrics)` of a method on a probe, with those of `values` that it has."""
    method = find_method(name)
    known = leaves(method)
    learner = put(method, {name: value for name, value in values.items() if name in known}).on(env)
    start = jax.jit(lambda key: learner.init(key, None))(jax.random.key(0))
    chunk = jax.jit(lambda s: jax.lax.scan(lambda s, _: learner.step(s, None), s, None, length=iterations))
    return learner, start, *chunk(start)


def assert_matches_the_target(env, learner, start, state):
    """The deterministic policy has come near the best return, from afar."""

    @jax.jit
    def judged(agent):
        return evaluate(env, learner.policy.deterministic_action, agent, jax.random.key(1), 16)

    before, episodes = judged(start.agent), judged(state.agent)
    assert float(jnp.mean(episodes.returns)) > -0.1 > float(jnp.mean(before.returns))
    np.testing.assert_array_equal(episodes.lengths, 10)


@pytest.mark.parametrize("name", ["ppo", "trpo"])
def test_learns_to_match_the_target(name):
    env = TargetEnv()
    values = {
        "rollout.num_envs": 16, "rollout.unroll_length": 32, "policy.hidden": (32,), "policy.init_log_std": -0.5,
        "policy.gamma": 0.5, "policy.minibatches": 4, "policy.lr": 2e-3,
    }  # fmt: skip
    learner, start, state, _ = probed(name, env, values, 100)
    assert_matches_the_target(env, learner, start, state)


@pytest.mark.parametrize("kind", [PPO, TRPO])
def test_time_limits_are_bootstrapped(kind):
    env = SurviveEnv()
    sizes = {"minibatches": 2} if kind is PPO else {}
    policy = kind(hidden=(8,), normalise_reward=False, gamma=0.9, gae_lambda=0.9, value_lr=5e-3, **sizes)
    policy = policy.bind(Problem(env.spec, num_envs=8, unroll_length=20))

    def iterate(carry, key):
        state, env_state = carry
        env_state, transition, _ = unroll(env, policy.act, state, env_state, key, 20)
        return (policy.update(state, transition, Objective(), key)[0], env_state), None

    @jax.jit
    def train(key_policy, key_env, keys):
        start = policy.init(key_policy), jax.vmap(env.reset)(jax.random.split(key_env, 8))
        return jax.lax.scan(iterate, start, keys)[0][0]

    state = train(jax.random.key(0), jax.random.key(1), jax.vmap(jax.random.key)(jnp.arange(150)))
    # Without the bootstrap the mean value would be about 2.7 (sums of 1 to 5 discounted steps).
    assert float(policy._values(state, jnp.ones(1))) == pytest.approx(10.0, rel=0.1)


def test_a_score_replaces_the_reward():
    env = TargetEnv()
    policy = PPO(hidden=(8,), minibatches=2).bind(Problem(env.spec, num_envs=4, unroll_length=8))
    state = jax.jit(policy.init)(jax.random.key(0))
    env_state = jax.vmap(env.reset)(jax.random.split(jax.random.key(1), 4))
    _, transition, _ = unroll(env, policy.act, state, env_state, jax.random.key(2), 8)
    wild = transition.replace(action=transition.action * 100)
    seen = []

    def score(obs, action, next_obs=None):
        seen.append(float(jnp.max(jnp.abs(action))))
        return jnp.full(obs.shape[:-1], 7.0)

    reward, _ = policy._reward(state, wild, Objective(score=score))
    np.testing.assert_array_equal(reward, 7.0)
    assert seen[0] == 1.0  # The reward judges the action that the environment executed.


def test_the_start_from_cloning_recovers_a_linear_expert():
    env = TargetEnv()
    policy = TRPO(hidden=(32,)).bind(Problem(env.spec, num_envs=8, unroll_length=128))
    obs = jax.random.uniform(jax.random.key(0), (500, 1), minval=-0.8, maxval=0.8)
    noise = 0.1 * jax.random.normal(jax.random.key(1), obs.shape)
    demos = StateAction(obs, 0.7 * obs + noise)

    @jax.jit
    def cloned(demos):
        state = policy.init_normaliser(policy.init(jax.random.key(2)), demos)
        return policy.clone(state, demos, None, jax.random.key(3), CloneStart(steps=1000, minibatch=64, lr=5e-3))

    state = cloned(demos)
    dist = policy.distribution(state, jnp.array([[-0.5], [0.0], [0.5]]))
    np.testing.assert_allclose(dist.mean[:, 0], [-0.35, 0.0, 0.35], atol=0.06)
    # Maximum likelihood learns the expert's noise too.
    assert float(jnp.exp(dist.log_std[0])) == pytest.approx(0.1, rel=0.3)
    np.testing.assert_allclose(state.obs_stats.mean, obs.mean(0), atol=1e-3)
