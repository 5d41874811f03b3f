"""Unrolls and evaluation inside one program."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

from gailfe_jax.parallel.devices import local_rows
from gailfe_jax.parallel.phases import at_most, phase
from gailfe_jax.types import Array, Env, EnvState, Metrics, PyTree, Transition

ActFn = Callable[[PyTree, Array, Array], tuple[Array, Array]]
ModeFn = Callable[[PyTree, Array], Array]
StepFn = Callable[[PyTree, Array, Array, Array], Array]


@struct.dataclass
class EpisodeTotals:
    """Sums over the episodes that ended inside an unroll; divide by `count` for means.

    Attributes:
      count, returns, lengths: `[]`.
      falls: `[]` how many terminated.
    """

    count: Array
    returns: Array
    lengths: Array
    falls: Array

    @property
    def metrics(self) -> Metrics:
        """What a learner logs: means over the episodes, of nothing where none ended."""
        return {
            "episodes": self.count,
            "train_return": self.returns / self.count,
            "train_length": self.lengths / self.count,
            "train_falls": self.falls / self.count,
        }


def clip_action(env: Env, action: Array) -> Array:
    """`action [..., a]` clipped to the environment's bounds."""
    return jnp.clip(action, jnp.asarray(env.spec.action_low), jnp.asarray(env.spec.action_high))


def unroll(
    env: Env, act: ActFn, agent: PyTree, state: EnvState, key: Array, length: int, *, timed: bool = False
) -> tuple[EnvState, Transition, EpisodeTotals]:
    """Runs `length` steps in `B` environments.

    Args:
      env: the environment (functions of one environment; mapped over `B` here).
      act: `(agent, obs [B, o], key) -> (action [B, a], log_prob [B])`.
      agent: the policy's state.
      state: `[B]` environment states.
      key: `[]`.
      length: `T`.
      timed: whether the transition is to say how long its episodes have been going on.

    Returns:
      `(state [B], transition [T, B, ...], totals of the episodes that ended)`.
    """

    def step(state: EnvState, key: Array):
        action, log_prob = act(agent, state.obs, key)
        new_state, time_step = jax.vmap(env.step)(state, clip_action(env, action))
        transition = Transition(
            obs=state.obs,
            action=action,
            log_prob=log_prob,
            next_obs=time_step.next_obs,
            reward=time_step.reward,
            terminated=time_step.terminated,
            truncated=time_step.truncated,
            step=state.step_count if timed else None,
        )
        done = transition.done
        totals = EpisodeTotals(
            count=jnp.sum(done, dtype=jnp.float32),
            returns=jnp.sum(jnp.where(done, state.episode_return + time_step.reward, 0.0)),
            lengths=jnp.sum(jnp.where(done, state.step_count + 1, 0).astype(jnp.float32)),
            falls=jnp.sum(transition.terminated, dtype=jnp.float32),
        )
        return new_state, (transition, totals)

    with phase("unroll"):
        state, (transition, totals) = jax.lax.scan(step, state, jax.random.split(key, length))
    return state, transition, jax.tree.map(lambda x: jnp.sum(x, axis=0), totals)


@struct.dataclass
class Episodes:
    """First whole episode of each of `E` environments.

    Attributes:
      returns: `[E]` undiscounted true returns.
      lengths: `[E]` int32.
      terminated: `[E]` bool.
    """

    returns: Array
    lengths: Array
    terminated: Array


def evaluate(env: Env, mode: ModeFn, agent: PyTree, key: Array, episodes: int) -> Episodes:
    """Returns of the deterministic policy over fresh episodes, one in each of `episodes` environments.

    Args:
      env: the environment.
      mode: `(agent, obs [E, o]) -> action [E, a]`.
      agent: the policy's state.
      key: `[]` draws the initial states.
      episodes: `E`.
    """
    return evaluate_steps(env, lambda agent, obs, step, key: mode(agent, obs), agent, key, episodes)


@struct.dataclass
class Visited:
    """The state-action pairs of the first episode of each of `E` environments.

    Attributes:
      obs: `[T, E, o]`.
      action: `[T, E, a]` inside the bounds.
      inside: `[T, E]` bool, whether the episode was still going on.
    """

    obs: Array
    action: Array
    inside: Array


def visit(env: Env, mode: ModeFn, agent: PyTree, key: Array, episodes: int, steps: int) -> Visited:
    """What the episodes that `evaluate` counts visit in their first `steps` steps."""
    state = jax.vmap(env.reset)(local_rows(jax.random.split(key, episodes)))

    def step(carry, _):
        state, going = carry
        action = clip_action(env, mode(agent, state.obs))
        after, time_step = jax.vmap(env.step)(state, action)
        done = time_step.terminated | time_step.truncated
        return (after, going & ~done), Visited(state.obs, action, going)

    return jax.lax.scan(step, (state, jnp.ones(len(state.obs), bool)), None, length=steps)[1]


def evaluate_steps(
    env: Env, act: StepFn, agent: PyTree, key: Array, episodes: int, max_steps: int | None = None
) -> Episodes:
    """`evaluate` for policies that draw at random or change with time.

    Args:
      env: the environment.
      act: `(agent, obs [E, o], step [] int32, key []) -> action [E, a]`.
      agent: the policy's state.
      key: `[]` draws the initial states, and folded with the step number what `act` gets.
      episodes: `E`.
      max_steps: cuts the episodes; the environment's own time limit if None.

    Returns:
      This device's episodes, where devices share a seed.
    """
    state = jax.vmap(env.reset)(local_rows(jax.random.split(key, episodes)))
    size = len(state.obs)

    def running(carry) -> Array:
        going = jnp.any(~carry[1])
        return going if max_steps is None else going & (carry[3] < max_steps)

    def step(carry):
        state, finished, result, count = carry
        action = clip_action(env, act(agent, state.obs, count, jax.random.fold_in(key, count)))
        state, time_step = jax.vmap(env.step)(state, action)
        result = Episodes(
            returns=result.returns + jnp.where(finished, 0.0, time_step.reward),
            lengths=result.lengths + jnp.where(finished, 0, 1),
            terminated=result.terminated | (~finished & time_step.terminated),
        )
        return state, finished | time_step.terminated | time_step.truncated, result, count + 1

    empty = Episodes(jnp.zeros(size), jnp.zeros(size, jnp.int32), jnp.zeros(size, bool))
    with phase("unroll"), at_most(env.spec.max_episode_steps if max_steps is None else max_steps):
        return jax.lax.while_loop(running, step, (state, jnp.zeros(size, bool), empty, jnp.int32(0)))[2]
