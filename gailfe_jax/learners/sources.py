"""Where a method's data come from: demonstrations, failures, the agent's own good episodes, its past.

Each source is a buffer with pure functions `init / add / sample`. `Sources` are all those of one method: what is not
there is None and costs nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct

from gailfe_jax.artifacts.oracle import AsksExpert
from gailfe_jax.buffers.labelled import LabelledTrajectories
from gailfe_jax.buffers.prioritized_episodes import PrioritizedEpisodes
from gailfe_jax.buffers.replay import Replay
from gailfe_jax.buffers.steps import StepReplay
from gailfe_jax.buffers.storage import PaddedTrajectories
from gailfe_jax.buffers.top_k import TopK
from gailfe_jax.config.parts import Part, bound, setting
from gailfe_jax.data.annotators import Annotator, terminated
from gailfe_jax.learners.keys import SampleKeys
from gailfe_jax.nn.optimisers import shuffled_minibatches
from gailfe_jax.parallel.memory import tree_bytes
from gailfe_jax.policies.base import Objective
from gailfe_jax.rewards.base import RewardBatch
from gailfe_jax.types import (
    Array,
    ForwardTransitions,
    Metrics,
    Problem,
    PyTree,
    ScoreFn,
    Starts,
    StateAction,
    Transition,
)


@struct.dataclass
class Demos:
    """What a learner imitates, on the device; an argument of every call, never a constant of the program.

    Attributes:
      expert: `[N]` expert pairs, or None for what learns without.
      failures: failures of the collection phase, or None.
      next_obs: `[N, o]` where the expert's actions led, for a forward model's start, or for critics; or None.
      terminated: `[N]` bool, whether the task ended there, for critics; or None.
      trajectory: `[N]` int32, which trajectory (numbered from 0) a pair is from; None where that is not known.
      oracle: the expert itself, for methods that ask it; or None.
      starts: `[N]` the simulator's state before each pair, for episodes that start there; or None.
    """

    expert: StateAction | None
    failures: PaddedTrajectories | None = None
    next_obs: Array | None = None
    terminated: Array | None = None
    trajectory: Array | None = None
    oracle: AsksExpert | None = None
    starts: Starts | None = None


class Failures(Part):
    """Failed attempts: those of the demonstration file and the agent's own."""

    capacity: int = setting(1500, least=1)
    """Failed trajectories kept (N)."""
    last_steps: int = setting(0, least=0)
    """Use only the last h steps of each failure; 0 uses whole trajectories."""
    fade: bool = setting(False)
    """Use earlier steps, too, but less: last_steps before the end of a failure a step is drawn half as often as the
    last one. All failures are then drawn alike, however long they are."""
    source: Literal["both", "own", "collected"] = setting("both")
    """Take failures from the demonstration file (collected), the agent's own, or both."""
    annotator: str = setting("default")
    """What counts as failed: terminated, truncated, return_below:F, flipped, bottom_quantile:Q, or default (the
    task's own)."""

    judge: Annotator = bound()

    def unread(self) -> dict[str, str]:
        return {} if self.last_steps else {"fade": "last_steps is 0"}

    def buffer(self, follows: bool = False) -> LabelledTrajectories:
        """The ring of failed trajectories; with where each action led, if asked for."""
        return LabelledTrajectories(
            capacity=self.capacity,
            annotator=self.judge or terminated(),
            last_steps=0 if self.fade else self.last_steps,
            half_life=self.last_steps if self.fade else 0,
            collect=self.source != "collected",
            follows=follows,
            **_sizes(self.problem),
        )


class SelfDemonstrations(Part):
    """The agent's own good episodes stand beside the demonstrations, or in their place."""

    use: Literal["none", "both", "alone"] = setting("none")
    """What counts as good: demonstrations (none of its own), half of each (both), or its own episodes alone."""
    episodes: str = setting("top_k")
    """Which own episodes are good: top_k (the highest returns), or the last successes: survived, return_above:F (F of
    the expert's return)."""
    capacity: int = setting(10, least=1)
    """Own episodes held."""

    judge: Annotator = bound()

    def unread(self) -> dict[str, str]:
        return dict.fromkeys(("episodes", "capacity"), "self_demonstrations.use is none") if self.use == "none" else {}

    def buffer(self, follows: bool = False) -> TopK | LabelledTrajectories | None:
        """The best episodes, or a ring of those that were judged a success; with where each action led, if asked."""
        if self.use == "none":
            return None
        kept: dict[str, Any] = {"capacity": self.capacity, "follows": follows} | _sizes(self.problem)
        return TopK(**kept) if self.judge is None else LabelledTrajectories(annotator=self.judge, **kept)


