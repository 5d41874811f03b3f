"""The control that any imitation is compared with: the same reward in every step."""

from __future__ import annotations

import jax.numpy as jnp

from gailfe_jax.rewards.base import Reward, RewardBatch
from gailfe_jax.types import Array, Metrics, StateAction


class ConstantReward(Reward):
    """A reward of 1 per step, whatever the state.

    Where an episode can end early it teaches to stay alive and nothing else; elsewhere it teaches nothing.
    """

    summary = "control: the same reward in every step, no demonstrations"
    needs_expert = False
    learns_from_self = False
    differentiable = False

    @property
    def draws(self) -> tuple[int, int]:
        """The least there is: nothing is looked at."""
        return 1, 1

    def init(self, key: Array, expert: StateAction | None) -> tuple[()]:
        """There is no state."""
        return ()

    def fit(self, state: tuple[()], batch: RewardBatch, key: Array) -> tuple[tuple[()], Metrics]:
        """Nothing to fit."""
        return state, {}

    def score(self, state: tuple[()], obs: Array, action: Array) -> Array:
        """`[...]` ones."""
        return jnp.ones(obs.shape[:-1])
