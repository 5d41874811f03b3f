"""SMILe and Forward Training (Ross & Bagnell 2010): imitation by asking the expert, one policy after the other.

What they leave is no single network (a mixture drawn from at every step; a policy for every time step), so these are
functions rather than methods of `gailfe train`. DAgger, their successor, is one: `--algo dagger`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from gailfe_jax.artifacts.oracle import Oracle
from gailfe_jax.artifacts.policy import Policy, check_policy
from gailfe_jax.config.flat import Config, Hyper, hyper_arrays
from gailfe_jax.envs.rollout import Episodes, clip_action, evaluate_steps, unroll
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.cloning import bare_policy
from gailfe_jax.parallel.seeds import per_seed
from gailfe_jax.policies.actor_critic import ActorCritic, ActorCriticState
from gailfe_jax.types import Array, Env, Metrics, PyTree, Scalar, StateAction


@struct.dataclass
class Smile:
    """What SMILe leaves: at every time step one of its policies is drawn and acts without noise.

    Attributes:
      policies: `[S, N]` states of the trained policies.
      weights: `[N]` their probabilities, without the expert and renormalised.
      metrics: `[S, N]` each, over the iterations: `loss`, `expert_distance`, `expert_share`.
      generator: how a policy acts.
      env: the environment.
    """

    policies: ActorCriticState
    weights: Array
    metrics: Metrics
    generator: ActorCritic = struct.field(pytree_node=False)
    env: Env = struct.field(pytree_node=False)

    def act(self, obs: Array, key: Array, seed: int = 0) -> Array:
        """Actions `[B, a]` at `obs [B, o]` of seed number `seed`, a policy drawn for each row by `key []`."""
        return clip_action(self.env, _drawn(self.generator, self._of(seed), jnp.log(self.weights), obs, key))

    def evaluate(self, key: Array, episodes: int = 50) -> Episodes:
        """`[S, E]` whole episodes from fresh initial states that `key []` draws, the same for every seed."""

        def act(policies: ActorCriticState, obs: Array, step: Array, key: Array) -> Array:
            return _drawn(self.generator, policies, jnp.log(self.weights), obs, key)

        return _evaluated(self.env, act, self.policies, key, episodes, None)

    def _of(self, seed: int) -> ActorCriticState:
        return jax.tree.map(lambda x: x[seed], self.policies)


@struct.dataclass
class ForwardTraining:
    """What Forward Training leaves: a policy for every time step of a short task.

    Attributes:
      policies: `[S, T]` states of the trained policies.
      metrics: `[S, T]` each, over the time steps: `loss`, `expert_distance`, and `alive`, the share of the episodes
        that get so far.
      generator: how a policy acts.
      env: the environment.
    """

    policies: ActorCriticState
    metrics: Metrics
    generator: ActorCritic = struct.field(pytree_node=False)
    env: Env = struct.field(pytree_node=False)

    @property
    def horizon(self) -> int:
        """`T`."""
        return jax.tree.leaves(self.policies)[0].shape[1]

    def act(self, obs: Array, step: int | Array, seed: int = 0) -> Array:
        """Actions `[B, a]` at `obs [B, o]` of seed number `seed` at time step `step` of the episode, below `T`."""
        policies = jax.tree.map(lambda x: x[seed], self.policies)
        return clip_action(self.env, _at(self.generator, policies, obs, jnp.asarray(step)))

    def evaluate(self, key: Array, episodes: int = 50) -> Episodes:
        """`[S, E]` episodes of at most `T` steps from fresh initial states that `key []` draws."""

        def act(policies: ActorCriticState, obs: Array, step: Array, key: Array) -> Array:
            return _at(self.generator, policies, obs, step)

        return _evaluated(self.env, act, self.policies, key, episodes, self.horizon)


def smile_weights(alpha: Scalar, trained: Scalar, count: int) -> tuple[Array, Array]:
    """SMILe's mixture after `trained` iterations.

    Source: Ross & Bagnell 2010, algorithm 4.1: `pi_n = (1 - alpha)^n pi* + alpha sum_j (1 - alpha)^(j - 1) pi_j`.

    Args:
      alpha: `[]` in (0, 1).
      trained: `[]` n, from 0.
      count: `N`, how many there will be.

    Returns:
      `(the expert's probability [], the policies' [N])`; the policies yet to be trained have none.
    """
    index = jnp.arange(count)
    stay = 1.0 - jnp.asarray(alpha, jnp.float32)
    return stay**trained, jnp.where(index < trained, alpha * stay**index, 0.0)


def smile(
    env: Env,
    expert: Policy,
    config: Config,
    hyper: Hyper | None = None,
    *,
    iterations: int = 20,
    alpha: float = 0.2,
    seeds: Sequence[int] = (0,),
) -> Smile:
    """Stochastic Mixing Iterative Learning: the expert is replaced little by little by policies that imitate it.

    Each iteration runs the mixture so far for `config.num_envs * config.unroll_length` steps, has the expert label
    them, and trains a fresh policy on these alone (`config.fit_steps` steps of maximum likelihood at `hyper.bc_lr`,
    which falls linearly to zero). At the end the expert leaves the mixture.

    Args:
      env: the environment.
      expert: who is asked; its deterministic action.
      config: `num_envs`, `unroll_length`, `hidden`, `activation`, `mixture`, `fit_steps` and `bc_minibatch` count.
      hyper: `bc_lr` and `bc_weight_decay` count, and traced they are not swept here.
      iterations: `N`.
      alpha: share of the expert's probability that each iteration takes.
      seeds: `[S]`.

    Raises:
      GailfeError: an expert for another task, no iterations, no seeds, or an alpha outside (0, 1).

    Source: Ross & Bagnell 2010, algorithm 4.1; Baram et al. 2016, section 2.2.
    """
    if iterations < 1:
        raise GailfeError(f"iterations: got {iterations}; expected at least 1")
    if not 0 < alpha < 1:
        raise GailfeError(f"alpha: got {alpha}; expected a share in (0, 1)")
    generator = _checked(env, expert, config, seeds)
    run = jax.vmap(functools.partial(_smile, generator, env, iterations), in_axes=(0, None, None, None))
    oracle, settings = Oracle.of(expert), hyper_arrays(hyper or Hyper())
    policies, metrics = jax.jit(run)(jnp.asarray(seeds, jnp.uint32), oracle, settings, jnp.float32(alpha))
    weights = smile_weights(alpha, iterations, iterations)[1]
    return Smile(policies, weights / jnp.sum(weights), metrics, generator, env)


def forward_training(
    env: Env,
    expert: Policy,
    config: Config,
    hyper: Hyper | None = None,
    *,
    horizon: int = 30,
    seeds: Sequence[int] = (0,),
) -> ForwardTraining:
    """A policy for each of the first `horizon` steps, trained on the states that those before it lead to.

    Each is trained on one state of each of `config.num_envs` fresh episodes, so that is the size of its data set;
    getting there takes `horizon**2 / 2` steps of each environment, and is why the method is for short tasks. Episodes
    that have ended before its time step have nothing to teach it.

    Args:
      env: the environment.
      expert: who is asked; its deterministic action.
      config: `num_envs`, `hidden`, `activation`, `mixture`, `fit_steps` and `bc_minibatch` count.
      hyper: `bc_lr` and `bc_weight_decay` count.
      horizon: `T`.
      seeds: `[S]`.

    Raises:
      GailfeError: an expert for another task, no seeds, or a horizon that is not within the task's time limit.

    Source: Ross & Bagnell 2010, algorithm 3.1; Baram et al. 2016, section 2.2.
    """
    if not 1 <= horizon <= env.spec.max_episode_steps:
        raise GailfeError(f"horizon: got {horizon}; expected 1 to {env.spec.max_episode_steps}, the time limit")
    generator = _checked(env, expert, config, seeds)
    run = jax.vmap(functools.partial(_forward, generator, env, horizon), in_axes=(0, None, None))
    settings = hyper_arrays(hyper or Hyper())
    policies, metrics = jax.jit(run)(jnp.asarray(seeds, jnp.uint32), Oracle.of(expert), settings)
    return ForwardTraining(policies, metrics, generator, env)


def _checked(env: Env, expert: Policy, config: Config, seeds: Sequence[int]) -> ActorCritic:
    """The parts of a policy, once the expert fits the environment."""
    check_policy("expert", expert, env.spec)
    if not len(seeds):
        raise GailfeError("seeds: got none; expected at least one")
    return ActorCritic(dataclasses.replace(config, policy_average=0.0), env.spec)


@struct.dataclass
class _Mixing:
    """The mixture of one iteration: `log_weights [1 + N]`, the expert first."""

    oracle: Oracle
    policies: ActorCriticState
    log_weights: Array


def _smile(
    generator: ActorCritic, env: Env, count: int, seed: Array, oracle: Oracle, hyper: Hyper, alpha: Array
) -> tuple[ActorCriticState, Metrics]:
    """One seed's `(policies [N], metrics [N])`."""
    config = generator.config
    key_env, key_blank, key_run = jax.random.split(jax.random.fold_in(jax.random.key(2), seed), 3)
    blank = bare_policy(generator, key_blank)
    policies = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), blank)
    state = jax.vmap(env.reset)(jax.random.split(key_env, config.num_envs))

    def act(mixing: _Mixing, obs: Array, key: Array) -> tuple[Array, Array]:
        key_who, key_which = jax.random.split(key)
        expert_acts = jax.random.bernoulli(key_who, jnp.exp(mixing.log_weights[0]), (len(obs), 1))
        own = _drawn(generator, mixing.policies, mixing.log_weights[1:], obs, key_which)
        return jnp.where(expert_acts, mixing.oracle.act(obs), own), jnp.zeros(len(obs))

    def iterate(carry, inputs):
        (policies, state), (index, key) = carry, inputs
        key_unroll, key_init, key_fit = jax.random.split(key, 3)
        share, weights = smile_weights(alpha, index, count)
        mixing = _Mixing(oracle, policies, jnp.log(jnp.concatenate([share[None], weights])))
        state, transition, _ = unroll(env, act, mixing, state, key_unroll, config.unroll_length)
        obs = transition.obs.reshape(-1, transition.obs.shape[-1])
        shown = StateAction(obs, oracle.act(obs))
        fresh, metrics = _fitted(generator, key_init, key_fit, shown, jnp.ones(len(obs), bool), hyper)
        policies = jax.tree.map(lambda xs, x: xs.at[index].set(x), policies, fresh)
        return (policies, state), metrics | {"expert_share": share}

    inputs = (jnp.arange(count), jax.random.split(key_run, count))
    (policies, _), metrics = jax.lax.scan(iterate, (policies, state), inputs)
    return policies, metrics


