"""`gailfe export`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from gailfe_jax.cli.parsing import PathWord, parse


@dataclasses.dataclass(frozen=True)
class Export:
    """Write a policy for a place where this package is not installed, and check it there.

    Each export is a folder that holds the network, the normalisation of observations, the bounds of actions, names and
    units as far as the task gives them, and observations with their actions to test it by. The export is run in a
    process of its own before it is put in its place: it must act as the policy does, to rounding.
    """

    path: PathWord
    """Export a policy of this run folder, or this policy file (.safetensors)."""
    to: Literal["onnx", "jax", "numpy", "c"]
    """Write an ONNX graph, a jax.export file for CPU, CUDA and TPU, a Python file that needs NumPy alone, or C99 source
    without dependencies."""
    out: str | None = None
    """Write this folder. The default is <run>/export/<to>, or <policy file>_<to>."""
    seed: int | None = None
    """Take this seed's policy. By default it is the best: by the report of gailfe evaluate in the run folder, else by
    the run's last evaluation."""
    env: str | None = None
    """Take names and units from this task. By default it is the one that the policy was trained on."""
    overwrite: bool = False
    """Replace the files of an earlier export."""

    def __call__(self) -> int:
        from gailfe_jax.apps.export import export_path

        done = export_path(self.path, self.to, out=self.out, seed=self.seed, env=self.env, overwrite=self.overwrite)
        print(f"policy: {done.chosen.why}")
        print(f"check: {done.said}")
        print(f"wrote {', '.join(done.files)} to {done.folder}; to check again, there: {done.check}")
        return 0


def run(args: Sequence[str]) -> int:
    """Carries the command out; returns the exit code."""
    return parse(Export, "export", args)()
