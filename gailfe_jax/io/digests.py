"""SHA-256 of files, texts and JSON values."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: Any) -> bytes:
    """The one JSON text of `value`: names sorted, no white space. A tuple reads as a list.

    Raises:
      TypeError, ValueError: `value` holds something JSON has no word for.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def json_sha256(value: Any) -> str:
    """Hexadecimal SHA-256 of `canonical_json(value)`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def text_sha256(text: str) -> str:
    """Hexadecimal SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()
