"""One iteration of every method that steps a policy on a reward: collect, file, fit the reward, move the multiplier,
step the policy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct

from gailfe_jax.buffers.replay import Replay
from gailfe_jax.buffers.steps import StepReplay
from gailfe_jax.config.parts import subpart
from gailfe_jax.data.annotators import Annotator
from gailfe_jax.envs.meaning import observed_names
from gailfe_jax.envs.rollout import clip_action, unroll
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.base import WITHOUT_ACTIONS, Learner, LearnerState, reset_envs
from gailfe_jax.learners.keys import Keys
from gailfe_jax.learners.schedule import LikelihoodTerm, Schedule, TrueReward
from gailfe_jax.learners.self_imitation import SelfImitation
from gailfe_jax.learners.sources import Demos, Drawn, Failures, SelfDemonstrations, Sources, SourceStates
from gailfe_jax.parallel.devices import gather_rows, local_rows, sum_over_devices
from gailfe_jax.parallel.phases import phase
from gailfe_jax.parallel.seeds import per_seed
from gailfe_jax.policies.actor import CloneStart
from gailfe_jax.policies.base import PolicyUpdate
from gailfe_jax.policies.mail import MAIL
from gailfe_jax.policies.ppo import PPO
from gailfe_jax.policies.replayed import ReplayedUpdate
from gailfe_jax.policies.trpo import TRPO
from gailfe_jax.rewards.base import Reward, RewardBatch
from gailfe_jax.rewards.constraint import FailureConstraint
from gailfe_jax.rewards.discriminator import Discriminator
from gailfe_jax.types import (
    Array,
    AuxiliaryFn,
    Env,
    Metrics,
    Scalar,
    ScoreFn,
    StateAction,
    Transition,
)


class Adversarial(Learner):
    """A policy against a reward that is fitted to what is shown: the algorithm of GAIL, and of what grew from it.

    Attributes:
      reward: what is fitted and maximised; None for the environment's own reward.
      policy: how the policy steps.
      self_demonstrations: the agent's own good episodes, as demonstrations; or None.
      failures: failed attempts; a constraint holds the reward by them, or they are a term of it; or None.
      constraint: on the reward's values on failures; or None.
      true_reward: the environment's reward beside the fitted one; or None.
      likelihood: of the demonstrations, beside the reward; or None.
      start: from a clone.
      self_imitation: of past steps that did better than was thought; or None.
      schedule: of the step sizes.
      choices: the policy steps to choose from; None for all that are registered.
    """

    choices: ClassVar[tuple[str, ...] | None] = None

    reward: Reward | None = subpart()
    policy: PolicyUpdate = subpart(TRPO())
    self_demonstrations: SelfDemonstrations | None = subpart()
    failures: Failures | None = subpart()
    constraint: FailureConstraint | None = subpart()
    true_reward: TrueReward | None = subpart()
    likelihood: LikelihoodTerm | None = subpart()
    start: CloneStart = subpart(CloneStart())
    self_imitation: SelfImitation | None = subpart()
    schedule: Schedule = subpart(Schedule())

    def step(self, state: LearnerState, demos: Demos | None) -> tuple[LearnerState, Metrics]:
        """One iteration of `num_envs * unroll_length` environment steps.

        Source: GAIL algorithm 1 (Ho & Ermon 2016) with GAILFE's Lagrangian (eq. 4) where there are failures.

        Args:
          state: one seed's state.
          demos: demonstrations; None where there is nothing to imitate.

        Returns:
          `(state, metrics)`, every metric a scalar.
        """
        method = self.scaled(self._factors(state.iteration))
        keys = Keys.of(state.key, state.iteration)
        # Collect an unroll with the policy.
        env, transition, episode_metrics = method.collect(state, keys.unroll, demos)
        executed = transition.replace(action=clip_action(self.env, transition.action))
        # File it in the sources, and draw what this iteration learns from.
        with phase("buffers"):
            sources, drawn = method.sources.add_and_sample(state.sources, executed, keys.sample, demos)
        # Fit the reward, move the multiplier, step the policy.
        improved, metrics = per_seed(Adversarial.improve)(
            method, Improved.of(state), method.seen(transition, drawn, demos), keys.reward, keys.policy
        )
        # Imitate the agent's own past where it did better than was thought.
        agent, sources, past_metrics = method.imitate_past(improved.agent, sources, executed, keys.self_imitation)
        state = improved.into(state).replace(iteration=state.iteration + 1, env=env, agent=agent, sources=sources)
        return state, metrics | past_metrics | episode_metrics | method.state_metrics(state, metrics)

    def collect(self, state: LearnerState, key: Array, demos: Demos | None = None) -> tuple[Any, Transition, Metrics]:
        """`(environments, unroll [T, B, ...], metrics of the episodes that ended)`, the unroll of all devices."""
        length = self.rollout.unroll_length
        env, transition, totals = unroll(
            self._stepped(demos), self.policy.act, state.agent, state.env, key, length, timed=self.policy.asks_time
        )
        # Each device has stepped its own environments; from here on all of them see the whole unroll.
        transition, totals = gather_rows(transition, axis=1), sum_over_devices(totals)
        return env, transition, totals.metrics

    def _stepped(self, demos: Demos | None) -> Env:
        """The environment that is trained in: some of its episodes start as demonstrated, where that is asked for."""
        env: Any = self.env
        share = self.rollout.demonstrated_starts if self.needs_demonstrations else 0.0
        if not share or demos is None or demos.starts is None:
            return env
        return env.starting_from(demos.starts, share)

    def improve(self, state: Improved, seen: Seen, key_reward: Array, key_policy: Array) -> tuple[Improved, Metrics]:
        """Fits the reward, moves the multiplier, steps the policy.

        It is arithmetic on one seed's batch, and runs `per_seed`, which keeps its bits the same for any number of
        seeds.
        """
        objective = seen.drawn.objective(auxiliary=self._auxiliary(seen.expert, key_policy))
        metrics: Metrics = {}
        if self.reward is not None and seen.drawn.batch is not None:
            batch = self.shown_batch(seen, state.dual)
            with phase("reward"):
                reward, metrics = self.reward.fit(state.reward, batch, key_reward)
            dual = self._moved(state.dual, batch, metrics)
            state = state.replace(reward=reward, dual=dual)
            objective = dataclasses.replace(
                objective,
                score=self._score(reward, batch),
                true_reward=self._adds_reward,
                after_end=self.reward.after_end(reward),
            )
        with phase("policy"):
            agent, step_metrics = self.policy.update(state.agent, seen.transition, objective, key_policy)
        return state.replace(agent=agent), metrics | step_metrics

    def imitate_past(
        self, agent: Any, sources: SourceStates, executed: Transition, key: Array
    ) -> tuple[Any, SourceStates, Metrics]:
        """Files the unroll's episodes with their returns and takes the self-imitation updates."""
        buffer, part = self.sources.episodes, self.self_imitation
        if buffer is None or part is None:
            return agent, sources, {}
        ppo = self.policy
        assert isinstance(ppo, PPO)

        def update(carry, key: Array):
            agent, held = carry
            sample = buffer.sample(held, key, part.minibatch, part.beta)
            some = buffer.num_transitions(held) > 0
            new, priority, metrics = per_seed(SelfImitation.update)(part, ppo, agent, sample)
            # Adam moves even where the gradient is zero.
            new = jax.tree.map(lambda a, b: jnp.where(some, a, b), new, agent)
            return (new, buffer.reprioritise(held, sample.index, priority)), metrics

        with phase("buffers"):
            held = buffer.add(sources.episodes, executed, ppo.gamma)
        with phase("policy"):
            (agent, held), metrics = jax.lax.scan(update, (agent, held), jax.random.split(key, part.updates))
        return agent, sources.replace(episodes=held), jax.tree.map(jnp.mean, metrics)

    def state_metrics(self, state: LearnerState, metrics: Metrics) -> Metrics:
        """What the sources and the constraint stand at after an iteration with `metrics`."""
        found = self.sources.metrics(state.sources)
        if self.constraint is not None and state.dual is not None:
            found |= self.constraint.metrics(state.dual, metrics["failure_log_d"])
        return found

    def _factors(self, iteration: Array) -> dict[str, Scalar]:
        """What this iteration's step sizes, and the fitted reward's weight beside the true one, are multiplied by."""
        total = self.total_iterations
        factors = self.schedule.factors(iteration, total)
        if self.true_reward is not None and self.true_reward.alpha_decay:
            factors["alpha"] = self.schedule.left(iteration, total)
        return factors

    def shown_batch(self, seen: Seen, dual: Array | None) -> RewardBatch:
        """What the reward is fitted to."""
        assert seen.drawn.batch is not None
        ended = seen.expert_ended if seen.drawn.batch.policy_ended is not None else None
        return seen.drawn.batch.replace(
            expert=self._shown(seen.expert), multiplier=self._multiplier(dual), expert_ended=ended
        )

    def seen(self, transition: Transition, drawn: Drawn, demos: Demos | None) -> Seen:
        """What an iteration learns from: its unroll, what was drawn from the sources, and demonstrations."""
        if demos is None:
            return Seen(transition, drawn, None, None)
        return Seen(transition, drawn, self._expert(demos), demos.terminated)

    def _expert(self, demos: Demos | None) -> StateAction | None:
        """Demonstrated pairs, with where they led if the reward asks."""
        if demos is None or demos.expert is None or self.reward is None or not self.reward.asks_next:
            return None if demos is None else demos.expert
        return demos.expert.replace(next_obs=demos.next_obs)

    def _shown(self, expert: StateAction | None) -> StateAction | None:
        """The demonstrations, where the reward takes them for good."""
        return None if self._alone else expert

    def _multiplier(self, dual: Array | None) -> Array:
        """`[]` lambda_F; 0 without a constraint."""
        return jnp.float32(0.0) if self.constraint is None or dual is None else self.constraint.weigh(dual)

    def _moved(self, dual: Array | None, batch: RewardBatch, metrics: Metrics) -> Array | None:
        """The dual variable, moved by the fitted reward's value on failures, while there are any."""
        if self.constraint is None or dual is None or batch.has_failures is None:
            return dual
        active = batch.has_failures
        if self._alone and batch.has_self is not None:
            active = active & batch.has_self
        return self.constraint.update(dual, metrics["failure_log_d"], active)

    def _score(self, state: Any, batch: RewardBatch) -> ScoreFn:
        """The fitted reward; alpha times it beside the true one, none while there is nothing good to compare with."""
        assert self.reward is not None
        score = self.reward.scorer(state)
        has_self = batch.has_self if self._alone else None
        if has_self is None and not self._adds_reward:
            return score
        alpha = self.true_reward.alpha if self.true_reward is not None and self._adds_reward else 1.0
        weight = jnp.asarray(alpha, jnp.float32)
        weight = weight if has_self is None else jnp.where(has_self, weight, 0.0)
        return dataclasses.replace(score, weight=weight)

    def _auxiliary(self, expert: StateAction | None, key: Array) -> AuxiliaryFn | None:
        """The weighted log-likelihood of as many demonstrated pairs as the policy steps on, where it is asked for."""
        term = self.likelihood
        if term is None or not term.add or expert is None:
            return None
        rows = jax.random.randint(jax.random.fold_in(key, 1), (self.rollout.batch_size,), 0, expert.obs.shape[0])
        obs, action = expert.obs[rows], expert.action[rows]

        def log_likelihood(policy: Callable[[Array], Any], part: Array | None) -> Array:
            x, a = local_rows((obs, action)) if part is None else (obs[part], action[part])
            return term.weight * jnp.mean(policy(x).log_prob(a))

        return log_likelihood

    @property
    def starts_at_once(self) -> bool:
        return not self.start.steps

    def init(self, key: Array, demos: Demos | None) -> LearnerState:
        """Fresh state of one seed from `key []`."""
        key_agent, key_env, key_reward, key_run, key_clone = jax.random.split(key, 5)
        agent = per_seed(type(self.policy).init)(self.policy, key_agent)
        expert = self._expert(demos)
        if demos is not None and expert is not None:
            if self.policy.obs_normaliser == "demonstrations" or self.start.steps:
                agent = per_seed(type(self.policy).init_normaliser)(self.policy, agent, expert)
            if self.start.steps:
                clone = per_seed(type(self.policy).clone)
                agent = clone(self.policy, agent, expert, demos.next_obs, key_clone, self.start)
        reward = None
        if self.reward is not None:
            reward = per_seed(type(self.reward).init)(self.reward, key_reward, self._shown(expert))
        return LearnerState(
            key=key_run,
            iteration=jnp.int32(0),
            env=reset_envs(self._stepped(demos), key_env, self.rollout.num_envs),
            agent=agent,
            reward=reward,
            dual=None if self.constraint is None else self.constraint.init(),
            sources=self.sources.init(demos),
        )

    def knowing(self, env: Env) -> Adversarial:
        if self.reward is None:
            return self
        return self.replace(reward=self.reward.knowing(lambda: observed_names(env)))

    @property
    def sources(self) -> Sources:
        """The buffers of this method."""
        policy, past = self.policy, self.self_imitation
        model = policy.model if isinstance(policy, MAIL) else None
        replayed = policy if isinstance(policy, ReplayedUpdate) else None
        replay = 0 if self.reward is None or replayed is not None else self.reward.policy_replay
        asks_next = self.reward is not None and self.reward.asks_next
        rollout = self.rollout
        return Sources(
            problem=self.problem,
            draws=self._draws,
            asks_ends=self.reward is not None and self.reward.asks_ends,
            newest=(0.0, 1) if self.reward is None else self.reward.newest,
            transition_draws=None if model is None else (model.fit_steps, model.ensemble, model.minibatch),
            asks_next=asks_next,
            failures=None if self.failures is None else self.failures.buffer(asks_next),
            self_demonstrations=None
            if self.self_demonstrations is None
            else self.self_demonstrations.buffer(asks_next),
            policy_replay=Replay(replay) if replay else None,
            transitions=None if model is None else Replay(model.capacity),
            episodes=past.episodes if past is not None and past.updates else None,
            experience_draws=None if replayed is None else replayed.draws(rollout.batch_size),
            demonstrated=replayed.demonstrated if replayed is not None and self._imitates else 0.0,
            experience=None
            if replayed is None
            else StepReplay(replayed.replay, rollout.num_envs, rollout.unroll_length),
        )

    @property
    def _draws(self) -> tuple[int, int] | None:
        """`(K, m)`: how many draws of how many policy pairs the reward takes."""
        if self.reward is None:
            return None
        steps, size = self.reward.draws
        # There are no more in an unroll; in a replay there are.
        return steps, size if isinstance(self.policy, ReplayedUpdate) else min(size, self.rollout.batch_size)

    def buffer_bytes(self) -> dict[str, int]:
        """What each buffer of one seed takes on the device."""
        return self.sources.bytes()

    def drawn_bytes(self) -> int:
        """What an iteration draws for reward and model takes on the device."""
        return self.sources.drawn_bytes()

    @property
    def _alone(self) -> bool:
        """Whether the agent's own episodes stand in the place of demonstrations."""
        return self.self_demonstrations is not None and self.self_demonstrations.use == "alone"

    def reads_reward(self) -> str | None:
        if self.reward is None:
            return f"algo: {self.name} maximises the true reward"
        if self._adds_reward:
            return "true_reward.add: adds the true reward"
        own, failures = self.self_demonstrations, self.failures
        if own is not None and own.use != "none" and (own.judge is None or own.judge.reads_reward):
            return f"self_demonstrations.episodes: {own.episodes} goes by returns"
        if failures is not None and failures.source != "collected" and failures.judge and failures.judge.reads_reward:
            return f"failures.annotator: {failures.judge.name} reads the reward"
        return None

    def needs_actions(self) -> str | None:
        if self._imitates and self.reward is not None and self.reward.asks_actions:
            free = isinstance(self.reward, Discriminator)
            return f"{self.name} judges them; expected " + (
                "reward.inputs transitions or states" if free else WITHOUT_ACTIONS
            )
        if self.start.steps:
            return "start.steps clones them; expected 0"
        if self.likelihood is not None and self.likelihood.add:
            return "likelihood.add makes them likely; expected false"
        if self._imitates and getattr(self.policy, "demonstrated", 0.0):
            return "policy.demonstrated replays them; expected 0"
        return None

    @property
    def _adds_reward(self) -> bool:
        """Whether the environment's reward is added to the fitted one."""
        return self.true_reward is not None and self.true_reward.add

    @property
    def _imitates(self) -> bool:
        """Whether the reward is fitted to demonstrations."""
        return self.reward is not None and self.reward.needs_expert and not self._alone

    @property
    def needs_demonstrations(self) -> bool:
        """Whether training needs demonstrations."""
        clones = self.start.steps > 0 or (self.likelihood is not None and self.likelihood.add)
        return self._imitates or clones

    def resolve(self) -> Adversarial:
        """Running statistics where no demonstrations are imitated."""
        return self if self._imitates else self.replace(policy=self.policy.replace(obs_normaliser="running"))

    def judged(self, annotator: Annotator | None, success: Annotator | None) -> Adversarial:
        """A copy that knows what counts as a failure and as a success."""
        failures = None if self.failures is None else self.failures.replace(judge=annotator)
        own = None if self.self_demonstrations is None else self.self_demonstrations.replace(judge=success)
        return self.replace(failures=failures, self_demonstrations=own)

    def unread(self) -> dict[str, str]:
        found: dict[str, str] = {}
        if not self._imitates:
            found["policy.demonstrated"] = "no demonstrations are imitated"
            found["policy.obs_normaliser"] = "no demonstrations are imitated, so statistics are the policy's own"
        if not self.needs_demonstrations:
            found["rollout.demonstrated_starts"] = f"{self.name or 'the method'} learns without demonstrations"
        if self.reward is not None and not self._adds_reward:
            found["policy.normalise_reward"] = "the environment's reward is not maximised"
        if self.policy.model_based and self.true_reward is not None:
            found["true_reward.add"] = "the true reward has no gradient through a model; expected policy trpo or ppo"
        if self.self_imitation is not None and not isinstance(self.policy, PPO):
            found["self_imitation.updates"] = "only ppo has an optimiser for it"
        elif self.self_imitation is not None and self.reward is not None and not self._adds_reward:
            found["self_imitation.updates"] = "it goes by the true reward; expected true_reward.add, or the method ppo"
        elif self.self_imitation is not None and self.policy.asks_time:
            found["self_imitation.updates"] = "past steps do not say when they were; expected no policy.timed_value"
        if isinstance(self.policy, ReplayedUpdate):
            found["reward.replay"] = "the policy step's own replay is what the reward sees"
        elif self.reward is not None:
            why = "the policy steps on the newest unroll, and so does the reward"
            found |= {f"reward.{name}": why for name in self.reward.read_from_replay}
        cycles = self.policy.model_based or (self.reward is not None and self.reward.constrainable)
        if not cycles:
            found["schedule.warm_restarts"] = "there is neither a discriminator nor a forward model"
        return found

    def verify(self) -> None:
        super().verify()
        if self.schedule.anneal and self.schedule.warm_restarts:
            raise GailfeError("schedule.warm_restarts: got cycles beside schedule.anneal; expected one of the two")
        if self.policy.model_based and (self.reward is None or not self.reward.differentiable):
            raise GailfeError(
                f"policy: {self.name} has no reward with a gradient through a model; expected trpo or ppo"
            )
        if self.constraint is not None and (self.reward is None or not self.reward.constrainable):
            raise GailfeError("constraint: nothing but a discriminator can be constrained; expected none")
        own = self.self_demonstrations
        if own is not None and own.use != "none" and not getattr(self.reward, "learns_from_self", False):
            raise GailfeError(f"self_demonstrations.use: got {own.use!r}; the reward reads demonstrations alone")
        if self.failures is None and (
            self.constraint is not None or getattr(self.reward, "learns_from_failures", False)
        ):
            raise GailfeError(f"failures: got none; {self.name} learns from them")
        if self._adds_reward and getattr(self.policy, "demonstrated", 0.0):
            raise GailfeError(
                "policy.demonstrated: got more than 0 with true_reward.add; demonstrations are not paid it"
            )
        if self.reward is not None:
            self.reward.verify()
        self.policy.verify(self.rollout.num_envs, self.rollout.unroll_length)


@struct.dataclass
class Improved:
    """What one iteration improves: agent, reward and multiplier, the latter two None where there is none."""

    agent: Any
    reward: Any
    dual: Array | None

    @classmethod
    def of(cls, state: LearnerState) -> Improved:
        """That of a learner's state."""
        return cls(state.agent, state.reward, state.dual)

    def into(self, state: LearnerState) -> LearnerState:
        """A learner's state with this."""
        return state.replace(agent=self.agent, reward=self.reward, dual=self.dual)


@struct.dataclass
class Seen:
    """What one iteration learns from.

    Attributes:
      transition: `[T, B, ...]` the unroll, actions as drawn.
      drawn: from the sources.
      expert: `[N]` demonstrations, or None.
      expert_ended: `[N]` bool, whether the task ended there; or None.
    """

    transition: Transition
    drawn: Drawn
    expert: StateAction | None
    expert_ended: Array | None
