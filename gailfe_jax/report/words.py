"""What each metric of a run is called on the page, and how it is read; `metrics.toml` has the words."""

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
      title: on the page.
      how: how to read it, in a sentence or three.
      main: whether it is shown without being asked for.
      share: whether it lies between 0 and 1.
    """

    name: str
    title: str
    how: str = ""
    main: bool = False
    share: bool = False

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Metric:
        """The metric that a table of `metrics.toml` describes."""
        return cls(**{**record, "how": " ".join(record.get("how", "").split())})


@dataclasses.dataclass(frozen=True)
class Group:
    """Metrics about one thing.

    Attributes:
      title: its heading.
      metrics: in the order in which they are shown.
    """

    title: str
    metrics: tuple[Metric, ...]


_TABLE = tomllib.loads(
    importlib.resources.files("gailfe_jax.report").joinpath("metrics.toml").read_text(encoding="utf-8")
)
JUDGED = tuple(Metric.of(record) for record in _TABLE["judged"])
"""What a policy is judged by."""
GROUPS = tuple(Group(group["title"], tuple(map(Metric.of, group["metric"]))) for group in _TABLE["group"])
LEFT_OUT = ("expert_normalised", "stopped", "diverged")
"""What is on the page in another form."""
OTHERS = "Others"


def grouped(names: Iterable[str], judged: str) -> list[Group]:
    """The metrics that there are, in groups; unknown ones come last, by their own names."""
    left = {name for name in names if name not in LEFT_OUT and name != judged}
    found = []
    for group in GROUPS:
        held = tuple(metric for metric in group.metrics if metric.name in left)
        left -= {metric.name for metric in held}
        if held:
            found.append(Group(group.title, held))
    left -= {metric.name for metric in JUDGED}
    if left:
        found.append(Group(OTHERS, tuple(Metric(name, name) for name in sorted(left))))
    return found


def judged_metric(name: str) -> Metric:
    """The metric that a policy is judged by: one of `JUDGED`, or another one."""
    known = [*JUDGED, *(metric for group in GROUPS for metric in group.metrics)]
    return next((metric for metric in known if metric.name == name), Metric(name, name))
