"""Environments in JAX for tests of everything that is not physics: two small tasks about which all is known.

They call nothing back on the host, so JAX's persistent compilation cache keeps the programs that contain them. An
episode's start is drawn from the environment's key and everything behind it is deterministic.
"""

from __future__ import annotations

import copy
from typing import Any

import jax
import jax.numpy as jnp

from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.envs import EpisodicEnv, register_task
from gailfe_jax.types import EnvSpec, Starts, StepResult


class _Point(EpisodicEnv):
    """A point in the plane: `obs' = growth * obs + 0.5 action`, started anywhere within `spread` of both axes."""

    growth: float
    spread: float

    shown: tuple[Starts, float] | None = None

    def start(self, key: jax.Array) -> tuple[Any, jax.Array]:
        obs = self.spread * jax.random.uniform(key, (2,), minval=-1.0)
        if self.shown is not None:
            starts, share = self.shown
            coin, row = jax.random.split(jax.random.fold_in(key, 1))
            there = starts.qpos[jax.random.randint(row, (), 0, len(starts.qpos))]
            obs = jnp.where(jax.random.bernoulli(coin, share), there, obs)
        return obs, obs

    def starting_from(self, starts: Starts, share: float) -> _Point:
        env = copy.copy(self)
        env.shown = starts, share
        return env

    def advance(self, phys: Any, action: jax.Array) -> tuple[Any, StepResult]:
        obs = self.growth * phys + 0.5 * action
        return obs, StepResult(obs, self.reward(obs), self.fell(obs))

    def reward(self, obs: jax.Array) -> jax.Array:
        return -jnp.sum(jnp.square(obs))

    def fell(self, obs: jax.Array) -> jax.Array:
        return jnp.array(False)


class Drift(_Point):
    """`obs' = 0.9 obs + 0.5 action`, reward `-|obs'|^2`; six steps, and nothing ends an episode earlier.

    The best action is `-1.8 obs`, clipped to [-1, 1]. It reaches the origin in one step where `|obs| <= 5 / 9`, else in
    two, and its expected return is `-2 * integral of (0.9 u - 0.5)^2 from 5/9 to 1 = -0.64 / 13.5 = -0.0474`.
    `drift_expert` is another policy, one whose action is nowhere at its bounds.
    """

    growth, spread = 0.9, 1.0
    spec = EnvSpec("drift", None, "none", 2, 2, (-1.0, -1.0), (1.0, 1.0), 6)


class Cliff(_Point):
    """`obs' = 1.2 obs + 0.5 action`, reward `1 - |obs'|^2`; who leaves the square of +-1 falls. Twelve steps at most.

    The best action is `-2.4 obs` (`cliff_expert`), which is linear and nowhere at its bounds, for an episode starts
    within 0.4 of both axes. It reaches the origin in one step and stays there, so its return is 12, the highest there
    is. Who does nothing falls with the first step `k` for which `1.2^k m > 1`, where `m` is the larger coordinate of
    the start: with the sixth at the earliest, and before the time limit from 1 - (1.2^-12 / 0.4)^2 = 92% of all starts.
    """

    growth, spread = 1.2, 0.4
    spec = EnvSpec("cliff", None, "none", 2, 2, (-1.0, -1.0), (1.0, 1.0), 12)

    def reward(self, obs: jax.Array) -> jax.Array:
        return 1.0 - jnp.sum(jnp.square(obs))

    def fell(self, obs: jax.Array) -> jax.Array:
        return jnp.any(jnp.abs(obs) > 1.0)


def _linear(kernel: Any, bias: Any, log_std: float, env: str) -> Policy:
    return Policy(
        weights=[(kernel, bias)], activation="tanh", obs_mean=[0, 0], obs_std=[1, 1], log_std=[log_std, log_std],
        action_low=-1, action_high=1, metadata={"env": env},
    )  # fmt: skip


def drift_expert() -> Policy:
    """An expert on `Drift` whose action is linear in the observation, and never at its bounds there."""
    return _linear([[-0.5, 0.3], [0.1, -0.4]], [0.05, -0.1], 0.0, "drift")


def cliff_expert() -> Policy:
    """The best policy on `Cliff`: its return is 12, and 11.99 to 12 where its actions are drawn and not the best."""
    return _linear([[-2.4, 0.0], [0.0, -2.4]], [0.0, 0.0], -5.0, "cliff")


def register() -> None:
    """Makes them known as `drift` and `cliff`."""
    register_task(Drift, name="drift")
    register_task(Cliff, name="cliff")
