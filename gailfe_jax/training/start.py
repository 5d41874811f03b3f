"""What policies were judged by before the first iteration: where a run's picture begins."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from gailfe_jax.errors import GailfeError
from gailfe_jax.io.atomic import plain, write_json_atomic
from gailfe_jax.io.json_text import read_json

START = "start.json"
"""File in a run folder: by metric, one value for each seed."""


def write_start(run_dir: pathlib.Path, found: Mapping[str, np.ndarray]) -> None:
    """Notes an evaluation, `[S]` each, that was made before the first iteration."""
    write_json_atomic(run_dir / START, plain(dict(found)))


def read_start(run_dir: pathlib.Path) -> dict[str, np.ndarray]:
    """By metric, `[S]` what was noted before the first iteration; nan where it was not finite. Empty where nothing was
    noted, and without what is no list of numbers."""
    try:
        record = read_json(run_dir / START)
    except GailfeError:
        return {}
    found = {}
    for name, values in record.items() if isinstance(record, dict) else ():
        try:
            start = np.array(values, np.float64)
        except (ValueError, TypeError, OverflowError):
            continue
        if isinstance(values, list) and start.ndim == 1:
            found[name] = start
    return found


def copy_start(run_dir: pathlib.Path, target: pathlib.Path, rows: slice) -> None:
    """Notes in another folder what a run noted of the seeds in some rows, where it noted anything."""
    found = read_start(run_dir)
    if found:
        write_start(target, {name: values[rows] for name, values in found.items()})


def from_the_start(
    run_dir: pathlib.Path, name: str, steps: np.ndarray, values: np.ndarray, *, rows: Sequence[int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`(steps [k], values [S, k])` of a metric with its value at step 0 before them, where that was noted; of the seeds
    in these `rows` only."""
    kept = slice(None) if rows is None else list(rows)
    start = read_start(run_dir).get(name)
    if start is None:
        return steps, values[kept]
    if start.shape != values.shape[:1] or not np.isfinite(start[kept]).all() or steps[0] <= 0:
        return steps, values[kept]
    return np.concatenate([[0], steps]), np.concatenate([start[:, None], values], axis=1)[kept]
