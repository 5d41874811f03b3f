"""Records of a run: metrics on disk, TensorBoard, optional Weights & Biases, and live progress on the terminal."""

from __future__ import annotations

import collections
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gailfe_jax.errors import GailfeError
from gailfe_jax.io.atomic import plain, write_text_atomic
from gailfe_jax.io.digests import text_sha256
from gailfe_jax.io.json_text import parse_json

COLUMNS: Mapping[str, str] = {
    "return_mean": "return",
    "expert_normalised": "of expert",
    "length_mean": "length",
    "falls": "falls",
    "demo_distance": "distance",
    "demo_scale": "halves",
    "demo_accuracy": "told apart",
    "discriminator_accuracy": "D accuracy",
    "multiplier": "multiplier",
    "failures_in_buffer": "failures",
}
"""Metrics that the terminal shows where a run has them, and their headings."""

# Where there is a return, a terminal has no room for its length.
_WITHOUT_RETURN = ("length_mean",)
_SHOWN_EVALUATIONS = 8


class RunLogger:
    """Writes what a run of `S` seeds measures, and shows how far it is.

    `metrics.jsonl` gets one line per seed and evaluation, on disk before `log` returns; TensorBoard gets a sub-run per
    seed and one for the mean over seeds. On a terminal there is a live display, elsewhere one line per evaluation.
    Use it as a context manager, or call `close`.

    An existing `metrics.jsonl` is continued; a last line that a kill tore is dropped.

    Args:
      run_dir: folder of the run, made if needed.
      num_seeds: `S`.
      total_steps: environment steps of each seed in the whole run.
      title: heading of the display.
      seeds: `[S]` the seeds' numbers, as records and sub-runs name them; 0 to S - 1 by default.
      use_tensorboard: write TensorBoard events under `run_dir/tensorboard`.
      use_wandb: log to Weights & Biases too.
      quiet: show nothing.
      expert_return: mean return of the expert; adds `expert_normalised = return_mean / expert_return`.
      run_config: settings for the Weights & Biases run.
      console: terminal to write to; standard output by default.

    Raises:
      GailfeError: `seeds` are not `num_seeds` different numbers, `metrics.jsonl` is damaged, or `use_wandb` and wandb
        is not installed.
    """

    def __init__(
        self,
        run_dir: str | os.PathLike[str],
        *,
        num_seeds: int,
        total_steps: int,
        title: str,
        seeds: Sequence[int] | None = None,
        use_tensorboard: bool = True,
        use_wandb: bool = False,
        quiet: bool = False,
        expert_return: float | None = None,
        run_config: Mapping[str, Any] | None = None,
        console: Console | None = None,
    ) -> None:
        self.run_dir = Path(run_dir)
        self.metrics_path = self.run_dir / "metrics.jsonl"
        self._num_seeds = num_seeds
        self._seeds = [int(seed) for seed in (range(num_seeds) if seeds is None else seeds)]
        if len(set(self._seeds)) != num_seeds or len(self._seeds) != num_seeds:
            raise GailfeError(f"seeds: got {self._seeds}; expected {num_seeds} different numbers")
        self._title = title
        self._expert_return = expert_return
        self._use_tensorboard = use_tensorboard
        self._writers: dict[str, Any] = {}
        self._purge_step: int | None = None
        self._file: TextIO | None = None
        self.run_dir.mkdir(parents=True, exist_ok=True)
        _drop_torn_line(self.metrics_path)
        self._wandb = _start_wandb(self.run_dir, title, run_config) if use_wandb else None
        self._display = None if quiet else _Display(console or Console(), title, num_seeds, total_steps)

    def __enter__(self) -> RunLogger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def truncate_after(self, step: int) -> None:
        """Forgets what was logged beyond `step`, the step that a resumed run continues from.

        Atomic: a kill leaves the old file or the new one.

        Raises:
          GailfeError: a line of `metrics.jsonl` is damaged.
        """
        self._close_file()
        if self.metrics_path.exists():
            lines = [
                line for line in _split_lines(self.metrics_path) if _parse(self.metrics_path, *line)["step"] <= step
            ]
            write_text_atomic(self.metrics_path, "".join(f"{text}\n" for _, text in lines))
        # TensorBoard hides events from the purge step on, once the next writer announces it.
        self._close_writers()
        self._purge_step = step + 1
        if self._display is not None:
            self._display.start_from(step)

    def standing(self) -> dict[str, Any]:
        """What a checkpoint notes of `metrics.jsonl`: how many `lines` it holds, and their `sha256`."""
        lines = [text for _, text in _split_lines(self.metrics_path)] if self.metrics_path.exists() else []
        return {"lines": len(lines), "sha256": _digest(lines)}

    def lacks(self, noted: Mapping[str, Any], step: int) -> str:
        """What `metrics.jsonl` lacks of what a checkpoint at `step` has `noted`, in words; empty where it is whole."""
        held = _split_lines(self.metrics_path) if self.metrics_path.exists() else []
        lines = [text for _, text in held]
        count = noted["lines"]
        if _digest(lines[:count]) == noted["sha256"]:
            return ""
        left = sum(_parse(self.metrics_path, *line)["step"] <= step for line in held)
        if left < count:
            return f"{count - left} of {count} lines up to step {step:,} are missing"
        return f"its lines up to step {step:,} are not those that the run wrote"

    def log(self, step: int, metrics: Mapping[str, Any], diverged: Sequence[Mapping[str, Any]] = ()) -> None:
        """Records one evaluation.

        Args:
          step: environment steps that each seed has taken.
          metrics: name to `[S]` values, or to one number that all seeds share. What is not finite becomes null.
          diverged: of each seed whose training has diverged, what its line says of that, and `seed`.

        Raises:
          GailfeError: a metric has another shape.
        """
        values = {name: _per_seed(name, value, self._num_seeds) for name, value in metrics.items()}
        # A share of a return that is not positive means nothing.
        if (self._expert_return or 0.0) > 0.0 and "return_mean" in values and "expert_normalised" not in values:
            values["expert_normalised"] = values["return_mean"] / self._expert_return
        if self._file is None:
            self._file = self.metrics_path.open("a", encoding="utf-8")
        for i, seed in enumerate(self._seeds):
            record: dict[str, Any] = {"seed": seed, "step": int(step)}
            record |= {name: value[i] for name, value in values.items()}
            for said in diverged:
                if said["seed"] == seed:
                    record["diverged"] = {name: value for name, value in said.items() if name != "seed"}
            self._file.write(json.dumps(plain(record), allow_nan=False) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._use_tensorboard:
            self._log_tensorboard(step, values)
        if self._wandb is not None:
            scalars = {name: _mean(value) for name, value in values.items()}
            for i, seed in enumerate(self._seeds):
                scalars |= {f"seed{seed}/{name}": float(value[i]) for name, value in values.items()}
            self._wandb.log({"step": int(step)} | {k: v for k, v in scalars.items() if math.isfinite(v)})
        if self._display is not None:
            self._display.evaluation(step, values)

    def progress(self, step: int) -> None:
        """Moves the live display to `step` (environment steps of each seed) between evaluations."""
        if self._display is not None:
            self._display.progress(step)

    def message(self, text: str) -> None:
        """Shows a line of text above the live display, unless quiet."""
        if self._display is not None:
            self._display.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Closes files and ends the live display; what was logged is kept. May be called twice."""
        if self._display is not None:
            self._display.stop()
        self._close_file()
        self._close_writers()
        if self._wandb is not None:
            self._wandb.finish()
            self._wandb = None

    def _log_tensorboard(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        from tensorboardX import SummaryWriter

        runs = {"mean": {name: _mean(value) for name, value in values.items()}}
        for i, seed in enumerate(self._seeds):
            runs[f"seed{seed}"] = {name: float(value[i]) for name, value in values.items()}
        for run, scalars in runs.items():
            if run not in self._writers:
                folder = self.run_dir / "tensorboard" / run
                # The name holds whole seconds only: a run resumed within one would overwrite its own events.
                suffix = f".{time.time_ns()}"
                self._writers[run] = SummaryWriter(str(folder), purge_step=self._purge_step, filename_suffix=suffix)
            for name, value in scalars.items():
                if math.isfinite(value):
                    self._writers[run].add_scalar(name, value, int(step))
            self._writers[run].flush()

    def _close_writers(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`, or of the one in a run folder; null becomes nan.

    A last line without its line break (a kill while writing) is left out.

    Raises:
      GailfeError: there is no such file, or a line is not a record of a seed and a step.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "metrics.jsonl"
    return [_parse(path, number, text) for number, text in _split_lines(path)]


def stack_metric(records: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """One metric over training, from what `read_metrics` returns.

    Args:
      records: lines of all seeds, in any order.
      name: the metric.

    Returns:
      `(steps [k], values [S, k])` at the steps that every seed has reached.

    Raises:
      GailfeError: no step has the metric for every seed.
    """
    seeds = sorted({record["seed"] for record in records})
    table = {(record["seed"], record["step"]): record[name] for record in records if name in record}
    steps = [step for step in sorted({step for _, step in table}) if all((seed, step) in table for seed in seeds)]
    if not steps:
        raise GailfeError(f"{name}: no evaluation has it for every seed; expected one line per seed and step")
    values = np.array([[table[seed, step] for step in steps] for seed in seeds], np.float64)
    return np.array(steps, np.int64), values


class _Display:
    """Live table and bar on a terminal, plain lines elsewhere."""

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
        self._is_live = console.is_terminal and not console.is_dumb_terminal
        self.start_from(0)

    def start_from(self, step: int) -> None:
        self._step = step
        self._samples.clear()
        self._samples.append((time.monotonic(), step))
        self._waiting_for_compilation = True

    def progress(self, step: int) -> None:
        step = int(step)
        if step > self._samples[-1][1]:
            self._samples.append((time.monotonic(), step))
            # The first stretch holds the compilation and would understate the speed of all that follow.
            if self._waiting_for_compilation and len(self._samples) == 3:
                self._samples.popleft()
                self._waiting_for_compilation = False
        self._step = step
        self._refresh()

    def evaluation(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        if "steps_per_second" in values:
            self._training_rate = _mean(values["steps_per_second"])
        if "steps_per_second_overall" in values:
            self._overall_rate = _mean(values["steps_per_second_overall"]) / self._num_seeds
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
        self.console.print(f"{self._title}: {'  '.join(line)}", markup=False, highlight=False, soft_wrap=True)

    def stop(self) -> None:
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
        return [words, f"{_duration(left)} left" if left else "done"]

    def _render(self) -> Group:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", title=self._title, title_justify="left")
        table.title_style = "bold"
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
        return Group(table, bar) if self._rows else Group(Text(self._title, style="bold"), bar)


def _cell(name: str, values: np.ndarray) -> str:
    mean = _mean(values)
    if not math.isfinite(mean):
        return "-"
    if name == "return_mean":
        spread = f" ± {np.nanstd(values):,.0f}" if len(values) > 1 else ""
        return f"{mean:,.0f}{spread}"
    if name in ("failures_in_buffer", "length_mean"):
        return f"{mean:,.0f}"
    return f"{mean:.3f}" if name == "multiplier" else f"{mean:.2f}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"


def _mean(values: np.ndarray) -> float:
    """Mean of the finite values, nan if there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan


def _per_seed(name: str, value: Any, num_seeds: int) -> np.ndarray:
    array = np.asarray(value, np.float64)
    if array.shape not in ((), (num_seeds,)):
        raise GailfeError(f"{name}: got shape {array.shape}; expected one number or [{num_seeds}], one per seed")
    return np.broadcast_to(array, (num_seeds,))


def _split_lines(path: Path) -> list[tuple[int, str]]:
    """Numbered whole lines of a file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise GailfeError(f"{path}: no such file; expected the metrics of a run") from None
    except UnicodeDecodeError:
        raise GailfeError(f"{path}: not a text file; expected the metrics of a run") from None
    return list(enumerate(text.split("\n")[:-1], start=1))


def _parse(path: Path, number: int, text: str) -> dict[str, Any]:
    try:
        record = parse_json(text)
    except GailfeError as error:
        raise GailfeError(f"{path}, line {number}: damaged, {error}") from None
    if not (isinstance(record, dict) and all(type(record.get(name)) is int for name in ("seed", "step"))):
        raise GailfeError(f"{path}, line {number}: damaged; expected a JSON object with a seed and a step")
    return {name: math.nan if value is None else value for name, value in record.items()}


def _digest(lines: Sequence[str]) -> str:
    return text_sha256("".join(f"{text}\n" for text in lines))


def _drop_torn_line(path: Path) -> None:
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        lines = _split_lines(path)
        write_text_atomic(path, "".join(f"{text}\n" for _, text in lines))


def _start_wandb(run_dir: Path, title: str, run_config: Mapping[str, Any] | None) -> Any:
    try:
        import wandb  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise GailfeError("wandb: not installed; expected `pip install 'gailfe-jax[wandb]'`") from None
    id_file = run_dir / "wandb_id.txt"
    run_id = id_file.read_text().strip() if id_file.exists() else None
    config = plain(dict(run_config or {}))
    run = wandb.init(project="gailfe", name=title, dir=str(run_dir), config=config, id=run_id, resume="allow")
    run.define_metric("*", step_metric="step")
    write_text_atomic(id_file, f"{run.id}\n")
    return run