def _sizes(problem: Problem) -> dict[str, Any]:
    """What every buffer of trajectories has to know."""
    spec = problem.spec
    return {
        "max_length": spec.max_episode_steps,
        "num_envs": problem.num_envs,
        "obs_size": spec.obs_size,
        "action_size": spec.action_size,
    }


@struct.dataclass
class SourceStates:
    """What the sources of one seed hold; None where there is none.

    Attributes:
      failures: failed trajectories.
      self_demonstrations: the agent's own good episodes.
      policy_replay: past policy pairs for the reward.
      transitions: past transitions for a forward model.
      episodes: past episodes with their returns.
      experience: past steps for a policy step from replay.
    """

    failures: Any = None
    self_demonstrations: Any = None
    policy_replay: Any = None
    transitions: Any = None
    episodes: Any = None
    experience: Any = None


@struct.dataclass
class Drawn:
    """What one iteration learns from beside its unroll; None where nothing asks.

    Attributes:
      batch: pairs for the reward.
      transitions: `[K, E, m]` for a forward model.
      experience: `[K, m, H]` windows of steps for a policy step from replay.
    """

    batch: RewardBatch | None = None
    transitions: ForwardTransitions | None = None
    experience: Transition | None = None

    def objective(self, score: ScoreFn | None = None, **others: Any) -> Objective:
        """What a policy step maximises by `score`, learning from this."""
        return Objective(score, transitions=self.transitions, experience=self.experience, **others)


