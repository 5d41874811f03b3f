"""The rules of the repository's layout, read off the files.

A room is a package or module right inside `gailfe_jax`. Imports run downwards: a room's floor is one above the highest
room that it imports. `python tests/test_layout.py` prints the floors, and the imports that close a cycle.
"""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gailfe_jax"
MAX_FLOORS = 8
MAX_LINES = 500
# Which parts of the package may import a package that the rest leaves alone.
ONLY = {
    "mujoco": ("envs/physics/",),
    "warp": ("envs/physics/",),
    "mujoco_warp": ("envs/physics/",),
    "orbax": ("training/checkpoint.py", "training/manifest.py"),
}
# The doors of the package: they lead to every room, and no room imports them.
DOORS = ("__init__", "__main__")


class Import(NamedTuple):
    """One import: the file and line, and the dotted name that is imported there."""

    path: Path
    line: int
    name: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.name}"


class Floors(NamedTuple):
    """`rooms` of each floor from the ground up, and the `cycles`, each a list of (room, room, imports)."""

    rooms: list[list[str]]
    cycles: list[list[tuple[str, str, list[Import]]]]


Graph = dict[str, dict[str, list[Import]]]


def sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def imports(path: Path, *, typing: bool) -> Iterator[Import]:
    """What a file imports, in functions too; with `typing`, also what only type checkers import.

    A string that is the name of one of our modules counts: such tables load modules on demand, or start them.
    """
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        names: list[str] = []
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            pending += [*node.orelse, *(node.body if typing else [])]
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            # `from gailfe_jax import envs` imports the module gailfe_jax.envs.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == PACKAGE.name:
            names = [f"{PACKAGE.name}.{node.attr}"]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "import_module"):
            first = node.args[0] if node.args else None
            names = [first.value] if isinstance(first, ast.Constant) and isinstance(first.value, str) else []
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            match = re.fullmatch(rf"({PACKAGE.name}\.\w+(\.\w+)+)(:\w+)?", node.value)
            names = [match[1]] if match else []
        yield from (Import(path, getattr(node, "lineno", 0), name) for name in names)
        pending += ast.iter_child_nodes(node)


def rooms_of(package: Path) -> set[str]:
    found = {child.stem for child in package.iterdir() if child.suffix == ".py" or (child / "__init__.py").exists()}
    return found - set(DOORS)


def import_graph(package: Path) -> Graph:
    """Which room imports which others, and where."""
    rooms = rooms_of(package)
    graph: Graph = {room: {} for room in sorted(rooms)}
    for path in sources(package):
        room = path.relative_to(package).with_suffix("").parts[0]
        if room in DOORS:
            continue
        seen: set[tuple[int, str]] = set()
        for found in sorted(imports(path, typing=False)):
            words = found.name.split(".")
            if words[0] != package.name or not words[1:] or words[1] not in rooms - {room}:
                continue
            if (found.line, words[1]) not in seen:
                seen.add((found.line, words[1]))
                graph[room].setdefault(words[1], []).append(found._replace(path=path.relative_to(package.parent)))
    return graph


def build_floors(graph: Graph) -> Floors:
    """Each room on the lowest floor that it can have; one cycle for each of the few pairs that would import upwards."""
    wanted = {room: set(targets) for room, targets in graph.items()}
    floor: dict[str, int] = {}
    cycles = []
    while len(floor) < len(graph):
        left = [room for room in graph if room not in floor]
        free = [room for room in left if wanted[room] <= floor.keys()]
        if not free:
            free = [_room_to_free(graph, wanted, left)]
            for target in sorted(wanted[free[0]] - floor.keys()):
                cycle = [free[0], *_way(wanted, target, free[0])]
                cycles.append([(a, b, graph[a][b]) for a, b in itertools.pairwise(cycle)])
            wanted[free[0]] &= floor.keys()
        for room in free:
            floor[room] = 1 + max((floor[target] for target in wanted[room]), default=-1)
    heights = range(1 + max(floor.values(), default=-1))
    return Floors([[room for room in graph if floor[room] == height] for height in heights], cycles)


