"""Arrow's messages, looked at before pyarrow reads them: none of them may be compressed.

A compressed buffer says itself how large it becomes, and pyarrow takes the memory before it sees whether that is so.
What Hugging Face's datasets and Minari write is not compressed, so nothing of theirs is lost.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from gailfe_jax.errors import GailfeError

_DICTIONARY, _BATCH = 2, 3  # kinds of messages with buffers
_LARGEST_HEADER = 64 * 2**20


def refuse_compression(path: str) -> None:
    """Walks over the messages of an Arrow file or stream, without their bodies.

    Raises:
      GailfeError: a message with compressed buffers, or what is no message.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        whole = file.read(8).startswith(b"ARROW1")
        file.seek(8 if whole else 0)
        try:
            while _next(path, file, size):
                pass
        except (struct.error, IndexError, OverflowError):
            raise GailfeError(f"{path}: not a readable Arrow file, damaged or foreign (a broken message)") from None


def _next(path: str, file: BinaryIO, size: int) -> bool:
    """Looks at one message and goes behind its body; False at the end."""
    head = file.read(8)
    if not head:
        return False  # A stream may stop without a mark.
    mark, length = struct.unpack("<Ii", head)
    if length == 0 and mark == 0xFFFFFFFF:
        return False
    if mark != 0xFFFFFFFF or not 0 < length <= min(size, _LARGEST_HEADER):
        raise struct.error
    header = file.read(length)
    message = _Table(header, struct.unpack_from("<I", header)[0])
    kind = message.number(1, "<B")
    if kind in (_DICTIONARY, _BATCH) and (batch := message.table(2)) is not None:
        held = batch.table(1) if kind == _DICTIONARY else batch
        if held is not None and held.place(3):
            raise GailfeError(
                f"{path}: compressed Arrow buffers, expected them as datasets and Minari write them, plain"
            )
    body = message.number(3, "<q")
    if body < 0 or file.tell() + body > size:
        raise struct.error
    file.seek(body, os.SEEK_CUR)
    return True


class _Table:
    """A table of FlatBuffers: its fields lie where a list of offsets before or behind it says."""

    def __init__(self, data: bytes, start: int):
        self._data, self._start = data, start
        self._list = start - struct.unpack_from("<i", data, start)[0]
        if start < 0 or self._list < 0:
            raise struct.error
        self._length = struct.unpack_from("<H", data, self._list)[0]

    def place(self, field: int) -> int:
        """Where a field lies; 0 where it is not there."""
        slot = 4 + 2 * field
        found = struct.unpack_from("<H", self._data, self._list + slot)[0] if slot < self._length else 0
        return self._start + found if found else 0

    def number(self, field: int, form: str) -> int:
        """A number; 0 where it is not there."""
        place = self.place(field)
        return struct.unpack_from(form, self._data, place)[0] if place else 0

    def table(self, field: int) -> _Table | None:
        """A table within; None where it is not there."""
        place = self.place(field)
        return _Table(self._data, place + struct.unpack_from("<I", self._data, place)[0]) if place else None
