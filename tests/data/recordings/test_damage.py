"""Hostile and damaged recordings end in one line of ours, or are read as what they then hold."""

from __future__ import annotations

import collections
import json
import os
import pathlib
import zipfile

import numpy as np
import pytest

from gailfe_jax.data import limits
from gailfe_jax.data.recordings import read_recording
from gailfe_jax.data.recordings.arrow import Table
from gailfe_jax.data.recordings.fields import Request
from gailfe_jax.errors import GailfeError
from tests.data.made import make_demonstrations, one_line
from tests.data.recordings.damage import damaged, outcome
from tests.data.recordings.write_files import FILES, flat

CASES = {
    "d4rl": "d4rl.hdf5",
    "robomimic": "robomimic.hdf5",
    "minari": "minari/tiny/hdf5-v0",
    "minari in Arrow": "minari/tiny/arrow-v0",
    "imitation": "imitation",
    "lerobot 2.1": "lerobot_v2.1",
    "lerobot 3.0": "lerobot_v3.0",
    "npz": "plain.npz",
    "npy": "npy",
    "npz each": "folder",
    "csv": "plain.csv",
    "gailfe": "own.npz",
    "gailfe in HDF5": "own.h5",
}
ARROW = ("minari in Arrow", "imitation", "lerobot 2.1", "lerobot 3.0")


def _check(case: str, folder: pathlib.Path, count: int, seed: int) -> None:
    if case in ARROW:
        pytest.importorskip("pyarrow", reason="pyarrow is an optional extra")
    source = FILES / CASES[case]
    if case.startswith("gailfe"):
        source = folder / CASES[case]
        make_demonstrations().save(source)
    words = ("obs=x,y,speed", "action=left,right") if case == "csv" else ()
    (folder / "work").mkdir()
    found = collections.Counter(outcome(path, words) for path in damaged(source, folder / "work", count, seed))
    assert found["refused"] > count // 10, found
    assert outcome(source, words) == "read"


