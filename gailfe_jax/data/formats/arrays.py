"""Demonstrations as named arrays: what our own files hold, whichever container they come in.

They hold `format`, `format_version`, `env_id`, `provenance` (a JSON object as a string), and the arrays of
`Trajectories` twice, as `expert/<field>` and `failures/<field>`; `reward` and `simulator_state` may be missing from
either. docs/data.md has them one by one.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np

from gailfe_jax.data.trajectories import FORMAT_VERSION, Demonstrations, Trajectories
from gailfe_jax.data.validation import FIELDS, OPTIONAL, PARTS
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.json_text import parse_json

FORMAT = "gailfe-demonstrations"
_HEADER = ("format", "format_version", "env_id", "provenance")


def hint(path: str) -> str:
    """What to do with a file of another layout."""
    return f"gailfe demos import {shlex.quote(str(path))} --out NEW.npz converts other layouts"


def to_arrays(demonstrations: Demonstrations) -> dict[str, np.ndarray]:
    """The arrays of valid demonstrations, whose provenance JSON can hold."""
    arrays = {
        "format": np.array(FORMAT),
        "format_version": np.array(FORMAT_VERSION, np.int64),
        "env_id": np.array(demonstrations.env_id),
        "provenance": np.array(json.dumps(demonstrations.provenance, sort_keys=True, allow_nan=False)),
    }
    for part in PARTS:
        for field in FIELDS:
            array = getattr(getattr(demonstrations, part), field)
            if array is not None:
                arrays[f"{part}/{field}"] = np.ascontiguousarray(array)
    return arrays


def from_arrays(path: str, arrays: Mapping[str, np.ndarray]) -> Demonstrations:
    """The demonstrations in a file's `arrays`, whose values are not validated yet.

    Raises:
      GailfeError: an array is missing, foreign or of another version; the message names `path` and the field.
    """
    env_id, provenance = check_header(path, arrays)
    parts = {}
    for part in PARTS:
        fields = {field: arrays.get(f"{part}/{field}") for field in FIELDS}
        for field, array in fields.items():
            if array is None and field not in OPTIONAL:
                raise GailfeError(f"{path}: field '{part}/{field}': missing; gailfe demos import derives what it can")
        parts[part] = Trajectories(**fields)  # type: ignore[arg-type]
    return Demonstrations(env_id=env_id, provenance=provenance, **parts)


def check_header(path: str, arrays: Mapping[str, np.ndarray]) -> tuple[str, dict[str, Any]]:
    """The environment and the provenance that a file's `arrays` name.

    Raises:
      GailfeError: the arrays are foreign or of another version.
    """
    if "format" not in arrays or _text(path, arrays, "format") != FORMAT:
        raise GailfeError(
            f"{path}: field 'format': not a demonstration file of gailfe, expected {FORMAT!r}; {hint(path)}"
        )
    for field in _HEADER:
        if field not in arrays:
            raise GailfeError(f"{path}: field '{field}': missing")
    version = arrays["format_version"]
    if version.shape != () or version.dtype.kind not in "iu":
        raise GailfeError(f"{path}: field 'format_version': {version.dtype} {version.shape}, expected one integer")
    if int(version) != FORMAT_VERSION:
        raise GailfeError(f"{path}: field 'format_version': {int(version)}, expected {FORMAT_VERSION}")
    known = {*_HEADER, *(f"{part}/{field}" for part in PARTS for field in FIELDS)}
    foreign = sorted(set(arrays) - known)
    if foreign:
        raise GailfeError(f"{path}: field '{foreign[0]}': not part of the format")
    try:
        provenance = parse_json(_text(path, arrays, "provenance"))
    except GailfeError as error:
        raise GailfeError(f"{path}: field 'provenance': {error}; expected a JSON object") from None
    if not isinstance(provenance, dict):
        raise GailfeError(f"{path}: field 'provenance': expected a JSON object")
    return _text(path, arrays, "env_id"), provenance


def _text(path: str, arrays: Mapping[str, np.ndarray], field: str) -> str:
    array = arrays[field]
    if array.shape != () or array.dtype.kind != "U":
        raise GailfeError(f"{path}: field '{field}': {array.dtype} of shape {array.shape}, expected one string")
    return str(array)
