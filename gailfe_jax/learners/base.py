"""What every method is: a composition of parts that, bound to an environment, learns by `init` and `step`."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp
from flax import struct

from gailfe_jax.config.parts import Part, bound, map_traced, setting, subpart
from gailfe_jax.config.tree import refuse_unread
from gailfe_jax.data.annotators import Annotator
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.sources import Demos, SourceStates
from gailfe_jax.parallel.devices import local_rows
from gailfe_jax.policies.actor import Actor
from gailfe_jax.types import Array, Env, EnvState, Metrics, Problem, Scalar

LearnerT = TypeVar("LearnerT", bound="Learner")
WITHOUT_ACTIONS = "demonstrations with actions, or gail with --reward.inputs transitions"
"""What is expected by a method that imitates actions and is shown none."""


@struct.dataclass
class LearnerState:
    """Everything one seed needs to go on bit for bit.

    Attributes:
      key: `[]` the seed's key; iteration `i` draws from `fold_in(key, i)`.
      iteration: `[]` int32, iterations done.
      env: `[B]` environment states; on several devices each holds its own. None where nothing is stepped.
      agent: the policy's side.
      reward: state of the fitted reward, or None where the true reward is used.
      dual: `[]` lambda_F, or None without a failure constraint.
      sources: the buffers.
    """

    key: Array
    iteration: Array
    env: Any
    agent: Any
    reward: Any
    dual: Array | None
    sources: SourceStates


class Rollout(Part):
    """How much of the environment one iteration sees."""

    num_envs: int = setting(8, least=1)
    """Environments per seed."""
    unroll_length: int = setting(128, least=1)
    """Steps of each environment per iteration; num_envs * unroll_length is the iteration's batch."""
    demonstrated_starts: float = setting(0.0, least=0, most=1)
    """Share of the episodes that start in a demonstrated state, drawn uniformly: for tasks on MuJoCo and demonstrations
    that hold simulator states. Evaluation starts as the task does."""

    @property
    def batch_size(self) -> int:
        """Environment steps per iteration and seed."""
        return self.num_envs * self.unroll_length


class Anneal(Part):
    """How step sizes change over the run."""

    anneal: bool = setting(False)
    """Decay the step sizes linearly to zero over the run."""

    def left(self, iteration: Array, total: int) -> Array:
        """`[]` share of the run that is left: 1 at its start, 0 at its end."""
        return jnp.maximum(1.0 - iteration / total, 0.0)

    def annealed(self, lr: Scalar, iteration: Array, total: int) -> Array:
        """`[]` a learning rate of this iteration."""
        lr = jnp.asarray(lr, jnp.float32)
        return lr * self.left(iteration, total) if self.anneal else lr


