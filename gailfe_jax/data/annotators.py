"""Annotators: which finished trajectory failed.

The GAILFE paper leaves open who labels a failure. Here it is a part like any other: `terminated` (a fall),
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
from gailfe_jax.envs import default_annotator
from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Array


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


SUCCESSES = ("survived", "return_above:FRACTION")
"""The forms that `parse_success` understands."""
ANNOTATORS = ("default", "terminated", "return_below:FRACTION", "flipped", "bottom_quantile:Q")
"""The forms that `parse_annotator` understands."""

_PITCH_INDEX = {"halfcheetah": 1, "hopper": 1, "walker2d": 1}


def parse_annotator(spec: str, *, task: str, expert_return: float | None = None) -> Annotator:
    """The annotator that a command line names.

    `terminated`; `return_below:0.5` (a fraction of the expert's mean return); `flipped`; `bottom_quantile:0.2`;
    `default`: what the task says, `terminated` but for HalfCheetah, whose is `return_below:0.5` (see `ANNOTATORS`).
    The name of the result is the resolved spec, e.g. `return_below:0.5`.

    Args:
      spec: one of the forms above.
      task: short task name, e.g. `hopper`.
      expert_return: mean return of the expert; only `return_below` needs it.

    Raises:
      GailfeError: unknown form, a number that does not parse, or `return_below` without a positive expert return.
    """
    resolved = default_annotator(task) if spec == "default" else spec
    kind, _, argument = resolved.partition(":")
    if kind == "terminated" and not argument:
        annotator = terminated()
    elif kind == "return_below":
        annotator = return_below(_share(resolved, argument, expert_return))
    elif kind == "flipped" and not argument:
        if task not in _PITCH_INDEX:
            raise GailfeError(f"annotator {resolved!r}: expected one of the tasks {sorted(_PITCH_INDEX)}, got {task!r}")
        annotator = flipped(_PITCH_INDEX[task])
    elif kind == "bottom_quantile":
        annotator = bottom_quantile(_number(resolved, argument))
    else:
        raise GailfeError(f"annotator {spec!r}: expected one of {', '.join(ANNOTATORS)}")
    return dataclasses.replace(annotator, name=resolved)


def parse_success(spec: str, *, expert_return: float | None = None) -> Annotator:
    """The mirror of `parse_annotator`: which of the agent's own episodes is a success.

    `survived`; `return_above:0.8` (a fraction of the expert's mean return).

    Raises:
      GailfeError: unknown form, a number that does not parse, or `return_above` without a positive expert return.
    """
    kind, _, argument = spec.partition(":")
    if kind == "survived" and not argument:
        annotator = survived()
    elif kind == "return_above":
        annotator = return_above(_share(spec, argument, expert_return))
    else:
        raise GailfeError(f"own_episodes: got {spec!r}; expected best or one of {', '.join(SUCCESSES)}")
    return dataclasses.replace(annotator, name=spec)


def _share(spec: str, argument: str, expert_return: float | None) -> float:
    fraction = _number(spec, argument)
    # A fraction of a negative return would lie above it: the expert itself would fail.
    if expert_return is None or not expert_return > 0.0:
        raise GailfeError(f"annotator {spec!r}: needs a positive expert return, got {expert_return}")
    return fraction * float(expert_return)


def _number(spec: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise GailfeError(f"annotator {spec!r}: expected a number after the colon, got {text!r}")
    return value


def annotate(annotator: Annotator, trajectories: Trajectories) -> np.ndarray:
    """Which of `k` stored trajectories failed, `[k]` bool, judged in order by the functions that run on device.

    The return is summed in float32 in step order, as the failure buffer does, so that both give the same verdict.
    """
    count = trajectories.num_trajectories
    if count == 0:
        return np.zeros((0,), bool)
    lengths = trajectories.lengths
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
        episode_return = np.cumsum(trajectories.reward[rows], dtype=np.float32)[-1]
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
