"""One wrong part in files of arrays: NumPy's, HDF5 and safetensors, with headers and digests as they should be."""

from __future__ import annotations

import io
import json
import pathlib
import warnings
import zipfile
import zlib
from typing import Any

import numpy as np

from benchmarks.fuzz.values import DTYPES, JSON, SHAPES, WORDS, as_json, numbers, pick, record_changed
from gailfe_jax.data.formats import hdf5
from gailfe_jax.io import safetensors_io

_HEADERS = (
    *("{'shape':(3,", "", "{}", "[" * 5000, "{'descr':'<f4','fortran_order':False,'shape':(3,),'x':1}", "\x00" * 60),
    *("{'descr':'<f4','fortran_order':1,'shape':(3,)}", "__import__('os')", "{'descr':'<f4'}", "(" * 300 + ")" * 300),
)


def npy_of(array: np.ndarray) -> bytes:
    """An .npy file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def npy_changed(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """Another header over the same numbers, or another array under a right header."""
    array = np.load(io.BytesIO(content), allow_pickle=False)
    kind = int(rng.integers(6))
    if kind < 3:
        made, said = numbers(array, rng)
        return npy_of(made), said
    if kind == 3 and array.dtype.kind == "U":
        text = pick([*WORDS, *JSON], rng)
        code = array.astype(f"<U{max(len(text), 1)}")
        code[...] = text.replace("\udcff", "?")
        data = bytearray(npy_of(code))
        if rng.integers(4) == 0:
            data[-4:] = pick([0x110000, 0xD800, 0xFFFFFFFF], rng).to_bytes(4, "little")
        return bytes(data), f"text {text[:40]!r}"
    if kind == 3 and array.size and array.ndim:
        # As a pickle of None would stand there.
        return npy_of(array).replace(array.dtype.str.encode(), b"|O ", 1)[:128] + b"\x80\x04N.", "Python objects"
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    name = pick(["descr", "shape", "shape", "descr", "fortran_order", "all"], rng)
    header |= {"descr": {"descr": pick(DTYPES, rng)}, "shape": {"shape": pick(SHAPES, rng)}}.get(name, {})
    header |= {"fortran_order": True} if name == "fortran_order" else {}
    text = pick(_HEADERS, rng) if name == "all" else repr(header)
    if header["descr"].startswith("[("):
        text = text.replace(repr(header["descr"]), header["descr"])
    encoded = text.encode("latin-1") + b"\n"
    version = pick([b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"], rng)
    size = 2 if version == b"\x01\x00" else 4
    length = min(len(encoded), 256**size - 1)
    return (
        b"\x93NUMPY" + version + length.to_bytes(size, "little") + encoded[:length] + array.tobytes(),
        f"header {name}: {text[:80]}",
    )


def npy(path: pathlib.Path, rng: np.random.Generator) -> str:
    """Changes an .npy file."""
    content, said = npy_changed(path.read_bytes(), rng)
    path.write_bytes(content)
    return said


def npz(path: pathlib.Path, rng: np.random.Generator) -> str:
    """Changes one member of an .npz, its name, or how it is packed."""
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    index = int(rng.integers(len(members)))
    name, content = members[index]
    packing, said, kind = zipfile.ZIP_DEFLATED, "", int(rng.integers(12))
    if kind == 0:
        del members[index]
        said = "gone"
    elif kind == 1:
        members[index] = (
            pick(["x.npy", "", "../x.npy", "é.npy", name + "x", name.upper(), "x" * 60_000], rng),
            content,
        )
        said = f"called {members[index][0][:40]!r}"
    elif kind == 2:
        members.append(pick([(name, content), ("x.npy", content), ("x.txt", b"x"), ("expert/x.npy", content)], rng))
        said = f"joined by {members[-1][0]!r}"
    elif kind == 3:
        packing = pick([zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], rng)
        said = f"packed by method {packing}"
    elif kind == 4:
        return f"{name} {_bomb(path, members, name, int(rng.integers(1, 3000)))}"
    else:
        content, said = npy_changed(content, rng)
        members[index] = (name, content)
    with zipfile.ZipFile(path, "w", packing) as archive, warnings.catch_warnings():
        # Python warns of a name that is there twice, which is meant.
        warnings.simplefilter("ignore", UserWarning)
        for held, data in members:
            info = zipfile.ZipInfo(held)
            info.compress_type = packing
            archive.writestr(info, data)
    if kind == 3 and rng.integers(2):
        data = bytearray(path.read_bytes())
        data[int(rng.integers(len(data) // 2))] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(data))
        said += ", a bit flipped"
    return f"{name} {said}"


def _bomb(path: pathlib.Path, members: list[tuple[str, bytes]], name: str, mebibytes: int) -> str:
    """Writes an .npz in which one array is of zeros, a thousandth as large as they are."""
    header = npy_of(np.zeros(0, np.float32))
    header = header.replace(b"(0,), }" + b" " * 12, f"({mebibytes * 2**18},), }}".encode().ljust(19))
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = bytes(2**20)
    data = packer.compress(header) + packer.flush(zlib.Z_FULL_FLUSH)
    # Blocks that nothing before them is needed for may be repeated.
    packer.compress(zeros)
    packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    data += block * mebibytes + packer.flush()
    checksum = zlib.crc32(header)
    for _ in range(mebibytes):
        checksum = zlib.crc32(zeros, checksum)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for held, content in members:
            if held != name:
                archive.writestr(held, content)
        info = zipfile.ZipInfo(name)
        archive.writestr(info, data)
        # What the list at the end says counts.
        info.compress_type, info.CRC, info.file_size = (
            zipfile.ZIP_DEFLATED,
            checksum,
            len(header) + len(zeros) * mebibytes,
        )
    return f"{mebibytes} MiB of zeros"


def hdf5_file(path: pathlib.Path, rng: np.random.Generator) -> str:
    """Changes one data set, link or attribute of an HDF5 file, and signs one of our own anew."""
    import h5py

    with open(path, "rb") as file:
        signed = not file.read(8).startswith(b"\x89HDF")
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = pick(names, rng)
        holder = file[name]
        kind = int(rng.integers(14))
        if kind < 2 or not isinstance(holder, h5py.Dataset):
            said = _attribute(holder if rng.integers(3) else file, rng)
        else:
            said = _dataset(h5py, file, name, kind, rng)
    if signed:
        hdf5.sign(str(path))
    return f"{name} {said}"


def _attribute(holder: Any, rng: np.random.Generator) -> str:
    names = list(holder.attrs)
    name = pick(names, rng) if names and rng.integers(4) else "x"
    values = [0, -1, 1.5, "x", "", 2**62, np.nan, np.zeros(3), "[" * 100_000, "{", np.void(b"\x80\x04"), True, b"\xff"]
    if names and rng.integers(6) == 0:
        del holder.attrs[name]
        return f"attribute {name} gone"
    value = pick([*values, *(text for text in JSON if len(text) < 60_000)], rng)
    try:
        holder.attrs[name] = value
    except (ValueError, OSError, RuntimeError, TypeError):
        holder.attrs[name] = "x"
    return f"attribute {name} is {str(value)[:40]!r}"


def _dataset(h5py: Any, file: Any, name: str, kind: int, rng: np.random.Generator) -> str:
    old = file[name][()]
    text = isinstance(old, bytes | str)
    array = np.asarray(old) if not text else np.zeros(3)
    length = len(array) if array.ndim else 1
    del file[name]
    if kind == 2:
        return "gone"
    if kind == 3:
        file[name] = pick([h5py.SoftLink("/"), h5py.SoftLink("/absent"), h5py.ExternalLink("other.h5", "/x")], rng)
        return "a link"
    if kind == 4:
        file.create_dataset(name, (10 ** int(rng.integers(3, 13)), 1), "f4", chunks=(1000, 1))
        return "declared and not written"
    if kind == 5:
        file.create_dataset(name, (length,), "f4", external=[("secret.bin", 0, 4 * length)])
        return "in another file"
    if kind == 6:
        layout = h5py.VirtualLayout((length,), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "x", (length,))
        file.create_virtual_dataset(name, layout)
        return "virtual"
    if kind == 7:
        kinds = ["O", "V8", "S3", h5py.string_dtype(), h5py.vlen_dtype(np.float32), h5py.ref_dtype, "c8"]
        kinds += [np.dtype([("a", "f4")]), h5py.enum_dtype({"a": 1}), np.dtype(("f4", (2,)))]
        dtype = pick(kinds[1:], rng)
        file.create_dataset(name, (length,), dtype)
        return f"of type {dtype}"
    if kind == 8:
        file.create_group(name)
        return "a group"
    if kind == 9:
        mebibytes, rows = int(rng.integers(1, 3000)), 2**18
        made = file.create_dataset(name, (mebibytes * rows, 1), "f4", compression="gzip", chunks=(rows, 1))
        chunk = zlib.compress(bytes(4 * rows))
        for number in range(mebibytes):
            made.id.write_direct_chunk((number * rows, 0), chunk)
        return f"{mebibytes} MiB of zeros"
    if kind == 10:
        file[name] = h5py.Empty("f4")
        return "empty"
    if text:
        said = pick([text for text in JSON if len(text) < 60_000], rng)
        file[name] = said.replace("\x00", "")
        return f"text {said[:40]!r}"
    made, said = numbers(array, rng)
    file[name] = made.astype(h5py.string_dtype()) if made.dtype.kind == "U" else made
    return said


def safetensors_file(path: pathlib.Path, rng: np.random.Generator) -> str:
    """Changes one tensor or one entry of the header; the digest is made anew for what then stands there."""
    import safetensors.numpy

    content = path.read_bytes()
    tensors = dict(safetensors.numpy.load(content))
    size = int.from_bytes(content[:8], "little")
    header: dict[str, str] = json.loads(content[8 : 8 + size])["__metadata__"]
    header.pop("sha256")
    kind = int(rng.integers(8))
    if kind < 2:
        described = json.loads(content[8 : 8 + size])
        record, said = record_changed(described, rng)
        text = as_json(record).encode("utf-8", "surrogatepass")
        path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])
        return f"description: {said}"
    if kind < 5:
        name = pick(sorted(tensors), rng)
        said = _tensor(tensors, name, rng)
    else:
        name = pick([*sorted(header), "x"], rng)
        if rng.integers(6) == 0:
            header.pop(name, None)
            said = "gone"
        elif name == "metadata" and rng.integers(2):
            record, said = record_changed(json.loads(header[name]), rng)
            header[name] = as_json(record)
        else:
            header[name] = pick([*JSON, *WORDS], rng)
            said = f"is {header[name][:40]!r}"
    header = {key: value.encode("utf-8", "replace").decode() for key, value in header.items()}
    header["sha256"] = safetensors_io._digest(tensors, header)
    path.write_bytes(safetensors.numpy.save(tensors, header))
    return f"{name} {said}"


def _tensor(tensors: dict[str, np.ndarray], name: str, rng: np.random.Generator) -> str:
    kind = int(rng.integers(8))
    if kind == 0:
        del tensors[name]
        return "gone"
    if kind == 1:
        tensors[pick(["x", "kernel_9", "kernel_-1", "bias_x", name + "0"], rng)] = tensors.pop(name)
        return "renamed"
    if kind == 2:
        tensors[pick(["x", "kernel_9", "log_std", "bias_9"], rng)] = tensors[name]
        return "there twice"
    made, said = numbers(tensors[name], rng)
    tensors[name] = np.ascontiguousarray(made if made.dtype.kind in "fiub" else np.zeros(made.shape, np.float32))
    return said
