"""What the doctor looks at and says: a run's metrics by seed, findings, and where the bounds between them lie."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from gailfe_jax.config.parts import Part
from gailfe_jax.config.tree import leaves
from gailfe_jax.config.values import show_value
from gailfe_jax.errors import GailfeError

Severity = Literal["note", "warning"]


class Threshold(NamedTuple):
    """Where a finding begins.

    Attributes:
      value: the bound.
      why: the reason for it, in words.
    """

    value: float
    why: str


THRESHOLDS = {
    "evaluations": Threshold(5, "with fewer evaluations of a seed, a third of them is one, and chance decides"),
    "most": Threshold(0.6, "share of evaluations that is most of a run: a good run may pass through all of it"),
    "saturated_accuracy": Threshold(0.97, "no more than 3 pairs in 100 are left from which a policy can learn"),
    "saturated_logit": Threshold(3.0, "at 3 nats, D is within 0.05 of 0 or 1, and -log D hardly has a slope"),
    "blind_accuracy": Threshold(0.03, "of 0.5: as much as minibatches of 128 pairs of each kind vary by chance"),
    "reached": Threshold(0.8, "share of the expert's return: a run that gets there was not kept from learning"),
    "still_accepted": Threshold(0.1, "nine of ten trust-region steps refused: the policy is where it was"),
    "still_kl": Threshold(1e-6, "nats: a usual update, of 0.01, moves the policy a hundred times as far"),
    "far_kl": Threshold(0.1, "nats: five times TRPO's default bound, within which old data still judge a new policy"),
    "far_bound": Threshold(1.5, "times the bound on a step: more than rounding and a line search explain"),
    "far_clip": Threshold(0.5, "at half of all pairs the surrogate is flat, so half of the batch teaches nothing"),
    "entropy_fall": Threshold(3.0, "nats: as 20 times less spread of one action, or 2.7 times less of three"),
    "entropy_early": Threshold(0.2, "share of a run in which exploration should not be over"),
    "entropy_share": Threshold(0.8, "of the whole fall within that time: afterwards nothing is tried any more"),
    "entropy_rise": Threshold(1.0, "nat above the start: 2.7 times the spread of one action, where it should shrink"),
    "idle_multiplier": Threshold(1e-3, "failures then weigh a thousandth of the demonstrations"),
    "broken": Threshold(0.8, "share of evaluations in which the constraint is broken, and the multiplier grows"),
    "high_multiplier": Threshold(5.0, "failures then weigh five times as much as the demonstrations"),
    "falls": Threshold(0.8, "share of episodes that the task ends itself, from which on ending early is the rule"),
    "survives": Threshold(0.1, "share of episodes, up to which a policy is one that stays alive"),
    "half_expert": Threshold(0.5, "of the expert's return: below that, more is missing than polish"),
    "noise_gap": Threshold(0.5, "of the greater of both returns: one policy is then half as good as the other"),
    "explained": Threshold(0.1, "of the returns' variance: a constant explains 0"),
    "critic_excess": Threshold(5.0, "times what the mean reward comes to for ever: no state should be so far above it"),
    "model_unexplained": Threshold(0.3, "of the variance of the moves: gradients through the model are mostly noise"),
    "behind": Threshold(0.4, "of the median seed's level: a seed that lacks so much has failed rather than lagged"),
    "behind_spread": Threshold(3.0, "times the other seeds' own spread, so that it is not one of a wide field"),
    "decline": Threshold(0.25, "of what was gained up to the peak; means of three evaluations vary less by chance"),
}  # fmt: skip
"""All bounds, each with its reason."""


def bound(name: str) -> float:
    """The bound of that name in `THRESHOLDS`."""
    return THRESHOLDS[name].value


@dataclasses.dataclass(frozen=True, eq=False)
class Seed:
    """What was measured of one seed.

    Attributes:
      name: its number.
      steps: `[k]` environment steps at its evaluations, rising.
      values: by metric, `[k]`; nan where there is none.
    """

    name: int
    steps: np.ndarray
    values: Mapping[str, np.ndarray]

    @property
    def count(self) -> int:
        """Evaluations."""
        return len(self.steps)

    def has(self, *names: str) -> bool:
        """Whether all of these metrics were measured at least once."""
        return all(name in self.values and np.isfinite(self.values[name]).any() for name in names)

    def late(self, name: str) -> float:
        """Mean of the last third; nan without a number there."""
        return mean(self.values[name][-self.third :]) if name in self.values else math.nan

    @property
    def third(self) -> int:
        """How many evaluations are a third, at least 1."""
        return max(1, self.count // 3)


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A run as the doctor sees it.

    Attributes:
      seeds: what was measured, by seed, up to where it diverged.
      judged: the metric that policies are judged by.
      lower_is_better: whether less of that is better.
      settings: those of the method, by dotted name, and of the run, that something reads.
      expert_return: mean return of the expert, or None.
      bias: what the reward's sign teaches by itself where episodes can end early, in words; or None.
      diverged: `seed -> (step, first quantity that was not finite)`.
    """

    seeds: Sequence[Seed]
    judged: str = "return_mean"
    lower_is_better: bool = False
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    expert_return: float | None = None
    bias: str | None = None
    diverged: Mapping[int, tuple[int, str]] = dataclasses.field(default_factory=dict)

    @property
    def known_expert(self) -> float | None:
        """The expert's return where shares of it mean something."""
        expert = self.expert_return
        return expert if expert is not None and expert > 0 and self.judged == "return_mean" else None

    def reached(self, seed: Seed) -> bool:
        """Whether a seed has come so near to the expert that nothing hindered it."""
        return self.known_expert is not None and seed.late("return_mean") >= bound("reached") * self.known_expert

    def setting(self, name: str, default: float) -> float:
        """A setting that is a number; the default where it is none."""
        value = self.settings.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default


