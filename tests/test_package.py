"""What a built package holds, and that its version stands in one place."""

from __future__ import annotations

import email
import json
import re
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

import gailfe_jax
from gailfe_jax.io.provenance import provenance

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    (path,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    return zipfile.ZipFile(path)


def test_a_wheel_has_the_version_that_the_code_has(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    assert email.message_from_bytes(wheel.read(name))["Version"] == gailfe_jax.__version__


def test_a_wheel_holds_the_package_its_types_and_its_experts_and_nothing_else(wheel):
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    present = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "gailfe_jax").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == present
    assert "gailfe_jax/py.typed" in names
    experts = ("hopper", "halfcheetah", "walker2d")
    assert {f"gailfe_jax/artifacts/experts/{task}.safetensors" for task in experts} <= names


def test_a_result_names_the_version_of_the_code_that_ran(monkeypatch):
    monkeypatch.setattr("gailfe_jax.io.provenance.__version__", "0.1.0+clone")
    assert json.loads(json.dumps(provenance()))["versions"]["gailfe-jax"] == "0.1.0+clone"


def test_no_other_file_gives_a_version():
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert not re.search(r"^version\s*=", pyproject, re.MULTILINE)
    assigned = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "gailfe_jax").rglob("*.py")
        if re.search(r"^__version__\s*=", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert assigned == ["gailfe_jax/__init__.py"]


def test_the_changelog_says_what_the_version_brought():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    assert released, "CHANGELOG.md: no heading of the form '## [1.2.3] - 2030-01-31'"
    assert released[0] == gailfe_jax.__version__, "CHANGELOG.md: the newest release is not __version__"
