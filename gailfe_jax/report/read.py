"""What a report is about, read from the folders of runs, sweeps and experiments.

A folder may be a stranger's: numbers are taken where numbers are expected, everything else is text or left out.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gailfe_jax.config.values import show_value
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.json_text import read_json
from gailfe_jax.learners.record import flat_values
from gailfe_jax.training.chosen import fresh_evaluation
from gailfe_jax.training.logger import read_metrics
from gailfe_jax.training.outcome import read_summary
from gailfe_jax.training.run_folder import JUDGED_BY, load_run
from gailfe_jax.training.start import read_start

Curve = tuple[np.ndarray, np.ndarray]
"""`(steps [k], values [S, k])`."""
_REFERENCES = {"random": "random actions", "demonstrations": "demonstrations"}
"""What an experiment measures beside its cells, by the end of the file's name."""
_LONGEST_TEXT = 300


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
    """A method with its settings and seeds.

    Attributes:
      label: what the page calls it; unique on the page.
      task: the task.
      algo: the method's name.
      source: the run, sweep or experiment that it is of.
      seeds: names of its seeds.
      curves: by metric; values that are not finite are nan. What was judged before the first iteration is at step 0.
      seconds: `(steps [k], seconds [k])` of wall time since training began, or None where that is not known.
      references: returns to compare with, by what they are of: `expert`, `demonstrations`, `random actions`.
      settings: dotted name to value, as text.
      facts: where it comes from, by name, as text.
      evaluation: rows of fresh episodes, `seed -> (mean return, episodes)`; empty where there are none.
      folder: its run folder, or None.
    """

    label: str
    task: str
    algo: str
    source: str
    seeds: tuple[str, ...]
    curves: dict[str, Curve]
    seconds: tuple[np.ndarray, np.ndarray] | None = None
    references: dict[str, float] = dataclasses.field(default_factory=dict)
    settings: dict[str, str] = dataclasses.field(default_factory=dict)
    facts: dict[str, str] = dataclasses.field(default_factory=dict)
    evaluation: dict[str, tuple[float, int]] = dataclasses.field(default_factory=dict)
    folder: pathlib.Path | None = None

    @property
    def judged(self) -> str:
        """The metric that its policy is judged by; the first one where none of the known ones is there."""
        return next((name for name in JUDGED_BY if name in self.curves), next(iter(self.curves), "return_mean"))

    @property
    def final(self) -> np.ndarray:
        """`[S]` what the metric that it is judged by was in the last evaluation; empty where there was none."""
        return self.curves[self.judged][1][:, -1] if self.judged in self.curves else np.zeros(0)


def read_series(paths: Sequence[str | os.PathLike[str]]) -> list[Series]:
    """All there is in run folders, sweep folders, and experiments' result files or folders of them.

    Raises:
      GailfeError: nothing to report at a path, or a damaged record.
    """
    found: list[Series] = []
    for path in map(pathlib.Path, paths):
        try:
            found += _read(path)
        except RecursionError:
            raise GailfeError(f"{path}: nested too deeply; expected what gailfe wrote") from None
    return distinct(found)


def metrics_size(path: str | os.PathLike[str]) -> int:
    """Bytes of all metrics in a run or sweep folder: by them a report takes its time."""
    folder = pathlib.Path(path)
    files = [folder / "metrics.jsonl", *folder.glob("settings/*/metrics.jsonl")]
    return sum(file.stat().st_size for file in files if file.is_file())


def _read(path: pathlib.Path) -> list[Series]:
    if not path.exists():
        raise GailfeError(f"{path}: no such file or folder; expected a run, a sweep or an experiment's results")
    if path.is_file():
        record = _json(path)
        if not _is_cell(record):
            raise GailfeError(f"{path}: holds no result of an experiment; expected a run folder, or such a file")
        return [_of_cell(path, record, {})]
    if (path / "config.json").is_file():
        return [_of_run(path, path.name or path.resolve().name)]
    if (path / "sweep.json").is_file():
        points = [folder for folder in sorted(path.glob("settings/*")) if (folder / "summary.json").is_file()]
        if not points:
            raise GailfeError(f"{path}: no setting is finished yet; expected a sweep with results")
        return [_of_run(point, path.name or path.resolve().name) for point in points]
    records = {file: _json(file) for file in sorted(path.glob("*.json"))}
    cells = {file: record for file, record in records.items() if _is_cell(record)}
    if not cells:
        raise GailfeError(
            f"{path}: holds no run (config.json), no sweep (sweep.json) and no results of an experiment; expected one"
        )
    return [_of_cell(file, record, _measured(records)) for file, record in cells.items()]


def _of_run(folder: pathlib.Path, source: str) -> Series:
    file = folder / "metrics.jsonl"
    lines = read_metrics(file) if file.is_file() else []
    return series_of_run(folder, load_run(folder), lines, read_start(folder), source)


