"""How all figures look: colours, numbers on axes, legends, and how a picture becomes a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gailfe_jax.errors import GailfeError
from gailfe_jax.io.atomic import replacing

# Okabe and Ito's colours, told apart under the common kinds of colour blindness; dashes repeat the distinction in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES: Any = ("-", "--", "-.", ":")
REFERENCE_COLOUR = "#555555"
REFERENCE: Any = {"color": REFERENCE_COLOUR, "linewidth": 1.1, "linestyle": (0, (5, 3))}
"""Of a line to compare with: an expert's return, a diagonal, a knee."""
SHOWN: Any = {"color": REFERENCE_COLOUR, "linewidth": 1.1, "linestyle": (0, (1, 2))}
"""Of the line that says what was demonstrated."""
MOST = 6
"""Series that a panel holds at most; of more nobody finds one again in a legend."""
STYLE: Any = {
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
"""Settings of matplotlib, for `matplotlib.rc_context`."""


def new_figure(size: tuple[float, float]) -> Figure:
    """An empty figure of `size`, in inches."""
    # Without pyplot nothing is registered globally, no display is asked for, and the figure is freed when dropped.
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def look(place: int) -> tuple[str, Any]:
    """Colour and dashes of what stands at `place` among those compared."""
    return COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)]


def handle(place: int, label: str) -> Line2D:
    """What a legend shows of the line at `place`."""
    colour, dash = look(place)
    return Line2D([], [], color=colour, linestyle=dash, linewidth=1.8, label=label)


def legend(figure: Figure, handles: Sequence[Line2D], panels: int, title: str | None = None) -> None:
    """One legend below all of the figure, which is `panels` panels wide, under a `title` that says what is drawn."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, min(len(handles), int(panels * 60 / (longest + 9))))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, handlelength=2.6, title=title, title_fontsize=9
    )


def count(value: float, _: Any = None) -> str:
    """Steps as a reader says them: 250k, 1.5M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.6g}{letter}"
    return f"{value:g}"


def number(value: float, _: Any = None) -> str:
    """A value as a reader says it: 0.5, 1,500."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes the figure, whole or not at all; the folder is made if needed. Beside a png there is the same as svg.

    Raises:
      GailfeError: the file name's ending is no format that can be drawn.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(figure, path)
    if path.suffix == ".png":
        _write(figure, path.with_suffix(".svg"))


def _write(figure: Figure, path: Path) -> None:
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(path.suffix[1:])
    # Many panels side by side are looked at from further away, and a picture stays a light file.
    dpi = 200 if max(figure.get_size_inches()) <= 12 else 110
    try:
        with replacing(path, suffix=path.suffix) as draft:
            figure.savefig(draft, dpi=dpi, facecolor="white", metadata=metadata)
    except ValueError as error:
        raise GailfeError(f"{path}: {error}; expected a name ending in .png, .pdf or .svg") from None
