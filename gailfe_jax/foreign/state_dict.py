"""The tensors of a torch file, read without torch and without Python's unpickler.

Such a file is a zip archive: `data.pkl` lists the tensors in a small stack language, and `data/<key>` hold their bytes.
That language can call anything. Here an interpreter of its own knows the words that a list of tensors needs, and the
few names that may stand in it; at any other word or name it stops.
"""

from __future__ import annotations

import dataclasses
import io
import math
import zipfile
import zlib
from typing import Any

import numpy as np

from gailfe_jax.errors import GailfeError, one_line

LARGEST_FILE = 256 * 2**20
"""Bytes of a file on disk."""
_LARGEST_LIST = 4 * 2**20
_LARGEST_ARRAY = 64 * 2**20
_MOST_MEMBERS = 10_000
_MOST_TENSORS = 10_000

_STORAGES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "BoolStorage": np.dtype("?"),
}
_KNOWN = {
    ("collections", "OrderedDict"): "dict",
    ("torch._utils", "_rebuild_tensor_v2"): "tensor",
    ("torch._utils", "_rebuild_parameter"): "parameter",
}


@dataclasses.dataclass(frozen=True)
class _Named:
    """One of the names that may stand in a list."""

    what: str


@dataclasses.dataclass(frozen=True)
class _Storage:
    """The bytes of tensors."""

    key: str
    dtype: np.dtype
    count: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A view of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Mark:
    """Where a group on the stack begins."""


class _Refused(Exception):
    """Why a file is not read; the caller says which."""


