"""The targets of `gailfe export`: to add one, write its module and add its line here.

A target's module has

- `require()`, which raises GailfeError where a package that it needs is missing,
- `files(policy, contract) -> {name: content}`, and
- `check(folder) -> line`, which runs what was written, in a process of its own, over the self-test, and raises
  GailfeError where it does something else than `Policy.act`.

Only the module of the target asked for is imported.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple


class Target(NamedTuple):
    """Where a target lives, and the line that help shows for it."""

    module: str
    summary: str


TARGETS = {
    "onnx": Target("gailfe_jax.export.onnx", "an ONNX graph for onnxruntime and others"),
    "jax": Target("gailfe_jax.export.jax", "a jax.export file for CPU, CUDA and TPU"),
    "numpy": Target("gailfe_jax.export.numpy", "one Python file that needs NumPy alone, and its arrays"),
    "c": Target("gailfe_jax.export.c", "C99 source and header without dependencies"),
}


def find_target(name: str) -> Any:
    """The module of a target."""
    return importlib.import_module(TARGETS[name].module)
