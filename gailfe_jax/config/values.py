"""One syntax for values, wherever they are written: command line, sweep, table or configuration file.

`64x64` and `none` are layer sizes, `true` and `false` are switches, `none` is the absence of an optional value.
"""

from __future__ import annotations

import math
import reprlib
from typing import Any

from gailfe_jax.config.parts import Setting, check, most_of
from gailfe_jax.errors import GailfeError


def read_value(name: str, setting: Setting, given: Any, *, exact: bool = False) -> Any:
    """`given` as the type of `setting`: text from a command line or a table, or a value from JSON or TOML.

    Args:
      name: of the setting, for messages.
      setting: what it declares.
      given: what was written.
      exact: take no text for what is none, and no fraction for a whole number: a record holds what was trained with.

    Raises:
      GailfeError: it has another type, is out of bounds, or is empty.
    """
    wrong = GailfeError(f"{name}: got {_shown(given)}; expected {setting.expected}")
    value = given.strip() if isinstance(given, str) else given
    if value == "" and isinstance(value, str):
        raise GailfeError(f"{name}: got an empty value; expected {setting.expected}")
    if setting.optional and (value is None or (value == "none" and not exact)):
        return None
    sizes = given if setting.kind is tuple and isinstance(given, list | tuple) else ()
    if exact and not (isinstance(given, _EXACT[setting.kind]) and all(isinstance(size, int) for size in sizes)):
        raise wrong
    try:
        typed = _typed(setting.kind, value)
    except (ValueError, OverflowError):
        raise wrong from None
    try:
        check(name, setting, typed)
    except GailfeError:
        raise GailfeError(f"{wrong}{most_of(setting, typed)}") from None
    return typed


_EXACT: dict[type, tuple[type, ...]] = {
    bool: (bool,), int: (int,), float: (int, float), str: (str,), tuple: (list, tuple),
}  # fmt: skip
"""What a record holds where a setting is of a type. A truth value is no number to `_typed` either."""


def _shown(given: Any) -> str:
    try:
        return reprlib.repr(given)
    except ValueError:  # Python writes no whole number of thousands of digits.
        return "a number of too many digits"


def _typed(kind: type, value: Any) -> Any:
    """`value` as a `kind`; ValueError where it is none."""
    if kind is str:
        if not isinstance(value, str):
            raise ValueError
        return value
    if kind is bool:
        words = {"true": True, "false": False}
        if isinstance(value, bool):
            return value
        if str(value).lower() not in words:
            raise ValueError
        return words[str(value).lower()]
    if kind is tuple:
        sizes = ([] if value == "none" else value.split("x")) if isinstance(value, str) else value
        if not isinstance(sizes, list | tuple):
            raise ValueError
        return tuple(_number(size, int) for size in sizes)
    return _number(value, kind)


def _number(value: Any, kind: type) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError
    if isinstance(value, str) and not value.isascii():
        raise ValueError
    number = float(value)
    if not math.isfinite(number) or (kind is int and not number.is_integer()):
        raise ValueError
    # Not by way of a float, which would round large whole numbers.
    return int(value) if kind is int and not isinstance(value, str) else kind(number)


def show_value(value: Any) -> str:
    """`value` as `read_value` takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "x".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
