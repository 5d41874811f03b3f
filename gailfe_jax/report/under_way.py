"""A sweep before its end: the settings that are done, and those that train side by side, as far as they are.

A setting's own folder is written when it is done. Until then its seeds are rows of a program's run folder, see
`gailfe_jax.sweep.study`.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from gailfe_jax.errors import GailfeError
from gailfe_jax.io.json_text import read_json
from gailfe_jax.report.read import Series, distinct, series_of_run
from gailfe_jax.training.logger import read_metrics
from gailfe_jax.training.run_folder import load_run
from gailfe_jax.training.start import read_start
from gailfe_jax.training.sweep_record import load_sweep


def done(folder: pathlib.Path) -> list[pathlib.Path]:
    """The folders of the settings that are done."""
    return [path.parent for path in sorted(folder.glob("settings/*/summary.json"))]


def programs(folder: pathlib.Path) -> dict[pathlib.Path, list[str]]:
    """The run folders of the programs that have begun, each with its settings in the order of their rows."""
    try:
        plan = read_json(folder / "programs" / "plan.json")
    except GailfeError:
        return {}  # None yet, or none any more.
    found = {}
    for name, chunk in plan.items() if isinstance(plan, dict) else ():
        path = folder / "programs" / str(name)
        # Of a name that leads elsewhere there is nothing here.
        if str(name).isdecimal() and isinstance(chunk, list) and (path / "config.json").is_file():
            found[path] = [f"{number:04d}" for number in chunk if isinstance(number, int)]
    return found


def read_sweep(folder: pathlib.Path) -> list[Series]:
    """The settings that are done, and those of the programs that have begun.

    Raises:
      GailfeError: a record is damaged.
    """
    name = folder.resolve().name
    finished = done(folder)
    found = []
    for path in finished:
        lines = read_metrics(path / "metrics.jsonl")
        found.append(series_of_run(path, load_run(path), lines, read_start(path), name))
    settings = load_sweep(folder)["settings"]
    for program, chunk in programs(folder).items():
        found += _rows(program, [key for key in chunk if key in settings], settings, {p.name for p in finished}, name)
    return distinct(found)


def _rows(
    program: pathlib.Path, chunk: list[str], settings: Mapping[str, Any], finished: set[str], name: str
) -> list[Series]:
    """The settings of a program that have no folder of their own yet."""
    try:
        record, start = load_run(program), read_start(program)
        file = program / "metrics.jsonl"
        lines = read_metrics(file) if file.is_file() else []
    except GailfeError:
        if program.is_dir():
            raise
        return []  # It has ended, and its settings have their folders now.
    # All settings of a program have as many.
    seeds = len(record.get("seeds", ())) // max(len(chunk), 1)
    found = []
    for position, key in enumerate(chunk):
        if key in finished:
            continue
        rows = slice(position * seeds, (position + 1) * seeds)
        own = {row: i for i, row in enumerate(range(rows.start, rows.stop))}
        held = [line | {"seed": own[line["seed"]]} for line in lines if line["seed"] in own]
        point = {part: settings[key].get(part, {}) for part in ("method", "run")}
        about = dict(record) | point | {"sweep": {"setting": key, "values": settings[key].get("values", {})}}
        series = series_of_run(program, about, held, {n: v[rows] for n, v in start.items()}, name)
        # The doctor would look at all of the program's settings at once, and the steps' speed is theirs together.
        found.append(dataclasses.replace(series, folder=None, seconds=None))
    return found
