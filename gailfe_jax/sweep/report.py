"""What a sweep found: its tidy table, the comparison of its settings, and the figures."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import rich.box
from rich.console import Console
from rich.table import Table

from gailfe_jax.analysis.plots import bar_intervals, learning_curve_panels
from gailfe_jax.analysis.plots.style import MOST
from gailfe_jax.analysis.statistics import Interval, probability_of_improvement
from gailfe_jax.config.values import show_value
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.atomic import write_text_atomic
from gailfe_jax.sweep.space import Point
from gailfe_jax.training.run_folder import JUDGED_BY

_SHOWN_CURVES = MOST
_SHOWN_ROWS = 30
_LABEL = 48  # Letters of a setting's name that a figure has room for.


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a sweep says of one setting.

    Attributes:
      number: of the setting.
      setting: its values.
      returns: `[seeds, k]` deterministic returns over training.
      steps: `[k]` environment steps of each seed.
      diverged: seeds whose training diverged; no statistic is taken of a setting that has any.
      expert_return: by which returns are normalised, where known.
      final: interquartile mean over seeds of the last evaluation's return, with its 95% bootstrap interval.
      mean: the same of the mean over all evaluations: how fast it learned.
      reference: number of the setting it is compared with, the task's best or the baseline; None for that one itself.
      improvement: probability that a random seed of it ends better than one of the reference.
      judged_by: the metric whose values stand in `returns`: on a task without a reward it is no return.
    """

    number: int
    setting: Point
    returns: np.ndarray
    steps: np.ndarray
    diverged: int
    expert_return: float | None
    final: Interval | None
    mean: Interval | None
    reference: int | None = None
    improvement: Interval | None = None
    judged_by: str = "return_mean"

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return sign_of(self.judged_by)


def sign_of(metric: str) -> int:
    """1 where more of it is better, -1 for a distance."""
    return -1 if metric == "demo_distance" else 1


def compare(summaries: Sequence[Summary], baseline: int | None = None) -> list[Summary]:
    """The best final value first, each beside its reference: the baseline on its task, else the best of its task."""
    ranked = sorted(summaries, key=lambda s: -math.inf if s.final is None else s.sign * s.final.estimate, reverse=True)
    best = {s.setting.setup.environment.env: s for s in reversed(ranked) if s.final is not None}
    best |= {s.setting.setup.environment.env: s for s in ranked if s.number == baseline}
    compared = []
    for summary in ranked:
        other = best.get(summary.setting.setup.environment.env)
        if other is not None and other is not summary and summary.final is not None and other.final is not None:
            sign = summary.sign
            chance = probability_of_improvement(sign * summary.returns[:, -1], sign * other.returns[:, -1])
            summary = dataclasses.replace(summary, reference=other.number, improvement=chance)
        compared.append(summary)
    return compared


