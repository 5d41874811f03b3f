"""HTML in which text is text: what comes from a file cannot become markup or script."""

from __future__ import annotations

import html
import json
from typing import Any

_VOID = ("br", "img", "input", "link", "meta")


class Markup(str):
    """Text that is HTML already."""


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """An element. Children that are no `Markup` are escaped; None is left out.

    Args:
      name: the element's.
      children: text, `Markup`, or None.
      attributes: their names with `_` for `-`, and one at the end taken off (`class_`, `for_`); True stands alone,
        False and None are left out.
    """
    words = [name]
    for key, value in attributes.items():
        key = key.removesuffix("_").replace("_", "-")
        if value is True:
            words.append(key)
        elif value is not None and value is not False:
            words.append(f'{key}="{html.escape(str(value))}"')
    opening = f"<{' '.join(words)}>"
    if name in _VOID:
        return Markup(opening)
    return Markup(f"{opening}{join(*children)}</{name}>")


def join(*children: Any) -> Markup:
    """Children behind one another, see `tag`."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else html.escape(str(child)) for child in children if child is not None
        )
    )


def table(header: list[Any], rows: list[list[Any]], caption: str) -> Markup:
    """A table whose first column names its rows, in a box of its own that scrolls where it is too wide."""
    head = tag("tr", *(tag("th", cell, scope="col") for cell in header))
    body = [tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows]
    made = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body))
    return tag("div", made, class_="wide", role="region", aria_label=caption, tabindex=0)


def embedded(content: Any) -> Markup:
    """JSON for a `script` element that is no script: nothing in it can end the element."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)
