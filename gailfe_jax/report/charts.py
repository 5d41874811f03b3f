"""The numbers of the page's charts: curves with bands over seeds, thinned to what a page can hold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gailfe_jax.analysis.metrics import Group, Metric, grouped, judged_metric
from gailfe_jax.analysis.statistics import Interval, bootstrap_band
from gailfe_jax.report.read import Series

MOST_SERIES = 30
"""Of one task that are drawn; all are in the tables."""
_MOST_NUMBERS = 350_000
"""In all charts of a page: about 2.5 MB."""
_DIGITS = 5


@dataclasses.dataclass(frozen=True, eq=False)
class TaskPart:
    """What the page shows of one task.

    Attributes:
      task: its name.
      series: all of them, the best final value first.
      drawn: those that are drawn.
      judged: the metric that policies are judged by.
      groups: the other metrics that there are.
    """

    task: str
    series: list[Series]
    drawn: list[Series]
    judged: Metric
    groups: list[Group]

    @property
    def references(self) -> dict[str, float]:
        """Returns to compare with; of several experts the first one's."""
        found: dict[str, float] = {}
        for series in self.series if self.judged.name == "return_mean" else ():
            for name, value in series.references.items():
                found.setdefault(name, value)
        return found


def by_task(found: Sequence[Series]) -> list[TaskPart]:
    """The series of each task together."""
    parts = []
    for task in dict.fromkeys(series.task for series in found):
        held = [series for series in found if series.task == task]
        judged = judged_metric(held[0].judged)
        held.sort(key=lambda series: _rank(series, judged.name))
        drawn = [series for series in held if series.curves][:MOST_SERIES]
        names = dict.fromkeys(name for series in drawn for name in series.curves)
        parts.append(TaskPart(task, held, drawn, judged, grouped(names, judged.name)))
    return parts


def final_interval(series: Series, metric: str) -> tuple[Interval | None, int]:
    """IQM of the last evaluation with its 95% interval, and of how many seeds the value is no number."""
    if metric not in series.curves:
        return None, 0
    last = series.curves[metric][1][:, -1]
    held = last[np.isfinite(last)]
    if not len(held):
        return None, len(last)
    # By what the charts show: the same draws give the same interval.
    band = bootstrap_band(held[:, None])
    return Interval(float(band.estimate[0]), float(band.low[0]), float(band.high[0])), len(last) - len(held)


def chart_data(parts: Sequence[TaskPart]) -> dict[str, Any]:
    """What the page's script draws, in the types of JSON."""
    # Each curve stands three times as a band and once for each seed.
    total = sum(
        (3 + len(values)) * len(steps)
        for part in parts
        for series in part.drawn
        for steps, values in series.curves.values()
    )
    every = max(1, math.ceil(total / _MOST_NUMBERS))
    return {"tasks": [_task(part, every) for part in parts], "every": every}


def _task(part: TaskPart, every: int) -> dict[str, Any]:
    charts = [_chart(part, part.judged, every, judged=True)]
    charts += [_chart(part, metric, every) for group in part.groups for metric in group.metrics]
    return {
        "name": part.task,
        "series": [{"label": series.label, "seeds": list(series.seeds)} for series in part.drawn],
        "references": [{"label": name, "value": value} for name, value in part.references.items()],
        "charts": charts,
    }


def _chart(part: TaskPart, metric: Metric, every: int, judged: bool = False) -> dict[str, Any]:
    lines = []
    for number, series in enumerate(part.drawn):
        if metric.name not in series.curves:
            continue
        steps, values = series.curves[metric.name]
        kept = _kept(len(steps), every)
        steps, values = steps[kept], values[:, kept]
        band = bootstrap_band(values) if judged else _range(values)
        lines.append(
            {
                "series": number,
                "steps": steps.tolist(),
                "seconds": None if series.seconds is None else _numbers(np.interp(steps, *series.seconds)),
                "mid": _numbers(band.estimate),
                "low": _numbers(band.low),
                "high": _numbers(band.high),
                "seeds": [_numbers(row) for row in values],
                "expert": series.references.get("expert") if judged else None,
            }
        )
    return {"name": metric.name, "title": metric.title, "judged": judged, "share": metric.share, "lines": lines}


def _range(values: np.ndarray) -> Interval:
    """Mean over the seeds that have a number, least and greatest; nan where none has."""
    with np.errstate(invalid="ignore"):
        count = np.isfinite(values).sum(axis=0)
        mean = np.where(count > 0, np.nansum(values, axis=0) / np.maximum(count, 1), np.nan)
        low = np.where(count > 0, np.nanmin(np.where(np.isnan(values), np.inf, values), axis=0), np.nan)
        high = np.where(count > 0, np.nanmax(np.where(np.isnan(values), -np.inf, values), axis=0), np.nan)
    return Interval(mean, low, high)


def _kept(count: int, every: int) -> np.ndarray:
    """Every so manieth of `count` points, the first and the last one."""
    return np.union1d([0], np.arange(count)[(count - 1) % every :: every]) if count else np.arange(0)


def _numbers(values: np.ndarray) -> list[float | None]:
    """Rounded to `_DIGITS` digits; None for what is not finite."""
    return [float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None for value in values.tolist()]


def _rank(series: Series, metric: str) -> float:
    interval, _ = final_interval(series, metric)
    if interval is None:
        return math.inf
    return interval.estimate if metric == "demo_distance" else -interval.estimate
