"""Behavioural cloning: maximum likelihood on demonstrations."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from gailfe_jax.config.parts import bound, setting, subpart, traced
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.base import Anneal, Learner, LearnerState, check_divides
from gailfe_jax.learners.sources import Demos, SourceStates
from gailfe_jax.parallel.seeds import per_seed
from gailfe_jax.policies.actor import Actor, AgentState
from gailfe_jax.types import Array, Metrics, StateAction

_MOST_VALIDATED = 16_384
"""Held-out pairs that are looked at after each iteration; of more, the first in a random order of trajectories."""


class Likelihood(Actor):
    """A policy that is fitted by maximum likelihood, and nothing else."""

    minibatch: int = setting(256, least=1)
    """Pairs per step."""
    lr: float = traced(1e-3, least=0)
    """Adam learning rate."""
    weight_decay: float = traced(0.0, least=0)
    """Decoupled weight decay: a step takes lr times this share of the weights."""


@struct.dataclass
class Progress:
    """How far behavioural cloning has come.

    Attributes:
      loss: `[]` nats per pair, mean over the newest iteration's steps.
      validation_loss: `[]` nats per pair held out, after the newest iteration.
      best_loss: `[]` the lowest of those so far.
      waited: `[]` int32, iterations since then.
      stopped: `[]` bool, patience is at its end and nothing moves any more.
    """

    loss: Array
    validation_loss: Array
    best_loss: Array
    waited: Array
    stopped: Array

    @classmethod
    def init(cls) -> Progress:
        """Before the first iteration: whatever that leads to will be the best so far."""
        worst = jnp.float32(jnp.inf)
        return cls(worst, worst, worst, jnp.int32(0), jnp.bool_(False))


@struct.dataclass
class CloningState(LearnerState):
    """State of behavioural cloning. The best snapshot is `agent.average`, which is what is judged.

    Attributes:
      order: `[N]` int32, rows of the demonstrations: those to train on and then those held out.
      held_out: `[]` int32, how many are.
      progress: losses so far.
    """

    order: Array
    held_out: Array
    progress: Progress


def split(key: Array, trajectory: Array | None, size: int, share: float) -> tuple[Array, Array]:
    """Holds whole trajectories out, drawn without regard to their lengths; single pairs where there is but one.

    Args:
      key: `[]`.
      trajectory: `[N]` int32, numbered from 0 without gaps; None takes every pair for a trajectory of its own.
      size: `N`.
      share: of the trajectories; at least one is held out and one is not, where the share is not 0.

    Returns:
      `(order [N], held_out [])`: rows in order, the last `held_out` of which are held out.

    Raises:
      GailfeError: a single pair cannot be split.
    """
    rows = jnp.arange(size, dtype=jnp.int32)
    if not share:
        return rows, jnp.int32(0)
    if size < 2:
        raise GailfeError("validation: got 1 demonstrated pair; expected 2 or more, or validation 0")
    if trajectory is None:
        member, count = rows, jnp.int32(size)
    else:
        several = jnp.max(trajectory) > 0
        member = jnp.where(several, trajectory, rows)
        count = jnp.where(several, jnp.max(trajectory) + 1, size)
    held = jnp.clip(jnp.round(share * count).astype(jnp.int32), 1, count - 1)
    # Trajectories in a random order: those that do not exist go last, and the first `held` are held out.
    drawn = jnp.where(rows < count, jax.random.uniform(key, (size,)), 2.0)
    rank = jnp.argsort(jnp.argsort(drawn))[member]
    return jnp.argsort(-rank, stable=True).astype(jnp.int32), jnp.sum(rank < held, dtype=jnp.int32)


class BC(Learner):
    """Behavioural cloning: maximum likelihood on demonstrations, stopped early, its best snapshot kept.

    Its budget counts the pairs it is shown, not environment steps: an iteration is `num_envs * unroll_length` pairs,
    `policy.minibatch` at a time. It does without the environment; only evaluations step it.
    """

    summary = "maximum likelihood on demonstrations, stopped early"
    source = "Pomerleau 1991"
    steps_env = False

    name: str = bound("bc")
    policy: Likelihood = subpart(Likelihood())
    validation: float = setting(0.2, least=0, below=1)
    """Share of the demonstrated trajectories (of the pairs, where there is one trajectory) that is held out; the
    snapshot that explains them best is kept. 0 holds nothing out and keeps the last one."""
    patience: float = traced(30.0, least=0)
    """Iterations without a better validation loss after which a seed stops."""
    schedule: Anneal = subpart(Anneal())

    def unread(self) -> dict[str, str]:
        found = {
            "rollout.demonstrated_starts": "bc steps no environment",
            "rollout.staggered": "bc steps no environment",
            "policy.average": "bc evaluates and saves its best snapshot",
            "policy.obs_normaliser": "bc standardises by the demonstrations' statistics",
        }
        return found if self.validation else found | {"patience": "validation is 0, so nothing stops a seed"}

    def verify(self) -> None:
        super().verify()
        check_divides(
            "policy.minibatch", self.policy.minibatch, self.rollout.batch_size, "rollout.num_envs * unroll_length"
        )

    def init(self, key: Array, demos: Demos | None) -> CloningState:
        """Fresh state of one seed from `key []`; seeds hold different trajectories out.

        Raises:
          GailfeError: there is one pair only, and part of it is to be held out.
        """
        assert demos is not None and demos.expert is not None
        key_agent, key_split, key_run = jax.random.split(key, 3)
        agent = per_seed(Actor.init)(self.policy, key_agent)
        agent = per_seed(Actor.init_normaliser)(self.policy, agent, demos.expert)
        order, held_out = split(key_split, demos.trajectory, len(demos.expert.obs), self.validation)
        return CloningState(
            key=key_run,
            iteration=jnp.int32(0),
            env=None,
            reward=None,
            dual=None,
            sources=SourceStates(),
            agent=agent.replace(average=agent.policy),
            order=order,
            held_out=held_out,
            progress=Progress.init(),
        )

    def step(self, state: CloningState, demos: Demos | None) -> tuple[CloningState, Metrics]:
        """`num_envs * unroll_length` pairs in minibatches, then a look at those held out.

        Args:
          state: one seed's state.
          demos: demonstrations.

        Returns:
          `(state, metrics)`, every metric a scalar; a seed that has stopped repeats its last ones.
        """
        assert demos is not None and demos.expert is not None
        key = jax.random.fold_in(state.key, state.iteration)
        keys = jax.random.split(key, self.rollout.batch_size // self.policy.minibatch)
        lr = self.schedule.annealed(self.policy.lr, state.iteration, self.total_iterations)
        agent, progress = per_seed(BC._unless_stopped)(
            self, state.agent, state.progress, demos.expert, state.order, state.held_out, keys, lr
        )
        metrics = {"loss": progress.loss, "stopped": jnp.float32(progress.stopped)}
        if self.validation:
            metrics |= {"validation_loss": progress.validation_loss, "best_validation_loss": progress.best_loss}
        return state.replace(iteration=state.iteration + 1, agent=agent, progress=progress), metrics

    def _unless_stopped(self, agent: AgentState, progress: Progress, *args: Any) -> tuple[AgentState, Progress]:
        # On the CPU seeds run one after the other, and one that has stopped costs nothing.
        return jax.lax.cond(progress.stopped, lambda *same: same[:2], self._fit, agent, progress, *args)

    def _fit(
        self,
        agent: AgentState,
        progress: Progress,
        expert: StateAction,
        order: Array,
        held_out: Array,
        keys: Array,
        lr: Array,
    ) -> tuple[AgentState, Progress]:
        """One step of maximum likelihood for each of `keys [K]`, judged on the pairs held out."""
        size = len(expert.obs)
        agent, losses = self.policy.imitate(
            agent,
            expert,
            order,
            size - held_out,
            keys,
            jnp.full(len(keys), lr),
            self.policy.minibatch,
            self.policy.weight_decay,
        )
        progress = progress.replace(loss=jnp.mean(losses))
        if not self.validation:
            return agent.replace(average=agent.policy), progress
        place = jnp.arange(min(_MOST_VALIDATED, size), dtype=jnp.int32)
        rows, seen = order[-1 - place], place < held_out
        loss = self.policy.negative_log_likelihood(
            agent, agent.policy, StateAction(expert.obs[rows], expert.action[rows])
        )
        loss = jnp.sum(jnp.where(seen, loss, 0.0)) / jnp.sum(seen)
        # False for a loss that is not a number.
        better = loss < progress.best_loss
        average = jax.tree.map(lambda a, b: jnp.where(better, a, b), agent.policy, agent.average)
        waited = jnp.where(better, 0, progress.waited + 1)
        progress = progress.replace(
            validation_loss=loss,
            best_loss=jnp.where(better, loss, progress.best_loss),
            waited=waited,
            stopped=waited >= self.patience,
        )
        return agent.replace(average=average), progress

    def ended(self, state: CloningState) -> Array:
        """`[S]` bool, which seeds have lost patience: nothing of theirs moves any more."""
        return state.progress.stopped