@dataclasses.dataclass(frozen=True)
class Sources:
    """The buffers of a method, and what one iteration draws from them.

    Attributes:
      problem: sizes.
      draws: `(K, m)` pairs of each kind that the reward sees; None where no reward is fitted.
      transition_draws: `(K, E, m)` transitions that a forward model sees; None without one.
      experience_draws: `(K, m, H)` windows of steps that a policy step from replay sees; None without one.
      demonstrated: share of them that are demonstrated steps.
      newest: `(share, steps)` of the reward's replayed pairs, see `Reward.newest`.
      asks_ends: whether the reward is to know which pairs the task ended with.
      asks_next: whether it is to know where actions led.
      failures, self_demonstrations, policy_replay, transitions, episodes, experience: as in `SourceStates`.
    """

    problem: Problem
    draws: tuple[int, int] | None = None
    transition_draws: tuple[int, int, int] | None = None
    experience_draws: tuple[int, int, int] | None = None
    demonstrated: float = 0.0
    newest: tuple[float, int] = (0.0, 1)
    asks_ends: bool = False
    asks_next: bool = False
    failures: LabelledTrajectories | None = None
    self_demonstrations: TopK | LabelledTrajectories | None = None
    policy_replay: Replay | None = None
    transitions: Replay | None = None
    episodes: PrioritizedEpisodes | None = None
    experience: StepReplay | None = None

    def init(self, demos: Demos | None) -> SourceStates:
        """Empty buffers, but for the failures of the collection phase."""
        states = SourceStates(**{name: make() for name, make in self._inits().items()})
        if self.failures is None or demos is None or demos.failures is None:
            return states
        return states.replace(failures=self.failures.preload(states.failures, demos.failures))

    def _inits(self) -> dict[str, Any]:
        obs, action = jnp.zeros(self.problem.spec.obs_size), jnp.zeros(self.problem.spec.action_size)
        number, mark = jnp.float32(0.0), jnp.bool_(False)
        rows: dict[str, Any] = {
            "policy_replay": self._pairs(obs, action, obs),
            "transitions": ForwardTransitions(obs, action, obs),
            "experience": Transition(obs, action, number, obs, number, mark, mark),
        }
        found: dict[str, Any] = {}
        for name in ("failures", "self_demonstrations", "policy_replay", "transitions", "episodes", "experience"):
            buffer = getattr(self, name)
            if buffer is not None:
                found[name] = functools.partial(buffer.init, rows[name]) if name in rows else buffer.init
        return found

    def _pairs(self, obs: Array, action: Array, next_obs: Array) -> StateAction:
        """Pairs as the reward is shown them."""
        return StateAction(obs, action, next_obs if self.asks_next else None)

    def bytes(self) -> dict[str, int]:
        """What each buffer of one seed takes on the device."""
        names = {
            "failures": "failures",
            "self_demonstrations": "own episodes",
            "policy_replay": "replay",
            "transitions": "experience",
            "episodes": "past episodes",
            "experience": "replayed steps",
        }
        return {names[name]: tree_bytes(jax.eval_shape(make)) for name, make in self._inits().items()}

    def drawn_bytes(self) -> int:
        """What `add_and_sample` draws of one seed takes on the device."""
        obs, action = self.problem.spec.obs_size, self.problem.spec.action_size
        kinds = 1 + (self.failures is not None) + (self.self_demonstrations is not None)
        pair = obs + action + (obs if self.asks_next else 0)
        pairs = 0 if self.draws is None else math.prod(self.draws) * kinds * pair
        moves = 0 if self.transition_draws is None else math.prod(self.transition_draws) * (2 * obs + action)
        steps = 0 if self.experience_draws is None else math.prod(self.experience_draws) * (2 * obs + action + 3)
        return 4 * (pairs + moves + steps)

    def add_and_sample(
        self, states: SourceStates, executed: Transition, keys: SampleKeys, demos: Demos | None = None
    ) -> tuple[SourceStates, Drawn]:
        """Files an unroll and draws what this iteration learns from; it moves data and rounds nothing.

        Args:
          states: the buffers.
          executed: `[T, B, ...]` the unroll, its actions clipped to the environment's bounds.
          keys: of the draws.
          demos: demonstrations, where there are any.

        Returns:
          `(states, what was drawn)`.
        """
        batch, transitions, experience = None, None, None
        if self.experience is not None and self.experience_draws is not None:
            steps = self.experience.add(states.experience, executed)
            count, size, length = self.experience_draws
            drawn = self.experience.sample(steps, keys.experience, count * size, length)
            experience = jax.tree.map(lambda x: x.reshape(count, size, *x.shape[1:]), drawn)
            states = states.replace(experience=steps)
            if self.demonstrated and demos is not None:
                experience = self._with_demonstrations(experience, demos, keys.demonstrations)
        if self.draws is not None:
            states, batch = self._reward_batch(states, executed, keys)
        if self.transitions is not None and self.transition_draws is not None:
            rows = _rows(ForwardTransitions(executed.obs, executed.action, executed.next_obs))
            held = self.transitions.add(states.transitions, rows)
            shape = self.transition_draws
            drawn = self.transitions.sample(held, keys.transitions, math.prod(shape))
            transitions = jax.tree.map(lambda x: x.reshape(*shape, -1), drawn)
            states = states.replace(transitions=held)
        return states, Drawn(batch, transitions, experience)

    def _with_demonstrations(self, windows: Transition, demos: Demos, key: Array) -> Transition:
        """`windows [K, m, H]`, the first of each minibatch replaced by demonstrated steps.

        A window of these ends with its first step, as if cut there: what came next may not be among them. How likely
        the expert's actions were is not known, and nan.
        """
        expert, ended = demos.expert, demos.terminated
        assert expert is not None and demos.next_obs is not None and ended is not None
        steps, size, length = windows.reward.shape
        count = round(self.demonstrated * size)
        rows = jax.random.randint(key, (steps, count, 1), 0, len(ended))
        nothing = jnp.zeros((steps, count, 1))
        shown = Transition(
            obs=expert.obs[rows],
            action=expert.action[rows],
            log_prob=nothing + jnp.nan,
            next_obs=demos.next_obs[rows],
            reward=nothing,
            terminated=ended[rows],
            truncated=~ended[rows],
        )

        def put(own: Array, theirs: Array) -> Array:
            theirs = jnp.broadcast_to(theirs, (steps, count, length, *theirs.shape[3:]))
            return jnp.concatenate([theirs.astype(own.dtype), own[:, count:]], axis=1)

        return jax.tree.map(put, windows, shown)

    def _reward_batch(
        self, states: SourceStates, executed: Transition, keys: SampleKeys
    ) -> tuple[SourceStates, RewardBatch]:
        assert self.draws is not None
        steps, size = self.draws
        fresh = _rows(self._pairs(executed.obs, executed.action, executed.next_obs))
        policy, ended = self._past_pairs(states, keys.policy) or self._policy_pairs(executed, keys.policy)
        if self.policy_replay is not None and states.policy_replay is not None:
            replay = self.policy_replay.add(states.policy_replay, fresh)
            old = self.policy_replay.sample(replay, keys.replay, steps * size)
            old = jax.tree.map(lambda x: x.reshape(steps, size, -1), old)
            policy = jax.tree.map(lambda a, b: jnp.concatenate([a[:, : size // 2], b[:, size // 2 :]], 1), policy, old)
            states = states.replace(policy_replay=replay)
        batch = RewardBatch(policy, policy_ended=ended if self.asks_ends else None)
        if self.failures is not None:
            failures = self.failures.add(states.failures, executed)
            pairs, present = self._drawn(self.failures, failures, keys.failures)
            batch = batch.replace(failures=pairs, has_failures=present)
            states = states.replace(failures=failures)
        if self.self_demonstrations is not None:
            own = self.self_demonstrations.add(states.self_demonstrations, executed)
            pairs, present = self._drawn(self.self_demonstrations, own, keys.self_demonstrations)
            batch = batch.replace(self_demonstrations=pairs, has_self=present)
            states = states.replace(self_demonstrations=own)
        return states, batch

    def _past_pairs(self, states: SourceStates, key: Array) -> tuple[StateAction, Array] | None:
        """`[K, m]` pairs out of all that is replayed, and whether the task ended there; None where nothing is."""
        if self.experience is None:
            return None
        assert self.draws is not None
        steps, size = self.draws
        share, span = self.newest
        count = round(share * size)

        def rows(key: Array, count: int, newest: int | None) -> tuple[StateAction, Array]:
            """`[K, count]` steps of each minibatch, and whether the task ended."""
            assert self.experience is not None
            drawn: Transition = self.experience.sample(states.experience, key, steps * count, newest=newest)
            parts = (drawn.obs, drawn.action, drawn.next_obs)
            pairs = self._pairs(*(x.reshape(steps, count, x.shape[-1]) for x in parts))
            return pairs, drawn.terminated.reshape(steps, count)

        drawn = rows(key, size - count, None)
        if count:
            late = rows(jax.random.fold_in(key, 1), count, span)
            drawn = jax.tree.map(lambda x, y: jnp.concatenate([x, y], axis=1), drawn, late)
        return drawn

    def _policy_pairs(self, executed: Transition, key: Array) -> tuple[StateAction, Array]:
        """`[K, m]` pairs of the fresh batch, pass after pass over it as far as the steps need, and whether the task
        ended there."""
        assert self.draws is not None
        steps, size = self.draws
        fresh = _rows(self._pairs(executed.obs, executed.action, executed.next_obs))
        # What does not fill a step is left out of its pass.
        each = len(fresh.obs) // size
        cut = functools.partial(shuffled_minibatches, size=len(fresh.obs), count=each)
        passes = jax.vmap(cut)(jax.random.split(key, -(-steps // each)))
        rows = passes[..., :size].reshape(-1, size)[:steps]
        ended = executed.terminated.reshape(-1)[rows] if self.asks_ends else jnp.zeros(())
        return jax.tree.map(lambda x: x[rows], fresh), ended

    def _drawn(self, buffer: TopK | LabelledTrajectories, held: Any, key: Array) -> tuple[StateAction, Array]:
        """`([K, m] pairs, whether there are any)`."""
        assert self.draws is not None
        steps, size = self.draws
        pairs = StateAction(*buffer.sample(held, key, steps * size))
        return jax.tree.map(lambda x: x.reshape(steps, size, -1), pairs), buffer.num_transitions(held) > 0

    def metrics(self, states: SourceStates) -> Metrics:
        """How full the buffers of trajectories are."""
        found: Metrics = {}
        if self.self_demonstrations is not None:
            found |= {
                f"own_{name}": x for name, x in self.self_demonstrations.metrics(states.self_demonstrations).items()
            }
        if self.failures is not None:
            held = self.failures.metrics(states.failures)
            found |= {"failures_in_buffer": held["episodes"], "failure_transitions": held["transitions"]}
        return found


def _rows(unroll: PyTree) -> PyTree:
    """`[T, B, k]` leaves as `[T * B, k]`."""
    return jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), unroll)
