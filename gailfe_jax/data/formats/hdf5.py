"""Demonstrations in HDF5.

Our files open with a user block of 512 bytes that holds the SHA-256 of everything after it. The checksum catches
damage, not malice: take HDF5 files, whose library is not hardened, from people you trust.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from gailfe_jax.data.formats.arrays import FORMAT, MAX_COMPRESSION, from_arrays, hint, to_arrays
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.errors import GailfeError, one_line

_USER_BLOCK = 512


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
            for field in _field_names(h5py, path, file, ""):
                arrays[field] = _read_dataset(h5py, path, field, file[field])
    except (OSError, KeyError, RuntimeError, UnicodeDecodeError, TypeError, MemoryError) as error:
        where = f"{path}: field '{field}'" if field else f"{path}"
        raise GailfeError(f"{where}: not a readable HDF5 file, damaged or foreign ({one_line(error)})") from None
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


def _read_dataset(h5py: Any, path: str, field: str, dataset: Any) -> np.ndarray:
    if dataset.is_virtual or dataset.external:
        raise GailfeError(f"{path}: field '{field}': virtual or external data, expected data in the file itself")
    text = h5py.check_string_dtype(dataset.dtype)
    if text is not None:
        if dataset.shape != ():
            raise GailfeError(f"{path}: field '{field}': strings of shape {dataset.shape}, expected one string")
        return np.array(dataset.asstr()[()])
    if dataset.dtype.kind not in "fiub":
        raise GailfeError(f"{path}: field '{field}': dtype {dataset.dtype}, expected plain numbers")
    if dataset.shape is None or dataset.nbytes > MAX_COMPRESSION * dataset.id.get_storage_size():
        raise GailfeError(f"{path}: field '{field}': declares more data than the file holds")
    return np.asarray(dataset[()])


def _h5py() -> Any:
    try:
        return importlib.import_module("h5py")
    except ImportError:
        raise GailfeError("HDF5 demonstrations need the package h5py (pip install h5py)") from None