@pytest.mark.parametrize("case", CASES)
def test_a_damaged_recording_is_refused_or_read(tmp_path, case):
    _check(case, tmp_path, 20, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_many_damaged_recordings_are_refused_or_read(tmp_path, case):
    _check(case, tmp_path, 600, seed=1)


# HDF5: nothing is followed out of the file, and nothing larger than it is believed.


def _hdf5(path, change):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file["observations"], file["actions"] = flat("obs"), flat("action")
        change(h5py, file)


def _soft(h5py, file):
    file["rewards"] = h5py.SoftLink("/observations")


def _external(h5py, file):
    file["rewards"] = h5py.ExternalLink("other.h5", "/x")


def _external_data(h5py, file):
    file.create_dataset("rewards", (15,), "f4", external=[("secret.bin", 0, 60)])


def _virtual(h5py, file):
    layout = h5py.VirtualLayout((15,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (15,))
    file.create_virtual_dataset("rewards", layout)


def _declared(h5py, file):
    file.create_dataset("rewards", (10**10,), "f4", chunks=(1000,))


def _circle(h5py, file):
    file.create_group("infos")["again"] = file["/"]
    file["infos/more"] = file["infos"]


def _text(h5py, file):
    file["rewards"] = ["a"] * 15


def _object(h5py, file):
    file.create_dataset("rewards", data=np.void(b"\x80\x04pickle"))


HOSTILE_HDF5 = {
    _soft: "field 'rewards': a soft or external link, expected data",
    _external: "field 'rewards': a soft or external link, expected data",
    _external_data: "field 'rewards': virtual or external data, expected data in the file itself",
    _virtual: "field 'rewards': virtual or external data",
    _declared: "field 'rewards': declares 40000000000 bytes, more than the file can hold",
    _circle: "a group that is there twice, expected it once",
    _text: "field 'rewards': dtype object, expected plain numbers",
    _object: "field 'rewards': dtype |V8, expected plain numbers",
}


@pytest.mark.parametrize("change", HOSTILE_HDF5, ids=lambda f: f.__name__.strip("_"))
def test_hostile_hdf5(tmp_path, change):
    _hdf5(tmp_path / "x.hdf5", change)
    with pytest.raises(GailfeError) as error:
        read_recording(tmp_path / "x.hdf5")
    assert one_line(error).startswith(f"{tmp_path / 'x.hdf5'}: ") and HOSTILE_HDF5[change] in str(error.value)


# Arrow and Parquet.


@pytest.fixture
def pa():
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is an optional extra")
    __import__("pyarrow.parquet")
    return pyarrow


def _lerobot(folder, table, pa, **options):
    (folder / "meta").mkdir(parents=True)
    (folder / "data" / "chunk-000").mkdir(parents=True)
    (folder / "meta" / "info.json").write_text(json.dumps({"codebase_version": "v3.0"}))
    pa.parquet.write_table(table, folder / "data" / "chunk-000" / "file-000.parquet", **options)
    return folder


def _table(pa, **columns):
    rows = {
        "observation.state": [[1.0, 2.0]] * 3,
        "action": [[0.5]] * 3,
        "episode_index": [0, 0, 0],
        "next.done": [0, 0, 1],
    }
    return pa.table(rows | columns)


def test_extension_types_are_refused(tmp_path, pa):
    kind = pa.fixed_shape_tensor(pa.float32(), [2])
    storage = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(6, np.float32)), 2)
    table = _table(pa).drop_columns(["observation.state"])
    table = table.append_column("observation.state", pa.ExtensionArray.from_storage(kind, storage))
    with pytest.raises(
        GailfeError, match=r"field 'observation\.state': an Arrow extension type, expected plain numbers"
    ):
        read_recording(_lerobot(tmp_path / "known", table, pa))
    # One that nobody registered stands as what it is stored in.
    field = pa.field("observation.state", storage.type, metadata={b"ARROW:extension:name": b"arrow.py_extension_type"})
    named = _table(pa).drop_columns(["observation.state"]).append_column(field, storage)
    with pytest.raises(GailfeError, match=r"field 'observation\.state': an Arrow extension type"):
        read_recording(_lerobot(tmp_path / "foreign", named, pa))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"action": [[0.5], None, [0.5]]}, "field 'action': a value is missing, expected one in every row"),
        ({"action": [[0.5], [None], [0.5]]}, "field 'action': a value is missing"),
        ({"action": [[0.5], [0.5, 1.0], [0.5]]}, "field 'action': lists of 1 to 2 numbers, expected one length"),
        ({"action": ["a", "b", "c"]}, "field 'action': string, expected numbers or lists of numbers"),
        ({"action": [b"\x80", b"", b""]}, "field 'action': binary, expected numbers"),
        ({"episode_index": [0, 1, 0]}, "field 'episode': rows of one episode lie apart"),
    ],
)
def test_columns_of_a_table_that_are_refused(tmp_path, pa, columns, message):
    with pytest.raises(GailfeError, match=message) as error:
        read_recording(_lerobot(tmp_path / "x", _table(pa, **columns), pa))
    assert one_line(error).startswith(f"{tmp_path / 'x'}: ")


def test_numbers_that_are_alike_do_not_fill_the_memory(tmp_path, pa):
    rows = 5_000_000
    table = pa.table(
        {name: pa.array(np.zeros(rows, np.int8)) for name in ("observation.state", "action", "episode_index")}
    )
    folder = _lerobot(tmp_path / "x", table, pa, row_group_size=rows, max_rows_per_page=rows, write_batch_size=rows)
    assert os.path.getsize(folder / "data" / "chunk-000" / "file-000.parquet") < 30_000
    with pytest.raises(GailfeError, match=r"declares 40000000 bytes, more than the file can hold"):
        read_recording(folder)


