from __future__ import annotations

import shutil
import sys
import zlib

import numpy as np
import pytest

from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.errors import GailfeError
from tests.data.made import ACTION, OBS
from tests.data.recordings.write_files import FILES


@pytest.fixture
def minari_dataset(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari", reason="minari is an optional extra")
    gymnasium = pytest.importorskip("gymnasium")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    rng = np.random.default_rng(0)
    buffers = []
    for length, fell in ((4, True), (6, False)):
        ends = np.zeros(length, bool)
        ends[-1] = fell
        buffers.append(
            minari.data_collector.EpisodeBuffer(
                observations=list(rng.normal(size=(length + 1, OBS))),
                actions=list(rng.uniform(-1, 1, (length, ACTION))),
                rewards=list(rng.normal(size=length)),
                terminations=list(ends),
                truncations=[False] * length,
            )
        )
    dataset = minari.create_dataset_from_buffers(
        "tiny/hopper-v0",
        buffers,
        env="Hopper-v5",
        observation_space=gymnasium.spaces.Box(-np.inf, np.inf, (OBS,)),
        action_space=gymnasium.spaces.Box(-1, 1, (ACTION,)),
    )
    return dataset, buffers


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_minari(minari_dataset):
    dataset, buffers = minari_dataset
    for source in (dataset, "tiny/hopper-v0"):
        loaded = Demonstrations.from_minari(source, expect_env="Hopper-v5")
        assert loaded.env_id == "Hopper-v5"
        assert loaded.expert.lengths.tolist() == [4, 6]
        assert loaded.failures.num_trajectories == 0
        assert loaded.expert.terminated.nonzero()[0].tolist() == [3]
        assert loaded.expert.truncated.nonzero()[0].tolist() == [9]  # cut off by its collector
        for i, buffer in enumerate(buffers):
            one = loaded.expert.trajectory(i)
            observations = np.asarray(buffer.observations, np.float32)
            np.testing.assert_array_equal(one.obs, observations[:-1])
            np.testing.assert_array_equal(one.next_obs, observations[1:])
            np.testing.assert_array_equal(one.action, np.asarray(buffer.actions, np.float32))
            np.testing.assert_array_equal(one.reward, np.asarray(buffer.rewards, np.float32))
    with pytest.raises(GailfeError, match="minari:tiny/hopper-v0: field 'env_id'"):
        Demonstrations.from_minari(dataset, expect_env="Ant-v5")
    with pytest.raises(GailfeError, match="minari:tiny/none-v0: "):
        Demonstrations.from_minari("tiny/none-v0")


def test_what_lies_here_is_read_without_the_package(monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(FILES / "minari"))
    monkeypatch.setitem(sys.modules, "minari", None)
    assert Demonstrations.load("minari:tiny/hdf5-v0").expert.num_trajectories == 3
    with pytest.raises(GailfeError, match=r"^minari:tiny/absent-v0: no such dataset on this machine"):
        Demonstrations.load("minari:tiny/absent-v0")


def test_a_dataset_becomes_no_larger_than_it_can_be(tmp_path, monkeypatch):
    """A MB of zeros by the thousand, and a link out of the file."""
    h5py = pytest.importorskip("h5py")
    shutil.copytree(FILES / "minari", tmp_path / "minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    path, name = tmp_path / "minari" / "tiny" / "hdf5-v0" / "data" / "main_data.hdf5", "episode_0/observations"
    with h5py.File(path, "r+") as file:
        del file[name]
        rows = 2**18
        made = file.create_dataset(name, (1000 * rows, 1), "f4", compression="gzip", chunks=(rows, 1))
        chunk = zlib.compress(bytes(4 * rows))
        for number in range(1000):
            made.id.write_direct_chunk((number * rows, 0), chunk)
    with pytest.raises(GailfeError, match=r"field 'episode_0/observations': the file's \d+ bytes become 1048576000;"):
        Demonstrations.load("minari:tiny/hdf5-v0")
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = h5py.ExternalLink("other.h5", "/x")
    with pytest.raises(GailfeError, match="a soft or external link, expected data"):
        Demonstrations.load("minari:tiny/hdf5-v0")
