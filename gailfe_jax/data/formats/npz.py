"""Demonstrations in NumPy's `.npz`, without pickle."""

from __future__ import annotations

import contextlib
import io
import math
import os
import reprlib
import zipfile
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from gailfe_jax.data.formats.arrays import from_arrays, hint, to_arrays
from gailfe_jax.data.limits import Budget
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.errors import GailfeError, one_line

_MOST_ARRAYS, _MOST_OWN = 10_000, 100  # In a file of others, and in one of our own layout, which has twenty.


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
    found = names(path)
    if len(found) > _MOST_OWN:
        raise GailfeError(f"{path}: has {len(found)} arrays; expected at most {_MOST_OWN}; {hint(path)}")
    take = Budget(path, os.path.getsize(path)).take
    return {name: read_one(path, name, take) for name in found}


def names(path: str) -> list[str]:
    """Names of the arrays in a file, none of which has been read.

    Raises:
      GailfeError: the file is no archive, or holds something else, a name twice, or more than are sensible.
    """
    found: dict[str, None] = {}
    with _readable(path, None), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > _MOST_ARRAYS:
            raise GailfeError(f"{path}: has {len(members)} arrays; expected at most {_MOST_ARRAYS}")
        for info in members:
            if not info.filename.endswith(".npy"):
                raise GailfeError(f"{path}: member {info.filename!r}: expected .npy arrays only")
            name = info.filename.removesuffix(".npy")
            if name in found:
                raise GailfeError(f"{path}: field '{name}': stored twice")
            found[name] = None
    return list(found)


def read_one(path: str, name: str, take: Callable[[str, int, int], None]) -> np.ndarray:
    """Reads one array.

    Args:
      path: the file.
      name: one of its `names`.
      take: `(name, bytes declared, bytes stored)`, called before anything is read; raises to refuse.

    Raises:
      GailfeError: the array is damaged, pickled, compressed by no method of NumPy's, or larger than the file can hold.
    """
    with _readable(path, name), zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise GailfeError(f"{path}: field '{name}': compressed by method {info.compress_type}, expected deflate")
        take(name, info.file_size, max(info.compress_size, 1))
        # Read to the end before parsing: only then has zipfile compared the checksum.
        return parse_npy(path, name, archive.read(info))


@contextlib.contextmanager
def _readable(path: str, name: str | None) -> Iterator[None]:
    try:
        yield
    except GailfeError:
        raise
    # Damage surfaces as almost anything, depending on the byte that was hit.
    except Exception as error:
        where = f"{path}: field '{name}'" if name else f"{path}"
        why = one_line(f"{type(error).__name__}: {error}")[:200]
        raise GailfeError(f"{where}: not a readable .npz file, damaged or foreign ({why})") from None


def parse_npy(path: str, field: str, data: bytes) -> np.ndarray:
    """The array in the bytes of an .npy file.

    Raises:
      GailfeError: damage, Python objects, text that is none, or a shape that is not what follows.
    """
    buffer = io.BytesIO(data)
    where = f"{path}: field '{field}'"
    try:
        version = np.lib.format.read_magic(buffer)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = read_header[version](buffer)
    except Exception as error:  # NumPy parses the header as Python, and raises whatever Python's tokenizer does.
        why = one_line(f"{type(error).__name__}: {error}")[:200]
        raise GailfeError(f"{where}: not a readable array ({why})") from None
    if dtype.hasobject:
        raise GailfeError(f"{where}: holds Python objects (pickle), expected plain numbers")
    # Before anything is allocated: what the header declares is what follows it.
    plain = all(type(size) is int and size >= 0 for size in shape)
    if not plain or dtype.itemsize * math.prod(shape) != len(data) - buffer.tell():
        raise GailfeError(f"{where}: declares shape {one_line(reprlib.repr(shape))}, which is not what the file holds")
    if dtype.kind == "U":
        check_text(where, np.frombuffer(data, np.dtype("u4").newbyteorder(dtype.byteorder), offset=buffer.tell()))
    buffer.seek(0)
    return np.lib.format.read_array(buffer, allow_pickle=False)


def check_text(where: str, codes: np.ndarray) -> None:
    """Holds that the code points of a text are some: Python itself fails on others when it is printed.

    Raises:
      GailfeError: they are not.
    """
    if ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes <= 0xDFFF))).any():
        raise GailfeError(f"{where}: holds text that is none, expected Unicode")
