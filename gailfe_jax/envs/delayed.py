"""Delayed rewards: the reward is summed and paid every so many steps, and when the episode ends.

A wrapper for any environment, as the tasks of GASIL (Guo et al. 2018) are made. Observations, actions and episodes are
those of the task itself; the rewards of a whole episode have the same sum.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable

import jax.numpy as jnp
from flax import struct

from gailfe_jax.errors import GailfeError
from gailfe_jax.types import MOST_STEPS, Array, Env, EnvSpec, EnvState, PyTree, Starts, TimeStep

DEFAULT_DELAY = 20
_NAME = re.compile(r"delayed(?P<every>[0-9]*):(?P<task>.+)")
_DEEPEST = 10
_NESTED = re.compile(rf"(delayed[0-9]*:){{{_DEEPEST + 1}}}")


@struct.dataclass
class DelayedState:
    """What a delayed environment keeps beside its engine's state.

    Attributes:
      phys: the engine's state.
      pending: `[]` reward earned and not paid yet.
    """

    phys: PyTree
    pending: Array


def split_name(name: str) -> tuple[int, str] | None:
    """`(steps between payments, the task's own name)` of `delayed20:hopper` or `delayed:hopper`; None for others.

    Raises:
      GailfeError: `delayed0:...`, more steps than any task has, or more delays than anybody means.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    if _NESTED.match(name):
        raise GailfeError(f"env: got {reprlib.repr(name)}; expected at most {_DEEPEST} delays, one around the other")
    digits = match["every"] or str(DEFAULT_DELAY)
    # Before Python makes a number of them: it refuses thousands of digits.
    every = int(digits) if len(digits) <= len(str(MOST_STEPS)) else 0
    if not 1 <= every <= MOST_STEPS:
        raise GailfeError(
            f"env: got {reprlib.repr(name)}; expected delayed<k>:<task> with 1 to {MOST_STEPS} steps between payments"
        )
    return every, match["task"]


class DelayedReward:
    """`Env` that pays the rewards of another every `every` steps of an episode, and what is left when it ends.

    Args:
      env: the environment.
      every: steps between payments.

    Raises:
      GailfeError: `every` is not positive.
    """

    def __init__(self, env: Env, every: int = DEFAULT_DELAY):
        if every < 1:
            raise GailfeError(f"every: got {every}; expected at least 1 step between payments")
        self.env = env
        self.every = every
        self.spec: EnvSpec = env.spec

    def reset(self, key: Array) -> EnvState:
        state = self.env.reset(key)
        return state.replace(phys=DelayedState(state.phys, jnp.float32(0.0)))

    @property
    def restart(self) -> Callable[[EnvState], EnvState] | None:
        """See `Env`; None where the environment has none."""
        inner = getattr(self.env, "restart", None)
        if inner is None:
            return None

        def restart(state: EnvState) -> EnvState:
            state = inner(state.replace(phys=state.phys.phys))
            return state.replace(phys=DelayedState(state.phys, jnp.zeros_like(state.episode_return)))

        return restart

    @property
    def starts_of(self) -> Callable[..., Starts] | None:
        """See `Env`; None where the environment has none."""
        return getattr(self.env, "starts_of", None)

    @property
    def starting_from(self) -> Callable[[Starts, float], Env] | None:
        """See `Env`; None where the environment has none."""
        inner = getattr(self.env, "starting_from", None)
        return None if inner is None else lambda starts, share: DelayedReward(inner(starts, share), self.every)

    def step(self, state: EnvState, action: Array) -> tuple[EnvState, TimeStep]:
        earned, before = state.phys.pending, state.episode_return
        due = (state.step_count + 1) % self.every == 0
        state, step = self.env.step(state.replace(phys=state.phys.phys), action)
        earned = earned + step.reward
        done = step.terminated | step.truncated
        due = due | done
        paid = jnp.where(due, earned, 0.0)
        # What has been paid so far, as the rewards are: the environment inside counts what is earned.
        state = state.replace(
            phys=DelayedState(state.phys, jnp.where(due, 0.0, earned)),
            episode_return=jnp.where(done, 0.0, before + paid),
        )
        return state, step.replace(reward=paid)
