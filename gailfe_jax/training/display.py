"""Live progress on a terminal, and plain lines elsewhere."""

from __future__ import annotations

import collections
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from gailfe_jax.analysis.metrics import COLUMNS

# Where there is a return, a terminal has no room for its length.
_WITHOUT_RETURN = ("length_mean",)
_SHOWN_EVALUATIONS = 8
_FRAMES = 4  # A second, while a phase has nothing to show but that it goes on.


class Display:
    """Table and bar on a terminal, which stay live; elsewhere one line for each evaluation.

    Args:
      console: terminal to write to.
      title: heading.
      num_seeds: `S`.
      total_steps: environment steps of each seed in the whole run.
    """

    def __init__(self, console: Console, title: str, num_seeds: int, total_steps: int) -> None:
        self.console = console
        self._title = title
        self._num_seeds = num_seeds
        self._total = max(int(total_steps), 1)
        self._rows: collections.deque[tuple[int, dict[str, str]]] = collections.deque(maxlen=_SHOWN_EVALUATIONS)
        self._step = 0
        self._samples: collections.deque[tuple[float, int]] = collections.deque(maxlen=30)
        self._waiting_for_compilation = True
        self._training_rate: float | None = None
        self._overall_rate = math.nan
        self._live: Live | None = None
        self._phase: tuple[_Phase, Live] | None = None
        self._doctor = ""
        self._is_live = console.is_terminal and not console.is_dumb_terminal
        self.start_from(0)

    def start_from(self, step: int) -> None:
        """Measures the pace anew, from `step` on."""
        self._step = step
        self._samples.clear()
        self._samples.append((time.monotonic(), step))
        self._waiting_for_compilation = True

    def phase(self, text: str) -> None:
        """Says what is being done that takes a while, such as compiling; on a terminal with the time that it takes."""
        self.end_phase()
        if not self._is_live:
            self.console.print(f"{text} ...", markup=False, highlight=False, soft_wrap=True)
            return
        shown = _Phase(text)
        # What compiles holds this thread: the seconds are counted by another one.
        self._phase = shown, Live(shown, console=self.console, refresh_per_second=_FRAMES, transient=True)
        self._phase[1].start(refresh=True)

    def end_phase(self) -> None:
        """Leaves a line in the place of a phase that goes on."""
        phase, self._phase = self._phase, None
        if phase is not None:
            phase[1].stop()
            self.console.print(phase[0].line, markup=False, highlight=False, soft_wrap=True)

    def progress(self, step: int) -> None:
        """Moves to `step` between evaluations."""
        step = int(step)
        if step > self._samples[-1][1]:
            self._samples.append((time.monotonic(), step))
            # The first stretch holds the compilation and would understate the speed of all that follow.
            if self._waiting_for_compilation and len(self._samples) == 3:
                self._samples.popleft()
                self._waiting_for_compilation = False
        self._step = step
        self.end_phase()
        self._refresh()

    def evaluation(self, step: int, values: Mapping[str, np.ndarray], doctor: str = "") -> None:
        """Shows an evaluation: metrics `[S]`, and a word of the doctor."""
        if "steps_per_second" in values:
            self._training_rate = mean(values["steps_per_second"])
        if "steps_per_second_overall" in values:
            self._overall_rate = mean(values["steps_per_second_overall"]) / self._num_seeds
        self._doctor = doctor
        self.progress(step)
        cells = {name: _cell(name, values[name]) for name in COLUMNS if name in values}
        if "return_mean" in cells:
            cells = {name: cell for name, cell in cells.items() if name not in _WITHOUT_RETURN}
        self._rows.append((int(step), cells))
        if self._is_live:
            self._refresh()
            return
        shown = [f"{COLUMNS[name]} {cell}" for name, cell in cells.items()]
        line = [f"{100 * step / self._total:5.1f}%", f"step {int(step):,} of {self._total:,}", *shown, *self._pace()]
        line += [f"doctor: {doctor}"] if doctor else []
        self.console.print(f"{self._title}: {'  '.join(line)}", markup=False, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """Ends the live display; what was shown last stays."""
        self.end_phase()
        if self._live is not None:
            self._live.update(self._render(), refresh=True)
            self._live.stop()
            self._live = None

    def _refresh(self) -> None:
        if not self._is_live:
            return
        if self._live is None:
            self._live = Live(console=self.console, auto_refresh=False, transient=False)
            self._live.start()
        self._live.update(self._render(), refresh=True)

    def _rate(self) -> float | None:
        """Steps of each seed per second of wall time, evaluations included."""
        # Until there is a stretch without compilation, the run's own measure, which leaves it out.
        if self._waiting_for_compilation and self._overall_rate > 0:
            return self._overall_rate
        (start, first), (end, last) = self._samples[0], self._samples[-1]
        return (last - first) / (end - start) if last > first and end > start else None

    def _pace(self) -> list[str]:
        rate = self._rate()
        if rate is None:
            return []
        left = max(self._total - self._step, 0) / rate
        alone, shown = self._training_rate, rate
        training = f" ({alone:,.0f} in training alone)" if alone is not None and math.isfinite(alone) else ""
        # Both of the whole run: that of the last minutes may be faster than training was on the whole.
        if training and self._overall_rate > 0:
            shown = self._overall_rate
        words = f"{shown * self._num_seeds:,.0f} steps/s{training}"
        return [words, f"{duration(left)} left" if left else "done"]

    def _render(self) -> Group:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        names = [name for name in COLUMNS if any(name in cells for _, cells in self._rows)]
        table.add_column("step", justify="right")
        for name in names:
            table.add_column(COLUMNS[name], justify="right")
        for index, (step, cells) in enumerate(self._rows):
            style = "" if index == len(self._rows) - 1 else "dim"
            table.add_row(f"{step:,}", *(cells.get(name, "") for name in names), style=style)
        share = min(self._step / self._total, 1.0)
        seeds = f" x {self._num_seeds} seeds" if self._num_seeds > 1 else ""
        # On a narrow terminal the end is cut: what the table shows anyway.
        parts = [f"{100 * share:.0f}%", *self._pace(), f"{self._step:,} of {self._total:,} steps{seeds}"]
        bar = Table.grid(padding=(0, 2, 0, 0))
        bar.add_row(ProgressBar(total=1.0, completed=share, width=16), Text("  ".join(parts), no_wrap=True))
        # Above the table, which may be narrower.
        held: list[Any] = [Text(self._title, style="bold"), *([table] if self._rows else []), bar]
        if self._doctor:
            held.append(Text(f"doctor: {self._doctor}", style="dim"))
        return Group(*held)


class _Phase:
    """What is being done, and for how long already."""

    def __init__(self, text: str) -> None:
        self._text, self._began = text, time.perf_counter()
        self._spinner = Spinner("dots")

    @property
    def line(self) -> str:
        """What it is, and the time that it has taken."""
        return f"{self._text}: {duration(time.perf_counter() - self._began)}"

    def __rich__(self) -> Table:
        row = Table.grid(padding=(0, 1, 0, 0))
        row.add_row(self._spinner, Text(self.line, no_wrap=True))
        return row


def mean(values: np.ndarray) -> float:
    """The mean over the seeds that have a number; nan without any."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else math.nan


def _cell(name: str, values: np.ndarray) -> str:
    middle = mean(values)
    if not math.isfinite(middle):
        return "-"
    if name == "return_mean":
        spread = f" ± {np.nanstd(values):,.0f}" if len(values) > 1 else ""
        return f"{middle:,.0f}{spread}"
    if name in ("failures_in_buffer", "length_mean"):
        return f"{middle:,.0f}"
    return f"{middle:.3f}" if name == "multiplier" else f"{middle:.2f}"


def duration(seconds: float) -> str:
    """Seconds as a reader says them: 5s, 2m05s, 2h03m."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"
