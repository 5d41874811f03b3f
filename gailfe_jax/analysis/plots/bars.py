"""Final scores as bars, with intervals over seeds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import FuncFormatter

from gailfe_jax.analysis.plots import style
from gailfe_jax.analysis.statistics import bootstrap_interval
from gailfe_jax.errors import GailfeError


def bar_intervals(
    scores: Mapping[str, Any],
    path: str | os.PathLike[str],
    *,
    title: str,
    xlabel: str = "final return",
    reference: float | None = None,
    reference_label: str = "expert",
    confidence: float = 0.95,
) -> None:
    """Draws final scores, one row per method: each seed, the interquartile mean and its bootstrap interval.

    Args:
      scores: method to `[seeds]` or `[seeds, tasks]` scores.
      path: file to write.
      title: over the axes.
      xlabel: of the scores.
      reference: a dashed vertical line, where given.
      reference_label: its name.
      confidence: of the interval.

    Raises:
      GailfeError: there are no scores, or they are not finite.
    """
    if not scores:
        raise GailfeError("scores: got none; expected at least one method")
    with mpl.rc_context(style.STYLE):
        figure = style.new_figure((6.4, 1.5 + 0.46 * len(scores)))
        axes = figure.subplots()
        for row, values in enumerate(scores.values()):
            interval = bootstrap_interval(values, confidence=confidence)
            colour = style.COLOURS[row % len(style.COLOURS)]
            points = np.asarray(values, np.float64)
            points = points if points.ndim == 1 else points.mean(axis=1)
            # Spread evenly about the row: unlike random jitter, the same data give the same picture.
            spread = np.linspace(-0.16, 0.16, len(points)) if len(points) > 1 else np.zeros(1)
            axes.scatter(points, row + spread, s=11, color=colour, alpha=0.35, linewidths=0, zorder=2)
            axes.plot([interval.low, interval.high], [row, row], color=colour, linewidth=2.6, zorder=3)
            axes.scatter([interval.estimate], [row], s=58, color=colour, edgecolors="white", linewidths=1.1, zorder=4)
        if reference is not None:
            axes.axvline(reference, **style.REFERENCE, zorder=1)
            axes.annotate(
                reference_label,
                (reference, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(-4, -2),
                textcoords="offset points",
                ha="right",
                va="top",
                fontsize=9,
                color=style.REFERENCE_COLOUR,
            )
        least = min(float(np.min(values)) for values in scores.values())
        if min(least, 0.0 if reference is None else reference) >= 0:
            axes.set_xlim(left=0)
        axes.set_yticks(range(len(scores)), [_with_seeds(label, values) for label, values in scores.items()])
        axes.set_ylim(len(scores) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.xaxis.set_major_formatter(FuncFormatter(style.count))
        # Over the whole figure, both: long labels leave the axes too narrow for them.
        figure.supxlabel(f"{xlabel} (dot: IQM, bar: {100 * confidence:g}% interval)", fontsize=10)
        figure.suptitle(title)
        style.save(figure, path)


def _with_seeds(label: str, values: Any) -> str:
    return f"{label} (n={len(np.asarray(values))})"
