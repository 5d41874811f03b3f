"""What README and the pages say is in plain English: short sentences, plain words, a short README, a whole site."""

from __future__ import annotations

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LONGEST = 35
# Words that promise or decorate, and plainer ones that do their work.
WORDS = re.compile(
    r"\b(utili[sz]\w*|leverag\w*|robustly|seamless\w*|effortless\w*|state[- ]of[- ]the[- ]art|cutting[- ]edge"
    r"|blazing\w*|in order to|facilitat\w*|aforementioned|powerful|out of the box|delv\w*|holistic\w*|world[- ]class"
    r"|game[- ]chang\w*|simply put|it is important to note|needless to say|plethora|myriad|paradigm\w*|synerg\w*"
    r"|streamlin\w*)\b",
    re.IGNORECASE,
)
SHORT_FORMS = re.compile(r"\b(et al|e\.g|i\.e|vs|eq|fig|no)\.", re.IGNORECASE)


def prose(text: str) -> str:
    """A page without blocks, formulas, tables, headings and comments; code is one word, and a link is its text."""
    text = re.sub(r"^(```|:::).*?^\1$", "\n\n", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^\$\$.*?^\$\$$", " formula ", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"<!--.*?-->", "\n\n", text, flags=re.DOTALL)
    text = re.sub(r"^(\s*\|.*\||#.*)$", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`", "code", text)
    text = re.sub(r"\$[^$\n]+\$", "formula", text)
    return re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)


def sentences(text: str):
    """The sentences of a page; a paragraph or an item of a list ends one, too."""
    for paragraph in re.split(r"\n\s*\n|\n\s*(?:[-*+]|\d+\.)\s+", prose(text)):
        line = SHORT_FORMS.sub(r"\1", " ".join(paragraph.split()))
        yield from re.split(r"(?<=[.!?])[*)\"']*\s+|(?<=[.!?][*)\"'])\s+", line)


def words(sentence: str) -> int:
    return len(re.findall(r"\w[\w'.,/-]*", sentence))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_sentences_are_short(path):
    long = [s for s in sentences(path.read_text(encoding="utf-8")) if words(s) > LONGEST]
    assert not long, "\n".join(f"{words(s)} words: {s}" for s in long)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_words_are_plain(path):
    assert not [match[0] for match in WORDS.finditer(prose(path.read_text(encoding="utf-8")))]


def test_what_is_not_plain_is_found():
    long = "word " * LONGEST + "end."
    assert [words(s) for s in sentences(f"Short one. {long} After (Guo et al. 2018) it goes on.")] == [2, 36, 8]
    page = "One `a. b` here.\n- two\n\n```\nnot. this\n```\n| nor | this. |\n"
    assert list(sentences(page)) == ["One code here.", "two", ""]
    found = [match[0] for match in WORDS.finditer("We leverage it, seamlessly, in order to win.")]
    assert found == ["leverage", "seamlessly", "in order to"]


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_every_page_is_on_the_site():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^[a-z_0-9/]+$", "\n".join(re.findall(r"^:::\{toctree\}(.*?)^:::$", index, re.M | re.S)), re.M)
    pages = [path for path in (ROOT / "docs").rglob("*") if path.suffix in (".md", ".rst")]
    there = [path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in pages]
    assert sorted([*listed, "index"]) == sorted(there)


def test_every_public_name_is_in_the_reference():
    import gailfe_jax as gf

    page = (ROOT / "docs" / "api.rst").read_text(encoding="utf-8")
    named = re.findall(r"^\.\. (?:auto\w+|data):: (\w+)$", page, re.MULTILINE)
    assert sorted([*named, "annotators"]) == sorted(gf.__all__)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_within_the_pages_find_their_heading(path):
    """The site's build checks them, too; this is quicker, and covers README."""
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)#([^)]+)\)", path.read_text(encoding="utf-8")):
        page = path if not target else path.parent / target
        headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in slugs, f"{target}#{anchor}"