def _room_to_free(graph: Graph, wanted: dict[str, set[str]], left: list[str]) -> str:
    """Of the rooms whose imports all lead back to them, the one that imports these rooms in the fewest lines."""
    reach = {room: set(wanted[room]) & set(left) for room in left}
    for middle in left:
        for room in left:
            if middle in reach[room]:
                reach[room] |= reach[middle]
    lowest = [room for room in left if all(room in reach[other] for other in reach[room])]
    return min(lowest, key=lambda room: sum(len(graph[room][target]) for target in wanted[room] & set(left)))


def _way(wanted: dict[str, set[str]], start: str, end: str) -> list[str]:
    """The rooms on a shortest way of imports from `start` to `end`, both included."""
    ways = [[start]]
    seen = {start}
    for way in ways:
        if way[-1] == end:
            return way
        ways += [[*way, target] for target in sorted(wanted[way[-1]] - seen)]
        seen |= wanted[way[-1]]
    raise AssertionError(f"{start} does not import {end}, directly or not")


def describe_cycle(cycle: list[tuple[str, str, list[Import]]]) -> str:
    lines = [" -> ".join([cycle[0][0], *(target for _, target, _ in cycle)])]
    for room, target, found in cycle:
        lines += [f"  {room} -> {target}: {where}" for where in found]
    return "\n".join(lines)


def test_no_rooms_import_each_other_in_a_circle():
    cycles = build_floors(import_graph(PACKAGE)).cycles
    assert not cycles, "rooms import each other in a circle:\n" + "\n".join(map(describe_cycle, cycles))


