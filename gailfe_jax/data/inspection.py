"""What is in a set of trajectories, in numbers and in words a person can act on. NumPy only."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gailfe_jax.data.trajectories import Trajectories, bounds_of

if TYPE_CHECKING:
    from gailfe_jax.types import EnvSpec

NEAR = 1e-3
"""An action within this share of its range of a bound is saturated."""
_MOSTLY = 0.5  # of the steps: the share from which a saturated action is named
_SHORT = 0.25  # of the median length: episodes below are named
_SHOWN = 8  # numbers of a listing


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is said of a part.

    Attributes:
      name: one word, for programs.
      value: what was measured, in the types of JSON.
      words: what a person is told; None where there is nothing to say.
      warns: whether it is something to mend.
    """

    name: str
    value: Any
    words: str | None
    warns: bool = False


def inspect_part(trajectories: Trajectories, spec: EnvSpec | None) -> list[Finding]:
    """What is in the trajectories, one or more.

    Args:
      trajectories: not validated: numbers may be infinite or missing.
      spec: of the environment that they are for, where it is known.
    """
    lengths = trajectories.lengths
    count, pairs = len(lengths), int(lengths.sum())
    found = [Finding("episodes", count, None), Finding("pairs", pairs, f"{_count(count, 'episode')}, {pairs:,} pairs")]
    low, middle, high = (int(x) for x in (lengths.min(), np.median(lengths), lengths.max()))
    found.append(Finding("lengths", [low, middle, high], f"lengths {_spread(low, middle, high)}"))
    if not trajectories.acted:
        found.append(Finding("actions", False, "no actions: what was observed is all that was recorded"))
    found += [_returns(trajectories), _ends(trajectories, spec), *_short(lengths), *_not_finite(trajectories)]
    found += [*_constant(trajectories), *_duplicates(trajectories)]
    if spec is not None:
        found += _fit(trajectories, spec)
    return found


def _returns(trajectories: Trajectories) -> Finding:
    if trajectories.reward is None:
        return Finding("returns", None, "returns unknown: no rewards were recorded")
    low, middle, high = (float(f(trajectories.returns)) for f in (np.min, np.median, np.max))
    return Finding("returns", [low, middle, high], f"returns {_spread(f'{low:.4g}', f'{middle:.4g}', f'{high:.4g}')}")


def _ends(trajectories: Trajectories, spec: EnvSpec | None) -> Finding:
    fell = int(trajectories.terminated.sum())
    rest = trajectories.num_trajectories - fell
    early = ""
    if spec is not None and rest:
        cut = trajectories.truncated[trajectories.offsets[1:] - 1] & (trajectories.lengths < spec.max_episode_steps)
        if cut.any():
            early = f", {int(cut.sum())} of them before the time limit of {spec.max_episode_steps} steps"
    words = f"{fell} ended by the task (terminated), {rest} by a limit or the recording (truncated){early}"
    return Finding("terminated", fell, words)


def _short(lengths: np.ndarray) -> list[Finding]:
    short = np.flatnonzero(lengths < _SHORT * np.median(lengths))
    if not short.size:
        return [Finding("short", [], None)]
    words = f"episodes far shorter than the rest: {_listing(short)}; they may have failed (--failures, --annotator)"
    return [Finding("short", short.tolist(), words, True)]


def _not_finite(trajectories: Trajectories) -> list[Finding]:
    rows = np.zeros(trajectories.num_transitions, bool)
    for array in (trajectories.obs, trajectories.action, trajectories.next_obs, trajectories.reward):
        if array is not None and array.size:
            rows |= ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
    where = np.flatnonzero(rows)
    if not where.size:
        return [Finding("not_finite", [], None)]
    words = f"NaN or infinity in {_count(where.size, 'row')}: {_listing(where)}; training refuses the file"
    return [Finding("not_finite", where.tolist(), words, True)]


def _constant(trajectories: Trajectories) -> list[Finding]:
    found = []
    for field, array in (("obs", trajectories.obs), ("action", trajectories.action)):
        still = np.flatnonzero((array == array[:1]).all(axis=0)) if len(array) > 1 else np.zeros(0, int)
        words = None
        if still.size:
            words = f"{field} never changes in {_count(still.size, 'number')} of {array.shape[1]}: {_listing(still)}"
        found.append(Finding(f"constant_{field}", still.tolist(), words, bool(still.size) and field == "action"))
    return found


def _duplicates(trajectories: Trajectories) -> list[Finding]:
    rows = np.concatenate([trajectories.obs, trajectories.action], axis=1)
    twice = len(rows) - len(_different(rows))
    episodes = [rows[start:stop].tobytes() for start, stop in _bounds(trajectories)]
    again = len(episodes) - len(set(episodes))
    words = None
    if twice:
        words = f"{_count(twice, 'pair')} of {len(rows):,} there more than once ({twice / len(rows):.1%})"
        if again:
            words += f", {_count(again, 'whole episode')} among them"
    return [
        Finding("duplicated_pairs", twice, words, twice > len(rows) / 10),
        Finding("duplicated_episodes", again, None),
    ]


def _different(rows: np.ndarray) -> np.ndarray:
    """The different rows, as bytes: sorting them by their numbers takes many times as long."""
    whole = np.ascontiguousarray(rows + np.float32(0.0))  # -0.0 is 0.0
    return np.unique(whole.view(np.dtype((np.void, whole.dtype.itemsize * whole.shape[1]))))


