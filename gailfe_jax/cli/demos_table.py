"""What the commands on demonstrations share: the table of parts, and how a file is named and written."""

from __future__ import annotations

import pathlib

import numpy as np
from rich.console import Console
from rich.table import Table

from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.errors import GailfeError


def check_name(out: str) -> None:
    """Raises GailfeError unless the name is that of a demonstration file of ours."""
    if not out.lower().endswith((".npz", ".h5", ".hdf5")):
        raise GailfeError(f"out: got {out!r}; expected a file name that ends in .npz or .h5")


def save(demonstrations: Demonstrations, out: str) -> None:
    """Writes demonstrations; folders are made.

    Raises:
      GailfeError: see `Demonstrations.save`.
    """
    pathlib.Path(out).parent.mkdir(parents=True, exist_ok=True)
    demonstrations.save(out)


def print_parts(demonstrations: Demonstrations, *, has_reward: bool = True) -> None:
    """Shows how many trajectories there are, and their returns; lengths where nobody recorded rewards."""
    rewarded = has_reward and demonstrations.expert.reward is not None
    table = Table("part", "trajectories", "steps", f"mean {'return' if rewarded else 'length'}", "min", "max")
    for name, part in (("expert", demonstrations.expert), ("failures", demonstrations.failures)):
        figures = ["-"] * 3
        if rewarded and part.reward is None:
            figures = ["unknown"] * 3
        elif part.num_trajectories:
            shown = np.asarray(part.returns if rewarded else part.lengths)
            figures = [f"{shown.mean():.0f}", f"{shown.min():.0f}", f"{shown.max():.0f}"]
        table.add_row(name, str(part.num_trajectories), f"{part.num_transitions:,}", *figures)
    Console().print(table)
    if has_reward and not rewarded:
        print("returns: unknown, for no rewards were recorded")
