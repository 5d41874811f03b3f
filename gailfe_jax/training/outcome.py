"""Reading what training wrote of a run at its end: summary.json."""

from __future__ import annotations

import pathlib
import warnings
from typing import Any

from gailfe_jax.errors import GailfeError, GailfeWarning
from gailfe_jax.io.json_text import read_json


def read_summary(run_dir: pathlib.Path) -> dict[str, Any]:
    """What summary.json of a run holds: nothing where there is none yet, or, with a warning, where it is damaged."""
    file = run_dir / "summary.json"
    if not file.exists():
        return {}
    try:
        found = read_json(file, "summary of a run")
    except GailfeError as error:
        warnings.warn(f"{error}; what it held is left out", GailfeWarning, stacklevel=2)
        return {}
    if not isinstance(found, dict):
        warnings.warn(f"{file}: is no summary of a run; what it held is left out", GailfeWarning, stacklevel=2)
        return {}
    return found
