"""HDF5 files of others: their arrays, and nothing that leads out of the file or declares more than it holds.

No link but a hard one is followed, no virtual or external data is read, and no filter that is not HDF5's own. The HDF5
library is not hardened all the same: take its files from people you trust.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from gailfe_jax.data.formats.hdf5 import read_plain
from gailfe_jax.data.limits import Budget
from gailfe_jax.data.recordings.fields import Columns
from gailfe_jax.errors import GailfeError, one_line

MAGIC = b"\x89HDF\r\n\x1a\n"
_MOST_OBJECTS, _DEEPEST = 1_000_000, 8


def has_magic(path: str) -> bool:
    """Whether a file begins as HDF5 files do, at the start or behind a block for its user."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        for start in (0, 512, 1024, 2048):
            file.seek(start)
            if file.read(len(MAGIC)) == MAGIC:
                return True
    return False


class Tree:
    """The arrays of an open file.

    Attributes:
      path: of the file.
      names: of its arrays, `group/name`.
      groups: of its groups.
    """

    def __init__(self, path: str, file: Any, h5py: Any):
        self.path, self._file, self._h5py = path, file, h5py
        self._budget = Budget(path, os.path.getsize(path))
        self.names: list[str] = []
        self.groups: list[str] = []
        self._seen: set[Any] = set()
        self._walk(file, "")

    def _walk(self, group: Any, prefix: str) -> None:
        if prefix.count("/") > _DEEPEST:
            raise GailfeError(f"{self.path}: field '{prefix}': groups within groups, expected at most {_DEEPEST}")
        for key in group:
            name = f"{prefix}{key}"
            if not isinstance(group.get(key, getlink=True), self._h5py.HardLink):
                raise GailfeError(f"{self.path}: field '{name}': a soft or external link, expected data")
            kind = group.get(key, getclass=True)
            if kind is self._h5py.Dataset:
                self.names.append(name)
            elif kind is self._h5py.Group:
                inner = group[key]
                place = self._h5py.h5o.get_info(inner.id).addr
                if place in self._seen:
                    raise GailfeError(f"{self.path}: field '{name}': a group that is there twice, expected it once")
                self._seen.add(place)
                self.groups.append(name)
                self._walk(inner, f"{name}/")
            if len(self.names) + len(self.groups) > _MOST_OBJECTS:
                raise GailfeError(f"{self.path}: more than {_MOST_OBJECTS} arrays, expected fewer")

    def readable(self, name: str) -> bool:
        """Whether an array is plain numbers, of a vector a row at most."""
        dataset = self._file[name]
        return dataset.shape is not None and dataset.dtype.kind in "fiub" and len(dataset.shape) <= 2

    def read(self, name: str) -> np.ndarray:
        """An array.

        Raises:
          GailfeError: data elsewhere, no plain numbers, or more than the file or the memory holds.
        """
        return read_plain(self._budget, name, self._file[name])

    def text(self, group: str, attribute: str) -> str | None:
        """A text in an attribute of a group, up to 64 kB; None where there is none."""
        attributes = self._file[group].attrs if group else self._file.attrs
        if attribute not in attributes:
            return None
        held = attributes.get_id(attribute)
        if held.shape != () or held.get_storage_size() > 65536:
            return None
        value = attributes[attribute]
        value = value.decode(errors="replace") if isinstance(value, bytes) else value
        return value if isinstance(value, str) else None

    def columns(self, prefix: str = "") -> Columns:
        """The arrays inside a group, by their names in it."""
        names = [name[len(prefix) :] for name in self.names if name.startswith(prefix)]
        where = f"{self.path}: {prefix.rstrip('/')}" if prefix else self.path
        return Columns(where, names, lambda name: self.read(prefix + name), lambda name: self.readable(prefix + name))


@contextlib.contextmanager
def open_tree(path: str) -> Iterator[Tree]:
    """An HDF5 file, open inside the block.

    Raises:
      GailfeError: h5py is not installed, damage, or a link or group that is refused.
    """
    try:
        h5py = importlib.import_module("h5py")
    except ImportError:
        raise GailfeError(f"{path}: HDF5 files need the package h5py (pip install h5py)") from None
    try:
        with h5py.File(path, "r") as file:
            yield Tree(path, file, h5py)
    except GailfeError:
        raise
    # Damage surfaces as almost anything, depending on the byte that was hit.
    except Exception as error:
        why = one_line(f"{type(error).__name__}: {error}")[:200]
        raise GailfeError(
            f"{path}: not a readable HDF5 file, damaged or foreign ({why}); expected D4RL's, robomimic's or Minari's"
        ) from error