def test_the_house_is_not_too_high():
    floors = build_floors(import_graph(PACKAGE)).rooms
    assert len(floors) <= MAX_FLOORS, "\n".join(f"floor {i}: {', '.join(rooms)}" for i, rooms in enumerate(floors))


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A package of three rooms and a door; `tmp_path/gailfe_jax`."""
    package = tmp_path / "gailfe_jax"
    (package / "envs").mkdir(parents=True)
    (package / "__init__.py").write_text("from gailfe_jax import train\n")
    (package / "envs" / "__init__.py").write_text("")
    (package / "envs" / "base.py").write_text("import numpy\nfrom gailfe_jax import nn\nimport gailfe_jax.envs\n")
    (package / "nn.py").write_text("import jax\n")
    (package / "train.py").write_text("from gailfe_jax.envs.base import make\n")
    return package


def test_floors_follow_from_imports(house: Path):
    assert build_floors(import_graph(house)) == Floors([["nn"], ["envs"], ["train"]], [])


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n    from gailfe_jax.train import run\n    return run\n",
        "import gailfe_jax\nrun = gailfe_jax.train.run\n",
        "\nimport gailfe_jax.train\n",
        "\nMODULES = {'run': 'gailfe_jax.train.run'}\n",
        "import importlib\nrun = importlib.import_module('gailfe_jax.train')\n",
    ],
)
def test_an_upward_import_is_seen(house: Path, code: str):
    (house / "nn.py").write_text(code)
    (cycle,) = build_floors(import_graph(house)).cycles
    assert {(room, target) for room, target, _ in cycle} == {("nn", "train"), ("train", "envs"), ("envs", "nn")}
    text = describe_cycle(cycle)
    assert "nn -> train: gailfe_jax/nn.py:2 imports gailfe_jax.train" in text
    assert "envs -> nn: gailfe_jax/envs/base.py:2 imports gailfe_jax.nn" in text


def test_what_only_type_checkers_import_closes_no_cycle(house: Path):
    code = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from gailfe_jax.train import run\n"
    (house / "nn.py").write_text(code)
    assert build_floors(import_graph(house)).cycles == []
    assert "gailfe_jax.train.run" in {found.name for found in imports(house / "nn.py", typing=True)}


def test_each_cycle_is_found_once(house: Path):
    (house / "errors.py").write_text("from gailfe_jax import nn\n")
    (house / "nn.py").write_text("from gailfe_jax import errors\n")
    (house / "envs" / "tasks.py").write_text("from gailfe_jax import train\n")
    cycles = build_floors(import_graph(house)).cycles
    assert [{room for room, _, _ in cycle} for cycle in cycles] == [{"errors", "nn"}, {"envs", "train"}]


def test_rooms_import_each_other_where_names_live():
    """Not by the names that `gailfe_jax` shows to its users, which lead everywhere."""
    rooms = rooms_of(PACKAGE)
    for path in sources(PACKAGE):
        if path.parent == PACKAGE and path.stem in DOORS:
            continue
        for found in imports(path, typing=False):
            words = found.name.split(".")
            if words[0] == PACKAGE.name and words[1:]:
                assert words[1] in rooms or words[1].startswith("__"), f"{found}; expected its own module"


def test_the_package_imports_nothing_of_what_surrounds_it():
    around = {"tests", "experiments", "benchmarks", "examples"}
    found = [where for path in sources(PACKAGE) for where in imports(path, typing=True)]
    assert [str(where) for where in found if where.name.split(".")[0] in around] == []


@pytest.mark.parametrize("package", ONLY)
def test_only_one_room_imports(package: str):
    users = [
        (path.relative_to(PACKAGE).as_posix(), where.line)
        for path in sources(PACKAGE)
        for where in imports(path, typing=True)
        if where.name.split(".")[0] == package
    ]
    assert [f"{path}:{line}" for path, line in users if not path.startswith(ONLY[package])] == []


def test_no_module_is_too_long():
    lengths = {path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines()) for path in sources(PACKAGE)}
    assert {str(path): lines for path, lines in lengths.items() if lines > MAX_LINES} == {}


@pytest.mark.parametrize("module", ["gailfe_jax.policy", "gailfe_jax"])
def test_a_policy_acts_without_jax(module: str):
    program = (
        "import sys\n"
        "for name in 'jax jaxlib flax optax chex mujoco gymnasium brax scipy tyro rich'.split():\n"
        "    sys.modules[name] = None\n"  # an import of it then fails
        "import numpy as np\n"
        f"from {module} import load_expert\n"
        "policy = load_expert('hopper')\n"
        "assert np.array_equal(policy.predict(np.zeros(11), deterministic=True)[0], policy.act(np.zeros(11)))\n"
        "print(policy.act(np.zeros(11)).shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "(3,)\n", done.stderr


def test_no_pickle():
    unsafe = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for folder in (PACKAGE, ROOT / "experiments", ROOT / "benchmarks", ROOT / "examples"):
        for path in sources(folder):
            found = unsafe & {where.name.split(".")[0] for where in imports(path, typing=True)}
            assert not found, f"{path.relative_to(ROOT)} imports {found}"
            assert "allow_pickle=True" not in path.read_text(encoding="utf-8"), path.relative_to(ROOT)


def test_no_machine_paths_and_no_index_addresses():
    kinds = {".py", ".md", ".toml", ".lock", ".txt", ".json", ".jsonl", ".yml", ".yaml", ".cff"}
    folders = ("gailfe_jax", "experiments", "benchmarks", "examples", "requirements", "docs", ".github")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in kinds]
    files += [path for path in ROOT.iterdir() if path.suffix in kinds or path.name == "Makefile"]
    files += [path for path in (ROOT / ".ci").iterdir() if path.is_file()]
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
    assert "pytest-cov" in pinned


def test_the_sites_lock_pins_its_extra_with_hashes():
    text = (ROOT / "requirements" / "docs.lock").read_text(encoding="utf-8")
    blocks = [block for block in re.split(r"\n(?=[a-z0-9])", text) if not block.startswith("#")]
    assert all("==" in block.splitlines()[0] and "--hash=sha256:" in block for block in blocks)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.split("[><=]", requirement)[0] for requirement in project["optional-dependencies"]["docs"]}
    assert wanted <= {block.split("==")[0] for block in blocks}


def test_make_help_lists_every_target():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert targets is not None
    assert re.findall(r"^([a-z-]+):.*## \S", text, re.MULTILINE) == targets[1].split()


def main() -> None:
    graph = import_graph(PACKAGE)
    floors = build_floors(graph)
    print(f"{'floor':<7}{'room':<12}{'modules':>8}{'lines':>7}  stands on")
    for height, rooms in reversed(list(enumerate(floors.rooms))):
        below = floors.rooms[height - 1] if height else []
        for room in rooms:
            paths = sources(PACKAGE / room) or [PACKAGE / f"{room}.py"]
            lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)
            supports = ", ".join(target for target in below if target in graph[room])
            print(f"{height:<7}{room:<12}{len(paths):>8}{lines:>7}  {supports}".rstrip())
    print(f"\nimports that close a cycle: {len(floors.cycles)}")
    for cycle in floors.cycles:
        print("\n" + describe_cycle(cycle))


if __name__ == "__main__":
    main()
