"""TOML as it stands in files: bounded before it is believed, as in `gailfe_jax.io.json_text`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from gailfe_jax.errors import GailfeError, one_line
from gailfe_jax.io.json_text import check_depth
from gailfe_jax.io.limited import read_limited

_LARGEST = 4 * 2**20


def read_toml(path: Path, where: str, what: str) -> dict[str, Any]:
    """The tables of a TOML file.

    Args:
      path: of the file.
      where: opens the messages.
      what: such a file holds, in words.

    Raises:
      GailfeError: it cannot be read, is larger than such files are, nests too deeply, or is no TOML.
    """
    try:
        content = read_limited(path, _LARGEST, "TOML file").decode("utf-8")
    except UnicodeDecodeError:
        raise GailfeError(f"{where}: cannot be read; expected {what} in TOML") from None
    except GailfeError as error:
        said = "no such file" if not path.exists() else "cannot be read" if "has over" not in str(error) else "too long"
        raise GailfeError(f"{where}: {said}; expected {what} in TOML") from None
    try:
        record = tomllib.loads(content)
        check_depth(record)
    # Of a whole number of too many digits Python says so itself.
    except (ValueError, RecursionError) as error:
        raise GailfeError(f"{where}: {one_line(error)[:300]}; expected {what} in TOML") from None
    return record
