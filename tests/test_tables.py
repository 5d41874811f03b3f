from __future__ import annotations

import importlib.util
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent


def tables():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks" / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_show_what_the_result_files_hold():
    module = tables()
    texts = {path.name: path.read_text() for path in module.pages()}
    for name, text in texts.items():
        assert module.render(text) == text, f"{name}: run: python benchmarks/tables.py"
    for name in module.TABLES:
        assert sum(f"<!-- table: {name} -->" in text for text in texts.values()) == 1


def test_every_link_to_a_file_leads_somewhere():
    for path in tables().pages():
        for link in re.findall(r"\]\((?!http)([^)#]+)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name}: {link}"


def test_a_stale_table_is_noticed():
    text = "<!-- table: experts -->\n| hopper | 9999 |\n<!-- end -->\n"
    new = tables().render(text)
    assert new != text and "9999" not in new and "published expert" in new


def test_readme_names_the_two_commands():
    text = (ROOT / "README.md").read_text()
    assert "make quickstart" in text and "make test" in text