def _fit(trajectories: Trajectories, spec: EnvSpec) -> list[Finding]:
    """Sizes, bounds and how often actions lie at them."""
    sizes = (trajectories.obs.shape[1], trajectories.action.shape[1])
    wanted = (spec.obs_size, spec.action_size)
    if sizes[0] != wanted[0] or sizes[1] not in (0, wanted[1]):
        words = f"{sizes[0]} numbers observed and {sizes[1]} acted; {spec.name} has {wanted[0]} and {wanted[1]}"
        return [Finding("sizes", list(sizes), f"{words}: they do not fit", True)]
    if not trajectories.acted:
        return [Finding("sizes", list(sizes), f"sizes fit {spec.name}: {sizes[0]} observed")]
    found = [Finding("sizes", list(sizes), f"sizes fit {spec.name}: {sizes[0]} observed, {sizes[1]} acted")]
    action = trajectories.action
    if spec.discrete:
        choices = ((action == 0) | (action == 1)).all(axis=1) & (action.sum(axis=1) == 1)
        bad = int((~choices).sum())
        taken = [int(n) for n in action[choices].sum(axis=0)]
        words = f"choices taken {taken} times" if not bad else f"{_count(bad, 'action')} that are no choices"
        return [*found, Finding("choices", taken, words, bool(bad))]
    low, high, _ = bounds_of(spec)
    with np.errstate(invalid="ignore"):
        outside = (action < low - 1e-5) | (action > high + 1e-5)
        beyond = float(np.max(np.maximum(low - action, action - high), initial=0.0, where=np.isfinite(action)))
        margin = NEAR * np.where(np.isfinite(high - low), high - low, 1.0)
        at_bound = ((action <= low + margin) | (action >= high - margin)).mean(axis=0)
    rows = int(outside.any(axis=1).sum())
    words = f"actions within [{_numbers(low)}, {_numbers(high)}]"
    if rows:
        words = (
            f"{_count(rows, 'action')} of {len(action):,} outside the bounds, by up to {beyond:.3g} (--clip-actions)"
        )
    found.append(Finding("outside", rows, words, bool(rows)))
    often = np.flatnonzero(at_bound >= _MOSTLY)
    words = f"actions at their bounds in {at_bound.mean():.0%} of the steps"
    if often.size:
        words += f"; most of the time: {_listing(often)}"
    return [*found, Finding("saturated", [round(float(x), 4) for x in at_bound], words, bool(often.size))]


def advise(expert: Trajectories, failures: int, spec: EnvSpec | None, mends: Sequence[str]) -> list[str]:
    """Which methods the data allow, a line each.

    Args:
      expert: the demonstrations.
      failures: how many failed episodes there are.
      spec: of the environment, where it is known.
      mends: the names of findings that warn.
    """
    lines = []
    if blocking := [name for name in mends if name in ("not_finite", "sizes", "outside", "choices", "replay")]:
        lines.append(f"first mend: {', '.join(blocking)}")
    few = " few episodes: compare seeds" if expert.num_trajectories < 4 else " enough episodes to begin with"
    lines += _methods(expert, failures, few) if expert.acted else _methods_without_actions(failures, few)
    if expert.reward is None:
        lines.append("annotators that read the reward (return_below, bottom_quantile) cannot judge these: name another")
        lines.append("returns are not compared with the expert's; gailfe evaluate --demos shows the distance instead")
    elif spec is not None and not spec.has_reward:
        lines.append(f"{spec.name} has no reward: gailfe evaluate --demos shows the distance to the demonstrations")
    return lines


def _methods(expert: Trajectories, failures: int, few: str) -> list[str]:
    several = expert.num_trajectories > 1
    hold_out = "" if several else " (one episode: none can be held out, so it cannot stop early)"
    return [
        f"bc: clone {expert.num_transitions:,} pairs{hold_out}; the quickest look at what is left to do",
        f"gail, fem, gtal: need the environment beside the demonstrations;{few}",
        "gail --policy mail: its model starts from these pairs and where they led",
        f"gailfe, irlf: {failures} failures are there"
        if failures
        else "gailfe: no failures are there, so it learns from the agent's own; irlf needs some",
    ]


def _methods_without_actions(failures: int, few: str) -> list[str]:
    there = f"{failures} failures are there" if failures else "no failures are there, so it learns from the agent's own"
    return [
        f"gail --reward.inputs transitions (or states), by any policy step: needs the environment beside these;{few}",
        f"gailfe --reward.inputs transitions: {there}",
        "not bc, fem, gtal and irlf, a start from a clone (start.steps), likelihood.add and policy.demonstrated: "
        "they need actions",
    ]


def _bounds(trajectories: Trajectories) -> list[tuple[int, int]]:
    return list(itertools.pairwise(trajectories.offsets.tolist()))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _spread(low: Any, middle: Any, high: Any) -> str:
    return f"{low} to {high}, median {middle}" if low != high else f"{low}, all alike"


def _listing(numbers: Any) -> str:
    shown = [str(int(x)) for x in list(numbers)[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else "")


def _numbers(values: np.ndarray) -> str:
    same = (values == values[0]).all()
    return f"{values[0]:g}" if same else ", ".join(f"{x:g}" for x in values)
