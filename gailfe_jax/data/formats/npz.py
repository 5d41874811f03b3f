"""Demonstrations in NumPy's `.npz`, without pickle."""

from __future__ import annotations

import contextlib
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence

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
    return {name: read_one(path, name) for name in names(path)}


def names(path: str) -> list[str]:
    """Names of the arrays in a file, none of which has been read.

    Raises:
      GailfeError: the file is no archive, or holds something else or a name twice.
    """
    found: list[str] = []
    with _readable(path, None), zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.filename.endswith(".npy"):
                raise GailfeError(f"{path}: member {info.filename!r}: expected .npy arrays only")
            name = info.filename.removesuffix(".npy")
            if name in found:
                raise GailfeError(f"{path}: field '{name}': stored twice")
            found.append(name)
    return found


def read_one(path: str, name: str, take: Callable[[str, int, int], None] | None = None) -> np.ndarray:
    """Reads one array.

    Args:
      path: the file.
      name: one of its `names`.
      take: `(name, bytes declared, bytes stored)`, called before anything is read; raises to refuse.

    Raises:
      GailfeError: the array is damaged, pickled, or larger than the file can hold.
    """
    with _readable(path, name), zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
        if info.file_size > MAX_COMPRESSION * max(info.compress_size, 1):
            raise GailfeError(f"{path}: field '{name}': declares more data than the file holds")
        if take is not None:
            take(name, info.file_size, info.compress_size)
        # Read to the end before parsing: only then has zipfile compared the checksum.
        return parse_npy(path, name, archive.read(info))


@contextlib.contextmanager
def _readable(path: str, name: str | None) -> Iterator[None]:
    try:
        yield
    # Damage surfaces as any of these, depending on the byte that was hit.
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, zlib.error, KeyError) as error:
        where = f"{path}: field '{name}'" if name else f"{path}"
        raise GailfeError(f"{where}: not a readable .npz file, damaged or foreign ({one_line(error)})") from None


def parse_npy(path: str, field: str, data: bytes) -> np.ndarray:
    """The array in the bytes of an .npy file.

    Raises:
      GailfeError: damage, Python objects, or a shape that is not what follows.
    """
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