class Sign(NamedTuple):
    """What a symptom is seen by in one seed.

    Attributes:
      numbers: for the sentence, by name; words, too.
      first, last: the steps between which it is seen.
    """

    numbers: Mapping[str, float | str]
    first: int
    last: int


class Advice(NamedTuple):
    """A setting to try.

    Attributes:
      setting: its dotted name.
      change: `smaller`, `larger`, or the value to give it.
    """

    setting: str
    change: Any

    def words(self, settings: Mapping[str, Any]) -> str | None:
        """What to try in words; None where the method has no such setting, or it stands like that already."""
        if self.setting not in settings:
            return None
        now = settings[self.setting]
        path, dot, last = self.setting.replace("_", "-").rpartition(".")
        flag = f"--{path}{dot}{last}"
        if self.change in ("smaller", "larger"):
            if not isinstance(now, int | float | tuple | list) or isinstance(now, bool):
                return None
            if self.change == "smaller" and not isinstance(now, tuple | list) and now == 0:
                return None
            return f"a {self.change} {flag} (now {_shown(now)})"
        if now == self.change:
            return None
        if isinstance(self.change, bool):
            return flag if self.change else f"--{path}{dot}no-{last}"
        # An average that is stronger already is no reason to weaken it.
        if isinstance(self.change, float) and isinstance(now, float) and now > self.change:
            return None
        return f"{flag} {show_value(self.change)}"


@dataclasses.dataclass(frozen=True)
class Symptom:
    """Something that can be wrong with a run.

    Attributes:
      name: for people and programs.
      severity: how grave.
      title: what it is, in a few words.
      look: `(run, seed) -> Sign`, or None where the seed is well.
      seen: the sentence on what is seen, with the numbers of `Sign` in braces.
      advice: settings to try, the best first; those that a method lacks are left out.
      part: settings of a method in which it can arise begin with this.
      brief: whether it can be told from fewer evaluations than `THRESHOLDS["evaluations"]`.
    """

    name: str
    severity: Severity
    title: str
    look: Callable[[Run, Seed], Sign | None]
    seen: str
    advice: tuple[Advice, ...]
    part: str = ""
    brief: bool = False

    def applies(self, settings: Mapping[str, Any]) -> bool:
        """Whether a method with these settings can have it."""
        return any(name.startswith(self.part) for name in settings)


