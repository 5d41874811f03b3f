"""What methods share that train one policy after the other by asking the expert (Ross & Bagnell 2010)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gailfe_jax.artifacts.host_policy import AnyPolicy
from gailfe_jax.artifacts.policy import check_policy
from gailfe_jax.config.parts import Part, as_arrays, setting, subpart
from gailfe_jax.config.tree import refuse_unread
from gailfe_jax.envs import also_called
from gailfe_jax.envs.rollout import Episodes, evaluate_steps
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.base import Rollout
from gailfe_jax.learners.cloning import Likelihood
from gailfe_jax.parallel.seeds import per_seed
from gailfe_jax.policies.actor import Actor, AgentState
from gailfe_jax.types import Array, Env, Metrics, Problem, PyTree, StateAction


class Stagewise(Part):
    """Settings of each of the policies that are trained one after the other."""

    rollout: Rollout = subpart(Rollout())
    policy: Likelihood = subpart(Likelihood())
    fit_steps: int = setting(200, least=1)
    """Steps of maximum likelihood for each policy, at policy.lr, which falls linearly to zero."""

    def unread(self) -> dict[str, str]:
        return dict.fromkeys(("rollout.demonstrated_starts", "rollout.staggered"), "the expert itself is asked")


def checked(env: Env, expert: AnyPolicy, settings: Stagewise | None, seeds: Sequence[int]) -> Stagewise:
    """The settings bound to the environment, once the expert fits it.

    Raises:
      GailfeError: an expert for another task, a setting that nothing reads on this environment, or no seeds.
    """
    check_policy("expert", expert, env.spec, also_called(env.spec))
    if not len(seeds):
        raise GailfeError("seeds: got none; expected at least one")
    settings = settings or Stagewise()
    settings = settings.replace(policy=settings.policy.replace(average=0.0))
    bound = settings.bind(Problem(env.spec, settings.rollout.num_envs, settings.rollout.unroll_length))
    refuse_unread(bound)
    return as_arrays(bound)


def fitted(
    settings: Stagewise, key_init: Array, key_fit: Array, shown: StateAction, valid: Array
) -> tuple[AgentState, Metrics]:
    """A fresh policy of maximum likelihood on the pairs `[n]` that are valid, `[n]` bool; some should be."""
    policy, steps = settings.policy, settings.fit_steps
    keys = jax.random.split(key_fit, steps)
    left = 1.0 - jnp.arange(steps) / steps

    def fit(state: AgentState, shown: StateAction, valid: Array, keys: Array, lr: Array, decay: Array):
        order = jnp.argsort(~valid, stable=True)
        count = jnp.maximum(jnp.sum(valid), 1)
        # Where a row does not count, one that does stands for it.
        rows = order[jnp.arange(len(order)) % count]
        state = state.replace(obs_stats=state.obs_stats.update(shown.obs[rows]))
        state, losses = policy.imitate(state, shown, order, count, keys, lr, policy.minibatch, decay)
        gap = policy.deterministic_action(state, shown.obs[rows]) - shown.action[rows]
        distance = jnp.sqrt(jnp.mean(jnp.sum(jnp.square(gap), axis=-1)))
        return state, {"loss": jnp.mean(losses[-max(1, steps // 10) :]), "expert_distance": distance}

    state = per_seed(Actor.init)(policy, key_init)
    return per_seed(fit)(state, shown, valid, keys, policy.lr * left, policy.weight_decay)


def policy_at(policy: Likelihood, policies: AgentState, obs: Array, time: Array) -> Array:
    """Actions `[B, a]` at `obs [B, o]` of policy number `time []` of `[T]`."""
    return policy.deterministic_action(jax.tree.map(lambda x: x[time], policies), obs)


def drawn_action(policy: Likelihood, policies: AgentState, log_weights: Array, obs: Array, key: Array) -> Array:
    """Actions `[B, a]` at `obs [B, o]`, each of a policy drawn from `[N]` with `log_weights [N]`."""
    choice = jax.random.categorical(key, log_weights, shape=(len(obs),))
    act = jax.vmap(lambda state, obs: policy.policy(state.policy, state.obs_stats.normalise(obs)).mode)
    return act(jax.tree.map(lambda x: x[choice], policies), obs)


def evaluated(env: Env, act: Any, policies: PyTree, key: Array, episodes: int, max_steps: int | None) -> Episodes:
    """Episodes `[S, E]` as NumPy arrays."""
    if episodes < 1:
        raise GailfeError(f"episodes: got {episodes}; expected at least 1")
    one = jax.jit(lambda policies: evaluate_steps(env, act, policies, key, episodes, max_steps))
    return jax.tree.map(np.asarray, jax.vmap(one)(policies))
