from __future__ import annotations

import ast
import importlib.util
import json
import pathlib
import re

import pytest

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


def test_every_papers_figure_has_its_script_and_results():
    page = (ROOT / "docs" / "results.md").read_text()
    scripts = re.findall(r"`python (experiments/\w+\.py) --draw`", page)
    for paper in ("Zhu et al. 2020", "Ho & Ermon 2016", "Baram et al. 2016", "Guo et al. 2018"):
        assert f"| {paper}" in page
    assert len(scripts) >= 6
    for script in scripts:
        assert (ROOT / script).is_file() and (ROOT / "experiments" / "results" / pathlib.Path(script).stem).is_dir()


def test_every_link_to_a_file_leads_somewhere():
    for path in tables().pages():
        for link in re.findall(r"\]\((?!http)([^)#]+)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name}: {link}"


@pytest.mark.parametrize("names", ["peers", pytest.param("*", marks=pytest.mark.slow)])
def test_the_figures_are_drawn_from_the_result_files(names, tmp_path, monkeypatch):
    module = tables()
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    figures = sorted((ROOT / "benchmarks" / "results").glob(f"{names}.png"))
    for figure in figures:
        (results / figure.name).write_bytes(b"old")
        (results / f"{figure.stem}.json").write_bytes(figure.with_suffix(".json").read_bytes())
    monkeypatch.setattr(module, "ROOT", tmp_path)
    module.draw()
    assert figures and all((results / path.name).read_bytes().startswith(b"\x89PNG") for path in figures)


EXCERPT = re.compile(r"^:::\{literalinclude\} (\S+)\n:language: python\n:pyobject: (\S+)\n:::$", re.MULTILINE)


def test_every_method_has_a_page_with_its_equations_code_settings_and_results():
    from gailfe_jax.learners.methods import METHODS

    built_in = [name for name, method in METHODS.items() if type(method).__module__.startswith("gailfe_jax.")]
    pages = {path.stem: path.read_text() for path in (ROOT / "docs" / "methods").glob("*.md")}
    assert set(built_in) == set(pages)
    for name, page in pages.items():
        headings = re.findall(r"^## (.*)$", page, re.MULTILINE)
        for heading in ("Equations", "Code", "Settings", "Results"):
            assert heading in headings, f"{name}: {heading}"
        assert f"gailfe train {name} " in page and "$$" in page
        assert f"<!-- table: settings_{name} -->" in page or "It has none of its own." in page
        excerpts = EXCERPT.findall(page)
        assert excerpts and len(excerpts) == page.count("literalinclude")
        for file, name in excerpts:
            assert name in definitions(ROOT / "docs" / "methods" / file)


def definitions(file):
    """Names of the functions and classes of a file, those in a class with its name before them."""
    found = set()
    for node in ast.parse(file.resolve().read_text()).body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
    return found


def test_a_page_shows_the_settings_that_its_method_has():
    text = tables().TABLES["settings_gailfe"]()
    assert "| `--constraint.threshold` | `-0.693147` | Z_F, the least allowed mean log D" in text
    assert "*Not read as it stands: multiplier is dual.*" in text and "--reward." not in text


def test_a_stale_table_is_noticed():
    text = "<!-- table: experts -->\n| hopper | 9999 |\n<!-- end -->\n"
    new = tables().render(text)
    assert new != text and "9999" not in new and "published expert" in new


def test_readme_names_the_two_commands():
    text = (ROOT / "README.md").read_text()
    assert "make quickstart" in text and "make test" in text


def row(**values):
    return {"env": "hopper", "engine": "mjx", "algo": "gail", "num_envs": 4, "seeds": 1} | values


RESULTS = {
    "scaling_envs": (
        {
            "rows": [
                row(value=8, steps_per_second=1234.0, bare_steps_per_second=5000.0, share_of_bare=0.25,
                    program_bytes=3 * 2**20, peak_bytes=2**30),
                row(value=8192, error="out of memory"),
            ],
        },
        ["| 8 | 5,000 | 1,234 | 0.25 | 3.0 | 1,024 |", "| 8,192 | failed |", "Too few points for a knee."],
    ),
    "sweep": (
        {"rows": [row(iteration="8", way="alone", seconds_per_seed=1.5, over_alone=1.0, over_bare=3.0, steps=1000)]},
        ["| 8 | alone | 1.50 | 1.00 | 3.00 | - | - |", "1,000 steps"],
    ),
    "profile": (
        {
            "rows": [row(part="unroll", seconds=0.012, share_of_whole=0.6, unroll_length=128)],
            "largest": "unroll: 60%",
        },
        ["| unroll | 12.0 | 60% |", "4 environments x 128 steps", "Largest: unroll: 60%."],
    ),
    "fidelity": (
        {"rows": [row(variant="cg", steps_per_second=2000.0, error={"1": 1e-7, "10": None})]},
        ["error after 10", "| hopper | mjx | cg | 2,000 | 1.0e-07 | not finite |"],
    ),
    "gpu": (
        {
            "rows": [
                row(kind="train", steps_per_second=2e6),
                row(kind="physics", error="skipped"),
                row(kind="profile", largest="unroll: 60%"),
            ],
            "verdicts": [row(target="half", value=0.4, met=False)],
        },
        ["2,000,000 steps/s", "| unroll: 60% |", "* half: 0.40, missed (gail on hopper, mjx)"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_file_becomes_a_table(name, monkeypatch, tmp_path):
    module = tables()
    monkeypatch.setattr(module, "ROOT", tmp_path)
    assert module.TABLES[name]().startswith("Not measured yet (`")
    report, shown = RESULTS[name]
    folder = tmp_path / "benchmarks" / "results"
    folder.mkdir(parents=True)
    hardware = {"cpu": "a CPU", "cores": 2, "accelerators": ["a GPU"]}
    (folder / f"{name}.json").write_text(json.dumps(report | {"provenance": {"hardware": hardware}}))
    (folder / f"{name}.png").touch()
    text = module.TABLES[name]()
    for part in shown:
        assert part in text
    assert ("a GPU" if name == "gpu" else "a CPU, 2 cores") in text
    assert (f"](../benchmarks/results/{name}.png)" in text) == name.startswith("scaling")
