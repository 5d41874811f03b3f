"""One wrong part in tables and texts: Arrow, Parquet, CSV, JSON and its lines, TOML, models of others."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import pathlib
import zipfile
from typing import Any

import numpy as np

from benchmarks.fuzz.raw import changed
from benchmarks.fuzz.values import JSON, WORDS, as_json, pick, record_changed
from gailfe_jax.io.digests import json_sha256
from gailfe_jax.training.run_folder import SEAL


def arrow(path: pathlib.Path, rng: np.random.Generator) -> str:
    """Changes a column, its type or what stands beside it, of an Arrow stream, an Arrow file or a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    parquet, stream = path.suffix == ".parquet", True
    if parquet:
        table = pq.read_table(path)
    else:
        try:
            table = pa.ipc.open_stream(path.read_bytes()).read_all()
        except pa.ArrowInvalid:
            table, stream = pa.ipc.open_file(path.read_bytes()).read_all(), False
    table, said = _table(pa, table, parquet, rng)
    compression = pick([None, None, None, "zstd", "lz4"], rng)
    if parquet:
        pq.write_table(
            table,
            path,
            compression=compression or "snappy",
            row_group_size=pick([1, 5, 10**6], rng) if table.num_rows < 100 else 10**7,
        )
        return said
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(path, table.schema, options=options) as sink:
        sink.write_table(table)
    return f"{said}, compressed by {compression}"


def _table(pa: Any, table: Any, parquet: bool, rng: np.random.Generator) -> tuple[Any, str]:
    names = table.column_names
    name = pick(names, rng)
    index, rows, kind = names.index(name), table.num_rows, int(rng.integers(12))
    if kind == 0:
        return table.drop_columns([name]), f"{name} gone"
    if kind == 1:
        other = pick(["x", "", "action", "é", "observation.state"], rng)
        return table.rename_columns([other if held == name else held for held in names]), f"{name} called {other!r}"
    if kind == 2:
        return table.slice(0, int(rng.integers(rows + 1))), "rows missing"
    if kind == 3:
        return pa.concat_tables([table, table]), "all rows twice"
    if kind == 4:
        metadata = {b"huggingface": pick(JSON, rng).encode("utf-8", "replace"), b"pandas": b"{"}
        return table.replace_schema_metadata(metadata), "other metadata"
    if kind == 5:
        # A run of equal numbers takes next to no room in Parquet.
        # Arrow's files hold them all.
        count = int(rng.integers(1, 60)) * (10**6 if parquet else 10**4)
        zeros = pa.nulls(count, table.schema.field(name).type) if rng.integers(2) else None
        zeros = pa.array(np.zeros(count, np.int8)) if zeros is None else zeros
        return pa.table(dict.fromkeys(names, zeros)), f"{count} rows"
    columns = {
        "text": lambda: pa.array(["x"] * rows), "bytes": lambda: pa.array([b"\x80"] * rows),
        "missing": lambda: pa.nulls(rows, table.schema.field(name).type), "nothing": lambda: pa.nulls(rows),
        "numbers": lambda: pa.array(np.arange(rows) - 1), "doubles": lambda: pa.array(np.full(rows, np.nan)),
        "huge": lambda: pa.array(np.full(rows, 1e300)), "truth": lambda: pa.array([True] * rows),
        "lists of other lengths": lambda: pa.array([[0.0] * (i % 3) for i in range(rows)]),
        "lists of lists": lambda: pa.array([[[0.0, 1.0], [2.0]]] * rows),
        "lists with holes": lambda: pa.array([[0.0, None]] * rows), "tables": lambda: pa.array([{"a": 1}] * rows),
        "a dictionary": lambda: pa.array(["x"] * rows).dictionary_encode(),
        "decimals": lambda: pa.array([None] * rows, pa.decimal128(5, 2)),
        "times": lambda: pa.array(np.zeros(rows, "M8[ns]")), "halves": lambda: pa.array(np.zeros(rows, np.float16)),
        "large lists": lambda: pa.array([[0.0, 1.0, 2.0]] * rows, pa.large_list(pa.float64())),
        "unsigned": lambda: pa.array(np.full(rows, 2**64 - 1, np.uint64)),
    }  # fmt: skip
    what = pick(list(columns), rng)
    return table.set_column(index, name, columns[what]()), f"{name} holds {what}"