def write_rows(folder: pathlib.Path, rows: list[dict[str, Any]], parquet: bool) -> None:
    """The tidy table: one row per setting, seed and evaluation; the same columns in all, empty where not measured."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    tidy = [{name: _cell(row.get(name)) for name in columns} for row in rows]
    write_text_atomic(folder / "sweep.csv", _csv(columns, tidy))
    write_text_atomic(folder / "sweep.jsonl", "".join(json.dumps(row, allow_nan=False) + "\n" for row in tidy))
    if parquet:
        pyarrow = find_pyarrow()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(tidy), folder / "sweep.parquet")


def _cell(value: Any) -> Any:
    if isinstance(value, tuple):
        return show_value(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        cells = (row.get(name) for name in columns)
        writer.writerow(["" if cell is None else show_value(cell) for cell in cells])
    return text.getvalue()


def find_pyarrow() -> Any:
    """The module.

    Raises:
      GailfeError: it is not installed.
    """
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]
        import pyarrow.parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise GailfeError("parquet: pyarrow is not installed; expected `pip install pyarrow`") from None
    return pyarrow


def write_summaries(folder: pathlib.Path, summaries: list[Summary], names: list[str], total: int) -> None:
    """One row per setting, for programs (summary.csv) and for people (summary.md); `names` are the fields swept."""
    rows = []
    for s in summaries:
        row: dict[str, Any] = {"setting": s.number} | {name: _cell(s.setting.get(name)) for name in names}
        row |= {"env": s.setting.setup.environment.env, "algo": s.setting.setup.method.name, "seeds": len(s.returns)}
        row |= {"diverged": s.diverged, "steps": int(s.steps[-1]), "expert_return": s.expert_return}
        for name, interval in (("final", s.final), ("mean", s.mean), ("improvement", s.improvement)):
            ends = (None,) * 3 if interval is None else (interval.estimate, interval.low, interval.high)
            row |= dict(zip((f"{name}_iqm" if name != "improvement" else name, f"{name}_low", f"{name}_high"), ends))
        rows.append(row | {"reference": s.reference})
    write_text_atomic(folder / "summary.csv", _csv(list(rows[0]), rows))
    header, cells = _columns(summaries)
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}", *(f"| {' | '.join(row)} |" for row in cells)]
    note = (
        "Interquartile means over seeds with 95% stratified bootstrap intervals, of the deterministic policy. "
        "P(better): that a random seed of the setting ends above one of the setting it names. What is the best "
        "of many is so partly by chance: judge it anew on other seeds."
    )
    done = f"{len(summaries)} of {total} settings are done."
    write_text_atomic(folder / "summary.md", "\n".join([*lines, "", done, note, ""]))


def _columns(summaries: list[Summary], brief: bool = False) -> tuple[list[str], list[list[str]]]:
    """Heading and cells of the table for people; `brief` for a terminal's width."""
    tasks = len({s.setting.setup.environment.env for s in summaries}) > 1
    known = any(s.expert_return for s in summaries)
    seeds = not brief or any(s.diverged for s in summaries)
    header = ["setting", "values", *(["task"] if tasks else []), *(["seeds"] if seeds else [])]
    what = {JUDGED_BY[s.judged_by] for s in summaries}
    header += [f"final {' or '.join(sorted(what))}", "mean over training"]
    header += [*(["final / expert"] if known else []), "P(better)"]
    rows = []
    for s in summaries:
        count = f"{len(s.returns)}" + (f" ({s.diverged} diverged)" if s.diverged else "")
        share = "-" if s.final is None or not s.expert_return else f"{s.final.estimate / s.expert_return:.2f}"
        better = "-"
        if s.improvement is not None:
            chance = f"{s.improvement.estimate:.2f}" if brief else _interval(s.improvement, 2)
            better = f"{chance} over {s.reference}"
        digits = 2 if s.sign < 0 else 0
        row = [
            f"{s.number}",
            s.setting.label,
            *([s.setting.setup.environment.env] if tasks else []),
            *([count] if seeds else []),
        ]
        rows.append([*row, _interval(s.final, digits), _interval(s.mean, digits), *([share] if known else []), better])
    return header, rows


def _interval(interval: Interval | None, digits: int) -> str:
    if interval is None:
        return "-"
    estimate, low, high = (f"{x:,.{digits}f}" for x in (interval.estimate, interval.low, interval.high))
    return f"{estimate} [{low}, {high}]"


def print_summaries(summaries: list[Summary], total: int) -> None:
    """The table on the terminal; `total` counts the settings that are still to be trained as well."""
    header, rows = _columns(summaries, brief=True)
    table = Table(
        box=rich.box.SIMPLE_HEAD,
        title=f"{len(summaries)} of {total} settings, the best first (IQM, 95% interval)",
    )
    for name, cells in zip(header, zip(*rows)):
        # No value is cut or torn: it is what one would type.
        longest = max(len(word) for cell in cells for word in cell.split()) if name == "values" else None
        table.add_column(name, min_width=longest)
    for row in rows[:_SHOWN_ROWS]:
        table.add_row(*row)
    console = Console()
    console.print(table)
    if len(rows) > _SHOWN_ROWS:
        console.print(f"and {len(rows) - _SHOWN_ROWS} more in summary.md", markup=False, highlight=False)


def draw(folder: pathlib.Path, summaries: list[Summary]) -> None:
    """Final returns of all settings, a figure per task, and the learning curves of each task's best."""
    whole = [s for s in summaries if s.final is not None]
    tasks = list(dict.fromkeys(s.setting.setup.environment.env for s in whole))
    label: Callable[[Summary], str] = lambda s: (  # noqa: E731
        s.setting.label if len(s.setting.label) <= _LABEL else f"setting {s.number}"
    )
    panels, experts = {}, {}
    for task in tasks:
        of_task = [s for s in whole if s.setting.setup.environment.env == task]
        expert = of_task[0].expert_return
        name = "final" if len(tasks) == 1 else "final-" + re.sub(r"[^\w.-]", "_", task)
        bar_intervals(
            {label(s): s.returns[:, -1] for s in of_task[:_SHOWN_ROWS]},
            folder / f"{name}.png",
            title=task,
            xlabel=f"final {JUDGED_BY[of_task[0].judged_by]}",
            reference=expert,
        )
        title = task if len(of_task) <= _SHOWN_CURVES else f"{task}, the best {_SHOWN_CURVES} of {len(of_task)}"
        panels[title] = {label(s): (s.steps, s.returns) for s in of_task[:_SHOWN_CURVES]}
        if expert is not None:
            experts[title] = expert
    if panels:
        what = JUDGED_BY[whole[0].judged_by]
        learning_curve_panels(panels, folder / "curves.png", expert_returns=experts or None, ylabel=what)
