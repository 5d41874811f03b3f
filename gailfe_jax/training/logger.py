"""Records of a run: metrics on disk, in TensorBoard and the like, and live progress on the terminal."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np
from rich.console import Console

from gailfe_jax.errors import GailfeError
from gailfe_jax.io.atomic import plain, write_text_atomic
from gailfe_jax.io.digests import text_sha256
from gailfe_jax.io.json_text import parse_json
from gailfe_jax.training.display import Display
from gailfe_jax.training.summary import summarise
from gailfe_jax.training.trackers import TensorBoard, Tracker, tracker


class RunLogger:
    """Writes what a run of `S` seeds measures, and shows how far it is.

    `metrics.jsonl` gets one line per seed and evaluation, on disk before `log` returns; trackers (see
    `gailfe_jax.training.trackers`) get each seed's and the mean over seeds. On a terminal there is a live display,
    elsewhere one line per evaluation. Use it as a context manager, or call `close`.

    An existing `metrics.jsonl` is continued; a last line that a kill tore is dropped.

    Args:
      run_dir: folder of the run, made if needed.
      num_seeds: `S`.
      total_steps: environment steps of each seed in the whole run.
      title: heading of the display.
      seeds: `[S]` the seeds' numbers, as records and sub-runs name them; 0 to S - 1 by default.
      use_tensorboard: write TensorBoard events under `run_dir/tensorboard`.
      trackers: names of others to log to: `wandb`, `mlflow`.
      quiet: show nothing.
      expert_return: mean return of the expert; adds `expert_normalised = return_mean / expert_return`.
      run_config: the run's settings, which the trackers get.
      console: terminal to write to; standard output by default.

    Raises:
      GailfeError: `seeds` are not `num_seeds` different numbers, `metrics.jsonl` is damaged, or the package of a
        tracker is not installed.
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
        trackers: Sequence[str] = (),
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
        self._fine: set[str] = set()
        self._file: TextIO | None = None
        self.run_dir.mkdir(parents=True, exist_ok=True)
        _drop_torn_line(self.metrics_path)
        self._trackers: list[Tracker] = []
        if use_tensorboard:
            self._trackers.append(TensorBoard(self.run_dir, run_config))
        self._trackers += [tracker(name, self.run_dir, title, run_config) for name in trackers]
        self._display = None if quiet else Display(console or Console(), title, num_seeds, total_steps)

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
        for tracked in self._trackers:
            tracked.truncate_after(step)
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

    def log(
        self, step: int, metrics: Mapping[str, Any], diverged: Sequence[Mapping[str, Any]] = (), doctor: str = ""
    ) -> None:
        """Records one evaluation.

        Args:
          step: environment steps that each seed has taken.
          metrics: name to `[S]` values, or to one number that all seeds share. What is not finite becomes null.
          diverged: of each seed whose training has diverged, what its line says of that, and `seed`.
          doctor: a word on the run's health, for the terminal.

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
        # What was told of each iteration is not told again.
        self._track(step, {name: value for name, value in values.items() if name not in self._fine})
        if self._display is not None:
            self._display.evaluation(step, values, doctor)

    def iterations(self, step: int, metrics: Mapping[str, np.ndarray], batch: int, every: int) -> None:
        """Tells the trackers of an evaluation interval's iterations, `every` so many.

        Args:
          step: environment steps of each seed before them.
          metrics: name to `[iterations, S]` values.
          batch: environment steps of each seed in an iteration.
          every: iterations that are summed up in a point.
        """
        count = len(next(iter(metrics.values()), ()))
        for first in range(0, count, every) if self._trackers else ():
            last = min(first + every, count)
            row = summarise({name: value[first:last] for name, value in metrics.items()})
            self._track(step + last * batch, row)
            self._fine |= set(row)

    def _track(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        for tracked in self._trackers:
            tracked.log(int(step), values, self._seeds)

    def figure(self, name: str, path: str | os.PathLike[str]) -> None:
        """Hands a picture (png) to the trackers."""
        for tracked in self._trackers:
            tracked.figure(name, Path(path))

    def film(self, name: str, path: str | os.PathLike[str]) -> None:
        """Hands a film (mp4) to the trackers."""
        for tracked in self._trackers:
            tracked.film(name, Path(path))

    def phase(self, text: str) -> None:
        """Shows what is being done that takes a while, unless quiet."""
        if self._display is not None:
            self._display.phase(text)

    def progress(self, step: int) -> None:
        """Moves the live display to `step` (environment steps of each seed) between evaluations."""
        if self._display is not None:
            self._display.progress(step)

    def message(self, text: str) -> None:
        """Shows a line of text above the live display, unless quiet."""
        if self._display is not None:
            self._display.end_phase()
            self._display.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Closes files and ends the live display; what was logged is kept. May be called twice."""
        if self._display is not None:
            self._display.stop()
        self._close_file()
        trackers, self._trackers = self._trackers, []
        for tracked in trackers:
            tracked.close()

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
      GailfeError: no step has the metric for every seed, or one of its values is no number.
    """
    seeds = sorted({record["seed"] for record in records})
    table = {(record["seed"], record["step"]): record[name] for record in records if name in record}
    steps = [step for step in sorted({step for _, step in table}) if all((seed, step) in table for seed in seeds)]
    if not steps:
        raise GailfeError(f"{name}: no evaluation has it for every seed; expected one line per seed and step")
    for (seed, step), value in table.items():
        if not isinstance(value, int | float):
            raise GailfeError(f"{name}: got {value!r} for seed {seed} at step {step}; expected a number")
    values = np.array([[table[seed, step] for step in steps] for seed in seeds], np.float64)
    return np.array(steps, np.int64), values


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