def _varint(value):
    encoded, value = bytearray(), 2 * value
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def _integers(data, place, count):
    """Numbers of fields that stand one after the other, as (value, begin, end)."""
    found = []
    for _ in range(count):
        assert data[place] == 0x15
        end = place + 1
        while data[end] > 127:
            end += 1
        value = sum((byte & 127) << 7 * index for index, byte in enumerate(data[place + 1 : end + 1])) // 2
        found.append((value, place + 1, end + 1))
        place = end + 1
    return found


def _other_page(path, pa, field, value):
    """Another number in the header of the first page of a file of one column, whose size stays."""
    data = bytearray(path.read_bytes())
    place = pa.parquet.ParquetFile(path).metadata.row_group(0).column(0).data_page_offset
    _, unpacked, packed = _integers(data, place, 3)
    count = _integers(data, packed[2] + 1, 1)[0]
    begin, end = {"unpacked": unpacked, "packed": packed, "values": count}[field][1:]
    longer = len(_varint(value)) - (end - begin)
    last = packed[2] + 1000  # In the midst of the page's data.
    del data[last : last + longer]
    if field != "packed":
        less = _varint(packed[0] - longer)
        assert len(less) == packed[2] - packed[1]
        data[packed[1] : packed[2]] = less
    data[begin:end] = _varint(value)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("unpacked", 2**31 - 1, r"declares 2148\d{6} bytes, more than the file can hold"),
        ("unpacked", 200 * 2**20, r"bytes become 210\d{6};"),
        ("values", 2**31 - 1, "a damaged page"),
        ("values", 0, "a damaged page"),
        ("packed", 2**31 - 1, "a damaged page"),
        ("packed", 0, "a damaged page"),
    ],
)
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_a_page_that_declares_what_cannot_be_is_refused_before_it_is_decoded(tmp_path, pa, field, value, said, version):
    numbers = np.random.default_rng(0).normal(size=150_000)
    path = tmp_path / "x.parquet"
    options = {"use_dictionary": False, "data_page_version": version, "write_statistics": False}
    pa.parquet.write_table(pa.table({"action": numbers}), path, data_page_size=2**22, **options)
    assert Table(str(path), [str(path)]).rows("action").shape == numbers.shape
    _other_page(path, pa, field, value)
    with pytest.raises(GailfeError, match=said) as error:
        Table(str(path), [str(path)]).rows("action")
    assert one_line(error).startswith(f"{path}: field 'action'")


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_compressed_buffers_are_refused(tmp_path, pa, codec):
    table = pa.table({"obs": [[[1.0], [2.0]]], "acts": [[[1.0]]], "terminal": [True]})
    (tmp_path / "dataset_info.json").write_text("{}")
    path = tmp_path / "data-00000-of-00001.arrow"
    for how, refused in ((None, False), (codec, True)):
        for writer in (pa.ipc.new_stream, pa.ipc.new_file):
            with writer(path, table.schema, options=pa.ipc.IpcWriteOptions(compression=how)) as sink:
                sink.write_table(table)
            if not refused:
                assert len(read_recording(tmp_path).episodes) == 1
                continue
            with pytest.raises(
                GailfeError, match="compressed Arrow buffers, expected them as datasets and Minari write"
            ):
                read_recording(tmp_path)


def test_lerobots_description_is_not_followed(tmp_path, pa):
    folder = _lerobot(tmp_path / "x", _table(pa), pa)
    info = {"codebase_version": "v3.0", "data_path": "../../secret/{chunk_index}.parquet"}
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    assert len(read_recording(folder).episodes) == 1
    for text, message in (
        ("[]", "meta/info.json: not readable, expected a JSON object"),
        ("{", "meta/info.json: not readable"),
        ("[" * 100_000, "meta/info.json: not readable"),
        ('{"codebase_version": "v1.6"}', "field 'codebase_version': 'v1.6', expected v2.0 to v3.0"),
    ):
        (folder / "meta" / "info.json").write_text(text)
        with pytest.raises(GailfeError, match=message):
            read_recording(folder)


# NumPy.


