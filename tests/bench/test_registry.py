from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest

from gailfe_jax.bench.registry import BENCHMARKS, load
from gailfe_jax.errors import GailfeError

RESULTS = Path(__file__).resolve().parent.parent.parent / "benchmarks" / "results"


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_can_be_called_without_words(name):
    """The command line reads them off its signature, and their help off its docstring."""
    parameters = inspect.signature(load(name).run).parameters
    explained = inspect.getdoc(load(name).run).partition("\nArgs:\n")[2].partition("\n\n")[0]
    assert re.findall(r"^  (\w+): ", explained, flags=re.MULTILINE) == list(parameters)
    for parameter in parameters.values():
        assert parameter.default is not parameter.empty, parameter.name


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_committed_report_is_shown_and_drawn(name, tmp_path, capsys):
    reports = [json.loads(path.read_text()) for path in sorted(RESULTS.glob(f"{name}*.json"))]
    found = [report for report in reports if report["what"] == name]
    assert found
    load(name).show(found[0])
    assert capsys.readouterr().out
    load(name).draw(found[0], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x", "bench: 'x' is no benchmark; expected one of physics, train"),
        ("peers", "bench: 'peers' left the package; from a checkout run: python -m benchmarks.peers"),
    ],
)
def test_an_unknown_benchmark_is_named(name, message):
    with pytest.raises(GailfeError, match=f"^{re.escape(message)}"):
        load(name)
