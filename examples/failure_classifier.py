"""A reward that grows out of a built-in one: GAIL's, less a second classifier's word on how like a failure a pair is.

Run it: gailfe demos --env hopper --out demos.npz
        gailfe train second_opinion --env hopper --demos demos.npz --import examples/failure_classifier.py
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

import gailfe_jax as gf
from gailfe_jax.rewards.base import where_tree
from gailfe_jax.rewards.discriminator import Discriminator, DiscriminatorState, log_one_minus_d
from gailfe_jax.types import Array, Metrics, StateAction


@struct.dataclass
class SecondOpinionState(DiscriminatorState):
    failures: DiscriminatorState | None = None  # Of P(a failure's pair, and no demonstrated one).
    heard: Array | float = 0.0  # []: 1 once it has seen failures; before, a classifier of nothing has no word.


class SecondOpinion(Discriminator):
    """GAIL's discriminator does not see failures; a classifier of its own tells them from demonstrations."""

    summary = "GAIL, and a classifier of failures whose word is added to the reward"
    learns_from_failures = True
    constrainable = False

    failure_weight: float = gf.traced(1.0, least=0)
    """Weight of the classifier's log-probability that a pair is no failure's."""

    def init(self, key: Array, expert: StateAction | None) -> SecondOpinionState:
        own, other = (super(SecondOpinion, self).init(k, expert) for k in jax.random.split(key))
        return SecondOpinionState(own.params, own.opt, own.stats, own.stretched, other, jnp.float32(0.0))

    def fit(self, state: SecondOpinionState, batch: gf.RewardBatch, key: Array) -> tuple[SecondOpinionState, Metrics]:
        assert batch.failures is not None and batch.has_failures is not None and state.failures is not None
        alone = batch.replace(failures=None, has_failures=None)
        own, metrics = super().fit(state, alone, key)
        other, of_failures = super().fit(
            state.failures, alone.replace(policy=batch.failures), jax.random.fold_in(key, 1)
        )
        other = where_tree(batch.has_failures, other, state.failures)
        metrics["failure_accuracy"] = of_failures["discriminator_accuracy"]
        heard = jnp.where(batch.has_failures, 1.0, state.heard)
        return SecondOpinionState(own.params, own.opt, own.stats, own.stretched, other, heard), metrics

    def score(self, state: SecondOpinionState, obs: Array, action: Array, next_obs: Array | None = None) -> Array:
        assert state.failures is not None
        word = log_one_minus_d(self.logit(state.failures, obs, action, next_obs))
        return super().score(state, obs, action, next_obs) + self.failure_weight * state.heard * word


gf.register_reward("second_opinion", SecondOpinion)
