"""Learning curves, with bands over seeds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from gailfe_jax.analysis.plots import style
from gailfe_jax.analysis.statistics import bootstrap_band
from gailfe_jax.errors import GailfeError

Curves: TypeAlias = Mapping[str, tuple[Any, Any]]
"""Label to `(steps [k], values [seeds, k])`."""

_FEW_POINTS = 8  # Of a curve, which then are shown themselves too.


def learning_curves(
    curves: Curves,
    path: str | os.PathLike[str],
    *,
    title: str,
    expert_return: float | None = None,
    ylabel: str = "return (IQM over seeds)",
    per_seed: bool = False,
    confidence: float = 0.95,
) -> None:
    """Draws the interquartile mean over seeds of each curve, with its bootstrap band.

    Args:
      curves: label to `(steps [k], values [seeds, k])`; a method keeps its colour by its place.
      path: file to write (png, pdf or svg), its folder made if needed.
      title: over the axes.
      expert_return: a dashed horizontal line, where given.
      ylabel: of the values.
      per_seed: thin lines of the single seeds too.
      confidence: of the band, pointwise.

    Raises:
      GailfeError: there are no curves, or one has other shapes.
    """
    learning_curve_panels(
        {title: curves},
        path,
        expert_returns={title: expert_return} if expert_return is not None else None,
        ylabel=ylabel,
        per_seed=per_seed,
        confidence=confidence,
    )


def learning_curve_panels(
    panels: Mapping[str, Curves],
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    expert_returns: Mapping[str, float] | None = None,
    xlabel: str = "environment steps per seed",
    ylabel: str = "return (IQM over seeds)",
    per_seed: bool = False,
    confidence: float = 0.95,
    columns: int = 3,
) -> None:
    """`learning_curves` with one panel per task and one legend for all.

    Args:
      panels: panel title to its curves; a label has one colour throughout.
      path: file to write.
      title: over the figure.
      expert_returns: panel title to the expert's mean return.
      xlabel: what curves run over.
      ylabel, per_seed, confidence: as in `learning_curves`.
      columns: most panels beside each other.

    Raises:
      GailfeError: as `learning_curves`.
    """
    if not panels or not any(panels.values()):
        raise GailfeError("panels: got no curves; expected at least one")
    labels = list(dict.fromkeys(label for curves in panels.values() for label in curves))
    wide = min(columns, len(panels))
    high = -(-len(panels) // wide)
    with mpl.rc_context(style.STYLE):
        size = (6.0, 4.0) if len(panels) == 1 else (3.9 * wide, 3.2 * high + 0.5)
        figure = style.new_figure(size)
        grid = figure.subplots(high, wide, squeeze=False)
        for index, (axes, (name, curves)) in enumerate(zip(grid.flat, panels.items())):
            _draw_curves(axes, curves, labels, per_seed, confidence)
            expert = (expert_returns or {}).get(name)
            if expert is not None:
                axes.axhline(expert, **style.REFERENCE, zorder=1)
                axes.margins(y=0.08)
            axes.set_title(name)
            axes.set_xlabel(xlabel)
            if index % wide == 0:
                axes.set_ylabel(ylabel)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        handles = [style.handle(index, label) for index, label in enumerate(labels)]
        if expert_returns:
            handles.append(Line2D([], [], **style.REFERENCE, label="expert"))
        style.legend(figure, handles, wide if len(panels) > 1 else 2)
        if title:
            figure.suptitle(title, fontsize=12)
        style.save(figure, path)


def _draw_curves(axes: Axes, curves: Curves, labels: Sequence[str], per_seed: bool, confidence: float) -> None:
    for label, (steps, values) in curves.items():
        steps, values = np.asarray(steps, np.float64), np.asarray(values, np.float64)
        if steps.ndim != 1 or values.ndim != 2 or values.shape[1] != len(steps) or values.shape[0] == 0:
            raise GailfeError(
                f"{label}: got steps {steps.shape} and values {values.shape}; expected [k] and [seeds, k]"
            )
        place = labels.index(label)
        colour, dash = style.look(place)
        if per_seed:
            axes.plot(steps, values.T, color=colour, linewidth=0.6, alpha=0.3, zorder=2)
        band = bootstrap_band(values, confidence=confidence)
        if values.shape[0] > 1:
            axes.fill_between(steps, band.low, band.high, color=colour, alpha=0.18, linewidth=0, zorder=3)
        if values.shape[0] > 1 and len(steps) == 1:  # Where a band has no width.
            axes.vlines(steps, band.low, band.high, color=colour, alpha=0.4, zorder=3)
        marker = "o" if len(steps) < _FEW_POINTS else None
        axes.plot(
            steps, band.estimate, color=colour, linestyle=dash, linewidth=1.8, marker=marker, markersize=4,
            zorder=4 + 0.01 * place,
        )  # fmt: skip
    axes.grid(axis="y")
    axes.margins(x=0.02)  # Room for the last marker.
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(style.count))
    axes.yaxis.set_major_formatter(FuncFormatter(style.number))
