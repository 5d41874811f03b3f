"""Demonstrations in NumPy's `.npz`, without pickle."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from gailfe_jax.data.formats.arrays import MAX_COMPRESSION, from_arrays, to_arrays
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.errors import GailfeError, one_line


def read(path: str) -> Demonstrations:
    """The demonstrations in a file that `write` wrote.

    Raises:
      GailfeError: the file is damaged or foreign; the message names it and the field.
    """
    return from_arrays(path, read_arrays(path))


def write(path: str, demonstrations: Demonstrations) -> None:
    """Writes valid demonstrations; the same content gives the same bytes."""
    write_arrays(path, to_arrays(demonstrations))


def write_arrays(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes named arrays; the same content gives the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            # A fixed date keeps the bytes a function of the content.
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, buffer.getvalue())


def read_arrays(path: str) -> dict[str, np.ndarray]:
    """Reads named arrays and nothing else: no pickle, no stray member, no array larger than the file can hold.

    Raises:
      GailfeError: the file is damaged or foreign; the message names it and the field.
    """
    arrays: dict[str, np.ndarray] = {}
    member = None
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.filename.endswith(".npy"):
                    raise GailfeError(f"{path}: member {info.filename!r}: expected .npy arrays only")
                member = info.filename.removesuffix(".npy")
                if info.file_size > MAX_COMPRESSION * max(info.compress_size, 1):
                    raise GailfeError(f"{path}: field '{member}': declares more data than the file holds")
                if member in arrays:
                    raise GailfeError(f"{path}: field '{member}': stored twice")
                # Read to the end before parsing: only then has zipfile compared the checksum.
                arrays[member] = _parse_npy(path, member, archive.read(info))
    # Damage surfaces as any of these, depending on the byte that was hit.
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, zlib.error) as error:
        where = f"{path}: field '{member}'" if member else f"{path}"
        raise GailfeError(f"{where}: not a readable .npz file, damaged or foreign ({one_line(error)})") from None
    return arrays


def _parse_npy(path: str, field: str, data: bytes) -> np.ndarray:
    buffer = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(buffer)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = read_header[version](buffer)
    except (KeyError, ValueError, TypeError, SyntaxError) as error:
        raise GailfeError(f"{path}: field '{field}': not a readable array ({one_line(error)})") from None
    if dtype.hasobject:
        raise GailfeError(f"{path}: field '{field}': holds Python objects (pickle), expected plain numbers")
    # Before anything is allocated: what the header declares is what follows it.
    if min(shape, default=0) < 0 or dtype.itemsize * _product(shape) != len(data) - buffer.tell():
        raise GailfeError(f"{path}: field '{field}': declares shape {shape}, which is not what the file holds")
    buffer.seek(0)
    return np.lib.format.read_array(buffer, allow_pickle=False)


def _product(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product *= int(size)
    return product
