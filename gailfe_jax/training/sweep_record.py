"""`sweep.json`, the record of a sweep: what was asked for, and every setting of it."""

from __future__ import annotations

import pathlib
from typing import Any

from gailfe_jax.errors import GailfeError
from gailfe_jax.io.json_text import read_json

VERSION = 2
_LARGEST = 128 * 2**20  # Bytes: those of the most settings that a sweep takes.
# What a setting of the record holds beside its environment.
_SETTING = ("method", "run", "demos", "inputs", "values")


def is_sweep(folder: pathlib.Path) -> bool:
    """Whether a folder is a sweep's, and no run's."""
    return not (folder / "config.json").is_file() and (folder / "sweep.json").is_file()


def load_sweep(folder: str | pathlib.Path) -> dict[str, Any]:
    """`sweep.json` of a sweep folder.

    Raises:
      GailfeError: no sweep there, a damaged file, or one of another version.
    """
    path = pathlib.Path(folder) / "sweep.json"
    try:
        record = read_json(path, "sweep.json that gailfe sweep wrote", most=_LARGEST)
    except GailfeError:
        if not path.exists():
            raise GailfeError(f"{path}: no such file; expected a folder made by gailfe sweep") from None
        raise
    if not isinstance(record, dict):
        raise GailfeError(f"{path}: damaged; expected what gailfe sweep wrote")
    if record.get("version") != VERSION:
        raise GailfeError(
            f"{path}: field 'version': {record.get('version')!r}; this release continues sweeps of version {VERSION} "
            "(it reads the runs under settings/ of any version)"
        )
    if not isinstance(record.get("settings"), dict) or not isinstance(record.get("words"), list):
        raise GailfeError(f"{path}: damaged; expected what gailfe sweep wrote")
    for name, setting in record["settings"].items():
        held = setting if isinstance(setting, dict) else {}
        place = held.get("environment")
        named = isinstance(place, dict) and isinstance(place.get("env", ""), str)
        if not named or not all(isinstance(held.get(part), dict) for part in _SETTING):
            raise GailfeError(f"{path}: field 'settings.{name}': damaged; expected a setting that gailfe sweep wrote")
    return record
