"""What a reward is: a function of state and action that is fitted to what is shown, and that the policy maximises."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp
from flax import struct

from gailfe_jax.config.parts import Part
from gailfe_jax.types import Array, Metrics, PyTree, StateAction

RewardT = TypeVar("RewardT", bound="Reward")


def join(pairs: StateAction) -> Array:
    """`[..., o + a]` observations and actions in one row."""
    return jnp.concatenate([pairs.obs, pairs.action], axis=-1)


@struct.dataclass
class RewardBatch:
    """What one iteration's fit sees; `K` steps of `m` pairs, which hold `next_obs` where the reward asks for it.

    Attributes:
      policy: `[K, m]` pairs of the policy.
      failures: `[K, m]` pairs of failed trajectories, or None for what learns from none.
      has_failures: `[]` bool, or None.
      self_demonstrations: `[K, m]` pairs of the agent's own good episodes, or None where only demonstrations are good.
      has_self: `[]` bool, or None.
      expert: `[N]` demonstrations, or None where only the agent's own episodes are good.
      multiplier: `[]` weight of the failure constraint, lambda_F; None without one.
      policy_ended: `[K, m]` bool, whether the task ended with that pair; None where the reward does not ask.
      expert_ended: `[N]` likewise of the demonstrations.
    """

    policy: StateAction
    failures: StateAction | None = None
    has_failures: Array | None = None
    self_demonstrations: StateAction | None = None
    has_self: Array | None = None
    expert: StateAction | None = None
    multiplier: Array | None = None
    policy_ended: Array | None = None
    expert_ended: Array | None = None

    def positives_ended(self, key: Array) -> Array:
        """`[K, m]` bool, whether the task ended with the pair that `positives` draws by the same `key []`; not known of
        the agent's own episodes, and False there."""
        steps, size = self.policy.obs.shape[:2]
        if self.expert is None or self.expert_ended is None:
            return jnp.zeros((steps, size), bool)
        rows = jax.random.randint(key, (steps, size), 0, len(self.expert_ended))
        ended = self.expert_ended[rows]
        if self.self_demonstrations is None or self.has_self is None:
            return ended
        return ended & ~((jnp.arange(size) < size // 2) & self.has_self)

    def positives(self, key: Array, row: Callable[[StateAction], Array] = join) -> Array:
        """`[K, m, o + a]` the pairs that are taken for good: demonstrations, the agent's own episodes, or half of each.

        Demonstrations are drawn uniformly by `key []`. While there are no own episodes all are demonstrations. What is
        seen of pairs `[...]` is their `row [..., k]`.
        """
        demos = self.expert
        if demos is None:
            assert self.self_demonstrations is not None
            return row(self.self_demonstrations)
        steps, size = self.policy.obs.shape[:2]
        rows = jax.random.randint(key, (steps, size), 0, demos.obs.shape[0])
        expert = row(jax.tree.map(lambda x: x[rows], demos))
        if self.self_demonstrations is None or self.has_self is None:
            return expert
        half = jnp.arange(size)[:, None] < size // 2
        return jnp.where(half & self.has_self, row(self.self_demonstrations), expert)


class Reward(Part, abc.ABC):
    """Base of the rewards. Functions are for one seed; a new reward is a subclass and `register_reward`.

    Attributes:
      summary: one line for people.
      source: paper.
      needs_expert: whether it is fitted to what is shown for good.
      learns_from_self: whether the agent's own good episodes can stand for demonstrations, as `batch.positives` has it.
      learns_from_failures: whether failures are a term of the reward itself.
      constrainable: whether failures can constrain it by a multiplier.
      differentiable: whether a policy step can carry its gradient back to the action.
      read_from_replay: names of its settings that nothing reads unless the policy steps from replay.
    """

    summary: ClassVar[str] = ""
    source: ClassVar[str] = ""
    needs_expert: ClassVar[bool] = True
    learns_from_self: ClassVar[bool] = True
    learns_from_failures: ClassVar[bool] = False
    constrainable: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True
    read_from_replay: ClassVar[tuple[str, ...]] = ()

    @property
    def asks_ends(self) -> bool:
        """Whether its fit is to know which pairs the task ended with."""
        return False

    @property
    def asks_next(self) -> bool:
        """Whether it judges where actions led: its pairs then hold `next_obs`, and so do the arguments of `score`."""
        return False

    @property
    def asks_actions(self) -> bool:
        """Whether it judges actions; what does not imitates demonstrations without any."""
        return True

    @property
    def draws(self) -> tuple[int, int]:
        """How many draws of how many policy pairs `fit` takes: `(K, m)`; one draw of all pairs of the unroll. Where the
        policy steps on the newest unroll, `m` is cut to what that holds."""
        return 1, self.problem.batch_size

    @property
    def newest(self) -> tuple[float, int]:
        """`(share, steps)`: from replay, that share of its policy pairs is drawn from the newest so many steps."""
        return 0.0, 1

    def verify(self) -> None:
        """Refuses what its class cannot declare, such as names of a table; raises GailfeError."""

    @property
    def bias(self) -> str | None:
        """What its sign teaches by itself where episodes can end early, in words; None where it teaches nothing."""
        return None

    def knowing(self: RewardT, names: Callable[[], Mapping[str, tuple[int, ...]]]) -> RewardT:
        """A copy that knows what the environment calls its observation's numbers: `name -> which`.

        Raises:
          GailfeError: it is to judge numbers that are not there.
        """
        return self

    @property
    def policy_replay(self) -> int:
        """How many past policy pairs are kept for it beside the fresh batch."""
        return 0

    @abc.abstractmethod
    def init(self, key: Array, expert: StateAction | None) -> PyTree:
        """Fresh state from `key []` and the demonstrations `[N]`, where there are any."""

    @abc.abstractmethod
    def fit(self, state: Any, batch: RewardBatch, key: Array) -> tuple[Any, Metrics]:
        """The state after this iteration's fit, and what is to be logged, every entry a scalar."""

    @abc.abstractmethod
    def score(self, state: Any, obs: Array, action: Array) -> Array:
        """`[...]` the reward at `obs [..., o]`, `action [..., a]`, the executed one; `next_obs [..., o]` is the third
        argument of what asks for it."""

    def scorer(self, state: Any) -> Scorer:
        """`score` with this state, as policy steps call it."""
        return Scorer(functools.partial(self.score, state), self.asks_next)

    def after_end(self, state: Any) -> Array | None:
        """`[]` the reward of every step behind the task's end, for ever; None for zero."""
        return None


@dataclasses.dataclass(frozen=True)
class Scorer:
    """A fitted reward's `ScoreFn`.

    Attributes:
      score: `(obs, action) -> [...]`, or `(obs, action, next_obs) -> [...]`.
      asks_next: which of the two.
      weight: `[]` what it is multiplied by; None for 1.
    """

    score: Callable[..., Array]
    asks_next: bool
    weight: Array | None = None

    def __call__(self, obs: Array, action: Array, next_obs: Array | None = None, /) -> Array:
        paid = self.score(obs, action, next_obs) if self.asks_next else self.score(obs, action)
        return paid if self.weight is None else self.weight * paid


def where_tree(condition: Array, x: PyTree, y: PyTree) -> PyTree:
    """`x` where the scalar `condition` holds, else `y`, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), x, y)