def _forward(
    generator: ActorCritic, env: Env, horizon: int, seed: Array, oracle: Oracle, hyper: Hyper
) -> tuple[ActorCriticState, Metrics]:
    """One seed's `(policies [T], metrics [T])`."""
    count = generator.config.num_envs
    key_blank, key_run = jax.random.split(jax.random.fold_in(jax.random.key(3), seed))
    blank = bare_policy(generator, key_blank)
    policies = jax.tree.map(lambda x: jnp.broadcast_to(x, (horizon, *x.shape)), blank)

    def train(policies: ActorCriticState, inputs):
        time, key = inputs
        key_env, key_init, key_fit = jax.random.split(key, 3)

        def step(t, carry):
            state, alive = carry
            action = clip_action(env, _at(generator, policies, state.obs, t))
            state, time_step = jax.vmap(env.step)(state, action)
            return state, alive & ~(time_step.terminated | time_step.truncated)

        # Fresh episodes: those that taught the earlier policies flatter them.
        start = jax.vmap(env.reset)(jax.random.split(key_env, count))
        state, alive = jax.lax.fori_loop(0, time, step, (start, jnp.ones(count, bool)))
        shown = StateAction(state.obs, oracle.act(state.obs))
        fresh, metrics = _fitted(generator, key_init, key_fit, shown, alive, hyper)
        policies = jax.tree.map(lambda xs, x: xs.at[time].set(x), policies, fresh)
        return policies, metrics | {"alive": jnp.mean(alive)}

    return jax.lax.scan(train, policies, (jnp.arange(horizon), jax.random.split(key_run, horizon)))


