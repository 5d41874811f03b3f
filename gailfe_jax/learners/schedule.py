"""What is maximised beside the fitted reward, and how step sizes change over a run."""

from __future__ import annotations

import jax.numpy as jnp
import optax

from gailfe_jax.config.parts import Part, setting, traced
from gailfe_jax.learners.base import Anneal
from gailfe_jax.types import Array, Scalar


class TrueReward(Part):
    """The environment's own reward beside the fitted one."""

    add: bool = setting(False)
    """Maximise the environment's reward too: r_env + alpha times the fitted reward (GASIL)."""
    alpha: float = traced(0.1, step_size="alpha")
    """Weight of the fitted reward, about 1 per step, beside the environment's, whose discounted sum varies by about 1
    once it is scaled."""
    alpha_decay: bool = setting(False)
    """Decay alpha linearly to zero over the run."""

    def unread(self) -> dict[str, str]:
        return {} if self.add else dict.fromkeys(("alpha", "alpha_decay"), "true_reward.add is false")


class LikelihoodTerm(Part):
    """The demonstrations' log-likelihood is a part of what the policy maximises."""

    add: bool = setting(False)
    """Add the demonstrations' weighted log-likelihood to what the policy maximises."""
    weight: float = traced(0.1, least=0)
    """Its weight beside the standardised advantages, or from replay beside values over their standard deviation."""

    def unread(self) -> dict[str, str]:
        return {} if self.add else {"weight": "likelihood.add is false"}


class Schedule(Anneal):
    """How step sizes change over the run."""

    anneal: bool = setting(False)
    """Decay all step sizes linearly to zero over the run."""
    warm_restarts: int = setting(0, least=0)
    """Cycles in each of which the discriminator's and the forward model's learning rates decay to zero along a half
    cosine (SGDR, Loshchilov & Hutter 2016); 0 for none."""
    warmup_iterations: int = setting(0, least=0)
    """Iterations at the start that fit the reward and the values and leave the policy as it is: after cloning, the
    first steps on an untrained reward and value network would undo much of it."""

    def factors(self, iteration: Array, total: int) -> dict[str, Scalar]:
        """What the step sizes of this iteration are multiplied by, for each schedule."""
        scale: dict[str, Scalar] = {}
        if self.anneal:
            scale = dict.fromkeys(("policy", "value", "reward", "weights", "model"), self.left(iteration, total))
        if self.warm_restarts:
            cycle = max(1, -(-total // self.warm_restarts))
            shape = {"init_value": 1.0, "peak_value": 1.0, "warmup_steps": 0, "decay_steps": cycle, "end_value": 0.0}
            schedule = optax.sgdr_schedule([shape] * self.warm_restarts)
            scale |= dict.fromkeys(("reward", "model"), jnp.asarray(schedule(iteration)))
        if self.warmup_iterations:
            # A step of length zero is refused by TRPO's line search and moves nothing in Adam.
            moving = jnp.float32(iteration >= self.warmup_iterations)
            scale["policy"] = scale.get("policy", 1.0) * moving
        return scale
