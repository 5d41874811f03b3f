"""Runs what was exported in a process of its own."""

from __future__ import annotations

import importlib.resources
import importlib.util
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from gailfe_jax.errors import GailfeError, one_line

_SECONDS = 300


def runtime_file(name: str) -> bytes:
    """One of the files that go along with exports as they are."""
    return (importlib.resources.files("gailfe_jax.export") / "runtime" / name).read_bytes()


def require_packages(target: str, names: Sequence[str]) -> None:
    """Raises GailfeError where a package of the extra `onnx` is missing, and says how it is installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise GailfeError(f"to: {target} needs {name}, which is not installed; pip install 'gailfe-jax[onnx]'")


def run_check(words: Sequence[str], folder: pathlib.Path) -> str:
    """The line that a check prints.

    Raises:
      GailfeError: it fails, or does not end.
    """
    what = " ".join(pathlib.Path(word).name if os.path.isabs(word) else word for word in words)
    try:
        done = subprocess.run(
            list(words), cwd=folder, capture_output=True, text=True, errors="replace", check=False, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GailfeError(f"export: {what} does not run ({one_line(error)})") from None
    said = one_line(done.stdout) or one_line(done.stderr.strip().rpartition("\n")[2])
    if done.returncode:
        raise GailfeError(f"export: {what} fails ({said or f'exit code {done.returncode}'})")
    return said


def run_python(script: str, folder: pathlib.Path) -> str:
    """As `run_check`, for a Python file of the folder; neither the user's folder nor PYTHONPATH is searched."""
    return run_check([sys.executable, "-I", script], folder)
