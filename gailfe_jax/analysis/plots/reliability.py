"""How honest a classifier's probabilities are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np

from gailfe_jax.analysis.plots import style
from gailfe_jax.errors import GailfeError


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
    with mpl.rc_context(style.STYLE):
        figure = style.new_figure((4.6, 4.6))
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], **style.REFERENCE, zorder=1)
        for place, bins in enumerate(curves.values()):
            x, y = (np.array([b[name] for b in bins]) for name in ("probability", "share"))
            colour, dash = style.look(place)
            axes.plot(x, y, color=colour, linestyle=dash, linewidth=1.4, zorder=3)
            axes.scatter(x, y, s=30, color=colour, edgecolors="white", zorder=4)
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        axes.set_aspect("equal")
        axes.grid()
        axes.set_xlabel("confidence: probability that the pair is the expert's")
        axes.set_ylabel("share that is")
        axes.set_title(title)
        style.legend(figure, [style.handle(index, label) for index, label in enumerate(curves)], 1)
        style.save(figure, path)
