"""Demonstrations in HDF5.

Our files open with a user block of 512 bytes that holds the SHA-256 of everything after it. The checksum catches
damage, not malice: take HDF5 files, whose library is not hardened, from people you trust.
"""

from __future__ import annotations

import hashlib
import importlib
import itertools
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from gailfe_jax.data.formats.arrays import FORMAT, from_arrays, hint, to_arrays
from gailfe_jax.data.formats.npz import check_text
from gailfe_jax.data.limits import ALWAYS, Budget
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.errors import GailfeError, one_line

_USER_BLOCK = 512
_MOST_ARRAYS = 100  # In a file of our own, which has twenty.
_FILTERS = frozenset((1, 2, 3, 4, 5, 6, 32000))  # HDF5's own, and LZF, which h5py brings. Others are libraries to load.


def read(path: str) -> Demonstrations:
    """The demonstrations in a file that `write` wrote.

    Raises:
      GailfeError: the file is damaged or foreign, or h5py is not installed; the message names file and field.
    """
    return from_arrays(path, read_arrays(path))


def write(path: str, demonstrations: Demonstrations) -> None:
    """Writes valid demonstrations; the same content gives the same bytes.

    Raises:
      GailfeError: h5py is not installed.
    """
    write_arrays(path, to_arrays(demonstrations))


def write_arrays(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes named arrays and their checksum; the same content gives the same bytes."""
    with _h5py().File(path, "w", userblock_size=_USER_BLOCK) as file:
        for name, array in arrays.items():
            if array.dtype.kind == "U":
                file[name] = str(array)
            elif array.size and array.ndim:
                file.create_dataset(name, data=array, compression="gzip", shuffle=True)
            else:
                file.create_dataset(name, data=array)
    sign(path)


def sign(path: str) -> None:
    """Writes the checksum of what the file holds into its user block."""
    with open(path, "rb+") as file:
        signature = _signature(file)
        file.seek(0)
        file.write(signature)


def _signature(file: Any) -> bytes:
    """The user block: the bytes ahead of an HDF5 file that the format leaves to its users."""
    file.seek(_USER_BLOCK)
    return f"{FORMAT} sha256 {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode().ljust(_USER_BLOCK, b"\0")


def read_arrays(path: str) -> dict[str, np.ndarray]:
    """Reads named arrays and nothing else: no link, no data outside the file, none larger than it can hold.

    Raises:
      GailfeError: the file is damaged or foreign, or h5py is not installed; the message names file and field.
    """
    h5py = _h5py()
    arrays: dict[str, np.ndarray] = {}
    field = None
    try:
        # The HDF5 library can crash on a damaged file, so it only gets to see a whole one.
        with open(path, "rb") as file:
            found = file.read(_USER_BLOCK)
            if found[:8] == b"\x89HDF\r\n\x1a\n":
                raise GailfeError(f"{path}: not of this package's own layout in HDF5; {hint(path)}")
            if not found.startswith(FORMAT.encode()):
                raise OSError("no checksum of demonstrations in its user block")
            if found != _signature(file):
                raise OSError("the content does not match its checksum")
        with h5py.File(path, "r") as file:
            budget = Budget(path, os.path.getsize(path))
            for field in itertools.islice(_field_names(h5py, path, file, ""), _MOST_ARRAYS):
                arrays[field] = _read_dataset(h5py, budget, field, file[field])
    except GailfeError:
        raise
    # Damage surfaces as almost anything, depending on the byte that was hit.
    except Exception as error:
        where = f"{path}: field '{field}'" if field else f"{path}"
        why = one_line(f"{type(error).__name__}: {error}")[:200]
        raise GailfeError(f"{where}: not a readable HDF5 file, damaged or foreign ({why})") from None
    return arrays


def _field_names(h5py: Any, path: str, group: Any, prefix: str) -> Iterator[str]:
    """Names of the data sets; an HDF5 file can point into other files, and none of those pointers is followed."""
    for key in group:
        name = f"{prefix}{key}"
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise GailfeError(f"{path}: field '{name}': a soft or external link, expected data")
        item = group.get(key, getclass=True)
        if item is h5py.Dataset:
            yield name
        elif item is h5py.Group and not prefix:
            yield from _field_names(h5py, path, group[key], f"{name}/")
        else:
            raise GailfeError(f"{path}: field '{name}': not part of the format")


def _read_dataset(h5py: Any, budget: Budget, field: str, dataset: Any) -> np.ndarray:
    where = f"{budget.name}: field '{field}'"
    if h5py.check_string_dtype(dataset.dtype) is None:
        return read_plain(budget, field, dataset)
    if dataset.shape != ():
        raise GailfeError(f"{where}: strings of shape {dataset.shape}, expected one string")
    take(budget, field, dataset)
    text = np.array(dataset.asstr()[()])
    check_text(where, np.frombuffer(text.tobytes(), np.uint32))
    return text


def read_plain(budget: Budget, field: str, dataset: Any) -> np.ndarray:
    """An array of plain numbers out of a file.

    Raises:
      GailfeError: data elsewhere, no plain numbers, a foreign filter, or more than the file or the memory holds.
    """
    where = f"{budget.name}: field '{field}'"
    if dataset.dtype.kind not in "fiub" or dataset.dtype.itemsize > 8 or dataset.shape is None:
        raise GailfeError(f"{where}: dtype {dataset.dtype}, expected plain numbers")
    take(budget, field, dataset)
    return np.asarray(dataset[()])


def take(budget: Budget, field: str, dataset: Any) -> None:
    """Holds that an array lies in its file, behind filters of HDF5's own, and accounts for it.

    Raises:
      GailfeError: it does not, or is more than the file or the memory holds.
    """
    where = f"{budget.name}: field '{field}'"
    if dataset.is_virtual or dataset.external:
        raise GailfeError(f"{where}: virtual or external data, expected data in the file itself")
    plan = dataset.id.get_create_plist()
    foreign = {plan.get_filter(i)[0] for i in range(plan.get_nfilters())} - _FILTERS
    if foreign:
        raise GailfeError(f"{where}: compressed by filter {min(foreign)}, expected gzip, lzf or none")
    # A block comes into the memory whole, however little of it is asked for.
    block = dataset.dtype.itemsize * math.prod(dataset.chunks or ())
    if block > ALWAYS:
        raise GailfeError(f"{where}: stored in blocks of {block} bytes, expected at most {ALWAYS}")
    budget.take(field, int(dataset.nbytes), int(dataset.id.get_storage_size()))


def _h5py() -> Any:
    try:
        return importlib.import_module("h5py")
    except ImportError:
        raise GailfeError("HDF5 demonstrations need the package h5py (pip install h5py)") from None
