"""This package's own layout, read leniently: in float64, with fields left out, or with a recording that stops."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np

from gailfe_jax.data.episodes import Episode, Recording
from gailfe_jax.data.formats import hdf5, npz
from gailfe_jax.data.formats.arrays import FORMAT, check_header
from gailfe_jax.data.limits import Budget
from gailfe_jax.data.recordings.fields import Columns, Request
from gailfe_jax.data.recordings.split import split
from gailfe_jax.data.validation import PARTS

LAYOUT = "this package's own .npz, .h5 or .hdf5, as docs/data.md describes it"


def recognises(source: str) -> bool:
    """Whether a file is in the package's own layout, whole or not."""
    if not os.path.isfile(source):
        return False
    with open(source, "rb") as file:
        head = file.read(512)
    if head.startswith(FORMAT.encode()):
        return True
    if not head.startswith(b"PK") or "format" not in npz.names(source):
        return False
    found = npz.read_one(source, "format", Budget(source, os.path.getsize(source)).take)
    return found.shape == () and found.dtype.kind == "U" and str(found) == FORMAT


def read(source: str, request: Request) -> Recording:
    """The demonstrations and failures of a file.

    Raises:
      GailfeError: see `split`, and what damage is.
    """
    if source.lower().endswith(".npz"):
        arrays = npz.read_arrays(source)
    else:
        arrays = hdf5.read_arrays(source)
    env_id, provenance = check_header(source, arrays)
    notes: list[str] = []
    episodes = []
    for part in PARTS:
        held = {name.partition("/")[2]: array for name, array in arrays.items() if name.startswith(f"{part}/")}
        asked = request
        if "action" in held and held["action"].shape[1:] == (0,):  # The file says that there are none.
            del held["action"]
            asked = dataclasses.replace(request, actions="none")
        if "obs" in held and len(held["obs"]):
            columns = Columns(f"{source}: {part}", list(held), held.__getitem__)
            episodes += [_labelled(episode, part, request) for episode in split(columns, asked, notes)]
    recorded = provenance.get("expert_return")
    known = isinstance(recorded, int | float) and not isinstance(recorded, bool) and np.isfinite(recorded)
    return Recording(
        source, "gailfe", episodes, env_id=env_id, notes=notes, expert_return=float(recorded) if known else None  # type: ignore[arg-type]
    )  # fmt: skip


def _labelled(episode: Episode, part: str, request: Request) -> Episode:
    if request.label is not None:
        return episode
    fields: dict[str, Any] = {**vars(episode), "failed": part == "failures"}
    return Episode(**fields)
