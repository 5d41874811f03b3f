"""The tables of the page: results, settings, and where it all comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gailfe_jax.analysis.statistics import Interval, bootstrap_interval
from gailfe_jax.report.charts import TaskPart, final_interval
from gailfe_jax.report.health import WELL, Examined, seeds_in_words, steps_in_words
from gailfe_jax.report.read import Series
from gailfe_jax.web.markup import Markup, join, table, tag

_MOST_COLUMNS = 6
"""Series that stand side by side in a table of settings; where there are more, each has a row."""
_SAME = (
    *("run.quiet", "run.wandb", "run.mlflow", "run.tensorboard", "run.diagnostics_every", "run.keep"),
    *("run.checkpoint_seconds", "run.film"),
)
"""What does not change a result."""


def results(part: TaskPart) -> Markup:
    """How each method ended, beside what it is compared with."""
    references = part.references
    shares = any("expert" in series.references for series in part.series) and part.judged.name == "return_mean"
    fell = next((name for name in ("falls", "train_falls") if any(name in s.curves for s in part.series)), None)
    fresh = any(series.evaluation for series in part.series)
    header = ["Method", "Seeds", "Steps", f"Final {part.judged.title.lower()} [95%]", "Mean over training [95%]"]
    header += ["Share of the expert"] if shares else []
    header += ["Fresh episodes"] if fresh else []
    header += [] if fell is None else ["Falls" if fell == "falls" else "Falls while training"]
    rows = []
    for series in part.series:
        interval, lost = final_interval(series, part.judged.name)
        steps = f"{series.curves[part.judged.name][0][-1]:,.0f}" if part.judged.name in series.curves else "-"
        count = f"{len(series.seeds)}" + (f" ({lost} diverged)" if lost else "")
        row: list[Any] = [series.label, count, steps, _interval(interval), _interval(_mean_over_training(series, part))]
        if shares:
            expert = series.references.get("expert", 0.0)
            row.append(f"{interval.estimate / expert:.2f}" if interval is not None and expert > 0 else "-")
        if fresh:
            row.append(_fresh(series))
        if fell is not None:
            row.append(f"{np.nanmean(series.curves[fell][1][:, -1]):.0%}" if _has(series, fell) else "-")
        rows.append(row)
    for name, value in references.items():
        share = [f"{value / references['expert']:.2f}" if references.get("expert", 0) > 0 else "-"] if shares else []
        blank = [*(["-"] if fresh else []), *([] if fell is None else ["-"])]
        rows.append([tag("em", name), "-", "-", _number(value), "-", *share, *blank])
    return tag("div", table(header, rows, f"How each ended on {part.task}"), class_="results")


def differing(found: Sequence[Series]) -> Markup:
    """The settings in which the series differ."""
    if len(found) < 2:
        return tag("p", "There is one series, so nothing differs.")
    names = [name for name in _setting_names(found) if len({series.settings.get(name) for series in found}) > 1]
    names = [name for name in names if name not in _SAME]
    if not names:
        return tag("p", "All settings are the same.")
    if len(found) <= _MOST_COLUMNS:
        rows = [[tag("code", name), *(series.settings.get(name, "-") for series in found)] for name in names]
        return table(["Setting", *(series.label for series in found)], rows, "Settings that differ")
    rows = [[series.label, *(series.settings.get(name, "-") for name in names)] for series in found]
    return table(["Method", *(tag("code", name) for name in names)], rows, "Settings that differ")


def settings(series: Series) -> Markup:
    """All settings of a series."""
    rows = [[tag("code", name), value] for name, value in series.settings.items()]
    return table(["Setting", "Value"], rows, f"Settings of {series.label}")


def findings(examined: Examined, label: str) -> Markup:
    """What stands out in a run."""
    if not examined.findings:
        return tag("p", f"{(examined.note or WELL).capitalize()}.")
    rows = [
        [
            f"{finding.title.capitalize()} ({finding.severity})",
            f"{seeds_in_words(finding, examined.seeds)}, {steps_in_words(finding)}",
            finding.seen,
            finding.attempt,
        ]
        for finding in examined.findings
    ]
    return table(["Finding", "Where", "What is seen", "What to try"], rows, f"What stands out in {label}")


def facts(found: Sequence[Series]) -> Markup:
    """Where the series come from: once where all say the same."""
    names = list(dict.fromkeys(name for series in found for name in series.facts))
    same = [name for name in names if len({series.facts.get(name) for series in found}) == 1]
    parts = [_facts(same, found[0], "Of all of them" if len(found) > 1 else f"Of {found[0].label}")] if same else []
    others = [name for name in names if name not in same]
    apart = [
        tag("details", tag("summary", series.label), _facts(others, series, f"Of {series.label}"))
        for series in (found if others else ())
    ]
    return join(*parts, *apart)


def _facts(names: Sequence[str], series: Series, caption: str) -> Markup:
    return table(
        ["What", "Value"],
        [[name, series.facts[name]] for name in names if name in series.facts],
        f"Provenance. {caption}",
    )


def _setting_names(found: Sequence[Series]) -> list[str]:
    return list(dict.fromkeys(name for series in found for name in series.settings))


def _mean_over_training(series: Series, part: TaskPart) -> Interval | None:
    if part.judged.name not in series.curves:
        return None
    steps, values = series.curves[part.judged.name]
    values = values[:, steps > 0]  # As summary.json has it: what was there before training is not of it.
    whole = values[np.isfinite(values).all(axis=1)]
    return bootstrap_interval(whole.mean(axis=1)) if len(whole) else None


def _fresh(series: Series) -> str:
    if not series.evaluation:
        return "-"
    means = np.array([mean for mean, _ in series.evaluation.values()])
    episodes = next(iter(series.evaluation.values()))[1]
    if not np.isfinite(means).all():
        return "-"
    return f"{_interval(bootstrap_interval(means))} over {episodes} each"


def _has(series: Series, name: str) -> bool:
    return name in series.curves and bool(np.isfinite(series.curves[name][1][:, -1]).any())


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    return f"{_number(interval.estimate)} [{_number(interval.low)}, {_number(interval.high)}]"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
