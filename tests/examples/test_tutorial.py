"""The notebook: plain Python from top to bottom, minutes of one CPU, and what it says comes out."""

from __future__ import annotations

import ast
import json
import os
import pathlib
import re
import resource
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
NOTEBOOK = json.loads((ROOT / "examples" / "tutorial.ipynb").read_text(encoding="utf-8"))
MOST_SECONDS = 300
"""Of one core, for all of it."""


def cells(kind):
    return ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == kind]


def test_its_cells_name_what_there_is():
    import gailfe_jax as gf

    for node in ast.walk(ast.parse("\n".join(cells("code")))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "gf":
            assert hasattr(gf, node.attr), f"gf.{node.attr}"
    for link in re.findall(r"\]\((?!http)([^)#]+)", "\n".join(cells("markdown"))):
        assert (ROOT / "examples" / link).exists(), link


def test_it_was_saved_as_it_ran():
    shown = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in shown] == list(range(1, len(shown) + 1))
    outputs = [output for cell in shown for output in cell["outputs"]]
    assert not any(output["output_type"] == "error" for output in outputs)
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert re.search(r'"(/home|/root|/tmp|/work|/Users)/', json.dumps(NOTEBOOK)) is None


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(cells("code"))], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    clone, learned = (float(re.search(rf"{name}: (-?\d\.\d\d) of", done.stdout)[1]) for name in ("the clone", "GAIL"))
    assert learned > 0.5 > clone
    assert (tmp_path / "curves.png").is_file()
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < MOST_SECONDS
