"""What the commands on demonstrations share: the table of parts, and how a file is named and written."""

from __future__ import annotations

import pathlib
import tempfile

import numpy as np
from rich.console import Console
from rich.table import Table

from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.errors import GailfeError


def check_out(out: str, *sources: str) -> None:
    """Whether a demonstration file of ours can be written there, asked before hours of collecting.

    Raises:
      GailfeError: the name is not that of such a file, it is one of the files that are read, or it cannot be written.
    """
    if not out.lower().endswith((".npz", ".h5", ".hdf5")):
        raise GailfeError(f"out: got {out!r}; expected a file name that ends in .npz or .h5")
    path = pathlib.Path(out)
    if path.is_dir():
        raise GailfeError(f"out: {out}: is a folder; expected the name of a file")
    for source in sources:
        if path.exists() and pathlib.Path(source).exists() and path.samefile(source):
            raise GailfeError(f"out: {out}: is the file that is read; expected another name")
    # Folders that are missing are made when there is something to write.
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise GailfeError(f"out: {out}: cannot be written: {error.strerror or error}") from None


def save(demonstrations: Demonstrations, out: str) -> str:
    """Writes demonstrations; folders are made.

    Returns:
      What was done, in a line.

    Raises:
      GailfeError: see `Demonstrations.save`.
    """
    was_there = pathlib.Path(out).exists()
    pathlib.Path(out).parent.mkdir(parents=True, exist_ok=True)
    demonstrations.save(out)
    return f"wrote {out}{', in the place of the file that was there' if was_there else ''}"


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
