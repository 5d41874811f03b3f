"""CSV as it stands in files: what Python's reader refuses is one line of ours."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from gailfe_jax.errors import GailfeError, one_line


def cells_of(reader: Any, where: str) -> Iterator[list[str]]:
    """The rows of a `csv.reader`.

    Args:
      reader: made by `csv.reader`; a cell has 131,072 characters at most, which is its own limit.
      where: the file; it opens the message.

    Raises:
      GailfeError: a cell that is too long, or quoted otherwise than CSV is; the message says the line.
    """
    try:
        yield from reader
    except csv.Error as error:
        raise GailfeError(
            f"{where}, line {reader.line_num}: {one_line(error)}; expected CSV with short cells"
        ) from None
