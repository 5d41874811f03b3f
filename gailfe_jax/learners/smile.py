"""SMILe (Ross & Bagnell 2010): the expert is replaced little by little by policies that imitate it.

What it leaves is no single network but a mixture drawn from at every step, so it is a function rather than a method of
`gailfe train`. DAgger, its successor, is one.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from gailfe_jax.artifacts.oracle import AsksExpert
from gailfe_jax.envs.rollout import Episodes, clip_action, unroll
from gailfe_jax.errors import GailfeError
from gailfe_jax.foreign.host_oracle import oracle_of
from gailfe_jax.foreign.registry import as_expert
from gailfe_jax.learners.cloning import Likelihood
from gailfe_jax.learners.stagewise import Stagewise, checked, drawn_action, evaluated, fitted
from gailfe_jax.parallel.seeds import per_seed
from gailfe_jax.policies.actor import Actor, AgentState
from gailfe_jax.types import Array, Env, Metrics, Scalar, StateAction


@struct.dataclass
class Smile:
    """What SMILe leaves: at every time step one of its policies is drawn and acts without noise.

    Attributes:
      policies: `[S, N]` states of the trained policies.
      weights: `[N]` their probabilities, without the expert and renormalised.
      metrics: `[S, N]` each, over the iterations: `loss`, `expert_distance`, `expert_share`.
      policy: how a policy acts.
      env: the environment.
    """

    policies: AgentState
    weights: Array
    metrics: Metrics
    policy: Likelihood = struct.field(pytree_node=False)
    env: Env = struct.field(pytree_node=False)

    def act(self, obs: Array, key: Array, seed: int = 0) -> Array:
        """Actions `[B, a]` at `obs [B, o]` of seed number `seed`, a policy drawn for each row by `key []`."""
        return clip_action(self.env, drawn_action(self.policy, self._of(seed), jnp.log(self.weights), obs, key))

    def evaluate(self, key: Array, episodes: int = 50) -> Episodes:
        """`[S, E]` whole episodes from fresh initial states that `key []` draws, the same for every seed."""

        def act(policies: AgentState, obs: Array, step: Array, key: Array) -> Array:
            return drawn_action(self.policy, policies, jnp.log(self.weights), obs, key)

        return evaluated(self.env, act, self.policies, key, episodes, None)

    def _of(self, seed: int) -> AgentState:
        return jax.tree.map(lambda x: x[seed], self.policies)


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
    expert: Any,
    settings: Stagewise | None = None,
    *,
    iterations: int = 20,
    alpha: float = 0.2,
    seeds: Sequence[int] = (0,),
) -> Smile:
    """Stochastic Mixing Iterative Learning: the expert is replaced little by little by policies that imitate it.

    Each iteration runs the mixture so far for `num_envs * unroll_length` steps, has the expert label them, and trains a
    fresh policy on these alone. At the end the expert leaves the mixture.

    Args:
      env: the environment.
      expert: who is asked; its deterministic action. A `Policy`, or see `gailfe_jax.foreign.registry.as_expert`.
      settings: of each policy; the defaults if None.
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
    asked = as_expert(expert, env.spec)
    bound = checked(env, asked, settings, seeds)
    run = jax.vmap(functools.partial(_smile, env, iterations), in_axes=(None, 0, None, None))
    policies, metrics = jax.jit(run)(bound, jnp.asarray(seeds, jnp.uint32), oracle_of(asked), jnp.float32(alpha))
    weights = smile_weights(alpha, iterations, iterations)[1]
    return Smile(policies, weights / jnp.sum(weights), metrics, bound.policy, env)


@struct.dataclass
class _Mixing:
    """The mixture of one iteration: `log_weights [1 + N]`, the expert first."""

    oracle: AsksExpert
    policies: AgentState
    log_weights: Array


def _smile(
    env: Env, count: int, settings: Stagewise, seed: Array, oracle: AsksExpert, alpha: Array
) -> tuple[AgentState, Metrics]:
    """One seed's `(policies [N], metrics [N])`."""
    policy, rollout = settings.policy, settings.rollout
    key_env, key_blank, key_run = jax.random.split(jax.random.fold_in(jax.random.key(2), seed), 3)
    blank = per_seed(Actor.init)(policy, key_blank)
    policies = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), blank)
    state = jax.vmap(env.reset)(jax.random.split(key_env, rollout.num_envs))

    def act(mixing: _Mixing, obs: Array, key: Array) -> tuple[Array, Array]:
        key_who, key_which = jax.random.split(key)
        expert_acts = jax.random.bernoulli(key_who, jnp.exp(mixing.log_weights[0]), (len(obs), 1))
        own = drawn_action(policy, mixing.policies, mixing.log_weights[1:], obs, key_which)
        return jnp.where(expert_acts, mixing.oracle.act(obs), own), jnp.zeros(len(obs))

    def iterate(carry, inputs):
        (policies, state), (index, key) = carry, inputs
        key_unroll, key_init, key_fit = jax.random.split(key, 3)
        share, weights = smile_weights(alpha, index, count)
        mixing = _Mixing(oracle, policies, jnp.log(jnp.concatenate([share[None], weights])))
        state, transition, _ = unroll(env, act, mixing, state, key_unroll, rollout.unroll_length)
        obs = transition.obs.reshape(-1, transition.obs.shape[-1])
        shown = StateAction(obs, oracle.act(obs))
        fresh, metrics = fitted(settings, key_init, key_fit, shown, jnp.ones(len(obs), bool))
        policies = jax.tree.map(lambda xs, x: xs.at[index].set(x), policies, fresh)
        return (policies, state), metrics | {"expert_share": share}

    inputs = (jnp.arange(count), jax.random.split(key_run, count))
    (policies, _), metrics = jax.lax.scan(iterate, (policies, state), inputs)
    return policies, metrics
