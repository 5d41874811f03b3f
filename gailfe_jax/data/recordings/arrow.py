"""Arrow and Parquet files as named arrays: plain numbers and lists of them, and nothing that is an extension."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gailfe_jax.data.limits import Budget
from gailfe_jax.data.recordings.arrow_messages import refuse_compression
from gailfe_jax.data.recordings.fields import Columns
from gailfe_jax.data.recordings.parquet_pages import check_pages
from gailfe_jax.errors import GailfeError

_MOST_COLUMNS = 10_000


def find_pyarrow(name: str) -> Any:
    """The package pyarrow with what reads files, for the recording `name`.

    Raises:
      GailfeError: it is not installed.
    """
    try:
        pyarrow = importlib.import_module("pyarrow")
        for module in ("pyarrow.ipc", "pyarrow.parquet"):
            importlib.import_module(module)
    except ImportError:
        raise GailfeError(f"{name}: needs the package pyarrow (pip install 'gailfe-jax[data]')") from None
    return pyarrow


class Table:
    """Some files of one schema, one after the other.

    Args:
      name: what messages call them.
      paths: of the files, Parquet by their suffix or else Arrow.
    """

    def __init__(self, name: str, paths: Sequence[str]):
        self.name, self.paths = name, list(paths)
        self._pyarrow = find_pyarrow(name)
        self._budget = Budget(name, sum(os.path.getsize(path) for path in self.paths))
        for path in self.paths:
            if not path.endswith(".parquet"):
                refuse_compression(path)
        self._schema = self._schema_of(self.paths[0])
        if len(self._schema) > _MOST_COLUMNS:
            raise GailfeError(f"{name}: {len(self._schema)} columns, expected at most {_MOST_COLUMNS}")
        for path in self.paths[1:]:
            if self._schema_of(path).names != self._schema.names:
                raise GailfeError(f"{path}: other columns than {self.paths[0]}, expected the same")
        self.types: dict[str, Any] = {}
        for field in self._schema:
            self._list("", field)

    def _list(self, prefix: str, field: Any) -> None:
        name = f"{prefix}{field.name}"
        if self._pyarrow.types.is_struct(field.type) and not _is_extension(self._pyarrow, field):
            for i in range(field.type.num_fields):
                self._list(f"{name}/", field.type.field(i))
        elif name in self.types:
            raise GailfeError(f"{self.name}: field '{name}': a column that is there twice, expected it once")
        else:
            self.types[name] = field

    def _schema_of(self, path: str) -> Any:
        if path.endswith(".parquet"):
            return self._pyarrow.parquet.ParquetFile(path).schema_arrow
        with self._reader(path) as reader:
            return reader.schema

    def _reader(self, path: str, columns: list[int] | None = None) -> Any:
        ipc = self._pyarrow.ipc
        options = ipc.IpcReadOptions(included_fields=columns)
        with open(path, "rb") as file:
            whole = file.read(6) == b"ARROW1"
        source = self._pyarrow.OSFile(path)
        return ipc.open_file(source, options=options) if whole else ipc.open_stream(source, options=options)

    def readable(self, name: str) -> bool:
        """Whether a column is numbers, or lists of numbers."""
        field = self.types[name]
        return not _is_extension(self._pyarrow, field) and self._depth(field.type) in (0, 1)

    def _depth(self, kind: Any) -> int | None:
        """How deep the lists of numbers are; None where there is something else in them."""
        types, depth = self._pyarrow.types, 0
        while types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
            if _is_extension(self._pyarrow, kind.value_field):
                return None
            kind, depth = kind.value_type, depth + 1
        return depth if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) else None

    def chunks(self, name: str, most_depth: int) -> Iterator[Any]:
        """The column as pyarrow's arrays, checked.

        Raises:
          GailfeError: an extension type, no numbers, lists too deep, or what is missing in rows.
        """
        field = self.types[name]
        where = f"{self.name}: field '{name}'"
        if _is_extension(self._pyarrow, field):
            raise GailfeError(f"{where}: an Arrow extension type, expected plain numbers or lists of them")
        depth = self._depth(field.type)
        if depth is None or depth > most_depth:
            raise GailfeError(f"{where}: {field.type}, expected numbers or lists of numbers")
        top, *inner = name.split("/")
        for path in self.paths:
            for batch in self._batches(path, top):
                if not batch.schema.field(top).type.equals(self._schema.field(top).type):
                    raise GailfeError(f"{path}: field '{name}': another type than the first file's")
                array = batch.column(top)
                array.validate(full=True)
                for part in inner:
                    array = array.field(part)
                yield array

    def _batches(self, path: str, column: str) -> Iterator[Any]:
        if path.endswith(".parquet"):
            file = self._pyarrow.parquet.ParquetFile(path)
            # Before any is decoded: a few bytes can stand for millions of numbers that are alike.
            becomes = max(8 * _declared(file.metadata, column), check_pages(path, file.metadata, column))
            self._budget.take(column, becomes, os.path.getsize(path))
            yield from file.iter_batches(batch_size=65536, columns=[column])
            return
        with self._reader(path, [self._schema.get_field_index(column)]) as reader:
            batches = (reader.get_batch(i) for i in range(reader.num_record_batches)) if _is_file(reader) else reader
            for batch in batches:
                # Plain buffers are no larger than the file; all together have to fit beside what is made of them.
                # (`nbytes` follows offsets, which nothing has checked yet.)
                held = sum(buffer.size for buffer in batch.column(column).buffers() if buffer is not None)
                self._budget.take(column, min(held, os.path.getsize(path)))
                yield batch

    def rows(self, name: str) -> np.ndarray:
        """A column of numbers `[n]`, or of lists of one length `[n, k]`.

        Raises:
          GailfeError: see `chunks`; or lists of different lengths.
        """
        parts = [self.matrix(name, array) for array in self.chunks(name, 1)]
        if len({part.shape[1:] for part in parts}) > 1:
            raise GailfeError(f"{self.name}: field '{name}': lists of different lengths, expected one")
        return np.concatenate(parts) if parts else np.zeros((0,), np.float32)

    def matrix(self, name: str, array: Any) -> np.ndarray:
        """`[n]` of numbers, or `[n, k]` of lists that are as long as one another.

        Raises:
          GailfeError: rows that are missing, or lists of different lengths.
        """
        where = f"{self.name}: field '{name}'"
        if array.null_count:
            raise GailfeError(f"{where}: a value is missing, expected one in every row")
        if self._depth(array.type) == 0:
            return array.to_numpy(zero_copy_only=False)
        count = len(array)
        values = array.flatten()
        if self._pyarrow.types.is_fixed_size_list(array.type):
            lengths = np.full(count, array.type.list_size)
        else:
            lengths = np.diff(array.offsets.to_numpy())
        if count and (lengths != lengths[0]).any():
            raise GailfeError(f"{where}: lists of {lengths.min()} to {lengths.max()} numbers, expected one length")
        inner = self.matrix(name, values)
        return inner.reshape(count, int(lengths[0]) if count else 0, *inner.shape[1:])

    def columns(self) -> Columns:
        """The columns by their names, those of a struct as `struct/name`."""
        return Columns(self.name, list(self.types), self.rows, self.readable)


def open_table(path: str) -> Columns:
    """The columns of one file.

    Raises:
      GailfeError: pyarrow is not installed, or more columns than are sensible.
    """
    return Table(path, [path]).columns()


def _declared(metadata: Any, column: str) -> int:
    """How many numbers a Parquet file declares of a column, and of what is inside it."""
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    parts = (group.column(i) for group in groups for i in range(group.num_columns))
    held = sum(part.num_values for part in parts if part.path_in_schema.split(".")[0] == column.split(".")[0])
    return max(held, metadata.num_rows)


def _is_file(reader: Any) -> bool:
    return hasattr(reader, "num_record_batches")


def _is_extension(pyarrow: Any, field: Any) -> bool:
    # A type that nobody registered stands as what it is stored in, under its name in the metadata.
    named = field.metadata is not None and b"ARROW:extension:name" in field.metadata
    return named or isinstance(field.type, pyarrow.BaseExtensionType)