class Learner(Part, abc.ABC):
    """Base of the methods: GAIL and its kin, and imitation by maximum likelihood. Functions are for one seed.

    A method is data until `on` binds it to an environment; then `init` and `step` can be called, and mapped over seeds
    and over its own traced settings.

    Attributes:
      env: the environment.
      total_iterations: length of the run, for schedules.
      name: what the command line calls it.
      about, paper: one line for people and its source, where the class does not say it.
      summary, source: the same, of the class.
      asks_expert: whether it asks the expert's policy instead of imitating demonstrations.
      steps_env: whether training steps the environment.
    """

    summary: ClassVar[str] = ""
    source: ClassVar[str] = ""
    asks_expert: ClassVar[bool] = False
    steps_env: ClassVar[bool] = True

    rollout: Rollout = subpart(Rollout())
    policy: Actor = subpart(Actor())
    env: Env = bound()
    total_iterations: int = bound(1)
    name: str = bound("")
    about: str = bound("")
    paper: str = bound("")

    @property
    def needs_demonstrations(self) -> bool:
        """Whether training needs demonstrations."""
        return True

    @property
    def starts_at_once(self) -> bool:
        """Whether `init` is done in a moment, so that its program is worth no optimisation."""
        return True

    def resolve(self: LearnerT) -> LearnerT:
        """A copy whose settings say what is done, where one follows from the others."""
        return self

    def verify(self) -> None:
        """Refuses parts that do not go together.

        Raises:
          GailfeError: names the setting.
        """
        refuse_unread(self)

    def on(
        self: LearnerT,
        env: Env,
        *,
        total_iterations: int = 1,
        annotator: Annotator | None = None,
        success: Annotator | None = None,
    ) -> LearnerT:
        """This method on an environment.

        Args:
          env: the environment.
          total_iterations: length of the run, for schedules.
          annotator: what counts as a failure; `terminated` if None. Unused where nothing is learned from failures.
          success: what counts as a success among its own episodes; None takes the best ones. Unused without those.

        Raises:
          GailfeError: parts that do not go together, a setting that nothing reads on this environment, or parts that
            read a reward which it has not got.
        """
        self.verify()
        problem = Problem(env.spec, self.rollout.num_envs, self.rollout.unroll_length)
        # What nothing reads hangs on the environment's actions, too.
        refuse_unread(self.bind(problem))
        learner = self.resolve().judged(annotator, success).bind(problem)
        learner.policy.verify_actions()
        share = self.rollout.demonstrated_starts
        if share and getattr(env, "starting_from", None) is None:
            raise GailfeError(
                f"rollout.demonstrated_starts: got {share:g}; {env.spec.name} has no simulator that can be set to a "
                "state; expected 0"
            )
        reader = learner.reads_reward()
        if reader is not None and not env.spec.has_reward:
            raise GailfeError(f"{reader}, and {env.spec.name} has no reward; expected a task that has one")
        return learner.knowing(env).replace(env=env, total_iterations=total_iterations)

    def reads_reward(self) -> str | None:
        """Which setting goes by the environment's own reward, in words; None where nothing does."""
        return None

    def needs_actions(self) -> str | None:
        """Who reads the demonstrations' actions and what to do without, in words; None where nobody does."""
        return f"{self.name} imitates them; expected {WITHOUT_ACTIONS}" if self.needs_demonstrations else None

    def knowing(self: LearnerT, env: Env) -> LearnerT:
        """A copy that knows what the environment's numbers are called.

        Raises:
          GailfeError: a setting names others.
        """
        return self

    def judged(self: LearnerT, annotator: Annotator | None, success: Annotator | None) -> LearnerT:
        """A copy that knows what counts as a failure and as a success."""
        return self

    @abc.abstractmethod
    def init(self, key: Array, demos: Demos | None) -> Any:
        """Fresh state of one seed from `key []`."""

    @abc.abstractmethod
    def step(self, state: Any, demos: Demos | None) -> tuple[Any, Metrics]:
        """One iteration; every metric is a scalar."""

    def ended(self, state: Any) -> Array | None:
        """`[S]` bool, for which seeds more iterations would change nothing; None where they always do."""
        return None

    def buffer_bytes(self) -> dict[str, int]:
        """What each buffer of one seed takes on the device."""
        return {}

    def unroll_bytes(self) -> int:
        """What an iteration's unroll `[T, B, ...]` of one seed takes on the device; 0 where none is."""
        if not self.steps_env:
            return 0
        spec = self.problem.spec
        # Observations before and after, action, its log-probability and the reward in float32, and how episodes ended.
        return self.rollout.batch_size * (4 * (2 * spec.obs_size + spec.action_size + 2) + 2)

    def drawn_bytes(self) -> int:
        """What an iteration draws from unroll and buffers of one seed takes on the device."""
        return 0

    def scaled(self: LearnerT, factors: dict[str, Scalar]) -> LearnerT:
        """A copy whose step sizes are multiplied: `{"policy": factor, ...}`, by the schedule that each follows."""

        def scale(marks: Any, value: Any) -> Any:
            return value * factors[marks.step_size] if marks.step_size in factors else value

        return map_traced(self, scale)


def check_divides(name: str, part: int, whole: int, of: str) -> None:
    """Raises GailfeError unless `part` divides `whole`."""
    if whole % part:
        raise GailfeError(f"{name}: got {part}; expected a divisor of {of} = {whole}")


def reset_envs(env: Env, key: Array, count: int) -> EnvState:
    """`[B]` fresh environments; on several devices each one's own share of the `count`."""
    return jax.vmap(env.reset)(local_rows(jax.random.split(key, count)))
