"""Learning curves, with bands over seeds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
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
    shown_return: float | None = None,
    ylabel: str = "return",
    per_seed: bool = False,
    confidence: float = 0.95,
) -> None:
    """Draws the interquartile mean over seeds of each curve, with its bootstrap band; the legend says how many seeds.

    Args:
      curves: label to `(steps [k], values [seeds, k])`; a method keeps its colour by its place.
      path: file to write (png, pdf or svg), its folder made if needed.
      title: over the axes.
      expert_return: a dashed horizontal line, where given.
      shown_return: a dotted one at the mean return of the demonstrations, where given.
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
        shown_returns={title: shown_return} if shown_return is not None else None,
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
    shown_returns: Mapping[str, float] | None = None,
    xlabel: str = "environment steps per seed",
    ylabel: str = "return",
    per_seed: bool = False,
    confidence: float = 0.95,
    columns: int = 3,
) -> None:
    """`learning_curves` with one panel per task and one legend for all.

    A panel holds `style.MOST` curves; of more there are several panels. The axis of values begins at 0 where nothing
    that is drawn is negative.

    Args:
      panels: panel title to its curves; a label has one colour throughout.
      path: file to write.
      title: over the figure.
      expert_returns: panel title to the expert's mean return.
      shown_returns: panel title to the demonstrations' mean return.
      xlabel: what curves run over.
      ylabel, per_seed, confidence: as in `learning_curves`.
      columns: most panels beside each other.

    Raises:
      GailfeError: as `learning_curves`.
    """
    if not panels or not any(panels.values()):
        raise GailfeError("panels: got no curves; expected at least one")
    labels = list(dict.fromkeys(label for curves in panels.values() for label in curves))
    parts = list(_parts(panels))
    most = max(-(-len(curves) // style.MOST) for curves in panels.values())
    # Parts of a panel stand side by side.
    wide = min(max(columns - columns % most, most), len(parts))
    high = -(-len(parts) // wide)
    with mpl.rc_context(style.STYLE):
        size = (6.0, 4.2) if len(parts) == 1 else (3.9 * wide, 3.2 * high + 0.7)
        figure = style.new_figure(size)
        grid = figure.subplots(high, wide, squeeze=False)
        for index, (axes, (name, heading, curves)) in enumerate(zip(grid.flat, parts)):
            _draw_curves(axes, curves, labels, per_seed, confidence)
            for returns, look in ((expert_returns, style.REFERENCE), (shown_returns, style.SHOWN)):
                if returns and name in returns:
                    axes.axhline(returns[name], **look, zorder=1)
                    axes.margins(y=0.08)
            _begin_at_zero(axes)
            axes.set_title(heading)
            axes.set_xlabel(xlabel)
            if index % wide == 0:
                axes.set_ylabel(ylabel)
        for axes in grid.flat[len(parts) :]:
            axes.set_visible(False)
        handles = [style.handle(index, label) for index, label in enumerate(labels)]
        for returns, look, label in (
            (expert_returns, style.REFERENCE, "expert"),
            (shown_returns, style.SHOWN, "demonstrations"),
        ):
            if returns:
                handles.append(Line2D([], [], **look, label=label))
        style.legend(figure, handles, wide if len(parts) > 1 else 2, _about(panels, per_seed, confidence))
        if title:
            figure.suptitle(title, fontsize=12)
        style.save(figure, path)


def _parts(panels: Mapping[str, Curves]) -> Iterator[tuple[str, str, Curves]]:
    """`(panel, heading, curves)`, a panel of too many curves in several parts."""
    for name, curves in panels.items():
        held = list(curves.items())
        parts = [held[i : i + style.MOST] for i in range(0, len(held), style.MOST)] or [held]
        for number, part in enumerate(parts, start=1):
            yield name, name if len(parts) == 1 else f"{name} ({number} of {len(parts)})", dict(part)


def _about(panels: Mapping[str, Curves], per_seed: bool, confidence: float) -> str:
    """What lines and bands are, and of how many seeds."""
    counts = {len(np.asarray(values)) for curves in panels.values() for _, values in curves.values()}
    if counts == {1}:
        return "one seed"
    least, most = min(counts), max(counts)
    seeds = f"{least}" if least == most else f"{least} to {most}"
    thin = ", thin lines: each seed" if per_seed else ""
    return f"line: IQM of {seeds} seeds, band: its {100 * confidence:g}% bootstrap interval{thin}"


def _begin_at_zero(axes: Axes) -> None:
    """Lets the axis of values begin at 0 where nothing that is drawn is negative."""
    drawn = [np.asarray(line.get_ydata(), np.float64) for line in axes.get_lines()]
    vertices = [np.asarray(path.vertices, np.float64) for band in axes.collections for path in band.get_paths()]
    drawn += [points[:, 1] for points in vertices if len(points)]
    if all(np.nanmin(values, initial=0.0) >= 0 for values in drawn):
        most = max(np.nanmax(values, initial=0.0) for values in drawn)
        # Where all that is drawn lies close together, the room above it is as small as the room below was.
        axes.set_ylim(0, max(axes.get_ylim()[1], 1.06 * most))


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
