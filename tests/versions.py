"""Runs a small part of the tests with other versions than the lock file's, each in a throw-away environment.

    python tests/versions.py                 all of them
    python tests/versions.py newest          one of them

`oldest` and `newest` are the ends of the range of JAX that pyproject.toml allows, the newest on the newest Python that
is here. `warp` is the locked JAX with MuJoCo Warp, whose tests then run on the processor; warp-lang takes 388 MB, which
is why the lock file leaves it out.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13")
# Transformations, loops over seeds, lowering for other platforms, the simulator, checkpoints: what JAX could change.
SOME = (
    "tests/bench/test_loops.py", "tests/parallel/test_seeds.py", "tests/training/test_lowering.py",
    "tests/policies/test_trpo.py", "tests/training/test_checkpoint.py",
)  # fmt: skip


class Environment(NamedTuple):
    """An environment to test in: which Python, what is installed beside the project, and what runs."""

    python: str
    packages: list[str]
    tests: list[str]


def bounds(text: str) -> tuple[str, str]:
    """`(least, below)` of JAX in the text of pyproject.toml."""
    match = re.search(r'"jax>=([\d.]+),<([\d.]+)"', text)
    if match is None:
        raise SystemExit("error: pyproject.toml: no bounds of jax; expected jax>=X,<Y")
    return match[1], match[2]


def environments(text: str, pythons: list[str]) -> dict[str, Environment]:
    """What can be asked for, by name, with the text of pyproject.toml and the Pythons that are here, oldest first."""
    least, below = bounds(text)
    quick = [*SOME, "-m", "not slow"]
    return {
        "oldest": Environment(pythons[0], [f"jax=={least}.*"], quick),
        "newest": Environment(pythons[-1], [f"jax<{below}"], quick),
        "warp": Environment(
            pythons[0], ["-c", "requirements/pins.txt", ".[warp]"], ["tests/envs/physics/test_warp.py"]
        ),
    }


def found_pythons() -> list[str]:
    """The supported Pythons of this machine, oldest first; this one if there is no other."""
    found = []
    for version in PYTHONS:
        path = shutil.which(f"python{version}")
        # A version manager's shim may stand for a Python that is not there.
        if path and subprocess.run([path, "-c", "import venv, ensurepip"], capture_output=True).returncode == 0:
            found.append(path)
    return found or [sys.executable]


def check(environment: Environment) -> bool:
    """Makes the environment, says which JAX it has, and whether its tests pass."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([environment.python, "-m", "venv", folder], check=True)
        python = str(pathlib.Path(folder) / "bin" / "python")
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
        subprocess.run([*install, *environment.packages, ".", "pytest", "hypothesis"], cwd=ROOT, check=True)
        said = "import sys, jax; print('Python', sys.version.split()[0], 'with jax', jax.__version__, flush=True)"
        subprocess.run([python, "-c", said], check=True)
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *environment.tests]
        return subprocess.run(command, cwd=ROOT).returncode == 0


def main() -> int:
    known = environments((ROOT / "pyproject.toml").read_text(), found_pythons())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    names = parser.parse_args().names or list(known)
    for name in names:
        if name not in known:
            parser.error(f"got {name}; expected some of {', '.join(known)}")
    failed = [name for name in names if not check(known[name])]
    print(f"failed: {', '.join(failed)}" if failed else f"passed: {', '.join(names)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