def comma_separated(path: pathlib.Path, rng: np.random.Generator) -> str:
    """Changes a cell, a row or a name of a CSV file."""
    rows = list(csv.reader(io.StringIO(path.read_text())))
    row = int(rng.integers(len(rows)))
    column = int(rng.integers(len(rows[row])))
    kind, before = int(rng.integers(8)), rows[row][column]
    if kind == 0:
        del rows[row]
    elif kind == 1:
        rows[row] = rows[row][: int(rng.integers(len(rows[row]) + 1))]
    elif kind == 2:
        rows[row] = rows[row] + rows[row]
    elif kind == 3:
        rows[row][column] = "1" * 200_000
    else:
        cells = [*WORDS, '"', "'", "1,5", "1;2", "\x00", "=1+1", "1e309", "0x1p3", "⅓", "1 2", '"a\nb"']
        rows[row][column] = pick(cells, rng)
    separator = pick([",", ",", ",", ";", "\t", " "], rng)
    ends = pick(["\n", "\n", "\r\n", "\r"], rng)
    mark = "\ufeff" if rng.integers(8) == 0 else ""
    quoted = rng.integers(3) > 0
    made = io.StringIO()
    if quoted:
        csv.writer(made, delimiter=separator, lineterminator=ends).writerows(rows)
    else:
        made.write(ends.join(separator.join(cells) for cells in rows))
    path.write_bytes((mark + made.getvalue()).encode("utf-8", "surrogateescape"))
    return f"row {row}, column {column}, change {kind} of {before!r}"


def json_file(path: pathlib.Path, rng: np.random.Generator) -> str:
    """Changes one value of a JSON file; a seal of ours is made anew three times out of four."""
    record = json.loads(path.read_text())
    inner = record["body"] if set(record) == {"body", "sha256"} else record
    made, said = record_changed({name: value for name, value in inner.items() if name != SEAL}, rng)
    if rng.integers(4) == 0:
        path.write_bytes(as_json({"body": made, "sha256": record["sha256"]} if inner is not record else made).encode())
        return f"{said}, under the old seal"
    try:
        text = as_json(made)
        whole = json.loads(text)
        if inner is not record:
            text = json.dumps({"body": whole, "sha256": json_sha256(whole)})
        elif SEAL in record:
            text = json.dumps(whole | {SEAL: json_sha256(whole)})
    except (ValueError, RecursionError, TypeError):
        text = as_json(made)
        if inner is not record:
            text = '{"body":' + text + ',"sha256":"x"}'
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return said


def json_lines(path: pathlib.Path, rng: np.random.Generator) -> str:
    """Changes one line of a file of JSON objects."""
    lines = path.read_text().splitlines()
    number = int(rng.integers(len(lines)))
    kind, said = int(rng.integers(8)), ""
    if kind == 0:
        del lines[number]
    elif kind == 1:
        lines.insert(number, lines[number])
    elif kind == 2:
        lines[number] = pick(JSON, rng)
    elif kind == 3:
        lines[number] = lines[number][: int(rng.integers(len(lines[number])))]
    else:
        record, said = record_changed(json.loads(lines[number]), rng)
        lines[number] = as_json(record)
    path.write_bytes(("\n".join(lines) + "\n").encode("utf-8", "surrogatepass"))
    return f"line {number}, change {kind} {said}"


