"""Plain NumPy files: an .npz, or a folder with an .npy for each field or an .npz for each episode."""

from __future__ import annotations

import os
import pathlib

import numpy as np

from gailfe_jax.data.episodes import Recording
from gailfe_jax.data.formats import npz
from gailfe_jax.data.limits import Budget
from gailfe_jax.data.recordings.fields import Columns, Request, natural
from gailfe_jax.data.recordings.split import one_episode, split
from gailfe_jax.errors import GailfeError

LAYOUT = ".npz with obs, action and so on; or a folder of obs.npy, action.npy, ..., or of one .npz an episode"


def recognises(source: str) -> bool:
    """Whether this is an .npz, or a folder with such or with .npy files."""
    path = pathlib.Path(source)
    if path.is_dir():
        return any(path.glob("*.npy")) or any(path.glob("*.npz"))
    return path.suffix.lower() == ".npz"


def read(source: str, request: Request) -> Recording:
    """The episodes of a file or folder.

    Raises:
      GailfeError: see `split`; an array that holds Python objects, or that is not what its header declares.
    """
    path = pathlib.Path(source)
    notes: list[str] = []
    if not path.is_dir():
        return Recording(source, "npz", split(_columns(source), request, notes), notes=notes)
    arrays = {p.stem: str(p) for p in path.glob("*.npy")}
    if arrays:
        budget = Budget(source, sum(os.path.getsize(p) for p in arrays.values()))

        def load(name: str) -> np.ndarray:
            size = os.path.getsize(arrays[name])
            budget.take(name, size, size)
            return npz.parse_npy(source, name, pathlib.Path(arrays[name]).read_bytes())

        return Recording(source, "npz", split(Columns(source, list(arrays), load), request, notes), notes=notes)
    episodes = []
    for file in natural(p.name for p in path.glob("*.npz")):
        told: list[str] = []
        episodes.append(one_episode(_columns(str(path / file)), request, told, file))
        notes += [line for line in told if line not in notes]
    if not episodes:
        raise GailfeError(f"{source}: no .npy and no .npz in it, expected {LAYOUT}")
    return Recording(source, "npz", episodes, notes=notes)


def _columns(path: str) -> Columns:
    # Beside the numbers there may be text or Python objects, which nobody has to read.
    take = Budget(path, os.path.getsize(path)).take
    held: dict[str, np.ndarray] = {}

    def load(name: str) -> np.ndarray:
        if name not in held:
            held[name] = npz.read_one(path, name, take)
        return held[name]

    return Columns(path, npz.names(path), load)
