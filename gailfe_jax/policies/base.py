"""What every policy step is: how the policy learns from what was just seen, or from all that ever was."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp

from gailfe_jax.config.parts import traced
from gailfe_jax.policies.actor import Actor
from gailfe_jax.types import Array, AuxiliaryFn, ForwardTransitions, Metrics, ScoreFn, Transition


def asks_next(score: ScoreFn) -> bool:
    """Whether a score is to be told where actions lead; of what does not say it, too.

    What is not asked for is not waited for: programs of rewards of pairs are as they were, to the last bit.
    """
    return getattr(score, "asks_next", True)


@dataclasses.dataclass(frozen=True)
class Objective:
    """What a policy step maximises, and what else it learns from.

    Attributes:
      score: the fitted reward; None for the environment's own.
      true_reward: whether the environment's reward is added to the score.
      auxiliary: what the policy maximises besides, in units of the advantages' or values' standard deviation; or
        None.
      transitions: `[K, E, m]` past transitions that a forward model is fitted to; None without one.
      experience: `[K, m, H]` windows of past steps that a step from replay learns from; None for others.
      after_end: `[]` the score of every step behind the task's end, for ever; None for zero.
    """

    score: ScoreFn | None = None
    true_reward: bool = False
    auxiliary: AuxiliaryFn | None = None
    transitions: ForwardTransitions | None = None
    experience: Transition | None = None
    after_end: Array | None = None


class PolicyUpdate(Actor, abc.ABC):
    """Base of the policy steps. Functions are for one seed; a new step is a subclass and `register_policy_update`.

    Attributes:
      summary: one line for people.
      model_based: whether it carries the reward's gradient through a forward model.
    """

    gamma: float = traced(0.995, least=0, most=1)
    """Discount (that of the original GAIL code)."""

    summary: ClassVar[str] = ""
    model_based: ClassVar[bool] = False

    @property
    def asks_time(self) -> bool:
        """Whether its transitions are to say how long their episodes have been going on."""
        return False

    def verify(self, num_envs: int, unroll_length: int) -> None:
        """Refuses what does not go with an unroll of these sizes; raises GailfeError."""

    def scored(self, steps: Transition, score: ScoreFn) -> Array:
        """What `score` pays for `steps [...]`: for the actions as the environment executed them."""
        low, high = self.problem.action_bounds
        return score(steps.obs, jnp.clip(steps.action, low, high), steps.next_obs)

    @abc.abstractmethod
    def update(self, state: Any, transition: Transition, objective: Objective, key: Array) -> tuple[Any, Metrics]:
        """One iteration on an unroll.

        Args:
          state: the agent.
          transition: `[T, B, ...]`.
          objective: what to maximise.
          key: `[]`.

        Returns:
          `(state, metrics)`, every metric a scalar.
        """
