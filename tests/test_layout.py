"""The rules of the package's layout, read off the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gailfe_jax"

# A module imports from its own level or from lower ones. Packages count as a whole.
LEVELS = {
    "types": 0,
    "batching": 0,
    "config": 0,
    "hosts": 1,
    "provenance": 0,
    "statistics": 0,
    "tensorfile": 0,
    "physics": 1,
    "networks": 1,
    "data": 1,
    "objectives": 1,
    "logging": 1,
    "memory": 1,
    "plotting": 1,
    "policy": 1,
    "confidences": 1,
    "oracle": 1,
    "checkpoint": 1,
    "envs": 2,
    "generators": 2,
    "rollout": 3,
    "learner": 4,
    "supervised": 4,
    "algorithms": 5,
    "train": 6,
    "search": 6,
    "comparison": 6,
    "sweep": 6,
    "cli": 9,
}
# Tools between training and the command line: expert, collect, evaluation, video, bench, quickstart, ...
TOOLS_LEVEL = 7


def sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            # `from gailfe_jax import envs` imports the module gailfe_jax.envs.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def level(name: str) -> int:
    return LEVELS.get(name, TOOLS_LEVEL)


def upward_imports(path: Path, name: str) -> list[str]:
    targets = {dotted.split(".")[1] for dotted in imported(path) if dotted.startswith("gailfe_jax.")}
    rooms = {child.stem for child in PACKAGE.iterdir() if child.suffix == ".py" or (child / "__init__.py").exists()}
    return sorted(target for target in targets & rooms if target != name and level(target) > level(name))


@pytest.mark.parametrize(
    "path",
    [path for path in sources(PACKAGE) if path != PACKAGE / "__init__.py"],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_imports_run_downwards(path: Path):
    assert upward_imports(path, room(path)) == []


def test_an_upward_import_is_seen(tmp_path: Path):
    path = tmp_path / "networks.py"
    path.write_text("def f():\n    from gailfe_jax.envs.base import make\n    return make\n")
    assert upward_imports(path, "networks") == ["envs"]


@pytest.mark.parametrize(
    ("package", "allowed"),
    [("mujoco", "physics/"), ("warp", "physics/"), ("mujoco_warp", "physics/"), ("orbax", "checkpoint.py")],
)
def test_only_one_room_imports(package: str, allowed: str):
    users = {
        str(path.relative_to(PACKAGE))
        for path in sources(PACKAGE)
        if any(dotted.split(".")[0] == package for dotted in imported(path))
    }
    assert [user for user in sorted(users) if not user.startswith(allowed)] == []


def test_no_pickle():
    unsafe = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for path in sources(PACKAGE) + sources(ROOT / "experiments") + sources(ROOT / "benchmarks"):
        found = unsafe & {dotted.split(".")[0] for dotted in imported(path)}
        assert not found, f"{path.relative_to(ROOT)} imports {found}"
        assert "allow_pickle=True" not in path.read_text(encoding="utf-8"), path.relative_to(ROOT)


def test_no_machine_paths_and_no_index_addresses():
    kinds = {".py", ".md", ".toml", ".lock", ".txt", ".json", ".jsonl"}
    folders = ("gailfe_jax", "experiments", "benchmarks", "requirements", "docs")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in kinds]
    files += [path for path in ROOT.iterdir() if path.suffix in kinds or path.name == "Makefile"]
    place = re.compile(r"(?<![\w.])/(home|Users|root|work|mnt|opt|tmp)/\w|file://|--(extra-)?index-url|--find-links")
    for path in files:
        match = place.search(path.read_text(encoding="utf-8"))
        assert match is None, f"{path.relative_to(ROOT)}: {match.group(0) if match else ''}"


def test_lock_pins_every_requirement_with_hashes():
    text = (ROOT / "requirements" / "dev.lock").read_text(encoding="utf-8")
    blocks = [block for block in re.split(r"\n(?=[a-z0-9])", text) if not block.startswith("#")]
    pinned = {}
    for block in blocks:
        match = re.match(r"([a-z0-9.-]+)==([^ ;]+)", block)
        assert match is not None, block.splitlines()[0]
        assert "--hash=sha256:" in block, match.group(1)
        pinned[match.group(1)] = match.group(2)
    assert pinned["mujoco"] == pinned["mujoco-mjx"] == "3.17.0"
    assert pinned["jax"] == pinned["jaxlib"] == "0.10.2"
    assert "hatchling" in pinned
