"""Figures: learning curves and final scores, with intervals over seeds. The file's suffix decides the format."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogFormatter, MaxNLocator

from gailfe_jax.analysis.statistics import bootstrap_band, bootstrap_interval
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.atomic import replacing

Curves: TypeAlias = Mapping[str, tuple[Any, Any]]
"""Label to `(steps [k], values [seeds, k])`."""

# Okabe and Ito's colours, told apart under the common kinds of colour blindness; dashes repeat the distinction in grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_FEW_POINTS = 8  # Of a curve, which then are shown themselves too.
_DASHES: Any = ("-", "--", "-.", ":")
_EXPERT_COLOUR = "#555555"
_STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.hashsalt": "gailfe",
    "pdf.fonttype": 42,
}


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
    with mpl.rc_context(_STYLE):
        size = (6.0, 4.0) if len(panels) == 1 else (3.9 * wide, 3.2 * high + 0.5)
        figure = _figure(size)
        grid = figure.subplots(high, wide, squeeze=False)
        for index, (axes, (name, curves)) in enumerate(zip(grid.flat, panels.items())):
            _draw_curves(axes, curves, labels, per_seed, confidence)
            expert = (expert_returns or {}).get(name)
            if expert is not None:
                axes.axhline(expert, color=_EXPERT_COLOUR, linewidth=1.1, linestyle=(0, (5, 3)), zorder=1)
                axes.margins(y=0.08)
            axes.set_title(name)
            axes.set_xlabel(xlabel)
            if index % wide == 0:
                axes.set_ylabel(ylabel)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        handles = [_handle(index, label) for index, label in enumerate(labels)]
        if expert_returns:
            handles.append(Line2D([], [], color=_EXPERT_COLOUR, linewidth=1.1, linestyle=(0, (5, 3)), label="expert"))
        _legend(figure, handles, wide if len(panels) > 1 else 2)
        if title:
            figure.suptitle(title, fontsize=12)
        _save(figure, path)


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
    with mpl.rc_context(_STYLE):
        figure = _figure((6.4, 1.5 + 0.46 * len(scores)))
        axes = figure.subplots()
        for row, values in enumerate(scores.values()):
            interval = bootstrap_interval(values, confidence=confidence)
            colour = _COLOURS[row % len(_COLOURS)]
            points = np.asarray(values, np.float64)
            points = points if points.ndim == 1 else points.mean(axis=1)
            # Spread evenly about the row: unlike random jitter, the same data give the same picture.
            spread = np.linspace(-0.16, 0.16, len(points)) if len(points) > 1 else np.zeros(1)
            axes.scatter(points, row + spread, s=11, color=colour, alpha=0.35, linewidths=0, zorder=2)
            axes.plot([interval.low, interval.high], [row, row], color=colour, linewidth=2.6, zorder=3)
            axes.scatter([interval.estimate], [row], s=58, color=colour, edgecolors="white", linewidths=1.1, zorder=4)
        if reference is not None:
            axes.axvline(reference, color=_EXPERT_COLOUR, linewidth=1.1, linestyle=(0, (5, 3)), zorder=1)
            axes.annotate(
                reference_label,
                (reference, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(-4, -2),
                textcoords="offset points",
                ha="right",
                va="top",
                fontsize=9,
                color=_EXPERT_COLOUR,
            )
        axes.set_yticks(range(len(scores)), [_with_seeds(label, values) for label, values in scores.items()])
        axes.set_ylim(len(scores) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.xaxis.set_major_formatter(FuncFormatter(_count))
        # Over the whole figure, both: long labels leave the axes too narrow for them.
        figure.supxlabel(f"{xlabel} (dot: IQM, bar: {100 * confidence:g}% interval)", fontsize=10)
        figure.suptitle(title)
        _save(figure, path)


def reliability_diagram(
    curves: Mapping[str, Sequence[Mapping[str, float]]],
    path: str | os.PathLike[str],
    *,
    title: str,
) -> None:
    """Draws how often what was given a probability was so, against that probability; the diagonal is honest.

    Args:
      curves: label to bins, each with its mean `probability` and the `share` of positives.
      path: file to write.
      title: over the axes.

    Raises:
      GailfeError: there are no bins.
    """
    if not curves or not all(curves.values()):
        raise GailfeError("curves: got no bins; expected at least one for each label")
    with mpl.rc_context(_STYLE):
        figure = _figure((4.6, 4.6))
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=_EXPERT_COLOUR, linewidth=1.1, linestyle=(0, (5, 3)), zorder=1)
        for place, bins in enumerate(curves.values()):
            x, y = (np.array([b[name] for b in bins]) for name in ("probability", "share"))
            colour, dash = _look(place)
            axes.plot(x, y, color=colour, linestyle=dash, linewidth=1.4, zorder=3)
            axes.scatter(x, y, s=30, color=colour, edgecolors="white", zorder=4)
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        axes.set_aspect("equal")
        axes.grid()
        axes.set_xlabel("confidence: probability that the pair is the expert's")
        axes.set_ylabel("share that is")
        axes.set_title(title)
        _legend(figure, [_handle(index, label) for index, label in enumerate(curves)], 1)
        _save(figure, path)


def log_panels(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    path: str | os.PathLike[str],
    *,
    title: str,
    xlabel: str,
    mark: float | None = None,
    mark_label: str = "knee",
) -> None:
    """Draws points joined by lines on logarithmic axes, one panel above the other over the same x.

    Args:
      panels: label of the y axis to its curves, label to `(x [k], y [k])`.
      path: file to write.
      title: over the figure.
      xlabel: of the axis they share.
      mark: a vertical line at this x, where given.
      mark_label: its name.

    Raises:
      GailfeError: there are no curves.
    """
    if not panels or not all(panels.values()):
        raise GailfeError("panels: got no curves; expected at least one in each")
    with mpl.rc_context(_STYLE):
        figure = _figure((6.0, 0.6 + 2.5 * len(panels)))
        grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (ylabel, curves) in zip(grid, panels.items()):
            for place, (label, (x, y)) in enumerate(curves.items()):
                colour, dash = _look(place)
                axes.plot(x, y, color=colour, linestyle=dash, linewidth=1.6, marker="o", markersize=4, label=label)
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(_number))
            axes.yaxis.set_major_formatter(FuncFormatter(_count))
            axes.yaxis.set_minor_formatter(_MinorCounts(minor_thresholds=(1, 0.5)))
            axes.set_ylabel(ylabel)
            axes.grid()
            if mark is not None:
                axes.axvline(
                    mark, color=_EXPERT_COLOUR, linewidth=1.1, linestyle=(0, (5, 3)), zorder=1, label=mark_label
                )
            axes.legend()
        grid[-1].set_xlabel(xlabel)
        figure.suptitle(title, fontsize=11)
        _save(figure, path)


def _figure(size: tuple[float, float]) -> Figure:
    # Without pyplot nothing is registered globally, no display is asked for, and the figure is freed when dropped.
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _draw_curves(axes: Axes, curves: Curves, labels: Sequence[str], per_seed: bool, confidence: float) -> None:
    for label, (steps, values) in curves.items():
        steps, values = np.asarray(steps, np.float64), np.asarray(values, np.float64)
        if steps.ndim != 1 or values.ndim != 2 or values.shape[1] != len(steps) or values.shape[0] == 0:
            raise GailfeError(
                f"{label}: got steps {steps.shape} and values {values.shape}; expected [k] and [seeds, k]"
            )
        place = labels.index(label)
        colour, dash = _look(place)
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
    axes.xaxis.set_major_formatter(FuncFormatter(_count))
    axes.yaxis.set_major_formatter(FuncFormatter(_number))


def _look(place: int) -> tuple[str, Any]:
    return _COLOURS[place % len(_COLOURS)], _DASHES[place % len(_DASHES)]


def _handle(place: int, label: str) -> Line2D:
    colour, dash = _look(place)
    return Line2D([], [], color=colour, linestyle=dash, linewidth=1.8, label=label)


def _legend(figure: Figure, handles: Sequence[Line2D], panels: int) -> None:
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, min(len(handles), int(panels * 60 / (longest + 9))))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=2.6)


def _with_seeds(label: str, values: Any) -> str:
    return f"{label} (n={len(np.asarray(values))})"


def _count(value: float, _: Any = None) -> str:
    """Steps as a reader says them: 250k, 1.5M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.6g}{letter}"
    return f"{value:g}"


class _MinorCounts(LogFormatter):
    """Names as many minor ticks as matplotlib would, but as `_count` does."""

    def __call__(self, x: float, pos: Any = None) -> str:
        return _count(x) if super().__call__(x, pos) else ""


def _number(value: float, _: Any = None) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(path.suffix[1:])
    # Many panels side by side are looked at from further away, and a picture stays a light file.
    dpi = 200 if max(figure.get_size_inches()) <= 12 else 110
    try:
        with replacing(path, suffix=path.suffix) as draft:
            figure.savefig(draft, dpi=dpi, facecolor="white", metadata=metadata)
    except ValueError as error:
        raise GailfeError(f"{path}: {error}; expected a name ending in .png, .pdf or .svg") from None
