"""Recorded episodes, from wherever they come, made into trajectories: the one place that derives, casts and leaves out.

A reader yields a `Recording` of `Episode`s. What an episode lacks is derived where it follows from the rest, declared
by the caller, or left out. Every such step leaves a line in the notes, so nothing is silent.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gailfe_jax.data.trajectories import Trajectories, offsets_of
from gailfe_jax.errors import GailfeError

if TYPE_CHECKING:
    # Its module imports JAX, and this one is NumPy only.
    from gailfe_jax.types import EnvSpec

ENDS = ("terminated", "truncated")
"""How an episode ends: the task ended it, or a time limit or the recording did."""
OVER, CUT, UNKNOWN = "over", "cut", "unknown"
"""What a recording may say instead: that it is over but not how, that it stops (neither), or nothing at all."""


@dataclasses.dataclass(frozen=True, eq=False)
class Episode:
    """One recorded episode of `T` actions, in any dtype of numbers.

    Attributes:
      obs: `[T, o]` what each action was chosen on, or `[T + 1, o]` with the observation after the last one.
      action: `[T, a]`, or `[T]` whole numbers where actions are choices; None where nobody recorded any.
      next_obs: `[T, o]` the observation after each action, or None.
      reward: `[T]`, or None.
      end: `terminated`, `truncated`, `over`, `cut` or `unknown`; see `ENDS` and `OVER`.
      failed: whether it failed; None where nobody said.
      simulator_state: `[T, s]` the simulator's full state before each action, or None.
      name: what messages call it.
    """

    obs: np.ndarray
    action: np.ndarray | None
    next_obs: np.ndarray | None = None
    reward: np.ndarray | None = None
    end: str = UNKNOWN
    failed: bool | None = None
    simulator_state: np.ndarray | None = None
    name: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """Episodes that a reader found.

    Attributes:
      name: the file or folder, for messages.
      format: the reader's name.
      episodes: one or more.
      env_id: the environment that the recording names, or None.
      notes: what the reader chose or left out, one line each.
      expert_return: mean return of the expert that the recording names, or None.
    """

    name: str
    format: str
    episodes: Sequence[Episode]
    env_id: str | None = None
    notes: Sequence[str] = ()
    expert_return: float | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Built:
    """What became of a recording.

    Attributes:
      trajectories: all episodes that are left, in their order; not validated yet.
      failed: `[k]` float64: 1 failed, 0 succeeded, NaN where nobody said.
      notes: what was derived, cast, declared and left out, one line each.
      declared: how many episodes end as the caller declared.
    """

    trajectories: Trajectories
    failed: np.ndarray
    notes: list[str]
    declared: int = 0


def build(
    name: str,
    episodes: Iterable[Episode],
    *,
    spec: EnvSpec | None = None,
    ends: str | None = None,
    clip: bool = False,
) -> Built:
    """Trajectories of recorded episodes.

    The observation after an action is the following one's. After the last action it is the one that was recorded beyond
    it, or `next_obs`; without either the last pair is left out. An episode that is `over` was truncated where it is as
    long as the environment's time limit, and terminated where it is shorter. Numbers become float32.

    Args:
      name: of the recording, for messages.
      episodes: in their order.
      spec: of the environment, where it is known: sizes, bounds, time limit and whether actions are choices.
      ends: `terminated` or `truncated`, for episodes of which nothing says how they end.
      clip: whether actions beyond the environment's bounds are clipped, instead of refused.

    Raises:
      GailfeError: nothing to build, arrays that do not fit one another or the environment, or ends that nothing says.
    """
    if ends is not None and ends not in ENDS:
        raise GailfeError(f"episodes-end-by: got {ends!r}; expected {' or '.join(ENDS)}")
    work = _Work(name, spec, ends, clip)
    parts = [part for episode in episodes if (part := work.convert(episode)) is not None]
    if not parts:
        raise GailfeError(f"{name}: no episode with a pair that is whole, expected one or more")
    work.same_sizes(parts)
    rows: dict[str, Any] = {field: np.concatenate([part[field] for part in parts]) for field in ("obs", "next_obs")}
    for field in ("action", "reward", "simulator_state"):
        held = [part[field] for part in parts if part[field] is not None]
        if held and len(held) < len(parts):
            work.say(f"{field}: left out, for {len(parts) - len(held)} of {len(parts)} episodes have none")
        rows[field] = np.concatenate(held) if held and len(held) == len(parts) else None
    if rows["action"] is None:
        rows["action"] = np.zeros((len(rows["obs"]), 0), np.float32)
        work.say("action: none; only what was observed can be imitated")
    lengths = np.array([len(part["next_obs"]) for part in parts])
    offsets = offsets_of(lengths)
    last = np.zeros(int(offsets[-1]), np.bool_)
    last[offsets[1:] - 1] = True
    terminated = np.repeat([part["end"] == "terminated" for part in parts], lengths)
    trajectories = Trajectories(terminated=last & terminated, truncated=last & ~terminated, offsets=offsets, **rows)
    failed = np.array([np.nan if part["failed"] is None else float(part["failed"]) for part in parts])
    return Built(trajectories, failed, work.notes(), work.counts["declared"])


def refuse_idle_ends(name: str, ends: str | None, built: Sequence[Built]) -> None:
    """Raises GailfeError where the caller declared how episodes end, and every one of them says it."""
    if ends is not None and not any(one.declared for one in built):
        raise GailfeError(f"episodes-end-by: got {ends}; nothing reads it: {name} says how its episodes end")


def _plain(where: str, field: str, given: Any) -> np.ndarray:
    """An array of real numbers, as it is."""
    array = np.asarray(given)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise GailfeError(f"{where}: field '{field}': dtype {array.dtype}, expected plain numbers")
    return array


class _Work:
    """Converts episodes and remembers what was done to them."""

    def __init__(self, name: str, spec: EnvSpec | None, ends: str | None, clip: bool):
        self.name, self.spec, self.ends, self.clip = name, spec, ends, clip
        self.counts: collections.Counter[str] = collections.Counter()
        self.lost: dict[tuple[str, str], float] = {}
        self.lost_reward = self.apart = self.beyond = 0.0
        self.said: list[str] = []

    def say(self, line: str) -> None:
        if line not in self.said:
            self.said.append(line)

    def convert(self, episode: Episode) -> dict[str, Any] | None:
        """The arrays of an episode; None where it has no whole pair."""
        number = self.counts["seen"]
        self.counts["seen"] += 1
        where = f"{self.name}: {episode.name or f'episode {number}'}"
        obs = self._matrix(where, "obs", episode.obs)
        action = None if episode.action is None else self._actions(where, episode.action)
        steps = _unacted_steps(episode) if action is None else len(action)
        if len(obs) not in (steps, steps + 1):
            raise GailfeError(
                f"{where}: field 'obs': {len(obs)} observations of {steps} actions, expected {steps} or {steps + 1}"
            )
        reward, state = episode.reward, episode.simulator_state
        if reward is not None:
            reward = self._matrix(where, "reward", reward)
            if reward.shape != (steps, 1):
                raise GailfeError(
                    f"{where}: field 'reward': shape {list(reward.shape)}, expected one for {steps} actions"
                )
            reward = reward[:, 0]
        if state is not None:
            state = np.ascontiguousarray(_plain(where, "simulator_state", state), np.float64)
            if state.ndim != 2 or len(state) not in (steps, steps + 1):
                shape = list(state.shape)
                raise GailfeError(
                    f"{where}: field 'simulator_state': shape {shape}, expected a row for {steps} actions"
                )
            state = state[:steps]
        next_obs, kept = self._following(where, obs, steps, episode.next_obs)
        if kept < steps:
            self.counts["without last"] += 1
            self.lost_reward += 0.0 if reward is None else float(reward[kept:].sum())
        if kept == 0:
            self.counts["empty"] += 1
            return None
        end = self._end(where, episode.end, steps)
        if end == "terminated" and kept < steps:
            self.counts["earlier"] += 1
        return {
            "obs": obs[:kept],
            "action": None if action is None else action[:kept],
            "next_obs": next_obs,
            "reward": None if reward is None else reward[:kept],
            "simulator_state": None if state is None else state[:kept],
            "end": end,
            "failed": episode.failed,
        }

    def _following(self, where: str, obs: np.ndarray, steps: int, given: Any) -> tuple[np.ndarray, int]:
        """The observation after each action that has one, `[kept, o]`, and how many have."""
        if given is not None:
            given = self._matrix(where, "next_obs", given)
            if given.shape != (steps, obs.shape[1]):
                raise GailfeError(
                    f"{where}: field 'next_obs': shape {list(given.shape)}, expected {[steps, obs.shape[1]]}"
                )
            inner = obs[1:steps]
            differs = (given[:-1] != inner).any(axis=1) & np.isfinite(inner).all(axis=1)
            if differs.any():
                self.counts["apart"] += int(differs.sum())
                self.apart = max(self.apart, float(np.abs(given[:-1][differs] - inner[differs]).max()))
            after = obs[steps:] if len(obs) > steps else given[-1:]
            return np.concatenate([inner, after]), steps
        return (obs[1:], steps) if len(obs) > steps else (obs[1:], max(steps - 1, 0))

    def _end(self, where: str, end: str, steps: int) -> str:
        if end in ENDS:
            return end
        if end == CUT:
            self.counts["cut"] += 1
            return "truncated"
        if self.ends is not None:
            self.counts["declared"] += 1
            return self.ends
        if end == OVER and self.spec is not None:
            ended = "truncated" if steps >= self.spec.max_episode_steps else "terminated"
            self.counts[f"over {ended}"] += 1
            return ended
        what = "says that it is over, not how" if end == OVER else "does not say how it ends"
        expected = "--episodes-end-by terminated (the task ended it) or truncated (a time limit or the recording did)"
        also = ", or --env, whose time limit tells them apart" if end == OVER else ""
        raise GailfeError(f"{where}: field 'terminated': missing: the recording {what}; expected {expected}{also}")

    def _actions(self, where: str, given: Any) -> np.ndarray:
        array = np.asarray(given)
        choices = self.spec.action_size if self.spec is not None and self.spec.discrete else None
        whole = array.dtype.kind in "iu" and (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1))
        if choices is None and whole and self.spec is None:
            raise GailfeError(
                f"{where}: field 'action': whole numbers, which may be choices; expected --env, which says how many"
            )
        if choices is None or not whole:
            action = self._matrix(where, "action", array)
            return action if choices is not None else self._inside(where, action)
        number = array.reshape(-1).astype(np.int64)
        if ((number < 0) | (number >= choices)).any():
            bad = int(number[(number < 0) | (number >= choices)][0])
            raise GailfeError(f"{where}: field 'action': choice {bad}, expected 0 to {choices - 1}")
        self.say(f"action: choices, made into rows of {choices} with 1 at the choice")
        return np.eye(choices, dtype=np.float32)[number]

    def _inside(self, where: str, action: np.ndarray) -> np.ndarray:
        if self.spec is None or not self.clip or action.shape[1] != self.spec.action_size:
            return action
        low, high = (np.asarray(bound, np.float32) for bound in (self.spec.action_low, self.spec.action_high))
        clipped = np.clip(action, low, high)
        changed = clipped != action
        if changed.any():
            self.counts["clipped"] += int(changed.any(axis=1).sum())
            self.beyond = max(self.beyond, float(np.abs(clipped - action)[changed].max()))
        return clipped

    def _matrix(self, where: str, field: str, given: Any) -> np.ndarray:
        """`[T, k]` float32; what rounding changes is remembered."""
        array = _plain(where, field, given)
        array = array[:, None] if array.ndim == 1 else array
        if array.ndim != 2 or array.shape[1] == 0:
            shape = list(array.shape)
            raise GailfeError(
                f"{where}: field '{field}': shape {shape}, expected a vector a step; --map {field}=NAME chooses another"
            )
        if array.dtype == np.float32:
            return array
        with np.errstate(over="ignore", invalid="ignore"):
            cast = array.astype(np.float32)
            off = np.abs(cast.astype(np.float64) - array.astype(np.float64))
            # What float32 cannot hold becomes infinite, which validation refuses by its row.
            worst = float(np.max(off, initial=0.0, where=np.isfinite(off)))
        kind = (field, str(array.dtype))
        self.lost[kind] = max(worst, self.lost.get(kind, 0.0))
        return cast

    def same_sizes(self, parts: Sequence[dict[str, Any]]) -> None:
        """Raises GailfeError unless all episodes have one size of each array."""
        for field in ("obs", "action", "simulator_state"):
            sizes = {part[field].shape[1] for part in parts if part[field] is not None}
            if len(sizes) > 1:
                raise GailfeError(f"{self.name}: field '{field}': sizes {sorted(sizes)}, expected one in all episodes")

    def notes(self) -> list[str]:
        """What was done, one line each."""
        count, lines = self.counts, list(self.said)
        for (field, dtype), worst in self.lost.items():
            what = f"off by up to {worst:.2g}" if worst else "nothing lost"
            lines.append(f"{field}: {dtype} made float32, {what}")
        if count["without last"]:
            earned = f", and with it rewards of {self.lost_reward:g} in all" if self.lost_reward else ""
            episodes = f"{count['without last']} episodes"
            lines.append(f"next_obs: the last pair of {episodes} left out, for no observation follows it{earned}")
        if count["earlier"]:
            lines.append(f"terminated: moved to the pair before it in {count['earlier']} of these episodes")
        if count["empty"]:
            lines.append(f"episodes: {count['empty']} left out, for no pair of theirs is whole")
        if count["apart"]:
            lines.append(
                f"next_obs: {count['apart']} differ from the observation that follows, by up to {self.apart:.2g}; "
                "the one that follows is kept"
            )
        if count["cut"]:
            lines.append(f"truncated: set for {count['cut']} episodes whose recording stops in their midst")
        if count["declared"]:
            lines.append(f"{self.ends}: set for {count['declared']} episodes, as --episodes-end-by says")
        if count["over terminated"] or count["over truncated"]:
            limit = self.spec.max_episode_steps if self.spec is not None else 0
            lines.append(
                f"terminated: {count['over terminated']} episodes are over before the {limit} steps of the time limit; "
                f"truncated: {count['over truncated']} after them"
            )
        if count["clipped"]:
            lines.append(f"action: {count['clipped']} clipped to the bounds, by up to {self.beyond:.2g}")
        return lines


def _unacted_steps(episode: Episode) -> int:
    """`T` of an episode without actions: a step for each `next_obs` or reward, else one between two observations."""
    for array in (episode.next_obs, episode.reward):
        if array is not None:
            return len(np.asarray(array))
    return max(len(np.asarray(episode.obs)) - 1, 0)
