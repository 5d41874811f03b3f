"""D4RL's HDF5: rows of all episodes one after the other, and any other flat HDF5 file."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from gailfe_jax.data.episodes import Recording
from gailfe_jax.data.recordings.fields import Request
from gailfe_jax.data.recordings.split import split
from gailfe_jax.data.recordings.tree import has_magic, open_tree
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.io.atomic import replacing

LAYOUT = "HDF5 with observations, actions and perhaps rewards, terminals, timeouts, next_observations"
FAILED = "infos/failed"
"""Where `write` marks failures."""


def recognises(source: str) -> bool:
    """Whether a file is HDF5: the other formats in HDF5 are asked before."""
    return has_magic(source)


def read(source: str, request: Request) -> Recording:
    """The episodes of a file.

    Raises:
      GailfeError: see `split` and `Tree`.
    """
    notes: list[str] = []
    with open_tree(source) as tree:
        episodes = split(tree.columns(), request, notes)
        return Recording(source, "d4rl", episodes, env_id=tree.text("", "env_id"), notes=notes)


def write(path: str, demonstrations: Demonstrations, **options: Any) -> str:
    """Writes D4RL's layout with `next_observations`, and failures marked in `infos/failed`.

    Returns:
      What else `gailfe demos import` needs to read the same back.
    """
    del options
    h5py = importlib.import_module("h5py")
    parts = [part for part in (demonstrations.expert, demonstrations.failures) if part.num_trajectories]
    names = {
        "observations": "obs",
        "actions": "action",
        "next_observations": "next_obs",
        "rewards": "reward",
        "terminals": "terminated",
        "timeouts": "truncated",
        "infos/simulator_state": "simulator_state",
    }
    acted = demonstrations.expert.acted
    if not acted:
        del names["actions"]
    failed = np.repeat([False, True], [demonstrations.expert.num_transitions, demonstrations.failures.num_transitions])
    with replacing(path, suffix=".hdf5") as draft, h5py.File(draft, "w") as file:
        for name, field in names.items():
            arrays = [getattr(part, field) for part in parts]
            if all(array is not None for array in arrays):
                file.create_dataset(name, data=np.concatenate(arrays), compression="gzip", shuffle=True)
        if failed.any():
            file.create_dataset(FAILED, data=failed, compression="gzip")
        file.attrs["env_id"] = demonstrations.env_id
    return " ".join(([f"--failures {FAILED}"] if failed.any() else []) + ([] if acted else ["--no-actions"]))
