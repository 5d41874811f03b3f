from __future__ import annotations

import io
import json
import os
import zipfile

import numpy as np
import pytest

from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.errors import GailfeError
from tests.data.made import make_demonstrations, one_line


def test_npz_is_readable_by_numpy_alone(tmp_path):
    original = make_demonstrations()
    original.save(tmp_path / "demos.npz")
    with np.load(tmp_path / "demos.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["expert/obs"], original.expert.obs)
        assert json.loads(str(file["provenance"])) == original.provenance


def _npz_with(path, name: str, data: bytes) -> None:
    make_demonstrations().save(path)
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    members[name] = data
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)


def _npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


class _Bomb:
    """Unpickling one of these would be seen."""

    def __reduce__(self):
        return os.mkdir, ("pickle-ran",)


HOSTILE_NPZ = {
    "pickle": ("expert/obs.npy", _npy(np.array([_Bomb()], object)), "expert/obs", "pickle"),
    "huge header": (
        "expert/obs.npy",
        _npy(np.zeros((1, 1), np.float32)).replace(b"(1, 1), }            ", b"(9999999999, 99999), }"),
        "expert/obs",
        "not what the file holds",
    ),
    "short data": ("expert/obs.npy", _npy(np.zeros((9, 3), np.float32))[:-4], "expert/obs", "not what the file"),
    "no npy": ("expert/obs.npy", b"obs", "expert/obs", "not a readable array"),
    "header with code": (
        "expert/obs.npy",
        _npy(np.zeros((9, 3), np.float32)).replace(b"'<f4'", b"exit,"),
        "expert/obs",
        "not a readable array",
    ),
    "unfinished header": (
        "expert/obs.npy",
        _npy(np.zeros((9, 3), np.float32)).replace(b"(9, 3), }", b"(3,      "),
        "expert/obs",
        "not a readable array",
    ),
    "truth for a size": (
        "expert/obs.npy",
        _npy(np.zeros((1, 3), np.float32)).replace(b"(1, 3), }   ", b"(True,3), } "),
        "expert/obs",
        "not what the file holds",
    ),
    "no character": (
        "env_id.npy",
        _npy(np.array("x")).replace(b"x\0\0\0", b"\0\0\x11\0"),
        "env_id",
        "text that is none",
    ),
    "half a character": ("env_id.npy", _npy(np.array("\ud800")), "env_id", "text that is none"),
    "number of 400 digits": (
        "provenance.npy",
        _npy(np.array('{"expert_return": ' + "9" * 400 + "}")),
        "provenance",
        "digits",
    ),
    "number of 5000 digits": ("provenance.npy", _npy(np.array('{"a": -' + "9" * 5000 + "}")), "provenance", "digits"),
    "number that is none": ("provenance.npy", _npy(np.array('{"a": NaN}')), "provenance", "NaN"),
    "a field twice": ("provenance.npy", _npy(np.array('{"a": 1, "a": 2}')), "provenance", "a is given twice"),
    "nested text": ("provenance.npy", _npy(np.array("[" * 100_000)), "provenance", "nests more than"),
    "expands": ("expert/obs.npy", _npy(np.zeros((12 * 2**20, 3), np.float32)), "expert/obs", "20 times as many"),
    "stray member": ("run.sh", b"echo", None, "member 'run.sh'"),
}


@pytest.mark.parametrize("case", HOSTILE_NPZ)
def test_hostile_npz(tmp_path, monkeypatch, case):
    member, data, field, words = HOSTILE_NPZ[case]
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "demos.npz"
    _npz_with(path, member, data)
    with pytest.raises(GailfeError) as error:
        Demonstrations.load(path)
    message = one_line(error)
    assert message.startswith(f"{path}: " + (f"field '{field}': " if field else ""))
    assert words in message
    assert os.listdir(tmp_path) == ["demos.npz"]


def _lzma(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("expert/obs.npy", _npy(np.zeros((9, 3), np.float32)))


def _named(path):
    """A member's name that is no UTF-8 though it says so."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("\u00e9.npy", b"x")
    path.write_bytes(path.read_bytes().replace("\u00e9".encode(), b"\xff\xfe"))


def _many(path):
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(101):
            archive.writestr(f"a{number}.npy", b"")


@pytest.mark.parametrize("make", [_lzma, _named, _many], ids=lambda f: f.__name__.strip("_"))
def test_archives_that_are_not_ours(tmp_path, make):
    path = tmp_path / "demos.npz"
    make(path)
    with pytest.raises(GailfeError) as error:
        Demonstrations.load(path)
    assert one_line(error).startswith(f"{path}: ")


def test_every_flipped_byte_of_an_archive_is_one_line_or_read(tmp_path):
    path = tmp_path / "demos.npz"
    make_demonstrations().save(path)
    content, said = path.read_bytes(), []
    # The directory at the end says all that is believed before the content is compared with its checksum.
    for place in range(content.index(b"PK\1\2"), len(content), 11):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            Demonstrations.load(path)
        except GailfeError as error:
            said.append(str(error))
    assert len(said) > 40 and all(line.startswith(f"{path}: ") and "\n" not in line for line in said)
