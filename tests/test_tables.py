from __future__ import annotations

import importlib.util
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent


def tables():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks" / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_shows_what_the_result_files_hold():
    text = (ROOT / "README.md").read_text()
    module = tables()
    assert module.render(text) == text, "run: python benchmarks/tables.py"
    for name in module.TABLES:
        assert f"<!-- table: {name} -->" in text


def test_a_stale_table_is_noticed():
    text = "<!-- table: experts -->\n| hopper | 9999 |\n<!-- end -->\n"
    new = tables().render(text)
    assert new != text and "9999" not in new and "published expert" in new


def test_readme_names_the_two_commands():
    text = (ROOT / "README.md").read_text()
    assert "make quickstart" in text and "make test" in text