def series_of_run(
    folder: pathlib.Path,
    record: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
    start: Mapping[str, np.ndarray],
    source: str,
) -> Series:
    """A run as a series.

    Args:
      folder: the run folder.
      record: what `load_run` returns.
      lines: those of its metrics.
      start: what was judged before the first iteration, see `gailfe_jax.training.start.read_start`.
      source: what it is of.
    """
    curves = _curves(lines, start)
    summary = read_summary(folder)
    demos = record["demos"]
    references = {"expert": demos.get("expert_return", summary.get("expert_return"))}
    references["demonstrations"] = demos.get("demonstrated_return")
    values = record.get("sweep", {}).get("values") if isinstance(record.get("sweep"), Mapping) else None
    algo = _text(record.get("algo", "unknown"))
    label = source
    if isinstance(values, Mapping):
        label = (
            ", ".join(f"{_text(name)}={_shown(value)}" for name, value in values.items()) or f"setting {folder.name}"
        )
    settings = {
        f"{part}.{name}" if part in ("environment", "demos", "run") else name: _shown(value)
        for part in ("environment", "method", "run", "demos")
        for name, value in flat_values(record[part]).items()
        if not name.startswith("provenance.")
    }
    report = fresh_evaluation(folder) or {}
    episodes = report.get("episodes")
    rows = {
        _text(row.get("seed")): (float(row["mean"]), episodes)
        for row in report.get("seeds", ())
        if _is_number(row.get("mean")) and isinstance(episodes, int)
    }
    resumed = record.get("resumed")
    return Series(
        label=label,
        task=_text(record["environment"].get("env", "unknown")),
        algo=algo,
        source=source,
        seeds=tuple(str(seed) for seed in sorted({line["seed"] for line in lines})),
        curves=curves,
        seconds=None if resumed else _seconds(curves),
        references=_finite(references),
        settings={"algo": algo} | settings,
        facts=_facts(record, summary) | {"folder": folder.name} | _times(resumed),
        evaluation=rows,
        folder=folder,
    )


def _of_cell(path: pathlib.Path, record: dict[str, Any], measured: Mapping[tuple[str, str], float]) -> Series:
    cell = record["cell"]
    old = cell.get("config") if isinstance(cell.get("config"), Mapping) else {}
    task = _text(cell.get("env", old.get("env", "unknown")))
    steps = np.array([step if _is_number(step) else math.nan for step in record.get("steps", ())], float)
    curves: dict[str, Curve] = {}
    for name, rows in record["evaluations"].items():
        values = _matrix(rows)
        if values is not None and values.shape[1] == len(steps) and len(steps) and np.isfinite(steps).all():
            curves[_text(name)] = steps, values
    finals = _matrix(record.get("final_gymnasium_returns"))
    seeds = len(next(iter(curves.values()))[1]) if curves else 0 if finals is None else len(finals)
    first = cell.get("first_seed", 0)
    names = tuple(str((first if isinstance(first, int) else 0) + i) for i in range(seeds))
    references = {"expert": record.get("expert_return")}
    references |= {words: measured.get((task, end)) for end, words in _REFERENCES.items()}
    hidden = ("name", "label", "algo", "env")
    return Series(
        label=_text(cell.get("label", cell.get("name", path.stem))),
        task=task,
        algo=_text(cell.get("algo", old.get("algo", "unknown"))),
        source=path.parent.name,
        seeds=names,
        curves=curves,
        references=_finite(references),
        settings={name: _shown(value) for name, value in flat_values(cell).items() if name not in hidden},
        facts=_facts(record, record) | {"file": path.name},
        evaluation={} if finals is None else {seed: (_mean(row), finals.shape[1]) for seed, row in zip(names, finals)},
    )


def _curves(lines: Sequence[Mapping[str, Any]], start: Mapping[str, np.ndarray]) -> dict[str, Curve]:
    """Every metric that is a number, at the steps that all seeds have reached, and before the first iteration."""
    seeds = sorted({line["seed"] for line in lines})
    rows: dict[str, dict[tuple[int, int], float]] = {}
    for line in lines:
        for name, value in line.items():
            if name not in ("seed", "step") and _is_real(value):
                rows.setdefault(_text(name), {})[line["seed"], line["step"]] = float(value)
    curves = {}
    for name, table in rows.items():
        whole = [step for step in sorted({step for _, step in table}) if all((seed, step) in table for seed in seeds)]
        if whole:
            values = np.array([[table[seed, step] for step in whole] for seed in seeds], np.float64)
            steps = np.array(whole, float)
            first = start.get(name)
            if first is not None and first.shape == (len(seeds),) and steps[0] > 0:
                steps, values = np.append(0.0, steps), np.concatenate([first[:, None], values], axis=1)
            curves[name] = steps, np.where(np.isfinite(values), values, np.nan)
    return curves


