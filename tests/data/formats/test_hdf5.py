from __future__ import annotations

import h5py
import numpy as np
import pytest

from gailfe_jax.data.formats import hdf5
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.errors import GailfeError
from tests.data.made import make_demonstrations, one_line


def _soft(file):
    del file["expert/obs"]
    file["expert/obs"] = h5py.SoftLink("/failures/obs")


def _external_link(file):
    del file["expert/obs"]
    file["expert/obs"] = h5py.ExternalLink("other.h5", "/obs")


def _external_data(file):
    del file["expert/obs"]
    file.create_dataset("expert/obs", (9, 3), "f4", external=[("secret.bin", 0, 108)])


def _virtual(file):
    del file["expert/obs"]
    layout = h5py.VirtualLayout((9, 3), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "obs", (9, 3))
    file.create_virtual_dataset("expert/obs", layout)


def _declared(file):
    del file["expert/obs"]
    file.create_dataset("expert/obs", (10**9, 3), "f4", chunks=(1000, 3))


def _expanding(file):
    del file["expert/obs"]
    file.create_dataset("expert/obs", data=np.zeros((12 * 2**20, 3), "f4"), compression="gzip")


def _blocks(file):
    del file["expert/obs"]
    file.create_dataset("expert/obs", (9, 3), "f4", maxshape=(None, 3), chunks=(2**26, 3))


def _long_text(file):
    del file["env_id"]
    file.create_dataset("env_id", (), h5py.string_dtype("utf-8", 2**31 - 1))


def _strings(file):
    del file["expert/obs"]
    file.create_dataset("expert/obs", data=["a", "b"], dtype=h5py.string_dtype())


def _compound(file):
    del file["expert/obs"]
    file.create_dataset("expert/obs", (9,), np.dtype([("x", "f4")]))


def _group(file):
    file.create_group("expert/more/groups")


HOSTILE_HDF5 = {
    _soft: ("expert/obs", "link"),
    _external_link: ("expert/obs", "link"),
    _external_data: ("expert/obs", "external data"),
    _virtual: ("expert/obs", "virtual"),
    _declared: ("expert/obs", "more than the file can hold"),
    _expanding: ("expert/obs", "expected at most 20 times as many"),
    _blocks: ("expert/obs", "stored in blocks of 805306368 bytes"),
    _long_text: ("env_id", "stored in blocks of 2147483647 bytes"),
    _strings: ("expert/obs", "one string"),
    _compound: ("expert/obs", "plain numbers"),
    _group: ("expert/more", "not part of the format"),
}


@pytest.mark.parametrize("tamper", HOSTILE_HDF5, ids=lambda f: f.__name__.strip("_"))
def test_hostile_hdf5(tmp_path, tamper):
    field, words = HOSTILE_HDF5[tamper]
    path = tmp_path / "demos.h5"
    make_demonstrations().save(path)
    with h5py.File(path, "r+") as file:
        tamper(file)
    hdf5.sign(path)
    with pytest.raises(GailfeError) as error:
        Demonstrations.load(path)
    message = one_line(error)
    assert message.startswith(f"{path}: field '{field}': ")
    assert words in message


def test_an_edited_hdf5_file_fails_its_checksum(tmp_path):
    path = tmp_path / "demos.h5"
    make_demonstrations().save(path)
    with h5py.File(path, "r+") as file:
        file["expert/obs"][2, 1] += 1.0
    with pytest.raises(GailfeError, match=r"demos\.h5: not a readable HDF5 file.*checksum"):
        Demonstrations.load(path)