def open_archive(content: bytes, where: str) -> zipfile.ZipFile:
    """A zip archive in memory.

    Raises:
      GailfeError: it is none, or has too many members; `where` opens the message.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, OverflowError, IndexError) as error:
        raise GailfeError(
            f"{where}: expected a zip archive; this one is foreign or cut off ({one_line(error)})"
        ) from None
    if len(archive.infolist()) > _MOST_MEMBERS:
        raise GailfeError(f"{where}: has {len(archive.infolist())} members; expected at most {_MOST_MEMBERS}")
    return archive


def read_member(archive: zipfile.ZipFile, name: str, most: int, where: str) -> bytes:
    """A member of an archive; what is larger than `most` bytes is refused before memory is taken.

    Raises:
      GailfeError: it is not there, too large or damaged; `where` opens the message.
    """
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise GailfeError(f"{where}: has no {name!r}; expected what Stable-Baselines3 or torch saved") from None
    if info.file_size > most:
        raise GailfeError(f"{where}: {name!r} has {info.file_size} bytes; expected at most {most}")
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise GailfeError(
            f"{where}: {name!r} is encrypted or packed in another way; expected a plain or deflated member"
        )
    try:
        with archive.open(info) as file:
            content = file.read(most + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        raise GailfeError(f"{where}: {name!r} is damaged ({one_line(error)})") from None
    if len(content) != info.file_size:
        raise GailfeError(f"{where}: {name!r} is damaged; expected {info.file_size} bytes")
    return content


def read_state_dict(content: bytes, where: str) -> dict[str, np.ndarray]:
    """The tensors of a torch file by name.

    Args:
      content: the file.
      where: opens an error's message.

    Raises:
      GailfeError: it is damaged, too large, or holds anything but named tensors.
    """
    archive = open_archive(content, where)
    lists = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
    if len(lists) != 1:
        raise GailfeError(f"{where}: has {len(lists)} members called data.pkl; expected one, as torch.save writes")
    folder = lists[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.namelist():
        order = read_member(archive, f"{folder}byteorder", 16, where)
        if order.strip() != b"little":
            raise GailfeError(f"{where}: byteorder is {order!r}; expected little")
    try:
        found = _Interpreter(read_member(archive, lists[0], _LARGEST_LIST, where)).run()
        if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
            raise _Refused("lists no tensors by name; expected a state dict")
        tensors = {name: value for name, value in found.items() if isinstance(value, _Tensor)}
        if len(tensors) != len(found) or len(tensors) > _MOST_TENSORS:
            raise _Refused(f"lists {len(found)} values; expected at most {_MOST_TENSORS} tensors and nothing else")
        total = sum(math.prod(tensor.shape) * tensor.storage.dtype.itemsize for tensor in tensors.values())
        if total > _LARGEST_ARRAY:
            raise _Refused(f"lists tensors of {total} bytes; expected at most {_LARGEST_ARRAY}")
    except _Refused as refused:
        raise GailfeError(f"{where}: {lists[0]!r} {refused}") from None
    return {name: _array(archive, folder, tensor, f"{where}: tensor {name!r}") for name, tensor in tensors.items()}


def _array(archive: zipfile.ZipFile, folder: str, tensor: _Tensor, where: str) -> np.ndarray:
    storage = tensor.storage
    content = read_member(archive, f"{folder}data/{storage.key}", _LARGEST_ARRAY, where)
    if len(content) != storage.count * storage.dtype.itemsize:
        raise GailfeError(f"{where}: has {len(content)} bytes; expected {storage.count} numbers of {storage.dtype}")
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, storage.dtype)
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
    if last >= storage.count:
        raise GailfeError(f"{where}: reaches to number {last}; expected less than {storage.count}")
    flat = np.frombuffer(content, storage.dtype)[tensor.offset :]
    strides = [stride * storage.dtype.itemsize for stride in tensor.strides]
    return np.array(np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False))


class _Interpreter:
    """Reads a list of tensors; knows the words of the stack language that such a list is made of."""

    def __init__(self, content: bytes):
        self._content, self._at = content, 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """What is listed."""
        while True:
            start, word = self._at, self._bytes(1)
            if word == b".":
                return self._pop()
            step = _WORDS.get(word)
            if step is None:
                raise _Refused(f"has the word {word!r} at byte {start}; expected a list of tensors alone")
            step(self)

    def _bytes(self, count: int) -> bytes:
        found = self._content[self._at : self._at + count]
        if len(found) != count:
            raise _Refused("is cut off; expected a whole list of tensors")
        self._at += count
        return found

    def _number(self, count: int, signed: bool = False) -> int:
        return int.from_bytes(self._bytes(count), "little", signed=signed)

    def _text(self, size: int) -> str:
        if size > len(self._content):
            raise _Refused("is cut off; expected a whole list of tensors")
        try:
            return self._bytes(size).decode()
        except UnicodeDecodeError:
            raise _Refused("holds a text that is not UTF-8; expected names of tensors") from None

    def _line(self) -> str:
        end = self._content.find(b"\n", self._at)
        if end < 0:
            raise _Refused("is cut off; expected a whole list of tensors")
        text = self._text(end - self._at)
        self._at = end + 1
        return text

    def _pop(self) -> Any:
        if not self._stack:
            raise _Refused("takes more than it has; expected a list of tensors")
        return self._stack.pop()

    def _group(self) -> list[Any]:
        """What lies above the last mark, which goes too."""
        group: list[Any] = []
        while not isinstance(value := self._pop(), _Mark):
            group.append(value)
        return group[::-1]

    def protocol(self) -> None:
        version = self._number(1)
        if version != 2:
            raise _Refused(f"is of protocol {version}; expected 2, as torch.save writes")

    def name(self) -> None:
        module, name = self._line(), self._line()
        if module == "torch" and name in _STORAGES:
            self._stack.append(_STORAGES[name])
        elif (module, name) in _KNOWN:
            self._stack.append(_Named(_KNOWN[module, name]))
        else:
            shown = one_line(f"{module}.{name}")[:60]
            raise _Refused(f"names {shown!r}; expected nothing but tensors, of which the file's code is not run")

    def stored(self) -> None:
        """A reference to a storage: `("storage", type, key, place, count)`."""
        match self._pop():
            case ("storage", np.dtype() as dtype, str(key), str(), int(count)) if count >= 0:
                if count * dtype.itemsize > _LARGEST_ARRAY:
                    raise _Refused(f"lists a storage of {count} numbers; expected at most {_LARGEST_ARRAY} bytes")
                if not key.isdecimal():
                    raise _Refused(f"names the storage {key[:40]!r}; expected a number")
                self._stack.append(_Storage(key, dtype, count))
            case _:
                raise _Refused("refers to something else than a storage; expected tensors alone")

    def call(self) -> None:
        args, function = self._pop(), self._pop()
        match function, args:
            case _Named("dict"), ():
                self._stack.append({})
            case _Named("parameter"), (_Tensor() as tensor, bool(), dict()):
                self._stack.append(tensor)
            case _Named("tensor"), (
                _Storage() as storage,
                int(offset),
                tuple(shape),
                tuple(strides),
                bool(),
                dict(),
                *_,
            ):
                whole = all(isinstance(n, int) and 0 <= n <= _LARGEST_ARRAY for n in (offset, *shape, *strides))
                if not whole or len(shape) != len(strides) or len(shape) > 8:
                    raise _Refused("lists a tensor of impossible shape; expected small whole numbers")
                if math.prod(shape) * storage.dtype.itemsize > _LARGEST_ARRAY:
                    raise _Refused(f"lists a tensor of shape {shape}; expected at most {_LARGEST_ARRAY} bytes")
                self._stack.append(_Tensor(storage, offset, shape, strides))
            case _:
                raise _Refused("calls something with other arguments than tensors have; expected tensors alone")

    def put_items(self, pairs: list[Any]) -> None:
        target = self._stack[-1] if self._stack else None
        keys = pairs[::2]
        if not isinstance(target, dict) or len(pairs) % 2 or not all(isinstance(key, str) for key in keys):
            raise _Refused("puts something else than named values into a table; expected a state dict")
        target.update(zip(keys, pairs[1::2], strict=True))

    def build(self) -> None:
        """Attributes of a table, which torch writes its version numbers in: left out."""
        attributes = self._pop()
        if not isinstance(attributes, dict) or not self._stack or not isinstance(self._stack[-1], dict):
            raise _Refused("gives attributes to something else than a table; expected a state dict")

    def remember(self, index: int) -> None:
        if not self._stack:
            raise _Refused("takes more than it has; expected a list of tensors")
        self._memo[index] = self._stack[-1]

    def recall(self, index: int) -> None:
        if index not in self._memo:
            raise _Refused("recalls what it has not got; expected a list of tensors")
        self._stack.append(self._memo[index])

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def tuple_of(self, count: int) -> None:
        values = [self._pop() for _ in range(count)][::-1]
        if any(isinstance(value, _Mark) for value in values):
            raise _Refused("takes more than it has; expected a list of tensors")
        self._stack.append(tuple(values))

    def put_item(self) -> None:
        value, key = self._pop(), self._pop()
        self.put_items([key, value])


_WORDS = {
    b"\x80": _Interpreter.protocol,
    b"c": _Interpreter.name,
    b"Q": _Interpreter.stored,
    b"R": _Interpreter.call,
    b"b": _Interpreter.build,
    b"u": lambda self: self.put_items(self._group()),
    b"s": _Interpreter.put_item,
    b"(": lambda self: self.push(_Mark()),
    b"t": lambda self: self.push(tuple(self._group())),
    b")": lambda self: self.push(()),
    b"\x85": lambda self: self.tuple_of(1),
    b"\x86": lambda self: self.tuple_of(2),
    b"\x87": lambda self: self.tuple_of(3),
    b"}": lambda self: self.push({}),
    b"N": lambda self: self.push(None),
    b"\x88": lambda self: self.push(True),
    b"\x89": lambda self: self.push(False),
    b"K": lambda self: self.push(self._number(1)),
    b"M": lambda self: self.push(self._number(2)),
    b"J": lambda self: self.push(self._number(4, signed=True)),
    b"\x8a": lambda self: self.push(self._number(self._number(1), signed=True)),
    b"X": lambda self: self.push(self._text(self._number(4))),
    b"q": lambda self: self.remember(self._number(1)),
    b"r": lambda self: self.remember(self._number(4)),
    b"h": lambda self: self.recall(self._number(1)),
    b"j": lambda self: self.recall(self._number(4)),
}
