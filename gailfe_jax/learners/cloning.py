"""Imitation by maximum likelihood: behavioural cloning of demonstrations, and DAgger, which asks the expert.

Both have a learner's `init` and `step`, so that the host loop trains them as it does the adversarial methods.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import struct

from gailfe_jax.artifacts.oracle import Oracle
from gailfe_jax.buffers.replay import Replay
from gailfe_jax.config.flat import Config, Hyper
from gailfe_jax.envs.rollout import unroll
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.adversarial import Demos, LearnerState
from gailfe_jax.parallel.seeds import draw_rows, gather_rows, local_rows, per_seed, sum_over_devices
from gailfe_jax.policies.actor_critic import ActorCritic, ActorCriticState
from gailfe_jax.types import Array, Env, Metrics, Scalar, StateAction

_MOST_VALIDATED = 16_384
"""Held-out pairs that are looked at after each iteration; of more, the first in a random order of trajectories."""

StateT = TypeVar("StateT", bound=LearnerState)


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
    """State of behavioural cloning. The best snapshot is `generator.average`, which is what is judged.

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
        raise GailfeError("bc_validation: got 1 demonstrated pair; expected 2 or more, or --bc-validation 0")
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


def start(kind: type[StateT], key: Array, **fields: Any) -> StateT:
    """A state before the first iteration: `fields`, and None for all that its method has not got."""
    empty: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(kind))
    return kind(**(empty | {"key": key, "iteration": jnp.int32(0)} | fields))


@dataclasses.dataclass(frozen=True)
class Supervised:
    """What learners by maximum likelihood are made of.

    Attributes:
      config: static settings.
      env: the environment, for its sizes and its evaluations at least.
      total_iterations: length of the run, for annealing.
    """

    config: Config
    env: Env
    total_iterations: int = 1

    @property
    def generator(self) -> ActorCritic:
        """The policy's side."""
        return ActorCritic(self.config, self.env.spec)


