"""What the benchmarks' reports share: the look of a table, bytes, and steps/s beside the bare engine's."""

from __future__ import annotations

import pathlib
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import rich.box
from rich.console import Console
from rich.table import Table

from gailfe_jax.analysis.plots import bar_intervals

Label = Callable[[dict[str, Any]], str]
"""From a row of a report to what it is called."""


def new_table(title: str, headings: Sequence[str], left: Sequence[str] = ()) -> Table:
    """An empty table; columns are right-aligned but for those named in `left`, whose text is never broken."""
    table = Table(title=title, box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in left else "right", no_wrap=heading in left)
    return table


def mebibytes(count: int | None) -> str:
    """Bytes as a table shows them."""
    return "-" if count is None else f"{count / 2**20:,.0f}" if count >= 10 * 2**20 else f"{count / 2**20:.1f}"


def _title(report: dict[str, Any]) -> tuple[str, str]:
    return report["what"], ", ".join(sorted({_place(row) for row in report["rows"]}))


def _place(row: dict[str, Any]) -> str:
    solver = row.get("solver")
    return f"{row['engine']} ({solver} solver)" if solver else row["engine"]


def show_rates(report: dict[str, Any], label: Label) -> None:
    """Shows steps/s beside the bare engine's as a table, 80 columns wide.

    Args:
      report: rows with `bare_steps_per_second`, `steps_per_second` and `share_of_bare`.
      label: what a row measures.
    """
    what, engines = _title(report)
    headings = ("task", "what", "envs", "bare/s", "ours/s", "ours/bare", "compile")
    table = new_table(f"bench {what}, engine {engines}", headings, left=("task", "what"))
    for row in report["rows"]:
        rates = (f"{row['bare_steps_per_second']:,.0f}", f"{row['steps_per_second']:,.0f}")
        share, compiling = f"{row['share_of_bare']:.2f}", f"{row['compile_seconds']:.1f} s"
        table.add_row(row["env"], label(row), str(row["num_envs"]), *rates, share, compiling)
    Console().print(table)
    print("environment steps per second; bare: the engine alone, as many environments")


def draw_rates(report: dict[str, Any], path: str | pathlib.Path, label: Label, ours: str) -> None:
    """Draws the share of the bare engine's steps/s, every repeat.

    Args:
      report: as for `show_rates`, with `raw_seconds`.
      path: file to write.
      label: what a row measures.
      ours: the field of `raw_seconds` beside `bare`.
    """
    scores = {}
    for row in report["rows"]:
        # What both take per repeat differs, but not from repeat to repeat.
        scale = row["share_of_bare"] / statistics.median(raw["bare"] / raw[ours] for raw in row["raw_seconds"])
        scores[f"{row['env']}, {label(row)}"] = [scale * raw["bare"] / raw[ours] for raw in row["raw_seconds"]]
    what, engines = _title(report)
    bar_intervals(
        scores, path, title=f"bench {what}, {engines}", xlabel="share of the bare engine's steps/s", reference=1.0,
        reference_label="bare engine",
    )  # fmt: skip
