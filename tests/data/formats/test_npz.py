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
    with zipfile.ZipFile(path, "w") as archive:
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
