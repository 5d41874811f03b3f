"""Measurements over orders of magnitude, on logarithmic axes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.ticker import FuncFormatter, LogFormatter

from gailfe_jax.analysis.plots import style
from gailfe_jax.errors import GailfeError


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
    with mpl.rc_context(style.STYLE):
        figure = style.new_figure((6.0, 0.6 + 2.5 * len(panels)))
        grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (ylabel, curves) in zip(grid, panels.items()):
            for place, (label, (x, y)) in enumerate(curves.items()):
                colour, dash = style.look(place)
                axes.plot(x, y, color=colour, linestyle=dash, linewidth=1.6, marker="o", markersize=4, label=label)
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(style.number))
            axes.yaxis.set_major_formatter(FuncFormatter(style.count))
            axes.yaxis.set_minor_formatter(_MinorCounts(minor_thresholds=(1, 0.5)))
            axes.set_ylabel(ylabel)
            axes.grid()
            if mark is not None:
                axes.axvline(mark, **style.REFERENCE, zorder=1, label=mark_label)
            axes.legend()
        grid[-1].set_xlabel(xlabel)
        figure.suptitle(title, fontsize=11)
        style.save(figure, path)


class _MinorCounts(LogFormatter):
    """Names as many minor ticks as matplotlib would, but as `style.count` does."""

    def __call__(self, x: float, pos: Any = None) -> str:
        return style.count(x) if super().__call__(x, pos) else ""
