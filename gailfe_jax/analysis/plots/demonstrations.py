"""What is in a demonstration file: how long its episodes are, what they earned, and where its numbers lie."""

from __future__ import annotations

import os
from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import MaxNLocator

from gailfe_jax.analysis.plots import style
from gailfe_jax.data.trajectories import Trajectories
from gailfe_jax.errors import GailfeError

_SHARES = (0.0, 0.05, 0.5, 0.95, 1.0)


def demonstrations_picture(
    parts: Mapping[str, Trajectories],
    path: str | os.PathLike[str],
    *,
    title: str,
    bounds: tuple[np.ndarray, np.ndarray] | None = None,
    limit: int | None = None,
) -> None:
    """Draws lengths, returns, and the ranges of observations and actions of each part.

    A line reaches from the least to the greatest number, a bar from the 5th to the 95th percentile, and a dot marks the
    median. Where no rewards were recorded, lengths alone are drawn.

    Args:
      parts: label to trajectories.
      path: file to write.
      title: over all.
      bounds: `(low, high)` of the actions, one number each or one per dimension.
      limit: the environment's time limit.

    Raises:
      GailfeError: there are no trajectories.
    """
    parts = {label: part for label, part in parts.items() if part.num_trajectories}
    if not parts:
        raise GailfeError("parts: got no trajectories; expected one or more")
    with mpl.rc_context(style.STYLE):
        figure = style.new_figure((10.5, 6.4))
        figure.suptitle(title)
        (lengths, returns), (obs, action) = figure.subplots(2, 2)
        for place, part in enumerate(parts.values()):
            colour, _ = style.look(place)
            order = np.argsort(part.lengths, kind="stable")
            lengths.plot(np.arange(1, len(order) + 1), part.lengths[order], ".-", color=colour, linewidth=1)
            if part.reward is not None:
                returns.scatter(part.lengths, part.returns, s=14, color=colour, alpha=0.7, edgecolors="none")
            shift = 0.36 * (place - (len(parts) - 1) / 2)
            for axes, rows in ((obs, part.obs), (action, part.action)):
                _ranges(axes, rows, shift, colour)
        if limit is not None:
            lengths.axhline(limit, **style.REFERENCE)
        lengths.set(xlabel="episode, by its length", ylabel="steps", ylim=(0, None), title="lengths")
        returns.set(xlabel="steps", ylabel="return", title="returns")
        if all(part.reward is None for part in parts.values()):
            returns.text(0.5, 0.5, "no rewards recorded", ha="center", va="center", transform=returns.transAxes)
        if not any(part.acted for part in parts.values()):
            action.text(0.5, 0.5, "no actions recorded", ha="center", va="center", transform=action.transAxes)
        obs.set(
            xlabel="number of the observation", ylabel="range (symmetric log)", yscale="symlog", title="observations"
        )
        action.set(xlabel="number of the action", ylabel="range", title="actions, and their bounds")
        if bounds is not None:
            for bound in bounds:
                for column, value in enumerate(np.broadcast_to(bound, next(iter(parts.values())).action.shape[1:])):
                    if np.isfinite(value):
                        action.plot([column - 0.45, column + 0.45], [value, value], **style.REFERENCE)
        for axes in (lengths, obs, action):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes in (lengths, returns, obs, action):
            axes.grid()
        style.legend(figure, [style.handle(place, label) for place, label in enumerate(parts)], 2)
        style.save(figure, path)


def _ranges(axes, rows: np.ndarray, shift: float, colour: str) -> None:
    # What is not finite cannot be drawn; the words say that it is there.
    shown = np.where(np.isfinite(rows), rows, np.nan)
    for column in np.flatnonzero(np.isfinite(rows).any(axis=0)):
        least, low, middle, high, most = np.nanquantile(shown[:, column], _SHARES)
        x = column + shift
        axes.plot([x, x], [least, most], color=colour, linewidth=1)
        axes.plot([x, x], [low, high], color=colour, linewidth=5, alpha=0.5, solid_capstyle="butt")
        axes.plot([x], [middle], ".", color=colour, markersize=5)
