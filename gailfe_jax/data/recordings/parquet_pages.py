"""What the pages of a Parquet file declare, before pyarrow believes it: it takes as much memory as a page names."""

from __future__ import annotations

import mmap
from typing import Any

from gailfe_jax.errors import GailfeError

_BOOLEANS, _BYTE, _INTEGERS, _DOUBLE, _BINARY, _STRUCT = (1, 2), 3, (4, 5, 6), 7, 8, 12
_DEEPEST = 8
_UNPACKED, _PACKED = 2, 3
"""Fields of a page's header: its size as it is decoded, and in the file."""
_COUNTS = (5, 7, 8)
"""Fields that say how many values there are: of a page of data, of a dictionary, of data in the second version."""


def check_pages(path: str, metadata: Any, column: str) -> int:
    """Bytes that the pages of a column become, by what they say themselves.

    Args:
      path: of the file.
      metadata: pyarrow's, of the file.
      column: its name, with everything that is inside it.

    Raises:
      GailfeError: a page that is not where it should be, or has more values than its column.
    """
    total = 0
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for index in range(metadata.num_row_groups):
            group = metadata.row_group(index)
            parts = (group.column(place) for place in range(group.num_columns))
            for part in parts:
                if part.num_values and part.path_in_schema.split(".")[0] == column.split(".")[0]:
                    try:
                        total += _check_part(data, part)
                    except (ValueError, IndexError, KeyError, TypeError):
                        why = "a damaged page, expected one that is as large as it says"
                        raise GailfeError(f"{path}: field '{column}': {why}") from None
    return total


def _check_part(data: mmap.mmap, part: Any) -> int:
    """Bytes of a column's pages in one group of rows."""
    starts = (part.dictionary_page_offset if part.has_dictionary_page else None, part.data_page_offset)
    place = min(start for start in starts if start)
    end, total, seen = place + part.total_compressed_size, 0, 0
    if place < 0 or end > len(data):
        raise ValueError
    while place < end and seen < part.num_values:
        header = _Compact(data, place, end)
        fields = header.structure()
        unpacked, packed = fields[_UNPACKED], fields[_PACKED]
        place = header.place + packed
        counts = {field: fields[field][1] for field in _COUNTS if field in fields}
        if unpacked < 0 or packed < 0 or place > end or any(not 0 <= n <= part.num_values for n in counts.values()):
            raise ValueError
        total += unpacked
        seen += sum(count for field, count in counts.items() if field != _COUNTS[1])
    if seen != part.num_values:
        raise ValueError
    return total


class _Compact:
    """Reads a structure of Thrift's compact protocol, without its lists, of which headers of pages have none."""

    def __init__(self, data: mmap.mmap, place: int, end: int):
        self._data, self.place, self._end = data, place, end

    def structure(self, depth: int = 0) -> dict[int, Any]:
        """Its fields by their number; texts are left out."""
        fields: dict[int, Any] = {}
        number = 0
        while kind := self._byte():
            number = number + (kind >> 4) if kind >> 4 else self._integer()
            fields[number] = self._value(kind & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _BOOLEANS:
            return kind == _BOOLEANS[0]
        if kind in _INTEGERS:
            return self._integer()
        if kind == _STRUCT and depth < _DEEPEST:
            return self.structure(depth + 1)
        if kind not in (_BYTE, _DOUBLE, _BINARY):
            raise ValueError
        size = self._unsigned() if kind == _BINARY else 1 if kind == _BYTE else 8
        self.place += size
        return None

    def _byte(self) -> int:
        if self.place >= self._end:
            raise ValueError
        self.place += 1
        return self._data[self.place - 1]

    def _unsigned(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError

    def _integer(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)
