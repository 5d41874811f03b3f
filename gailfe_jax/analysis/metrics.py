"""What each metric of a run is called, its unit and how it is read; `metrics.toml` has the words."""

from __future__ import annotations

import dataclasses
import importlib.resources
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric of `metrics.jsonl`.

    Attributes:
      name: there.
      title: on a report's page.
      unit: of its numbers.
      how: how to read it, in a sentence or three.
      column: its heading on the terminal; empty where it is not shown there.
      main: whether it is shown without being asked for.
      share: whether it lies between 0 and 1.
    """

    name: str
    title: str
    unit: str = ""
    how: str = ""
    column: str = ""
    main: bool = False
    share: bool = False

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Metric:
        """The metric that a table of `metrics.toml` describes."""
        unit = {"unit": "share"} if record.get("share") else {}
        return cls(**{**unit, **record, "how": " ".join(record.get("how", "").split())})


@dataclasses.dataclass(frozen=True)
class Group:
    """Metrics about one thing.

    Attributes:
      title: its heading.
      prefix: of their tags in TensorBoard and the like.
      metrics: in the order in which they are shown.
    """

    title: str
    prefix: str
    metrics: tuple[Metric, ...]


_TABLE = tomllib.loads(
    importlib.resources.files("gailfe_jax.analysis").joinpath("metrics.toml").read_text(encoding="utf-8")
)
JUDGED = tuple(Metric.of(record) for record in _TABLE["judged"])
"""What a policy is judged by."""
GROUPS = tuple(
    Group(group["title"], group["prefix"], tuple(map(Metric.of, group["metric"]))) for group in _TABLE["group"]
)
LEFT_OUT = ("expert_normalised", "stopped", "diverged")
"""What is on the page in another form."""
OTHERS = "Others"
_OTHER = "other"
_FIRST = "return"
METRICS: Mapping[str, Metric] = {
    metric.name: metric for metric in (*JUDGED, *(metric for group in GROUPS for metric in group.metrics))
}
"""All of them by name."""
_PREFIXES = {metric.name: _FIRST for metric in JUDGED} | {
    metric.name: group.prefix for group in GROUPS for metric in group.metrics
}
COLUMNS: Mapping[str, str] = {name: metric.column for name, metric in METRICS.items() if metric.column}
"""Metrics that the terminal shows where a run has them, and their headings."""


def grouped_name(name: str) -> str:
    """What a metric is called where metrics are sorted by what stands before a slash: `discriminator/disc_loss`."""
    return f"{_PREFIXES.get(name, _OTHER)}/{name}"


def grouped(names: Iterable[str], judged: str) -> list[Group]:
    """The metrics that there are, in groups; unknown ones come last, by their own names."""
    left = {name for name in names if name not in LEFT_OUT and name != judged}
    found = []
    for group in GROUPS:
        held = tuple(metric for metric in group.metrics if metric.name in left)
        left -= {metric.name for metric in held}
        if held:
            found.append(dataclasses.replace(group, metrics=held))
    left -= {metric.name for metric in JUDGED}
    if left:
        found.append(Group(OTHERS, _OTHER, tuple(Metric(name, name) for name in sorted(left))))
    return found


def judged_metric(name: str) -> Metric:
    """The metric that a policy is judged by: one of `JUDGED`, or another one."""
    return METRICS.get(name, Metric(name, name))
