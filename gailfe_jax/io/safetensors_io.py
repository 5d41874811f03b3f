"""Small files of named arrays: safetensors (no code inside) with a checksum, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy

from gailfe_jax.errors import GailfeError, one_line
from gailfe_jax.io.atomic import write_bytes_atomic
from gailfe_jax.io.json_text import parse_json
from gailfe_jax.io.limited import read_limited

_LARGEST_FILE = 256 * 2**20
_LARGEST_HEADER = 4 * 2**20


def write_tensors(
    path: str | os.PathLike[str], file_format: str, tensors: Mapping[str, np.ndarray], header: Mapping[str, str]
) -> Path:
    """Writes `tensors` and `header`; folders are made. The same content gives the same bytes.

    Args:
      path: file to write.
      file_format: what `read_tensors` will ask for.
      tensors: named arrays.
      header: named texts; `format` and `sha256` are added.

    Raises:
      OSError: the file cannot be written.
    """
    path, tensors = Path(path), dict(tensors)
    header = {"format": file_format, **header}
    header["sha256"] = _digest(tensors, header)
    write_bytes_atomic(path, _serialise(tensors, header))
    return path


def read_tensors(
    path: str | os.PathLike[str], file_format: str, *newer: str
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Reads a file that `write_tensors` wrote in `file_format`, or in one that is `newer`: `(tensors, header)`.

    Raises:
      GailfeError: the file is missing, foreign or damaged; the message names it.
    """
    path, kind = Path(path), file_format.split()[1]
    content = read_limited(path, _LARGEST_FILE, f"{kind} file")
    try:
        # Before the library reads it, which sets no bound to it.
        size = int.from_bytes(content[:8], "little")
        described = parse_json(content[8 : 8 + size], most=_LARGEST_HEADER)
        tensors = safetensors.numpy.load(content)
    except Exception as error:  # Whatever the library and NumPy raise, depending on the byte that was hit.
        raise GailfeError(
            f"{path}: expected a {kind} file in safetensors format; this one is foreign or cut off ({one_line(error)})"
        ) from None
    header = described.get("__metadata__", {})
    if not isinstance(header, dict) or not all(isinstance(text, str) for text in header.values()):
        raise GailfeError(f"{path}: expected a {kind} file, with texts in its header; this one is foreign")
    if header.get("format") not in (file_format, *newer):
        raise GailfeError(
            f"{path}: expected a file of {file_format!r}, found {header.get('format', 'another content')!r}"
        )
    if header.pop("sha256", None) != _digest(tensors, header):
        raise GailfeError(f"{path}: damaged, its content does not match its SHA-256")
    return tensors, header


def read_metadata(header: Mapping[str, str]) -> dict[str, str]:
    """The field `metadata` of a header that `read_tensors` returned: a JSON object of texts.

    Raises:
      GailfeError: it is missing, or something else.
    """
    try:
        found = parse_json(header.get("metadata", ""))
    except GailfeError as error:
        raise GailfeError(f"metadata: {error}; expected a JSON object") from None
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise GailfeError("metadata: expected a JSON object of texts")
    return found


def _serialise(tensors: dict[str, np.ndarray], header: dict[str, str]) -> bytes:
    """safetensors' bytes; the library writes the header's metadata in another order each time, here it is sorted."""
    content = safetensors.numpy.save(tensors, header)
    size = int.from_bytes(content[:8], "little")
    described = json.loads(content[8 : 8 + size])
    described["__metadata__"] = dict(sorted(described["__metadata__"].items()))
    text = json.dumps(described, separators=(",", ":")).encode()
    # The format asks for data aligned to eight bytes.
    text = text.ljust(-(-len(text) // 8) * 8)
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def _digest(tensors: dict[str, np.ndarray], header: dict[str, str]) -> str:
    """Of names, shapes, types, numbers and the header: safetensors itself has no checksum."""
    sha = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        array = tensors[name]
        sha.update(f"{name} {array.dtype} {array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()
