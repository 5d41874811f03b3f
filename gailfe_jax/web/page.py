"""Puts a page into one file that loads nothing and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from collections.abc import Mapping, Sequence
from typing import Any

from gailfe_jax.web.markup import Markup, embedded, tag

UPLOT = "gailfe_jax.web:vendor/uPlot.iife.min.js"
UPLOT_STYLE = "gailfe_jax.web:vendor/uPlot.min.css"
BASE_STYLE = "gailfe_jax.web:page/base.css"
BASE_SCRIPT = "gailfe_jax.web:page/base.js"
THREE = "gailfe_jax.web:vendor/three.iife.min.js"
_NOTICES = {UPLOT: ("The charts are drawn by uPlot", "uPlot"), THREE: ("The scene is drawn by three.js", "three")}


def asset(name: str) -> str:
    """The text of a file of the package, named as `package:path`."""
    package, _, path = name.partition(":")
    return importlib.resources.files(package).joinpath(*path.split("/")).read_text(encoding="utf-8")


def content_policy(styles: Sequence[str], scripts: Sequence[str], *, connects: bool = False) -> str:
    """The content security policy of a page with these styles and scripts: nothing else runs, and nothing is loaded.

    Args:
      styles, scripts: names of files, see `asset`.
      connects: let it ask the server that it came from.
    """
    return (
        f"default-src 'none'; script-src '{_digest(_joined(scripts))}'; style-src '{_digest(_joined(styles))}'; "
        f"img-src data:; media-src data:; {'connect-src ' + repr('self') + '; ' if connects else ''}"
        "base-uri 'none'; form-action 'none'"
    )


def one_file(
    title: str,
    body: Sequence[Markup | None],
    *,
    styles: Sequence[str],
    scripts: Sequence[str],
    data: Mapping[str, Any],
    connects: bool = False,
) -> str:
    """The text of the page.

    Args:
      title: of the window.
      body: what is seen.
      styles, scripts: names of files, see `asset`; they stand in the page.
      data: what the scripts read, in the types of JSON.
      connects: see `content_policy`.
    """
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag(
            "meta",
            http_equiv="Content-Security-Policy",
            content=content_policy(styles, scripts, connects=connects),
        ),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),
        tag("style", Markup(_joined(styles))),
    )
    content = tag(
        "body",
        *body,
        tag("script", embedded(data), type="application/json", id="data"),
        tag("script", Markup(_joined(scripts))),
    )
    notices = "".join(
        f"<!--\n{said}:\n{asset(f'gailfe_jax.web:vendor/{name}-LICENSE')}-->\n"
        for script, (said, name) in _NOTICES.items()
        if script in scripts
    )
    return f"<!doctype html>\n{notices}{tag('html', head, content, lang='en')}\n"


def _joined(names: Sequence[str]) -> str:
    return "\n".join(asset(name) for name in names)


def _digest(text: str) -> str:
    """What a content security policy calls a script or style of this text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