class Cloning(Supervised):
    """Behavioural cloning: maximum likelihood on demonstrations, stopped early, its best snapshot kept.

    Its budget counts the pairs it is shown, not environment steps: an iteration is `num_envs * unroll_length` pairs,
    `Config.bc_minibatch` at a time. It does without the environment; only evaluations step it.
    """

    def init(self, key: Array, hyper: Hyper, demos: Demos | None) -> CloningState:
        """Fresh state of one seed from `key []`; seeds hold different trajectories out.

        Raises:
          GailfeError: there is one pair only, and part of it is to be held out.
        """
        assert demos is not None and demos.expert is not None
        key_generator, key_split, key_run = jax.random.split(key, 3)
        generator = bare_policy(self.generator, key_generator)
        generator = per_seed(self.generator.standardise)(generator, demos.expert)
        order, held_out = split(key_split, demos.trajectory, len(demos.expert.obs), self.config.bc_validation)
        return start(
            CloningState,
            key_run,
            generator=generator.replace(average=generator.policy),
            order=order,
            held_out=held_out,
            progress=Progress.init(),
        )

    def step(self, state: CloningState, hyper: Hyper, demos: Demos | None) -> tuple[CloningState, Metrics]:
        """`num_envs * unroll_length` pairs in minibatches, then a look at those held out.

        Args:
          state: one seed's state.
          hyper: traced settings.
          demos: demonstrations.

        Returns:
          `(state, metrics)`, every metric a scalar; a seed that has stopped repeats its last ones.
        """
        assert demos is not None and demos.expert is not None
        key = jax.random.fold_in(state.key, state.iteration)
        keys = jax.random.split(key, self.config.batch_size // self.config.bc_minibatch)
        lr = annealed(self.config, hyper.bc_lr, state.iteration, self.total_iterations)
        generator, progress = per_seed(self._unless_stopped)(
            state.generator, state.progress, demos.expert, state.order, state.held_out, keys, lr, hyper
        )
        metrics = {"loss": progress.loss, "stopped": jnp.float32(progress.stopped)}
        if self.config.bc_validation:
            metrics |= {"validation_loss": progress.validation_loss, "best_validation_loss": progress.best_loss}
        return state.replace(iteration=state.iteration + 1, generator=generator, progress=progress), metrics

    def _unless_stopped(
        self, generator: ActorCriticState, progress: Progress, *args: Any
    ) -> tuple[ActorCriticState, Progress]:
        # On the CPU seeds run one after the other, and one that has stopped costs nothing.
        return jax.lax.cond(progress.stopped, lambda *same: same[:2], self._fit, generator, progress, *args)

    def _fit(
        self,
        generator: ActorCriticState,
        progress: Progress,
        expert: StateAction,
        order: Array,
        held_out: Array,
        keys: Array,
        lr: Array,
        hyper: Hyper,
    ) -> tuple[ActorCriticState, Progress]:
        """One step of maximum likelihood for each of `keys [K]`, judged on the pairs held out."""
        size = len(expert.obs)
        generator, losses = self.generator.imitate(
            generator, expert, order, size - held_out, keys, jnp.full(len(keys), lr), hyper.bc_weight_decay
        )
        progress = progress.replace(loss=jnp.mean(losses))
        if not self.config.bc_validation:
            return generator.replace(average=generator.policy), progress
        place = jnp.arange(min(_MOST_VALIDATED, size), dtype=jnp.int32)
        rows, seen = order[-1 - place], place < held_out
        loss = self.generator.negative_log_likelihood(
            generator, generator.policy, StateAction(expert.obs[rows], expert.action[rows])
        )
        loss = jnp.sum(jnp.where(seen, loss, 0.0)) / jnp.sum(seen)
        # False for a loss that is not a number.
        better = loss < progress.best_loss
        average = jax.tree.map(lambda a, b: jnp.where(better, a, b), generator.policy, generator.average)
        waited = jnp.where(better, 0, progress.waited + 1)
        progress = progress.replace(
            validation_loss=loss,
            best_loss=jnp.where(better, loss, progress.best_loss),
            waited=waited,
            stopped=waited >= hyper.bc_patience,
        )
        return generator.replace(average=average), progress


@struct.dataclass
class _Mixture:
    """Who acts in an unroll: with probability `beta` the expert, else the deterministic policy."""

    generator: ActorCriticState
    oracle: Oracle
    beta: Array


class Dagger(Supervised):
    """DAgger (Ross, Gordon & Bagnell 2011): the expert labels what the policy visits, and the policy fits all labels.

    Each step of each environment is the expert's with probability beta_i, else the policy's; both act without noise,
    as the policy will when it is judged. The paper trains a new policy in every iteration; here the old one is fitted
    further, which costs a fraction and tends to the same.
    """

    @property
    def aggregate(self) -> Replay:
        """Where labelled observations are held."""
        return Replay(self.config.aggregate_capacity)

    def init(self, key: Array, hyper: Hyper, demos: Demos | None) -> LearnerState:
        """Fresh state of one seed from `key []`."""
        key_generator, key_env, key_run = jax.random.split(key, 3)
        spec = self.env.spec
        return start(
            LearnerState,
            key_run,
            env=jax.vmap(self.env.reset)(local_rows(jax.random.split(key_env, self.config.num_envs))),
            generator=bare_policy(self.generator, key_generator),
            replay=self.aggregate.init(StateAction(jnp.zeros(spec.obs_size), jnp.zeros(spec.action_size))),
        )

    def step(self, state: LearnerState, hyper: Hyper, demos: Demos | None) -> tuple[LearnerState, Metrics]:
        """One iteration of `num_envs * unroll_length` environment steps.

        Source: Ross et al. 2011, algorithm 3.1.

        Args:
          state: one seed's state.
          hyper: traced settings.
          demos: the expert, in `oracle`.

        Returns:
          `(state, metrics)`, every metric a scalar; `expert_distance` is the root mean squared difference between the
          policy's and the expert's actions on the states visited, before the fit.
        """
        assert demos is not None and demos.oracle is not None and state.replay is not None
        key = jax.random.fold_in(state.key, state.iteration)
        key_unroll, key_fit = jax.random.split(key)
        beta = expert_share(hyper.dagger_beta, state.iteration)
        mixture = _Mixture(state.generator, demos.oracle, beta)
        env, transition, totals = unroll(self.env, self._act, mixture, state.env, key_unroll, self.config.unroll_length)
        transition, totals = gather_rows(transition, axis=1), sum_over_devices(totals)
        obs = transition.obs.reshape(-1, transition.obs.shape[-1])
        label = per_seed(Oracle.act)(demos.oracle, obs)
        replay = self.aggregate.add(state.replay, StateAction(obs, label))
        keys = jax.random.split(key_fit, self.config.fit_steps)
        lr = annealed(self.config, hyper.bc_lr, state.iteration, self.total_iterations)
        generator, loss, distance = per_seed(self._fit)(
            state.generator, replay.rows, replay.size, StateAction(obs, label), keys, lr, hyper
        )
        metrics = totals.metrics | {
            "loss": loss,
            "expert_distance": distance,
            "beta": beta,
            "aggregate": replay.size.astype(jnp.float32),
        }
        state = state.replace(iteration=state.iteration + 1, env=env, generator=generator, replay=replay)
        return state, metrics

    def _act(self, mixture: _Mixture, obs: Array, key: Array) -> tuple[Array, Array]:
        """Actions of a batch of environments, with no density to speak of: `[B, o] -> ([B, a], [B])`."""
        asked = draw_rows(lambda x: jax.random.bernoulli(key, mixture.beta, (len(x), 1)), obs)
        own = self.generator.mode(mixture.generator, obs)
        return jnp.where(asked, per_seed(Oracle.act)(mixture.oracle, obs), own), jnp.zeros(len(obs))

    def _fit(
        self,
        generator: ActorCriticState,
        rows: StateAction,
        count: Array,
        fresh: StateAction,
        keys: Array,
        lr: Array,
        hyper: Hyper,
    ) -> tuple[ActorCriticState, Array, Array]:
        """Fits the aggregate's first `count` rows; returns `(generator, loss [], distance before [])`."""
        dist = self.generator.policy(generator.judged, generator.obs_stats.normalise(fresh.obs))
        distance = jnp.sqrt(jnp.mean(jnp.sum(jnp.square(dist.mode - fresh.action), axis=-1)))
        # The fit that follows makes up for what moving the normaliser does to the policy.
        generator = generator.replace(obs_stats=generator.obs_stats.update(fresh.obs))
        generator, losses = self.generator.imitate(
            generator, rows, None, count, keys, jnp.full(len(keys), lr), hyper.bc_weight_decay
        )
        decay = self.config.policy_average
        if decay:
            average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, generator.average, generator.policy)
            generator = generator.replace(average=average)
        return generator, jnp.mean(losses), distance


def bare_policy(generator: ActorCritic, key: Array) -> ActorCriticState:
    """A fresh policy without the value network that nothing here asks."""
    return per_seed(generator.init)(key).replace(value=(), value_opt=())


def annealed(config: Config, lr: Scalar, iteration: Array, total: int) -> Array:
    """`[]` the learning rate of an iteration of a run of `total`: falling linearly to zero where `config` says so."""
    lr = jnp.asarray(lr, jnp.float32)
    return lr * jnp.maximum(0.0, 1.0 - iteration / total) if config.anneal else lr


def expert_share(p: Scalar, iteration: Array) -> Array:
    """`[]` beta_i = p^i of DAgger's iteration i = 0, 1, ...; 1 in the first even where p is 0."""
    return jnp.where(iteration == 0, 1.0, jnp.asarray(p, jnp.float32) ** iteration)