def toml(path: pathlib.Path, rng: np.random.Generator) -> str:
    """Changes one line of a TOML file."""
    lines = path.read_text().splitlines()
    number = int(rng.integers(len(lines)))
    name, equals, value = lines[number].partition("=")
    kind = int(rng.integers(6))
    values = [*JSON, *(json.dumps(word) for word in WORDS), "1979-05-27", "0o7", "'''", '"""', "{a = 1}", "[[1], 2]"]
    if kind == 0:
        del lines[number]
    elif kind == 1:
        lines.insert(number, lines[number])
    elif kind == 2:
        lines[number] = f"{pick(['x', name.strip() + 'x', 'é', '[x]', '[[x]]', ''], rng)}{equals}{value}"
    elif kind == 3:
        lines[number] = f"{name}= {json.dumps(value.strip(' ') + pick(['(', '**9**9**9', '/0', '.x', ' x'], rng))}"
    else:
        lines[number] = f"{name}= {pick(values, rng)}"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    return f"line {number}, change {kind}: {lines[number][:60] if number < len(lines) else ''}"


def model_zip(path: pathlib.Path, rng: np.random.Generator) -> str:
    """Changes a member of a zip, or a member of a zip inside it."""
    members = _members(path.read_bytes())
    name = pick(sorted(members), rng)
    content, kind = members[name], int(rng.integers(6))
    said = f"{name} change {kind}"
    if kind == 0:
        del members[name]
    elif kind == 1 and zipfile.is_zipfile(io.BytesIO(content)):
        inner = _members(content)
        held = pick(sorted(inner), rng)
        inner[held] = changed(inner[held], rng)
        members[name], said = _zipped(inner), f"{name}/{held} changed"
    elif kind < 4 and content[:1] == b"{":
        record, what = record_changed(json.loads(content), rng)
        members[name], said = as_json(record).encode("utf-8", "surrogatepass"), f"{name} {what}"
    else:
        members[name] = changed(content, rng)
    path.write_bytes(_zipped(members))
    return said


def _members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def onnx_file(path: pathlib.Path, rng: np.random.Generator) -> str:
    """Changes an array, a node, an input or the version of an ONNX model."""
    import onnx

    model = onnx.ModelProto.FromString(path.read_bytes())
    graph = model.graph
    kind = int(rng.integers(9))
    array, node = pick(graph.initializer, rng), pick(graph.node, rng)
    if kind == 0:
        array.dims[:] = pick([[], [0], [-1], [2**40], [2**31, 2**31], [1] * 40, [*array.dims, 1]], rng)
    elif kind == 1:
        array.data_type = int(rng.integers(0, 30))
    elif kind == 2:
        numbers = np.frombuffer(array.raw_data, np.float32).copy()
        numbers[: int(rng.integers(1, 4))] = pick([np.nan, np.inf, 1e38], rng)
        array.raw_data = numbers.tobytes()
    elif kind == 3:
        array.raw_data = array.raw_data[: int(rng.integers(len(array.raw_data) + 1))]
    elif kind == 4:
        node.op_type = pick(["Tanh", "Concat", "Loop", "", "MatMul", "Gather", "Identity", "Pad", "Expand"], rng)
    elif kind == 5:
        node.input[int(rng.integers(len(node.input)))] = pick(["", "x", node.output[0], graph.output[0].name], rng)
    elif kind == 6:
        node.output[0] = pick(["", "x", "obs", graph.output[0].name], rng)
    elif kind == 7:
        model.opset_import[0].version = pick([-1, 0, 1, 99, 2**62], rng)
    else:
        pick([graph.input, graph.output], rng)[0].name = pick(["", "x", array.name], rng)
    path.write_bytes(model.SerializeToString())
    return f"change {kind} of {array.name} or {node.op_type}"


def removed(path: pathlib.Path) -> str:
    """The file is gone, or is a folder."""
    path.unlink()
    with contextlib.suppress(OSError):
        path.mkdir()
    return "a folder"