def _seconds(curves: Mapping[str, Curve]) -> tuple[np.ndarray, np.ndarray] | None:
    """Wall time at each evaluation, from the overall speed of all seeds until then."""
    if "steps_per_second_overall" not in curves:
        return None
    steps, rate = curves["steps_per_second_overall"]
    with np.errstate(divide="ignore", invalid="ignore"):
        seconds = len(rate) * steps / rate.mean(axis=0)
    # Before the first iteration no time has passed.
    steps, seconds = np.append(0.0, steps), np.append(0.0, seconds)
    rising = np.isfinite(seconds).all() and (np.diff(seconds) > 0).all()
    return (steps, seconds) if rising else None


def _measured(records: Mapping[pathlib.Path, Any]) -> dict[tuple[str, str], float]:
    """Mean returns of what an experiment measured without training, by task and end of the file's name."""
    found = {}
    for file, record in records.items():
        task, dash, end = file.stem.rpartition("-")
        values = record.get("returns", record.get("final_gymnasium_returns"))
        if dash and end in _REFERENCES and isinstance(values, list):
            matrix = _matrix(values if values and isinstance(values[0], list) else [values])
            if matrix is not None:
                found[task, end] = _mean(matrix)
    return found


def _facts(record: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, str]:
    """Provenance, as flat text."""
    origin = record.get("provenance")
    flat = flat_values(origin) if isinstance(origin, Mapping) else {}
    facts = {name: _shown(value) for name, value in flat.items()}
    for name in (
        "compile_seconds",
        "train_seconds",
        "evaluation_seconds",
        "wall_seconds",
        "train_seconds_last_session",
    ):
        if _is_number(summary.get(name)):
            facts[name] = f"{summary[name]:.1f}"
    demos = record.get("demos")
    made = demos.get("provenance") if isinstance(demos, Mapping) else None
    if isinstance(made, Mapping):
        facts |= {f"demonstrations: {name}": _shown(value) for name, value in flat_values(made).items()}
    return facts


def _times(resumed: Any) -> dict[str, str]:
    return {"resumed": f"{len(resumed)} times"} if isinstance(resumed, list) and resumed else {}


def distinct(found: list[Series]) -> list[Series]:
    """With labels of their own: the source, the file or a number is added where two have one."""
    distinct = list(found)
    for more in (lambda s: s.source, lambda s: s.facts.get("file", s.facts.get("folder", "")).removesuffix(".json")):
        groups: dict[tuple[str, str], list[int]] = {}
        for i, series in enumerate(distinct):
            groups.setdefault((series.task, series.label), []).append(i)
        for held in groups.values():
            words = [more(distinct[i]) for i in held]
            if len(set(words)) > 1:
                for i, word in zip(held, words):
                    distinct[i] = dataclasses.replace(distinct[i], label=f"{distinct[i].label} ({word})")
    seen: dict[tuple[str, str], int] = {}
    for i, series in enumerate(distinct):
        number = seen[series.task, series.label] = seen.get((series.task, series.label), 0) + 1
        if number > 1:
            distinct[i] = dataclasses.replace(series, label=f"{series.label} #{number}")
    return distinct


def _is_cell(record: Mapping[str, Any]) -> bool:
    return isinstance(record.get("cell"), Mapping) and isinstance(record.get("evaluations"), Mapping)


def _json(path: pathlib.Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is no such file, or something else in it."""
    try:
        record = read_json(path)
    except GailfeError:
        return {}
    return record if isinstance(record, dict) else {}


def _matrix(rows: Any) -> np.ndarray | None:
    """`[S, k]` float64 of a list of equally long lists of numbers; None for anything else."""
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) for row in rows):
        return None
    if len({len(row) for row in rows}) != 1 or not rows[0]:
        return None
    numbers = [[value if _is_number(value) else math.nan for value in row] for row in rows]
    matrix = np.array(numbers, np.float64)
    return matrix if np.isfinite(matrix).any() else None


def _finite(values: Mapping[str, Any]) -> dict[str, float]:
    """Those of the values that are numbers."""
    return {name: float(value) for name, value in values.items() if _is_number(value)}


def _mean(values: np.ndarray) -> float:
    """Of the finite ones; nan where there is none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_real(value) and math.isfinite(value)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping) or (isinstance(value, Iterable) and not isinstance(value, str | list | tuple)):
        return _text(json.dumps(value, default=str))
    if isinstance(value, list):
        value = tuple(value)
    try:
        return _text(show_value(value))
    except (TypeError, ValueError, GailfeError):
        return _text(value)


def _text(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."
