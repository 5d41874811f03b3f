"""JSON as it stands in files: bounded before it is believed.

A text of a few bytes can nest deeper than Python recurses, hold a number of a million digits, or name a field twice, so
that two readers read two things. All JSON of files is read here, and such texts are refused in one line.
"""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any, NoReturn

from gailfe_jax.errors import GailfeError, one_line
from gailfe_jax.io.limited import read_limited

LARGEST = 16 * 2**20
"""Bytes of a text: JSON takes up to twenty times as many in memory."""
DEEPEST = 64
"""Objects and lists inside one another."""
_LARGEST_WHOLE = 2**64
# Only a text with so many digits in a row, or such an exponent, can hold a number that is refused.
_SUSPECT = re.compile(r"\d{19}|[eE]\+?\d{3}")
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str | bytes, *, most: int = LARGEST, nonfinite: bool = False) -> Any:
    """The value that a JSON text stands for.

    Args:
      text: of a file; bytes are UTF-8.
      most: bytes or characters that it may have.
      nonfinite: take NaN and Infinity, which JSON has not, for what Python writes of them.

    Raises:
      GailfeError: no JSON, one that is too long or nests too deeply, a name that is given twice in an object, a whole
        number beyond 64 bits, or one that is not finite. The message names no file.
    """
    if len(text) > most:
        raise GailfeError(f"has {len(text)} characters; expected at most {most} of JSON")
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        hooks: dict[str, Any] = {"object_pairs_hook": _once}
        hooks |= {"parse_int": _whole, "parse_float": _finite} if _SUSPECT.search(text) else {}
        hooks |= {} if nonfinite else {"parse_constant": _refuse_constant}
        value = json.loads(text, **hooks)
        if _HALF.search(text):
            # Such a text cannot be printed.
            json.dumps(value, ensure_ascii=False).encode()
    except GailfeError:
        raise
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise GailfeError(f"is no JSON ({one_line(error)[:200]})") from None
    if text.count("[") + text.count("{") > DEEPEST:
        check_depth(value)
    return value


def read_json(
    path: str | os.PathLike[str], what: str = "JSON file", *, most: int = LARGEST, nonfinite: bool = False
) -> Any:
    """The value in a JSON file.

    Args:
      path: of the file; it opens the message.
      what: such a file is, in words.
      most, nonfinite: see `parse_json`.

    Raises:
      GailfeError: it cannot be read, is larger, or holds what `parse_json` refuses.
    """
    content = read_limited(Path(path), most, what)
    try:
        return parse_json(content, most=most, nonfinite=nonfinite)
    except GailfeError as error:
        raise GailfeError(f"{path}: {error}; expected a {what}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise GailfeError(f"{twice[:80]} is given twice; expected each field once")
    return found


def _whole(digits: str) -> int:
    if len(digits) > len(str(_LARGEST_WHOLE)) + 1 or abs(number := int(digits)) >= _LARGEST_WHOLE:
        raise GailfeError(f"holds a whole number of {len(digits)} digits; expected one of 64 bits")
    return number


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise GailfeError(f"holds {digits[:40]}, which is not finite; expected a finite number")
    return number


def _refuse_constant(word: str) -> NoReturn:
    raise GailfeError(f"holds {word}; expected a finite number")


def _too_deep() -> GailfeError:
    return GailfeError(f"nests more than {DEEPEST} objects and lists; expected fewer")


def check_depth(value: Any) -> None:
    """Raises GailfeError where `value` nests too deeply; without recursion, which it may be too deep for."""
    level = [value]
    for _ in range(DEEPEST):
        inner = (x for x in level if isinstance(x, dict | list))
        level = [y for x in inner for y in (x.values() if isinstance(x, dict) else x) if isinstance(y, dict | list)]
        if not level:
            return
    raise _too_deep()
