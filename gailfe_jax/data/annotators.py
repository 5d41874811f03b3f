"""Annotators: which finished trajectory failed.

The GAILFE paper leaves open who labels a failure. Here it is a part like any other: `terminated` (a fall), `truncated`,
`return_below`, `flipped`, `bottom_quantile`, or a function of the whole trajectory. An annotator that reads the true
reward gives the learner information that plain GAIL does not have; `Annotator.reads_reward` says so, and results name
the annotator.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from gailfe_jax.data.trajectories import Trajectories
from gailfe_jax.errors import GailfeError, one_line
from gailfe_jax.types import Array, EnvSpec


@struct.dataclass
class EpisodeSummary:
    """What a built-in annotator knows of one finished episode, without its observations. `K` is `Annotator.history`.

    Attributes:
      length: `[]` int32, steps.
      episode_return: `[]` f32, undiscounted true return.
      terminated: `[]` bool, the task ended it (False: the time limit did).
      flagged: `[]` int32, steps that the annotator's `flag` marked.
      streak: `[]` int32, consecutive flagged steps at the end of the episode.
      recent_returns: `[K]` f32, returns of the episodes that finished before this one, in no particular order; NaN
        where fewer than `K` have. Episodes that finish at the same step (of different environments) do not see one
        another's.
    """

    length: Array
    episode_return: Array
    terminated: Array
    flagged: Array
    streak: Array
    recent_returns: Array


@struct.dataclass
class EpisodeView:
    """One finished episode as a user's annotator sees it, padded with zeros to `L` steps.

    Attributes:
      obs: `[L, o]` observations the actions were chosen on.
      action: `[L, a]`.
      final_obs: `[o]` the observation the last step led to, before any reset.
      mask: `[L]` bool, True on the episode's steps.
      length: `[]` int32.
      episode_return: `[]` f32, undiscounted true return (using it gives the learner more than GAIL has).
      terminated: `[]` bool.
    """

    obs: Array
    action: Array
    final_obs: Array
    mask: Array
    length: Array
    episode_return: Array
    terminated: Array


@dataclasses.dataclass(frozen=True)
class Annotator:
    """Decides which finished trajectory failed; pure JAX, for one episode (callers `vmap`).

    Exactly one of `verdict` and `trajectory` is given.

    Attributes:
      name: what results and files record.
      reads_reward: whether the verdict depends on the environment's true reward.
      verdict: `(EpisodeSummary) -> bool []`.
      flag: `(obs [o], action [a], next_obs [o]) -> bool []`, evaluated on every step and counted in
        `EpisodeSummary.flagged`; or None.
      trajectory: `(EpisodeView) -> bool []`, for annotators that need the whole trajectory.
      history: `K`, how many finished returns `EpisodeSummary.recent_returns` holds.
    """

    name: str
    reads_reward: bool
    verdict: Callable[[EpisodeSummary], Array] | None = None
    flag: Callable[[Array, Array, Array], Array] | None = None
    trajectory: Callable[[EpisodeView], Array] | None = None
    history: int = 0

    def __post_init__(self) -> None:
        if (self.verdict is None) == (self.trajectory is None):
            raise GailfeError(f"annotator {self.name!r}: expected exactly one of verdict and trajectory")
        if self.history < 0:
            raise GailfeError(f"annotator {self.name!r}: history is {self.history}, expected 0 or more")


def terminated() -> Annotator:
    """Failed when the task ended the episode before the time limit (a fall). Reads no reward."""
    return Annotator("terminated", reads_reward=False, verdict=lambda episode: episode.terminated)


def truncated() -> Annotator:
    """Failed when the time limit ended the episode: for tasks that end in success. Reads no reward."""
    return Annotator("truncated", reads_reward=False, verdict=lambda episode: ~episode.terminated)


def return_below(threshold: float) -> Annotator:
    """Failed when the undiscounted true return is below `threshold`. Reads the reward.

    Raises:
      GailfeError: `threshold` is not finite.
    """
    return _by_return("return_below", threshold, lambda episode_return: episode_return < threshold)


def survived() -> Annotator:
    """A success when the time limit ended the episode and not the task. Reads no reward."""
    return Annotator("survived", reads_reward=False, verdict=lambda episode: ~episode.terminated)


def return_above(threshold: float) -> Annotator:
    """A success when the undiscounted true return is `threshold` or more. Reads the reward.

    Raises:
      GailfeError: `threshold` is not finite.
    """
    return _by_return("return_above", threshold, lambda episode_return: episode_return >= threshold)


def _by_return(name: str, threshold: float, verdict: Callable[[Array], Array]) -> Annotator:
    if not math.isfinite(threshold):
        raise GailfeError(f"{name}: threshold is {threshold}, expected a finite number")
    return Annotator(
        f"{name}({threshold:g})", reads_reward=True, verdict=lambda episode: verdict(episode.episode_return)
    )


def flipped(angle_index: int, *, min_steps: int = 25) -> Annotator:
    """Failed when the episode ends upside down: at least the last `min_steps` steps led to an inverted torso.

    Inverted means that the torso's pitch, wrapped to (-pi, pi], is beyond +-pi/2 in the observation after the step.
    Asking for a streak at the end, and not for one inverted step, forgives a stumble or a somersault that the policy
    recovers from; 25 steps are 1.25 s of HalfCheetah. Reads no reward.

    Args:
      angle_index: index of the torso's pitch (radians) in the observation; 1 in HalfCheetah, Hopper and Walker2d.
      min_steps: length of the streak, in environment steps.

    Raises:
      GailfeError: a negative index or a streak of no steps.
    """
    if angle_index < 0:
        raise GailfeError(f"flipped: angle_index is {angle_index}, expected 0 or more")
    if min_steps < 1:
        raise GailfeError(f"flipped: min_steps is {min_steps}, expected 1 or more")

    def inverted(obs: Array, action: Array, next_obs: Array) -> Array:
        del obs, action
        # The cosine is negative exactly where the wrapped angle is beyond a quarter turn.
        return jnp.cos(next_obs[angle_index]) < 0.0

    return Annotator(
        "flipped",
        reads_reward=False,
        verdict=lambda episode: episode.streak >= min_steps,
        flag=inverted,
    )


def bottom_quantile(q: float, *, window: int = 100, min_episodes: int = 10) -> Annotator:
    """Failed when the return ranks in the lowest fraction `q` of the last `window` finished returns of this seed.

    Rank counts the returns at or below the episode's own, so of equal returns none fails. Nothing fails before
    `min_episodes` episodes have finished. Reads the reward.

    Raises:
      GailfeError: `q` outside (0, 1), or `min_episodes` outside 1 to `window`.
    """
    if not 0.0 < q < 1.0:
        raise GailfeError(f"bottom_quantile: q is {q}, expected a fraction between 0 and 1")
    if not 1 <= min_episodes <= window:
        raise GailfeError(f"bottom_quantile: min_episodes is {min_episodes}, expected 1 to window ({window})")

    def verdict(episode: EpisodeSummary) -> Array:
        # NaN (no episode yet) compares False, so it counts neither as known nor as at or below.
        known = jnp.sum(~jnp.isnan(episode.recent_returns))
        at_or_below = jnp.sum(episode.recent_returns <= episode.episode_return)
        return (known >= min_episodes) & (at_or_below.astype(jnp.float32) < q * known.astype(jnp.float32))

    return Annotator(f"bottom_quantile({q:g})", reads_reward=True, verdict=verdict, history=window)


def from_function(
    function: Callable[[EpisodeView], Array], name: str | None = None, *, reads_reward: bool = True
) -> Annotator:
    """An annotator of your own: a pure JAX function of the whole trajectory.

    Args:
      function: `(EpisodeView) -> bool []`.
      name: what results record; the function's own name if None.
      reads_reward: say False only if `function` does not look at `episode_return`.
    """
    return Annotator(name or getattr(function, "__name__", "function"), reads_reward=reads_reward, trajectory=function)


@dataclasses.dataclass(frozen=True)
class AnnotatorRequest:
    """What the command line says to the factory of an annotator.

    Attributes:
      spec: the whole word, `NAME` or `NAME:argument`; errors begin with it.
      argument: what follows the colon, empty where nothing does.
      task: short name of the task, e.g. `hopper`; None where nobody knows it.
      expert_return: mean return of the expert, None if unknown.
    """

    spec: str
    argument: str
    task: str | None
    expert_return: float | None

    def number(self) -> float:
        """The argument as a number.

        Raises:
          GailfeError: it is none, or not finite.
        """
        try:
            value = float(self.argument)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise GailfeError(f"annotator {self.spec!r}: expected a number after the colon, got {self.argument!r}")
        return value

    def share_of_expert_return(self) -> float:
        """The return that the argument, a fraction, is of the expert's.

        Raises:
          GailfeError: the argument is no number, or the expert's return is not positive.
        """
        fraction = self.number()
        # A fraction of a negative return would lie above it: the expert itself would fail.
        if self.expert_return is None or not self.expert_return > 0.0:
            raise GailfeError(f"annotator {self.spec!r}: needs a positive expert return, got {self.expert_return}")
        return fraction * float(self.expert_return)


AnnotatorFactory = Callable[[AnnotatorRequest], Annotator]


@dataclasses.dataclass(frozen=True)
class _Entry:
    factory: AnnotatorFactory
    argument: str | None = None


def _upside_down(request: AnnotatorRequest) -> Annotator:
    if request.task not in _PITCH_INDEX:
        raise GailfeError(
            f"annotator {request.spec!r}: expected one of the tasks {sorted(_PITCH_INDEX)}, got {request.task!r}"
        )
    return flipped(_PITCH_INDEX[request.task])


_PITCH_INDEX = {"halfcheetah": 1, "hopper": 1, "walker2d": 1}

_BUILT_IN: dict[str, dict[str, _Entry]] = {
    "failures": {
        "terminated": _Entry(lambda request: terminated()),
        "truncated": _Entry(lambda request: truncated()),
        "return_below": _Entry(lambda request: return_below(request.share_of_expert_return()), "FRACTION"),
        "flipped": _Entry(_upside_down),
        "bottom_quantile": _Entry(lambda request: bottom_quantile(request.number()), "Q"),
    },
    "successes": {
        "survived": _Entry(lambda request: survived()),
        "return_above": _Entry(lambda request: return_above(request.share_of_expert_return()), "FRACTION"),
    },
}
_RESERVED = ("default", "top_k")  # Words of the same settings that name no annotator.
_annotators = {labels: dict(entries) for labels, entries in _BUILT_IN.items()}


def register_annotator(
    name: str, factory: AnnotatorFactory, *, argument: str | None = None, labels: str = "failures"
) -> None:
    """Makes an annotator of your own one that the command line can name, in this process.

    A later registration replaces an earlier one of the same name. `gailfe_jax.annotators.from_function` makes an
    annotator of any pure JAX function of the whole trajectory:

        def slow(view):
            return view.obs[:, 5].mean() < 0.5

        register_annotator("slow", lambda request: annotators.from_function(slow, reads_reward=False))

    Args:
      name: one word without a colon, other than a built-in annotator's.
      factory: `(AnnotatorRequest) -> Annotator`; a GailfeError where the argument or the task does not suit it.
      argument: what may follow a colon, as the list of annotators shows it, e.g. `SPEED`; None where nothing may.
      labels: `failures` for the setting `failures.annotator`, `successes` for `self_demonstrations.episodes`.

    Raises:
      GailfeError: the name is built in, reserved or not a word, or `labels` is neither of the two.
    """
    if labels not in _BUILT_IN:
        raise GailfeError(f"annotator {name!r}: labels is {labels!r}, expected one of {', '.join(_BUILT_IN)}")
    taken = (*_RESERVED, *_BUILT_IN[labels])
    if name in taken or name.split() != [name] or ":" in name:
        raise GailfeError(
            f"annotator: got the name {name!r}; expected one word without a colon, other than {', '.join(taken)}"
        )
    _annotators[labels][name] = _Entry(factory, argument)


def annotator_forms(labels: str = "failures") -> tuple[str, ...]:
    """The forms that `parse_annotator` (of `successes`, `parse_success`) understands, e.g. `return_below:FRACTION`."""
    entries = _annotators[labels].items()
    forms = (name if entry.argument is None else f"{name}:{entry.argument}" for name, entry in entries)
    return ("default", *forms) if labels == "failures" else tuple(forms)


def parse_annotator(
    spec: str, *, task: str, default: str = EnvSpec.annotator, expert_return: float | None = None
) -> Annotator:
    """The annotator that a command line names.

    `terminated`; `truncated`; `return_below:0.5` (a fraction of the expert's mean return); `flipped`;
    `bottom_quantile:0.2`; what was given to `register_annotator`; `default`: what the task says, as HalfCheetah says
    `return_below:0.5`. The name of the result is the resolved spec, e.g. `return_below:0.5`.

    Args:
      spec: one of the forms above.
      task: short task name, e.g. `hopper`.
      default: what the task says, `EnvSpec.annotator`.
      expert_return: mean return of the expert; only `return_below` needs it.

    Raises:
      GailfeError: unknown form, a number that does not parse, or `return_below` without a positive expert return.
    """
    resolved = default if spec == "default" else spec
    annotator = _make("failures", resolved, task, expert_return)
    if annotator is None:
        whose = f" of task {task}" if spec == "default" else ""
        raise GailfeError(f"annotator {resolved!r}{whose}: expected one of {_known('failures')}")
    return annotator


def parse_success(spec: str, *, task: str | None = None, expert_return: float | None = None) -> Annotator:
    """The mirror of `parse_annotator`: which of the agent's own episodes is a success.

    `survived`; `return_above:0.8` (a fraction of the expert's mean return); what was given to `register_annotator`.

    Raises:
      GailfeError: unknown form, a number that does not parse, or `return_above` without a positive expert return.
    """
    annotator = _make("successes", spec, task, expert_return)
    if annotator is None:
        raise GailfeError(f"self_demonstrations.episodes: got {spec!r}; expected top_k or one of {_known('successes')}")
    return annotator


def _make(labels: str, spec: str, task: str | None, expert_return: float | None) -> Annotator | None:
    """The annotator of this form, under the form's name; None where there is no such form."""
    name, _, argument = spec.partition(":")
    entry = _annotators[labels].get(name)
    if entry is None or (argument and entry.argument is None):
        return None
    try:
        annotator = entry.factory(AnnotatorRequest(spec, argument, task, expert_return))
    except GailfeError:
        raise
    except Exception as error:
        raise _failed(spec, error) from error
    if not isinstance(annotator, Annotator):
        kind = type(annotator).__name__
        raise GailfeError(f"annotator {spec!r}: its factory returned {kind}, expected an Annotator")
    return dataclasses.replace(annotator, name=spec)


def _known(labels: str) -> str:
    return f"{', '.join(annotator_forms(labels))}, or one given to gailfe_jax.register_annotator"


def annotate(annotator: Annotator, trajectories: Trajectories) -> np.ndarray:
    """Which of `k` stored trajectories failed, `[k]` bool, judged in order by the functions that run on device.

    The return is summed in float32 in step order, as the failure buffer does, so that both give the same verdict. Where
    nobody recorded the reward it is NaN.

    Raises:
      GailfeError: the annotator reads the reward, and the trajectories have none; or it raises itself.
    """
    if annotator.reads_reward and trajectories.reward is None:
        raise GailfeError(f"annotator {annotator.name!r}: reads the reward, and these trajectories have none")
    count = trajectories.num_trajectories
    if count == 0:
        return np.zeros((0,), bool)
    try:
        return _annotated(annotator, trajectories)
    except GailfeError:
        raise
    except Exception as error:
        raise _failed(annotator.name, error) from error


def _failed(name: str, error: Exception) -> GailfeError:
    """What a user is told of an annotator's function, or of what makes it, that has raised `error`."""
    return GailfeError(f"annotator {name!r} fails ({type(error).__name__}: {one_line(error, first=True)})")


def _annotated(annotator: Annotator, trajectories: Trajectories) -> np.ndarray:
    """The work of `annotate`."""
    count, lengths = trajectories.num_trajectories, trajectories.lengths
    longest = int(lengths.max())
    flags = np.zeros((len(trajectories.obs),), bool)
    if annotator.flag is not None:
        flag = jax.jit(jax.vmap(annotator.flag))
        flags = np.asarray(flag(trajectories.obs, trajectories.action, trajectories.next_obs))
    judge = jax.jit(annotator.trajectory if annotator.trajectory is not None else annotator.verdict)  # type: ignore[arg-type]
    recent = np.full((annotator.history,), np.nan, np.float32)
    failed = np.zeros((count,), bool)
    for i in range(count):
        rows = slice(int(trajectories.offsets[i]), int(trajectories.offsets[i + 1]))
        length = int(lengths[i])
        reward = trajectories.reward
        episode_return = np.nan if reward is None else np.cumsum(reward[rows], dtype=np.float32)[-1]
        common = {
            "length": jnp.int32(length),
            "episode_return": jnp.float32(episode_return),
            "terminated": jnp.bool_(trajectories.terminated[rows][-1]),
        }
        if annotator.trajectory is not None:
            padding = ((0, longest - length), (0, 0))
            episode = EpisodeView(
                obs=jnp.asarray(np.pad(trajectories.obs[rows], padding)),
                action=jnp.asarray(np.pad(trajectories.action[rows], padding)),
                final_obs=jnp.asarray(trajectories.next_obs[rows][-1]),
                mask=jnp.asarray(np.arange(longest) < length),
                **common,
            )
        else:
            unflagged = np.flatnonzero(~flags[rows])
            episode = EpisodeSummary(
                flagged=jnp.int32(flags[rows].sum()),
                streak=jnp.int32(length - (unflagged[-1] + 1 if unflagged.size else 0)),
                recent_returns=jnp.array(recent),
                **common,
            )
        failed[i] = bool(judge(episode))
        if annotator.history:
            recent[i % annotator.history] = episode_return
    return failed