class _Bomb:
    """Unpickling one of these would be seen."""

    def __reduce__(self):
        return os.mkdir, ("pickle-ran",)


def test_pickles_are_not_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", obs=flat("obs"), actions=np.array([_Bomb()] * 15, object))
    with pytest.raises(GailfeError, match="field 'actions': holds Python objects"):
        read_recording("x.npz")
    # What nobody asks for is not looked at.
    np.savez("x.npz", obs=flat("obs"), actions=flat("action"), infos=np.array([_Bomb()], object))
    assert len(read_recording("x.npz").episodes) == 1
    os.mkdir("folder")
    np.save("folder/obs.npy", flat("obs"))
    np.save("folder/action.npy", np.array([_Bomb()] * 15, object))
    with pytest.raises(GailfeError, match="field 'action': holds Python objects"):
        read_recording("folder")
    assert not os.path.exists("pickle-ran")


def test_an_archive_declares_no_more_than_it_holds(tmp_path):
    path = tmp_path / "x.npz"
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("obs.npy", bytes(50_000_000))
        with pytest.raises(GailfeError, match=f"field 'obs': compressed by method {method}, expected deflate"):
            read_recording(path, Request.of_words(["action=obs"]))


def test_a_small_file_does_not_become_a_large_one(tmp_path, monkeypatch):
    # As small as it is, so that the test is quick: the rule is the same for a file of megabytes.
    monkeypatch.setattr(limits, "ALWAYS", 10_000)
    said = f"field 'obs': the file's [0-9]+ bytes become [0-9]+; expected at most {limits.EXPANSION} times as many"
    np.savez_compressed(tmp_path / "x.npz", obs=np.zeros((9000, 3)), action=np.zeros((9000, 1)))
    with pytest.raises(GailfeError, match=said):
        read_recording(tmp_path / "x.npz")
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        for name, size in (("observations", 3), ("actions", 1)):
            file.create_dataset(name, data=np.zeros((9000, size)), compression="gzip")
    with pytest.raises(GailfeError, match=said.replace("'obs'", "'observations'")):
        read_recording(tmp_path / "x.hdf5")
    # Noise shrinks by no such factor.
    noise = np.random.default_rng(0).normal(size=(9000, 3))
    np.savez_compressed(tmp_path / "x.npz", obs=noise, action=noise)
    assert len(read_recording(tmp_path / "x.npz").episodes) == 1


def test_a_small_table_does_not_become_a_large_one(tmp_path, monkeypatch, pa):
    monkeypatch.setattr(limits, "ALWAYS", 10_000)
    rows = 60_000
    columns = {"episode_index": [0] * rows, "next.done": [0] * rows}
    table = pa.table(columns | {"observation.state": [0.0] * rows, "action": [0.0] * rows})
    with pytest.raises(GailfeError, match="bytes become"):
        read_recording(_lerobot(tmp_path / "x", table, pa))


@pytest.mark.parametrize("case", ["d4rl", "lerobot 3.0", "imitation", "npz", "npy", "csv"])
def test_what_does_not_fit_into_the_memory_is_refused(monkeypatch, case):
    if case in ARROW:
        pytest.importorskip("pyarrow", reason="pyarrow is an optional extra")
    monkeypatch.setattr(limits, "free_host_bytes", lambda: 600.0)
    with pytest.raises(GailfeError, match=r"more than fits into the free memory; expected a smaller file"):
        read_recording(FILES / CASES[case])


@pytest.mark.parametrize("row", ["0," * 3 + "1" * 200_000, '0,0,0,"1'], ids=["a long cell", "an open quote"])
def test_cells_of_no_csv_are_refused(tmp_path, row):
    (tmp_path / "x.csv").write_text(f"obs_0,obs_1,action_0,episode\n{row}\n")
    with pytest.raises(GailfeError, match=r"x\.csv, line [0-9]+: .*; expected CSV with short cells") as error:
        read_recording(tmp_path / "x.csv")
    assert "\n" not in str(error.value)
