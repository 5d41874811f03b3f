"""How Sphinx builds the site: `make docs`. Nothing is loaded from elsewhere, when it is built or when it is read."""

from __future__ import annotations

import pathlib
import re
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

import gailfe_jax

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Pages that are files beside README; Markdown elsewhere shows the link that stands in docs/.
OUTSIDE = {"changelog": "CHANGELOG.md", "contributing": "CONTRIBUTING.md"}

project = "gailfe_jax"
author = copyright = "The gailfe_jax authors"
version = release = gailfe_jax.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
myst_dmath_allow_digits = False
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
# Blocks without a language are shell commands, with output and comments now and then.
highlight_language = "text"
# Docstrings write code in single backticks.
default_role = "code"
autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "show-inheritance": True,
    "exclude-members": "__init__, __new__",
}
autodoc_class_signature = "separated"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
napoleon_numpy_docstring = False
html_theme = "furo"
html_title = f"gailfe_jax {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"


def read_outside(app: Any, docname: str, source: list[str]) -> None:
    """Takes a page's text from the root, and makes links that leave docs/ plain text: the site may stand anywhere."""
    if docname in OUTSIDE:
        text = (ROOT / OUTSIDE[docname]).read_text(encoding="utf-8")
        text = re.sub(r"\]\(docs/", "](", text)
        text = re.sub(r"(?<!!)\[([^\]]*)\]\(((?:examples/|SECURITY)[^)]*)\)", r"\1 (`\2`)", text)
        source[0] = re.sub(r"\]\(CHANGELOG\.md", "](changelog.md", text)
        return
    depth = docname.count("/")
    out = re.escape("../" * (depth + 1))
    text = re.sub(rf"\]\({out}CONTRIBUTING\.md", f"]({'../' * depth}contributing.md", source[0])
    # A link that shows a file's name shows the page's title instead.
    text = re.sub(r"\[[\w/]+\.md\]\(", "[](", text)
    text = re.sub(rf"\[{out}([^\]]*)\]\({out}[^)]*\)", r"`\1`", text)
    source[0] = re.sub(rf"(?<!!)\[([^\]]*)\]\({out}([^)]*)\)", r"\1 (`\2`)", text)


KEPT: dict[str, list[str]] = {}


def keep_attribute(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Hides attributes' docstrings from napoleon, which takes what is before a colon in them for a type."""
    if what in ("attribute", "property", "data"):
        KEPT[name] = lines[:]
        lines[:] = []


def escape_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with code in backticks; what reST would read as markup in the rest is escaped."""
    lines[:] = KEPT.pop(name, lines[:])
    for number, line in enumerate(lines):
        parts = re.split(r"(``.*?``|`[^`]*`|:\w+:|\*\*\w+\*\*|^\.\. .*$)", line)
        parts[::2] = [re.sub(r"([*|]|(?<=\w)_(?=\W|$))", r"\\\1", part) for part in parts[::2]]
        lines[number] = "".join(parts)


def inline_math(self: Any, node: nodes.math) -> None:
    self.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def block_math(self: Any, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    # MathML is what browsers draw by themselves: no script, no fonts, no pictures.
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("source-read", read_outside)
    # Napoleon's own priority is 500.
    app.connect("autodoc-process-docstring", keep_attribute, priority=100)
    app.connect("autodoc-process-docstring", escape_docstring, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
