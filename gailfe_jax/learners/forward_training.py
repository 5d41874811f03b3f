"""Forward Training (Ross & Bagnell 2010): a policy for every time step of a short task.

What it leaves is no single network, so it is a function rather than a method of `gailfe train`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from gailfe_jax.artifacts.oracle import AsksExpert
from gailfe_jax.envs.rollout import Episodes, clip_action
from gailfe_jax.errors import GailfeError
from gailfe_jax.foreign.host_oracle import oracle_of
from gailfe_jax.foreign.registry import as_expert
from gailfe_jax.learners.cloning import Likelihood
from gailfe_jax.learners.stagewise import Stagewise, checked, evaluated, fitted, policy_at
from gailfe_jax.parallel.seeds import per_seed
from gailfe_jax.policies.actor import Actor, AgentState
from gailfe_jax.types import Array, Env, Metrics, StateAction


@struct.dataclass
class ForwardTraining:
    """What Forward Training leaves: a policy for every time step of a short task.

    Attributes:
      policies: `[S, T]` states of the trained policies.
      metrics: `[S, T]` each, over the time steps: `loss`, `expert_distance`, and `alive`, the share of the episodes
        that get so far.
      policy: how a policy acts.
      env: the environment.
    """

    policies: AgentState
    metrics: Metrics
    policy: Likelihood = struct.field(pytree_node=False)
    env: Env = struct.field(pytree_node=False)

    @property
    def horizon(self) -> int:
        """`T`."""
        return jax.tree.leaves(self.policies)[0].shape[1]

    def act(self, obs: Array, step: int | Array, seed: int = 0) -> Array:
        """Actions `[B, a]` at `obs [B, o]` of seed number `seed` at time step `step` of the episode, below `T`."""
        policies = jax.tree.map(lambda x: x[seed], self.policies)
        return clip_action(self.env, policy_at(self.policy, policies, obs, jnp.asarray(step)))

    def evaluate(self, key: Array, episodes: int = 50) -> Episodes:
        """`[S, E]` episodes of at most `T` steps from fresh initial states that `key []` draws."""

        def act(policies: AgentState, obs: Array, step: Array, key: Array) -> Array:
            return policy_at(self.policy, policies, obs, step)

        return evaluated(self.env, act, self.policies, key, episodes, self.horizon)


def forward_training(
    env: Env,
    expert: Any,
    settings: Stagewise | None = None,
    *,
    horizon: int = 30,
    seeds: Sequence[int] = (0,),
) -> ForwardTraining:
    """A policy for each of the first `horizon` steps, trained on the states that those before it lead to.

    Each is trained on one state of each of `rollout.num_envs` fresh episodes, so that is the size of its data set;
    getting there takes `horizon**2 / 2` steps of each environment, and is why the method is for short tasks. Episodes
    that have ended before its time step have nothing to teach it.

    Args:
      env: the environment.
      expert: who is asked; its deterministic action. A `Policy`, or see `gailfe_jax.foreign.registry.as_expert`.
      settings: of each policy; the defaults if None.
      horizon: `T`.
      seeds: `[S]`.

    Raises:
      GailfeError: an expert for another task, no seeds, or a horizon that is not within the task's time limit.

    Source: Ross & Bagnell 2010, algorithm 3.1; Baram et al. 2016, section 2.2.
    """
    if not 1 <= horizon <= env.spec.max_episode_steps:
        raise GailfeError(f"horizon: got {horizon}; expected 1 to {env.spec.max_episode_steps}, the time limit")
    asked = as_expert(expert, env.spec)
    bound = checked(env, asked, settings, seeds)
    run = jax.vmap(functools.partial(_forward, env, horizon), in_axes=(None, 0, None))
    policies, metrics = jax.jit(run)(bound, jnp.asarray(seeds, jnp.uint32), oracle_of(asked))
    return ForwardTraining(policies, metrics, bound.policy, env)


def _forward(
    env: Env, horizon: int, settings: Stagewise, seed: Array, oracle: AsksExpert
) -> tuple[AgentState, Metrics]:
    """One seed's `(policies [T], metrics [T])`."""
    policy, count = settings.policy, settings.rollout.num_envs
    key_blank, key_run = jax.random.split(jax.random.fold_in(jax.random.key(3), seed))
    blank = per_seed(Actor.init)(policy, key_blank)
    policies = jax.tree.map(lambda x: jnp.broadcast_to(x, (horizon, *x.shape)), blank)

    def train(policies: AgentState, inputs):
        time, key = inputs
        key_env, key_init, key_fit = jax.random.split(key, 3)

        def step(t, carry):
            state, alive = carry
            action = clip_action(env, policy_at(policy, policies, state.obs, t))
            state, time_step = jax.vmap(env.step)(state, action)
            return state, alive & ~(time_step.terminated | time_step.truncated)

        # Fresh episodes: those that taught the earlier policies flatter them.
        start = jax.vmap(env.reset)(jax.random.split(key_env, count))
        state, alive = jax.lax.fori_loop(0, time, step, (start, jnp.ones(count, bool)))
        shown = StateAction(state.obs, oracle.act(state.obs))
        fresh, metrics = fitted(settings, key_init, key_fit, shown, alive)
        policies = jax.tree.map(lambda xs, x: xs.at[time].set(x), policies, fresh)
        return policies, metrics | {"alive": jnp.mean(alive)}

    return jax.lax.scan(train, policies, (jnp.arange(horizon), jax.random.split(key_run, horizon)))
