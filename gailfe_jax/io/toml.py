"""TOML out of plain values; Python itself reads it (`tomllib`) and does not write it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def toml_text(record: Mapping[str, Any]) -> str:
    """A TOML file of nested tables.

    Args:
      record: `name -> value`, a value being a table, a number, a string, a bool or a list of the latter. Names are made
        of letters, digits, `_` and `-`.
    """
    return "\n".join(_lines(record, "")).lstrip("\n") + "\n"


def _lines(record: Mapping[str, Any], path: str) -> Iterator[str]:
    """A table's values, and behind them the tables inside it, each under its full name."""
    for name, value in record.items():
        if not isinstance(value, Mapping):
            yield f"{name} = {_value(value)}"
    for name, value in record.items():
        if not isinstance(value, Mapping):
            continue
        inner = f"{path}{name}"
        if not value or not all(isinstance(held, Mapping) for held in value.values()):
            yield f"\n[{inner}]"
        yield from _lines(value, f"{inner}.")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # JSON's escapes are TOML's too, and TOML escapes one more letter.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, int | float):
        return repr(value)
    raise TypeError(f"a {type(value).__name__} is no value of a TOML file")
