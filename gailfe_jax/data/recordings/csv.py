"""CSV files with a header: a row for each step."""

from __future__ import annotations

import array
import csv
import os
import pathlib
from collections.abc import Iterator

import numpy as np

from gailfe_jax.data.episodes import Recording
from gailfe_jax.data.limits import Budget
from gailfe_jax.data.recordings.fields import Columns, Request
from gailfe_jax.data.recordings.split import split
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.csv_text import cells_of

LAYOUT = ".csv (or .tsv) with names in its first row, a row a step: obs_0, obs_1, ..., action_0, ... and episode"
_SUFFIXES = {".csv": ",", ".tsv": "\t"}
_MOST_COLUMNS = 10_000
_NAMED = ("episode", "trajectory", "demo")  # how columns begin whose cells may be names
_WORDS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "nan": np.nan, "": np.nan}


def recognises(source: str) -> bool:
    """Whether this is a file with the suffix .csv or .tsv."""
    return pathlib.Path(source).suffix.lower() in _SUFFIXES and os.path.isfile(source)


def read(source: str, request: Request) -> Recording:
    """The episodes of a file.

    Raises:
      GailfeError: no header, rows of another length, what is no number in a column that is read; see `split`.
    """
    # A number of two characters becomes eight bytes.
    size = os.path.getsize(source)
    Budget(source, size).take("rows", 4 * size)
    names = _names(source)
    cells = _Cells(source, names)
    notes: list[str] = []
    return Recording(source, "csv", split(Columns(source, names, cells.column), request, notes), notes=notes)


def _rows(source: str) -> Iterator[tuple[int, list[str]]]:
    """`(line, cells)` of every row that is not empty."""
    with open(source, encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        file.seek(0)
        given = _SUFFIXES[pathlib.Path(source).suffix.lower()]
        separator = max((given, ";", ","), key=first.count)
        reader = csv.reader(file, delimiter=separator, strict=True)
        for row in cells_of(reader, source):
            if row:
                yield reader.line_num, row


def _names(source: str) -> list[str]:
    _, names = next(_rows(source), (0, []))
    names = [name.strip() for name in names]
    if not names or all(_number(name) is not None for name in names):
        raise GailfeError(f"{source}: its first row has no names, expected {LAYOUT}")
    if len(names) > _MOST_COLUMNS:
        raise GailfeError(f"{source}: {len(names)} columns, expected at most {_MOST_COLUMNS}")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise GailfeError(f"{source}: field '{twice}': a column that is there twice, expected it once")
    return names


class _Cells:
    """All cells as numbers, read at the first question; what is none is said where its column is asked for."""

    def __init__(self, source: str, names: list[str]):
        self._source, self._names = source, names
        self._columns: list[array.array[float]] | None = None
        self._bad: dict[str, tuple[int, str]] = {}

    def column(self, name: str) -> np.ndarray:
        """A column's numbers; episodes may have names, and are then numbered.

        Raises:
          GailfeError: a cell that is no number, or rows of another length than the first.
        """
        if self._columns is None:
            self._columns = self._parse()
        if name in self._bad:
            line, cell = self._bad[name]
            raise GailfeError(f"{self._source}: line {line}: field '{name}': {cell[:40]!r}, expected a number")
        return np.array(self._columns[self._names.index(name)], np.float64)

    def _parse(self) -> list[array.array[float]]:
        columns = [array.array("d") for _ in self._names]
        texts: list[dict[str, int] | None] = [{} if name.startswith(_NAMED) else None for name in self._names]
        rows = _rows(self._source)
        next(rows)
        for line, row in rows:
            if len(row) != len(columns):
                raise GailfeError(
                    f"{self._source}: line {line}: {len(row)} cells, expected the {len(columns)} of the first row"
                )
            for name, cell, column, known in zip(self._names, row, columns, texts, strict=True):
                number = _number(cell.strip())
                if number is None and known is not None:
                    number = -1.0 - known.setdefault(cell.strip(), len(known))  # no number of another episode
                elif number is None:
                    self._bad.setdefault(name, (line, cell.strip()))
                    number = np.nan
                column.append(number)
        return columns


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return _WORDS.get(cell.lower())
