"""One iteration of every method: unroll, file failures, fit the cost, move the multiplier, step the policy."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import struct

from gailfe_jax.artifacts.oracle import Oracle
from gailfe_jax.buffers.labelled import LabelledState, LabelledTrajectories
from gailfe_jax.buffers.prioritized_episodes import PrioritizedEpisodes, PrioritizedState
from gailfe_jax.buffers.replay import Replay, ReplayState
from gailfe_jax.buffers.storage import PaddedTrajectories, StorageState, TrajectoryStorage
from gailfe_jax.buffers.top_k import TopK, TopKState
from gailfe_jax.config.flat import Config, Hyper
from gailfe_jax.envs.rollout import clip_action, unroll
from gailfe_jax.nn.optimisers import shuffled_minibatches
from gailfe_jax.parallel.memory import tree_bytes
from gailfe_jax.parallel.seeds import gather_rows, local_rows, per_seed, sum_over_devices
from gailfe_jax.policies.ppo import PPO
from gailfe_jax.rewards.constraint import update_dual, violation
from gailfe_jax.rewards.discriminator import Discriminator, DiscriminatorData
from gailfe_jax.types import (
    Array,
    AuxiliaryFn,
    Env,
    EnvState,
    ForwardTransitions,
    Metrics,
    PyTree,
    ScoreFn,
    StateAction,
    Transition,
)


class Generator(Protocol):
    """How the policy steps on a reward; `ActorCritic` describes the methods."""

    def init(self, key: Array) -> PyTree: ...
    def standardise(self, state: PyTree, demos: StateAction) -> PyTree: ...
    def clone(self, state: PyTree, demos: StateAction, next_obs: Array | None, key: Array, hyper: Hyper) -> PyTree: ...
    def act(self, state: PyTree, obs: Array, key: Array) -> tuple[Array, Array]: ...
    def mode(self, state: PyTree, obs: Array) -> Array: ...
    def update(
        self,
        state: PyTree,
        transition: Transition,
        score: ScoreFn | None,
        key: Array,
        hyper: Hyper,
        experience: ForwardTransitions | None = None,
        auxiliary: AuxiliaryFn | None = None,
    ) -> tuple[PyTree, Metrics]: ...


class Cost(Protocol):
    """What the policy steps on; `Discriminator` describes the methods."""

    @property
    def draws(self) -> tuple[int, int]: ...
    def init(self, key: Array, demos: StateAction | None) -> Any: ...
    def fit(
        self,
        state: Any,
        demos: StateAction | None,
        data: DiscriminatorData,
        multiplier: Array,
        key: Array,
        hyper: Hyper,
    ) -> tuple[Any, Metrics]: ...
    def score(self, state: Any, obs: Array, action: Array) -> Array: ...


@struct.dataclass
class LearnerState:
    """Everything one seed needs to go on bit for bit.

    Attributes:
      key: `[]` the seed's key; iteration `i` draws from `fold_in(key, i)`.
      iteration: `[]` int32, iterations done.
      env: `[B]` environment states; on several devices each holds its own.
      generator: the policy's side.
      cost: the discriminator's state or another cost's, or None where the true reward is used.
      dual: `[]` lambda_F, or None without a failure constraint.
      failures: the failure buffer, or None.
      own: the agent's own good episodes, or None.
      replay: past policy pairs for the discriminator, or None.
      experience: past moves for a forward model, or None.
      episodes: past episodes with their returns, or None.
    """

    key: Array
    iteration: Array
    env: EnvState
    generator: Any
    cost: Any
    dual: Array | None
    failures: LabelledState | None
    own: StorageState | None
    replay: ReplayState | None
    experience: ReplayState | None
    episodes: PrioritizedState | None


@struct.dataclass
class Demos:
    """What a learner imitates, on the device; an argument of every call, never a constant of the program.

    Attributes:
      expert: `[N]` expert pairs, or None for what learns without.
      failures: failures of the collection phase, or None.
      next_obs: `[N, o]` where the expert's actions led, for a forward model's start; or None.
      trajectory: `[N]` int32, which trajectory (numbered from 0) a pair is from; None where that is not known.
      oracle: the expert itself, for methods that ask it; or None.
    """

    expert: StateAction | None
    failures: PaddedTrajectories | None = None
    next_obs: Array | None = None
    trajectory: Array | None = None
    oracle: Oracle | None = None


@dataclasses.dataclass(frozen=True)
class Learner:
    """A method as a composition of parts; functions are for one seed, `vmap` them over seeds.

    Attributes:
      config: static settings.
      env: the environment.
      generator: how the policy steps.
      cost: what it steps on; None means the true reward.
      failures: the failure buffer; it constrains a discriminator (GAILFE) and is a term of a linear cost (IRLF).
      own: the agent's own episodes that the discriminator takes for good: the best, or (a failure buffer whose
        annotator has the opposite opinion) the last successes; or None.
      replay: past policy pairs shown to the discriminator beside the fresh ones; or None.
      experience: past moves that the generator's forward model learns from; or None.
      episodes: past episodes that PPO imitates where they did better than was thought; or None.
      total_iterations: length of the run, for annealing.
    """

    config: Config
    env: Env
    generator: Generator
    cost: Cost | None = None
    failures: LabelledTrajectories | None = None
    own: TopK | LabelledTrajectories | None = None
    replay: Replay | None = None
    experience: Replay | None = None
    episodes: PrioritizedEpisodes | None = None
    total_iterations: int = 1

    def init(self, key: Array, hyper: Hyper, demos: Demos | None) -> LearnerState:
        """Fresh state of one seed from `key []`."""
        key_generator, key_env, key_cost, key_run, key_clone = jax.random.split(key, 5)
        generator = per_seed(self.generator.init)(key_generator)
        expert = None if demos is None else demos.expert
        if demos is not None and expert is not None:
            generator = per_seed(self.generator.standardise)(generator, expert)
            if self.config.bc_steps:
                generator = per_seed(self.generator.clone)(generator, expert, demos.next_obs, key_clone, hyper)
        failures = None
        if self.failures is not None:
            failures = self.failures.init()
            if demos is not None and demos.failures is not None:
                failures = self.failures.preload(failures, demos.failures)
        return LearnerState(
            key=key_run,
            iteration=jnp.int32(0),
            env=jax.vmap(self.env.reset)(local_rows(jax.random.split(key_env, self.config.num_envs))),
            generator=generator,
            cost=None if self.cost is None else per_seed(self.cost.init)(key_cost, self._shown(expert)),
            dual=jnp.asarray(hyper.dual_init, jnp.float32) if self._constrained else None,
            failures=failures,
            own=None if self.own is None else self.own.init(),
            replay=None if self.replay is None else self.replay.init(self._pair),
            experience=None if self.experience is None else self.experience.init(self._move),
            episodes=None if self.episodes is None else self.episodes.init(),
        )

    def buffer_bytes(self) -> dict[str, int]:
        """What each buffer of one seed takes on the device."""
        made: dict[str, Callable[[], PyTree] | None] = {
            "failures": self.failures and self.failures.init,
            "own episodes": self.own and self.own.init,
            "replay": self.replay and functools.partial(self.replay.init, self._pair),
            "experience": self.experience and functools.partial(self.experience.init, self._move),
            "past episodes": self.episodes and self.episodes.init,
        }
        return {name: tree_bytes(jax.eval_shape(init)) for name, init in made.items() if init is not None}

    @property
    def _constrained(self) -> bool:
        """Whether failures constrain the cost by a multiplier."""
        return self.failures is not None and isinstance(self.cost, Discriminator)

    @property
    def _pair(self) -> StateAction:
        """An empty row of the discriminator's replay."""
        return StateAction(jnp.zeros(self.env.spec.obs_size), jnp.zeros(self.env.spec.action_size))

    @property
    def _move(self) -> ForwardTransitions:
        """An empty row of the forward model's experience."""
        pair = self._pair
        return ForwardTransitions(pair.obs, pair.action, pair.obs)

    def step(self, state: LearnerState, hyper: Hyper, demos: Demos | None) -> tuple[LearnerState, Metrics]:
        """One iteration of `num_envs * unroll_length` environment steps.

        Source: GAIL algorithm 1 (Ho & Ermon 2016) with GAILFE's Lagrangian (eq. 4) where there are failures.

        Args:
          state: one seed's state.
          hyper: traced settings.
          demos: demonstrations; None where there is no cost to fit.

        Returns:
          `(state, metrics)`, every metric a scalar.
        """
        hyper = self._scheduled(hyper, state.iteration)
        key = jax.random.fold_in(state.key, state.iteration)
        keys = jax.random.split(key, 4)
        key_unroll, key_sample, key_cost, key_policy = (keys[i] for i in range(4))
        env, transition, totals = unroll(
            self.env, self.generator.act, state.generator, state.env, key_unroll, self.config.unroll_length
        )
        # Each device has stepped its own environments; from here on all of them see the whole unroll.
        transition, totals = gather_rows(transition, axis=1), sum_over_devices(totals)
        executed = transition.replace(action=clip_action(self.env, transition.action))
        failures, own, replay, data = self._select(state, executed, key_sample)
        experience, moves = self._remember(state.experience, executed, jax.random.fold_in(key, 4))

        # What is arithmetic on one seed's batch runs `per_seed`, which keeps its bits the same for any number of seeds.
        expert = None if demos is None else demos.expert
        generator, cost, dual, metrics = per_seed(self._learn)(
            state.generator, state.cost, state.dual, transition, data, moves, expert, key_cost, key_policy, hyper
        )
        generator, episodes, self_metrics = self._imitate_self(
            generator, state.episodes, executed, jax.random.fold_in(key, 5), hyper
        )
        metrics |= self_metrics | totals.metrics
        if self.own is not None and own is not None:
            metrics |= {
                "own_episodes": self.own.num_trajectories(own).astype(jnp.float32),
                "own_transitions": self.own.num_transitions(own).astype(jnp.float32),
            }
            if isinstance(self.own, TopK) and isinstance(own, TopKState):
                metrics["own_best_return"] = self.own.best_return(own)
        if self.failures is not None and failures is not None:
            metrics |= {
                "failures_in_buffer": self.failures.num_trajectories(failures).astype(jnp.float32),
                "failure_transitions": self.failures.num_transitions(failures).astype(jnp.float32),
            }
        if self._constrained:
            metrics |= {
                "multiplier": self._multiplier(dual, hyper),
                "violation": violation(metrics["failure_log_d"], hyper.failure_threshold),
            }
        state = state.replace(
            iteration=state.iteration + 1, env=env, generator=generator, cost=cost, dual=dual, failures=failures,
            own=own, replay=replay, experience=experience, episodes=episodes,
        )  # fmt: skip
        return state, metrics

    def _learn(
        self,
        generator: PyTree,
        cost: Any,
        dual: Array | None,
        transition: Transition,
        data: DiscriminatorData | None,
        moves: ForwardTransitions | None,
        expert: StateAction | None,
        key_cost: Array,
        key_policy: Array,
        hyper: Hyper,
    ) -> tuple[PyTree, Any, Array | None, Metrics]:
        """Fits the cost, moves the multiplier, steps the policy."""
        step = functools.partial(self.generator.update, generator, transition)
        auxiliary = self._auxiliary(expert, key_policy, hyper)
        if self.cost is None:
            generator, metrics = step(None, key_policy, hyper, moves, auxiliary)
            return generator, None, None, metrics
        assert data is not None
        shown = self._shown(expert)
        fitted, metrics = self.cost.fit(cost, shown, data, self._multiplier(dual, hyper), key_cost, hyper)
        if dual is not None and data.has_failures is not None:
            active = data.has_failures
            if self.config.positives == "own" and data.has_own is not None:
                active = active & data.has_own
            dual = update_dual(dual, metrics["failure_log_d"], hyper.failure_threshold, hyper.dual_lr, active)
        generator, step_metrics = step(self._score(fitted, data, hyper), key_policy, hyper, moves, auxiliary)
        return generator, fitted, dual, metrics | step_metrics

    def _shown(self, expert: StateAction | None) -> StateAction | None:
        """The demonstrations, where the discriminator takes them for good."""
        return None if self.config.positives == "own" else expert

    def _score(self, cost: Any, data: DiscriminatorData, hyper: Hyper) -> ScoreFn:
        """The cost's reward; alpha times it beside the true one, none while there is nothing good to compare with."""
        assert self.cost is not None
        score = functools.partial(self.cost.score, cost)
        has_own = data.has_own if self.config.positives == "own" else None
        if has_own is None and not self.config.env_reward:
            return score
        weight = jnp.asarray(hyper.alpha if self.config.env_reward else 1.0, jnp.float32)
        weight = weight if has_own is None else jnp.where(has_own, weight, 0.0)
        return lambda obs, action: weight * score(obs, action)

    def _auxiliary(self, expert: StateAction | None, key: Array, hyper: Hyper) -> AuxiliaryFn | None:
        """The weighted log-likelihood of as many demonstrated pairs as the policy steps on, where it is asked for."""
        if not self.config.bc_auxiliary or expert is None:
            return None
        key = jax.random.fold_in(key, 1)
        rows = jax.random.randint(key, (self.config.batch_size,), 0, expert.obs.shape[0])
        obs, action = expert.obs[rows], expert.action[rows]

        def log_likelihood(policy: Callable[[Array], Any], part: Array | None) -> Array:
            x, a = local_rows((obs, action)) if part is None else (obs[part], action[part])
            return hyper.bc_weight * jnp.mean(policy(x).log_prob(a))

        return log_likelihood

    def _select(
        self, state: LearnerState, executed: Transition, key: Array
    ) -> tuple[LabelledState | None, StorageState | None, ReplayState | None, DiscriminatorData | None]:
        """Files the unroll in the buffers and draws what the cost will see; moves data, rounds nothing."""
        if self.cost is None:
            return None, None, None, None
        steps, size = self.cost.draws
        key_policy, key_replay, key_failure = jax.random.split(key, 3)
        obs = executed.obs.reshape(-1, executed.obs.shape[-1])
        action = executed.action.reshape(-1, executed.action.shape[-1])
        # Pass after pass over the batch, as far as the steps need; what does not fill a step is left out of its pass.
        each = len(obs) // size
        cut = functools.partial(shuffled_minibatches, size=len(obs), count=each)
        passes = jax.vmap(cut)(jax.random.split(key_policy, -(-steps // each)))
        rows = passes[..., :size].reshape(-1, size)[:steps]
        policy, replay = StateAction(obs[rows], action[rows]), state.replay
        if self.replay is not None and replay is not None:
            replay = self.replay.add(replay, StateAction(obs, action))
            old = self.replay.sample(replay, key_replay, steps * size)
            old = jax.tree.map(lambda x: x.reshape(steps, size, -1), old)
            policy = jax.tree.map(lambda a, b: jnp.concatenate([a[:, : size // 2], b[:, size // 2 :]], 1), policy, old)
        data, failures, own = DiscriminatorData(policy), state.failures, state.own

        def drawn(buffer: TrajectoryStorage, held: StorageState, key: Array) -> tuple[StateAction, Array]:
            pairs = StateAction(*buffer.sample(held, key, steps * size))
            return jax.tree.map(lambda x: x.reshape(steps, size, -1), pairs), buffer.num_transitions(held) > 0

        if self.failures is not None and failures is not None:
            failures = self.failures.add(failures, executed)
            failed, has_failures = drawn(self.failures, failures, key_failure)
            data = data.replace(failures=failed, has_failures=has_failures)
        if self.own is not None and own is not None:
            own = self.own.add(own, executed)  # type: ignore[arg-type]
            good, has_own = drawn(self.own, own, jax.random.fold_in(key, 1))
            data = data.replace(own=good, has_own=has_own)
        return failures, own, replay, data

    def _remember(
        self, state: ReplayState | None, executed: Transition, key: Array
    ) -> tuple[ReplayState | None, ForwardTransitions | None]:
        """Files the unroll's moves and draws what the forward model is fitted to: `[K, E, m]`."""
        if self.experience is None or state is None:
            return None, None
        moves = ForwardTransitions(executed.obs, executed.action, executed.next_obs)
        state = self.experience.add(state, jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), moves))
        config = self.config
        shape = (config.model_fit_steps, config.model_ensemble, config.model_minibatch)
        drawn = self.experience.sample(state, key, math.prod(shape))
        return state, jax.tree.map(lambda x: x.reshape(*shape, -1), drawn)

    def _imitate_self(
        self, generator: PyTree, state: PrioritizedState | None, executed: Transition, key: Array, hyper: Hyper
    ) -> tuple[PyTree, PrioritizedState | None, Metrics]:
        """Files the unroll's episodes with their returns and takes the self-imitation updates."""
        if self.episodes is None or state is None:
            return generator, None, {}
        buffer, ppo = self.episodes, self.generator
        assert isinstance(ppo, PPO)

        def update(carry, key: Array):
            generator, state = carry
            sample = buffer.sample(state, key, self.config.sil_minibatch, hyper.sil_beta)
            some = buffer.num_transitions(state) > 0
            new, priority, metrics = per_seed(ppo.imitate_self)(generator, sample, hyper)
            # Adam moves even where the gradient is zero.
            new = jax.tree.map(lambda a, b: jnp.where(some, a, b), new, generator)
            return (new, buffer.reprioritise(state, sample.index, priority)), metrics

        state = buffer.add(state, executed, hyper.gamma)
        keys = jax.random.split(key, self.config.sil_updates)
        (generator, state), metrics = jax.lax.scan(update, (generator, state), keys)
        return generator, state, jax.tree.map(jnp.mean, metrics)

    def _scheduled(self, hyper: Hyper, iteration: Array) -> Hyper:
        """`hyper` with the step sizes of this iteration: none for the policy while it warms up, then, where the
        configuration asks for it, decayed linearly to zero over the run; the discriminator's and the model's in
        cycles, where it asks for those."""
        scale: dict[str, Array] = {}
        if self.config.anneal:
            left = jnp.maximum(1.0 - iteration / self.total_iterations, 0.0)
            scale = dict.fromkeys(("policy_lr", "value_lr", "max_kl", "disc_lr", "irlf_lr", "model_lr"), left)
        if self.config.alpha_decay:
            scale["alpha"] = jnp.maximum(1.0 - iteration / self.total_iterations, 0.0)
        if self.config.warm_restarts:
            cycle = max(1, -(-self.total_iterations // self.config.warm_restarts))
            shape = {"init_value": 1.0, "peak_value": 1.0, "warmup_steps": 0, "decay_steps": cycle, "end_value": 0.0}
            schedule = optax.sgdr_schedule([shape] * self.config.warm_restarts)
            scale |= dict.fromkeys(("disc_lr", "model_lr"), jnp.asarray(schedule(iteration)))
        if self.config.warmup_iterations:
            # A step of length zero is refused by TRPO's line search and moves nothing in Adam.
            moving = jnp.float32(iteration >= self.config.warmup_iterations)
            scale |= {name: scale.get(name, 1.0) * moving for name in ("policy_lr", "max_kl")}
        return hyper.replace(**{name: getattr(hyper, name) * factor for name, factor in scale.items()})

    def _multiplier(self, dual: Array | None, hyper: Hyper) -> Array:
        """lambda_F: the dual variable, or the fixed weight."""
        if dual is None:
            return jnp.float32(0.0)
        return dual if self.config.multiplier == "dual" else jnp.asarray(hyper.failure_weight, jnp.float32)