@dataclasses.dataclass(frozen=True)
class Finding:
    """A symptom that was found.

    Attributes:
      name, severity, title: of the symptom.
      seeds: that have it.
      steps: `(first, last)` between which it is seen in any of them.
      seen: one sentence, with its numbers: means over these seeds.
      attempt: one sentence, what to try.
      settings: the settings that it names.
    """

    name: str
    severity: Severity
    title: str
    seeds: tuple[int, ...]
    steps: tuple[int, int]
    seen: str
    attempt: str
    settings: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """For JSON."""
        found = dataclasses.asdict(self)
        return {"try" if name == "attempt" else name: value for name, value in found.items()}


_LONGEST_TEXT = 200
MOST_ADVICE = 3
"""Settings that one finding names."""


def advised(advice: Sequence[Advice], settings: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """`(one sentence, the settings that it names)`; an empty sentence where the method has none of the settings."""
    found = [(said, words) for said in advice if (words := said.words(settings)) is not None][:MOST_ADVICE]
    if not found:
        return "", ()
    *others, last = [words for _, words in found]
    joined = f"{', '.join(others)} or {last}" if others else last
    return f"Try {joined}.", tuple(said.setting for said, _ in found)


def printable(text: Any) -> str:
    """What a file says, as one short line for a terminal."""
    shown = "".join(sign if sign.isprintable() else " " for sign in str(text))
    return shown if len(shown) <= _LONGEST_TEXT else f"{shown[:_LONGEST_TEXT]}..."


def mean(values: np.ndarray) -> float:
    """Of the finite values; nan where there is none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan


def smooth(values: np.ndarray, width: int = 3) -> np.ndarray:
    """`[k - width + 1]` means of `width` neighbours."""
    return np.convolve(values, np.full(width, 1 / width), mode="valid")


def seeds_of(records: Sequence[Mapping[str, Any]]) -> tuple[list[Seed], dict[int, tuple[int, str]]]:
    """Seeds, and which of them diverged, from the lines of a run's metrics.

    Args:
      records: lines with a seed, a step and numbers, in any order; of two lines of one step the later counts, and
        what is no number is left out.

    Returns:
      `(seeds by number, seed -> (step, quantity))`; a seed that diverged ends before.

    Raises:
      GailfeError: a number is too large for any metric.
    """
    rows: dict[int, dict[int, Mapping[str, Any]]] = {}
    diverged: dict[int, tuple[int, str]] = {}
    for record in records:
        rows.setdefault(record["seed"], {})[record["step"]] = record
        said = record.get("diverged")
        if isinstance(said, Mapping) and record["seed"] not in diverged:
            step = said.get("step")
            at = step if type(step) is int else record["step"]
            diverged[record["seed"]] = at, printable(said.get("quantity", "a quantity"))
    try:
        seeds = [_seed(name, rows[name], diverged.get(name)) for name in sorted(rows)]
    except OverflowError:
        raise GailfeError("metrics: a number is too large; expected what gailfe train wrote") from None
    return seeds, diverged


def _seed(name: int, rows: Mapping[int, Mapping[str, Any]], diverged: tuple[int, str] | None) -> Seed:
    steps = [step for step in sorted(rows) if diverged is None or step < diverged[0]]
    names = dict.fromkeys(metric for step in steps for metric, value in rows[step].items() if _is_number(value))
    values = {
        metric: np.array([_number(rows[step].get(metric)) for step in steps], np.float64)
        for metric in names
        if metric not in ("seed", "step")
    }
    return Seed(name, np.array(steps, np.float64), values)


def _number(value: Any) -> float:
    """A finite number as it is, anything else as nan."""
    found = float(value) if _is_number(value) else math.nan
    return found if math.isfinite(found) else math.nan


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else show_value(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def settings_of(method: Part | None, run: Part) -> dict[str, Any]:
    """The settings that something reads: a method's by dotted name, and how it is run."""
    parts = [run] if method is None else [run, method]
    return {name: leaf.value for part in parts for name, leaf in leaves(part).items() if leaf.unread is None}
