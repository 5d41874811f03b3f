from __future__ import annotations

import sys

import numpy as np
import pytest

from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.errors import GailfeError
from tests.data.made import ACTION, OBS


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


def test_minari_is_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(GailfeError, match="needs the package minari"):
        Demonstrations.from_minari("tiny/hopper-v0")
