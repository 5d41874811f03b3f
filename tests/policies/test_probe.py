"""Probe environments with known answers: both generators must find them, with the true reward and with a score."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.config.flat import Config, Hyper, hyper_arrays
from gailfe_jax.envs.rollout import evaluate, unroll
from gailfe_jax.learners.methods import make_learner
from gailfe_jax.policies.ppo import PPO
from gailfe_jax.policies.trpo import TRPO
from gailfe_jax.types import EnvSpec, EnvState, StateAction, TimeStep


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


@pytest.mark.parametrize("algo", ["ppo", "trpo"])
def test_learns_to_match_the_target(algo):
    config = Config(
        algo=algo, num_envs=16, unroll_length=32, hidden=(32,), init_log_std=-0.5, ppo_minibatches=4, env="target",
    )  # fmt: skip
    env = TargetEnv()
    learner = make_learner(config, env)
    hyper = hyper_arrays(Hyper(gamma=0.5, policy_lr=2e-3))
    state = learner.init(jax.random.key(0), hyper, None)
    chunk = jax.jit(lambda s: jax.lax.scan(lambda s, _: learner.step(s, hyper, None), s, None, length=100))
    state, _ = chunk(state)
    episodes = evaluate(env, learner.generator.mode, state.generator, jax.random.key(1), 16)
    before = evaluate(env, learner.generator.mode, learner.init(jax.random.key(0), hyper, None).generator,
                      jax.random.key(1), 16)  # fmt: skip
    assert float(jnp.mean(episodes.returns)) > -0.1 > float(jnp.mean(before.returns))
    np.testing.assert_array_equal(episodes.lengths, 10)


@pytest.mark.parametrize("kind", [PPO, TRPO])
def test_time_limits_are_bootstrapped(kind):
    env = SurviveEnv()
    config = Config(num_envs=8, unroll_length=20, hidden=(8,), normalise_reward=False, ppo_minibatches=2)
    generator = kind(config, env.spec)
    hyper = hyper_arrays(Hyper(gamma=0.9, gae_lambda=0.9, value_lr=5e-3))

    @jax.jit
    def iterate(state, env_state, key):
        env_state, transition, _ = unroll(env, generator.act, state, env_state, key, 20)
        return generator.update(state, transition, None, key, hyper)[0], env_state

    state = generator.init(jax.random.key(0))
    env_state = jax.vmap(env.reset)(jax.random.split(jax.random.key(1), 8))
    for i in range(150):
        state, env_state = iterate(state, env_state, jax.random.key(i))
    # Without the bootstrap the mean value would be about 2.7 (sums of 1 to 5 discounted steps).
    assert float(generator._values(state, jnp.ones(1))) == pytest.approx(10.0, rel=0.1)


def test_a_score_replaces_the_reward():
    env = TargetEnv()
    generator = PPO(Config(num_envs=4, unroll_length=8, hidden=(8,), ppo_minibatches=2), env.spec)
    state = generator.init(jax.random.key(0))
    env_state = jax.vmap(env.reset)(jax.random.split(jax.random.key(1), 4))
    _, transition, _ = unroll(env, generator.act, state, env_state, jax.random.key(2), 8)
    wild = transition.replace(action=transition.action * 100)
    seen = []

    def score(obs, action):
        seen.append(float(jnp.max(jnp.abs(action))))
        return jnp.full(obs.shape[:-1], 7.0)

    reward, _ = generator._reward(state, wild, score, hyper_arrays(Hyper()))
    np.testing.assert_array_equal(reward, 7.0)
    assert seen[0] == 1.0  # The cost judges the action the environment executed.


def test_the_start_from_cloning_recovers_a_linear_expert():
    env = TargetEnv()
    generator = TRPO(Config(hidden=(32,), bc_steps=1000, bc_minibatch=64), env.spec)
    obs = jax.random.uniform(jax.random.key(0), (500, 1), minval=-0.8, maxval=0.8)
    noise = 0.1 * jax.random.normal(jax.random.key(1), obs.shape)
    demos = StateAction(obs, 0.7 * obs + noise)
    state = generator.standardise(generator.init(jax.random.key(2)), demos)
    state = generator.clone(state, demos, None, jax.random.key(3), hyper_arrays(Hyper(bc_lr=5e-3)))
    dist = generator.distribution(state, jnp.array([[-0.5], [0.0], [0.5]]))
    np.testing.assert_allclose(dist.mean[:, 0], [-0.35, 0.0, 0.35], atol=0.06)
    # Maximum likelihood learns the expert's noise too.
    assert float(jnp.exp(dist.log_std[0])) == pytest.approx(0.1, rel=0.3)
    np.testing.assert_allclose(state.obs_stats.mean, obs.mean(0), atol=1e-3)