def _fitted(
    generator: ActorCritic, key_init: Array, key_fit: Array, shown: StateAction, valid: Array, hyper: Hyper
) -> tuple[ActorCriticState, Metrics]:
    """A fresh policy of maximum likelihood on the pairs `[n]` that are valid, `[n]` bool; some should be."""
    steps = generator.config.fit_steps
    keys = jax.random.split(key_fit, steps)
    left = 1.0 - jnp.arange(steps) / steps

    def fit(state: ActorCriticState, shown: StateAction, valid: Array, keys: Array, lr: Array, decay: Array):
        order = jnp.argsort(~valid, stable=True)
        count = jnp.maximum(jnp.sum(valid), 1)
        # Where a row does not count, one that does stands for it.
        rows = order[jnp.arange(len(order)) % count]
        state = state.replace(obs_stats=state.obs_stats.update(shown.obs[rows]))
        state, losses = generator.imitate(state, shown, order, count, keys, lr, decay)
        gap = generator.mode(state, shown.obs[rows]) - shown.action[rows]
        distance = jnp.sqrt(jnp.mean(jnp.sum(jnp.square(gap), axis=-1)))
        return state, {"loss": jnp.mean(losses[-max(1, steps // 10) :]), "expert_distance": distance}

    state = bare_policy(generator, key_init)
    return per_seed(fit)(state, shown, valid, keys, hyper.bc_lr * left, hyper.bc_weight_decay)


def _at(generator: ActorCritic, policies: ActorCriticState, obs: Array, time: Array) -> Array:
    """Actions `[B, a]` at `obs [B, o]` of policy number `time []` of `[T]`."""
    return generator.mode(jax.tree.map(lambda x: x[time], policies), obs)


def _drawn(generator: ActorCritic, policies: ActorCriticState, log_weights: Array, obs: Array, key: Array) -> Array:
    """Actions `[B, a]` at `obs [B, o]`, each of a policy drawn from `[N]` with `log_weights [N]`."""
    choice = jax.random.categorical(key, log_weights, shape=(len(obs),))
    act = jax.vmap(lambda policy, obs: generator.policy(policy.policy, policy.obs_stats.normalise(obs)).mode)
    return act(jax.tree.map(lambda x: x[choice], policies), obs)


def _evaluated(env: Env, act: Any, policies: PyTree, key: Array, episodes: int, max_steps: int | None) -> Episodes:
    """Episodes `[S, E]` as NumPy arrays."""
    if episodes < 1:
        raise GailfeError(f"episodes: got {episodes}; expected at least 1")
    one = jax.jit(lambda policies: evaluate_steps(env, act, policies, key, episodes, max_steps))
    return jax.tree.map(np.asarray, jax.vmap(one)(policies))
