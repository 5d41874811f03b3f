"""The dataset folders of the package `imitation`: Hugging Face datasets on disk, a row for each trajectory."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from gailfe_jax.data.episodes import Episode, Recording
from gailfe_jax.data.recordings.arrow import Table
from gailfe_jax.data.recordings.fields import Columns, Request, natural
from gailfe_jax.data.recordings.split import one_episode
from gailfe_jax.errors import GailfeError

LAYOUT = "a folder with dataset_info.json and data-*.arrow, each row with obs, acts, terminal and perhaps rews"


def recognises(source: str) -> bool:
    """Whether a folder is a Hugging Face dataset on disk."""
    folder = pathlib.Path(source)
    return (folder / "dataset_info.json").is_file() and bool(_files(folder))


def _files(folder: pathlib.Path) -> list[str]:
    # What the package caches beside them has other names.
    return natural(str(path) for pattern in ("data-*.arrow", "dataset.arrow") for path in folder.glob(pattern))


def read(source: str, request: Request) -> Recording:
    """The trajectories of a folder. `infos`, which hold pickled objects, are not read.

    Raises:
      GailfeError: pyarrow is not installed; see `one_episode` and `Table`.
    """
    files = _files(pathlib.Path(source))
    if not files:
        raise GailfeError(f"{source}: no data-*.arrow in it, expected {LAYOUT}")
    table = Table(source, files)
    wanted = [name for name in table.types if name != "infos"]
    readers: dict[str, list[np.ndarray]] = {}

    def trajectories(name: str) -> list[np.ndarray]:
        if name not in readers:
            readers[name] = [row for array in table.chunks(name, 2) for row in _rows(table, name, array)]
        return readers[name]

    notes: list[str] = []
    if "infos" in table.types:
        notes.append("infos: left out, for they may hold pickled objects")
    count = len(trajectories(next((name for name in ("acts", "actions", "obs") if name in wanted), wanted[0])))
    episodes: list[Episode] = []
    for i in range(count):
        told: list[str] = []
        columns = Columns(f"{source}: trajectory {i}", wanted, lambda name, i=i: trajectories(name)[i])
        episodes.append(one_episode(columns, request, told, f"trajectory {i}"))
        notes += [line for line in told if line not in notes]
    return Recording(source, "imitation", episodes, notes=notes)


def _rows(table: Table, name: str, array: Any) -> list[np.ndarray]:
    """Each row as an array of its own: a number, `[T]` or `[T, k]`."""
    if array.null_count:
        raise GailfeError(f"{table.name}: field '{name}': a value is missing, expected one in every row")
    if not hasattr(array, "flatten") or array.type.num_fields == 0:
        return list(array.to_numpy(zero_copy_only=False))
    return [table.matrix(name, array[i].values) for i in range(len(array))]
