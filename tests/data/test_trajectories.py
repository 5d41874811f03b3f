"""Demonstration files: round trips, and one clear error for everything that can be wrong with one."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import sys
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gailfe_jax.data import trajectories as module
from gailfe_jax.data.trajectories import Demonstrations, Trajectories, make_provenance
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.digests import file_sha256

OBS, ACTION, STATE = 3, 2, 4
FORMATS = ("npz", "h5", "hdf5")


def make_trajectories(lengths, seed=0, state=True, fell=None) -> Trajectories:
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    terminated, truncated = np.zeros(n, bool), np.zeros(n, bool)
    obs = [rng.normal(size=(length + 1, OBS)).astype(np.float32) for length in lengths]
    for i, end in enumerate(offsets[1:] - 1):
        (terminated if (i % 2 if fell is None else fell) else truncated)[end] = True
    return Trajectories(
        obs=np.concatenate([o[:-1] for o in obs]),
        action=rng.uniform(-1, 1, (n, ACTION)).astype(np.float32),
        next_obs=np.concatenate([o[1:] for o in obs]),
        reward=rng.normal(size=n).astype(np.float32),
        terminated=terminated,
        truncated=truncated,
        offsets=offsets,
        simulator_state=rng.normal(size=(n, STATE)) if state else None,
    )


def make_demonstrations(failures=(2, 4), state=True) -> Demonstrations:
    failed = make_trajectories(failures, 1, state, fell=True) if failures else Trajectories.empty(OBS, ACTION)
    return Demonstrations(
        env_id="Hopper-v5",
        expert=make_trajectories([5, 3, 1], 0, state),
        failures=failed,
        provenance={"expert": "hopper", "seed": 3, "versions": {"jax": "0.10"}, "note": "é\n∞"},
    )


def assert_equal(a: Trajectories, b: Trajectories) -> None:
    for field in dataclasses.fields(Trajectories):
        left, right = getattr(a, field.name), getattr(b, field.name)
        if left is None or right is None:
            assert left is right is None
        else:
            assert left.dtype == right.dtype
            assert left.shape == right.shape
            assert left.tobytes() == right.tobytes()


def assert_equal_demonstrations(a: Demonstrations, b: Demonstrations) -> None:
    assert (a.env_id, a.provenance) == (b.env_id, b.provenance)
    assert_equal(a.expert, b.expert)
    assert_equal(a.failures, b.failures)


def one_line(error) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


# Trajectories.


def test_properties_and_single_trajectories():
    stored = make_trajectories([5, 3, 1])
    assert (stored.num_trajectories, stored.num_transitions) == (3, 9)
    assert stored.lengths.tolist() == [5, 3, 1]
    expected = [math.fsum(stored.reward[a:b].tolist()) for a, b in ((0, 5), (5, 8), (8, 9))]
    np.testing.assert_allclose(stored.returns, expected, rtol=1e-12)
    second = stored.trajectory(1)
    assert second.offsets.tolist() == [0, 3]
    np.testing.assert_array_equal(second.obs, stored.obs[5:8])
    np.testing.assert_array_equal(second.simulator_state, stored.simulator_state[5:8])
    with pytest.raises(GailfeError, match="no number 3, expected 0 to 2"):
        stored.trajectory(3)


def test_concatenate_inverts_trajectory():
    stored = make_trajectories([5, 3, 1])
    assert_equal(Trajectories.concatenate([stored.trajectory(i) for i in range(3)]), stored)
    assert_equal(Trajectories.concatenate([Trajectories.empty(OBS, ACTION), stored]), stored)
    mixed = Trajectories.concatenate([stored, make_trajectories([2], state=False)])
    assert mixed.simulator_state is None
    assert mixed.lengths.tolist() == [5, 3, 1, 2]
    with pytest.raises(GailfeError, match="size"):
        Trajectories.concatenate([stored, Trajectories.empty(OBS + 1, ACTION)])
    with pytest.raises(GailfeError, match="nothing"):
        Trajectories.concatenate([])


def test_select_by_index_and_by_mask():
    stored = make_trajectories([5, 3, 1])
    chosen = stored.select(np.array([False, True, True]))
    assert_equal(chosen, stored.select([1, 2]))
    assert chosen.lengths.tolist() == [3, 1]
    assert stored.select([]).num_trajectories == 0


def test_take():
    stored = make_trajectories([1, 2, 3, 4, 5])
    assert stored.take(2).lengths.tolist() == [1, 2]
    assert_equal(stored.take(5), stored)
    drawn = {tuple(stored.take(2, seed=seed).lengths.tolist()) for seed in range(60)}
    assert all(a != b for a, b in drawn)
    assert len(drawn) > 10
    assert_equal(stored.take(3, seed=7), stored.take(3, seed=7))
    for n in (0, 6):
        with pytest.raises(GailfeError, match=f"asked for {n}, expected 1 to 5"):
            stored.take(n)


@given(st.lists(st.integers(1, 12), max_size=5), st.integers(1, 7), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_subsample_keeps_one_in_k(lengths, k, seed):
    stored = make_trajectories(lengths) if lengths else Trajectories.empty(OBS, ACTION)
    pairs = stored.subsample(k, seed)
    for i, length in enumerate(lengths):
        step = pairs.step[pairs.trajectory == i]
        assert 0 <= step[0] < min(k, length)
        assert step.tolist() == list(range(step[0], length, k))
    rows = stored.offsets[pairs.trajectory] + pairs.step
    np.testing.assert_array_equal(pairs.obs, stored.obs[rows])
    np.testing.assert_array_equal(pairs.action, stored.action[rows])
    assert len(pairs) == len(pairs.obs) == len(pairs.action)
    assert np.all(np.diff(pairs.trajectory) >= 0)


def test_subsample_phase_is_random_per_trajectory():
    pairs = make_trajectories([20] * 400).subsample(5, seed=0)
    phases = np.bincount(pairs.step[pairs.step < 5], minlength=5)
    assert phases.sum() == 400
    assert np.all(np.abs(phases - 80) < 4 * np.sqrt(80))
    other = make_trajectories([20] * 400).subsample(5, seed=1)
    assert not np.array_equal(pairs.step, other.step)


def test_all_pairs():
    stored = make_trajectories([5, 3])
    np.testing.assert_array_equal(stored.pairs().obs, stored.obs)
    with pytest.raises(GailfeError, match="k is 0"):
        stored.subsample(0)


# Files.


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("failures", [(), (2, 4)])
@pytest.mark.parametrize("state", [True, False])
def test_round_trip_is_bit_exact_and_deterministic(tmp_path, suffix, failures, state):
    original = make_demonstrations(failures, state)
    path, again = tmp_path / f"demos.{suffix}", tmp_path / f"again.{suffix}"
    original.save(path)
    loaded = Demonstrations.load(path, expect_env="Hopper-v5")
    assert_equal_demonstrations(loaded, original)
    loaded.save(str(again))
    assert file_sha256(path) == file_sha256(again)
    assert sorted(os.listdir(tmp_path)) == sorted([path.name, again.name])


def test_npz_is_readable_by_numpy_alone(tmp_path):
    original = make_demonstrations()
    original.save(tmp_path / "demos.npz")
    with np.load(tmp_path / "demos.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["expert/obs"], original.expert.obs)
        assert json.loads(str(file["provenance"])) == original.provenance


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_failed_write_leaves_the_old_file(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"demos.{suffix}"
    make_demonstrations().save(path)
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full_disk)
    with pytest.raises(GailfeError, match=r"demos.*No space left"):
        make_demonstrations(failures=()).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_saving_refuses_what_loading_would(tmp_path):
    good = make_demonstrations()
    bad = dataclasses.replace(good, expert=dataclasses.replace(good.expert, reward=good.expert.reward[1:]))
    with pytest.raises(GailfeError, match="expert/reward"):
        bad.save(tmp_path / "demos.npz")
    with pytest.raises(GailfeError, match="provenance"):
        dataclasses.replace(good, provenance={"seed": np.int64(3)}).save(tmp_path / "demos.npz")
    with pytest.raises(GailfeError, match=r"suffix '\.pkl'"):
        good.save(tmp_path / "demos.pkl")
    with pytest.raises(GailfeError, match="cannot write"):
        good.save(tmp_path / "nowhere" / "demos.npz")
    assert os.listdir(tmp_path) == []


def _edit(field, change):
    def edit(arrays):
        arrays[field] = np.asarray(change(arrays[field].copy()))

    return edit


def _put(row, value):
    def change(array):
        array[row] = value
        return array

    return change


# name -> (edit of the file's arrays, field the message names, words it contains)
WRONG_CONTENT = {
    "foreign": (lambda a: (a.clear(), a.update(x=np.zeros(3))), "format", "not a demonstration file"),
    "other format": (_edit("format", lambda _: np.array("imitation")), "format", "not a demonstration file"),
    "newer version": (_edit("format_version", lambda v: v + 1), "format_version", "2, expected 1"),
    "version of wrong type": (_edit("format_version", lambda _: np.array("1")), "format_version", "one integer"),
    "no env id": (lambda a: a.pop("env_id"), "env_id", "missing"),
    "env id is a number": (_edit("env_id", lambda _: np.array(3.0)), "env_id", "one string"),
    "other env": (_edit("env_id", lambda _: np.array("Ant-v5")), "env_id", "'Ant-v5', expected 'Hopper-v5'"),
    "provenance is no JSON": (_edit("provenance", lambda _: np.array("{")), "provenance", "JSON object"),
    "provenance is a list": (_edit("provenance", lambda _: np.array("[1]")), "provenance", "JSON object"),
    "deep provenance": (_edit("provenance", lambda _: np.array("[" * 100_000)), "provenance", "JSON object"),
    "field missing": (lambda a: a.pop("expert/next_obs"), "expert/next_obs", "missing"),
    "field too many": (lambda a: a.update({"expert/weights": np.zeros(9)}), "expert/weights", "not part of"),
    "wrong dtype": (_edit("expert/obs", lambda x: x.astype(np.float64)), "expert/obs", "float64, expected float32"),
    "wrong bool": (_edit("expert/terminated", lambda x: x.astype(np.int8)), "expert/terminated", "expected bool"),
    "wrong rank": (_edit("expert/reward", lambda x: x[:, None]), "expert/reward", "shape (9, 1)"),
    "flat obs": (_edit("failures/obs", lambda x: x[:, 0]), "failures/obs", "expected [n, size]"),
    "no action dimensions": (_edit("expert/action", lambda x: x[:, :0]), "expert/action", "shape (9, 0)"),
    "too few steps": (_edit("expert/action", lambda x: x[:-1]), "expert/action", "8 steps, expected the 9"),
    "state too short": (_edit("expert/simulator_state", lambda x: x[1:]), "expert/simulator_state", "8 steps"),
    "narrow next_obs": (_edit("expert/next_obs", lambda x: x[:, 1:]), "expert/next_obs", "shape (9, 2)"),
    "narrow failures": (
        _edit("failures/action", lambda x: x[:, 1:]),
        "failures/action",
        "size 1, expected the expert's 2",
    ),
    "NaN": (_edit("expert/obs", _put((4, 1), np.nan)), "expert/obs", "NaN or infinity at step 4"),
    "infinity": (_edit("failures/reward", _put(2, -np.inf)), "failures/reward", "NaN or infinity at step 2"),
    "NaN state": (_edit("expert/simulator_state", _put((0, 0), np.nan)), "expert/simulator_state", "at step 0"),
    "action too large": (_edit("expert/action", _put((3, 0), 1.01)), "expert/action", "[-1, 1] at step 3"),
    "action too small": (_edit("failures/action", _put((5, 1), -1.01)), "failures/action", "at step 5"),
    "offsets short": (_edit("expert/offsets", _put(-1, 8)), "expert/offsets", "from 0 to 9"),
    "offsets start late": (_edit("expert/offsets", _put(0, 1)), "expert/offsets", "increasing"),
    "empty trajectory": (_edit("expert/offsets", lambda x: np.insert(x, 1, 0)), "expert/offsets", "increasing"),
    "offsets fall": (_edit("expert/offsets", _put(1, 8)), "expert/offsets", "increasing"),
    "no offsets": (_edit("expert/offsets", lambda x: x[:0]), "expert/offsets", "increasing"),
    "done inside": (_edit("expert/terminated", _put(2, True)), "expert/terminated", "step 2, inside a trajectory"),
    "cut inside": (_edit("failures/truncated", _put(3, True)), "failures/truncated", "step 3, inside"),
    "last step goes on": (_edit("expert/truncated", _put(4, False)), "expert/truncated", "stops at step 4"),
    "broken chain": (_edit("expert/next_obs", _put((5, 0), 0.25)), "expert/next_obs", "step 5 differs"),
    "no expert": (
        lambda a: a.update({k: v[: k.endswith("offsets")] for k, v in a.items() if k.startswith("expert/")}),
        "expert/offsets",
        "no expert trajectories",
    ),
}


@pytest.mark.parametrize("suffix", ["npz", "h5"])
@pytest.mark.parametrize("case", WRONG_CONTENT)
def test_wrong_content_is_one_clear_error(tmp_path, monkeypatch, suffix, case):
    edit, field, words = WRONG_CONTENT[case]
    write = {"npz": module._write_npz, "h5": module._write_hdf5}[suffix]

    def write_edited(path, arrays):
        arrays = dict(arrays)
        edit(arrays)
        write(path, arrays)

    path = tmp_path / f"demos.{suffix}"
    monkeypatch.setattr(module, f"_write_{'hdf5' if suffix == 'h5' else suffix}", write_edited)
    make_demonstrations().save(path)
    with pytest.raises(GailfeError) as error:
        Demonstrations.load(path, expect_env="Hopper-v5")
    message = one_line(error)
    assert message.startswith(f"{path}: field '{field}': ")
    assert words in message


def test_bounds_are_arguments(tmp_path):
    path = tmp_path / "demos.npz"
    original = make_demonstrations()
    original.save(path)
    peak = float(np.abs(original.expert.action).max())
    with pytest.raises(GailfeError, match="expert/action"):
        Demonstrations.load(path, action_low=-peak / 2, action_high=peak / 2)
    Demonstrations.load(path, action_low=np.full(ACTION, -2.0), action_high=np.full(ACTION, 2.0))
    Demonstrations.load(path, action_low=-0.5, action_high=0.5, tolerance=0.5)
    with pytest.raises(GailfeError, match="size 2, expected the 3 that have bounds"):
        Demonstrations.load(path, action_low=np.full(3, -1.0), action_high=np.full(3, 1.0))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + bytes(50), b"\x89HDF\r\n\x1a\n" + bytes(900)])
def test_not_a_data_file(tmp_path, suffix, content):
    path = tmp_path / f"demos.{suffix}"
    path.write_bytes(content)
    with pytest.raises(GailfeError) as error:
        Demonstrations.load(path)
    assert one_line(error).startswith(f"{path}: not a readable")


def test_no_file_and_no_format(tmp_path):
    for path in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(GailfeError, match=r"no such file|suffix"):
            Demonstrations.load(path)
    with pytest.raises(GailfeError, match=r"suffix '\.pkl', expected one of \.npz, \.h5, \.hdf5"):
        Demonstrations.load(tmp_path / "demos.pkl")


@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_a_damaged_file_is_refused_or_harmless(tmp_path, suffix):
    """Any flipped byte and any cut: one error that names the file, or the same content (the byte carried none)."""
    path = tmp_path / f"demos.{suffix}"
    original = make_demonstrations()
    original.save(path)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [data[:n] for n in rng.integers(0, len(data), 20)]
    for position in rng.integers(0, len(data), 150):
        flipped = bytearray(data)
        flipped[position] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(flipped))
    refused = []
    for content in damaged:
        path.write_bytes(content)
        try:
            loaded = Demonstrations.load(path)
        except GailfeError as error:
            refused.append(str(error))
        else:
            assert_equal_demonstrations(loaded, original)
    assert len(refused) >= 30
    assert all(message.startswith(f"{path}: ") and "\n" not in message for message in refused)


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
    _declared: ("expert/obs", "declares more data"),
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
    module._sign_hdf5(path)
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


# Provenance and Minari.


def test_provenance():
    provenance = make_provenance(
        env_id="Hopper-v5",
        expert="hopper",
        failure_source="noised expert",
        noise=0.3,
        action_mode="stochastic",
        task="x",
    )
    assert provenance["noise"] == 0.3
    assert provenance["task"] == "x"
    assert provenance["format_version"] == 1
    assert provenance["versions"]["numpy"] == np.__version__
    assert json.loads(json.dumps(provenance)) == provenance
    with pytest.raises(GailfeError, match="failure_source"):
        make_provenance(env_id="Hopper-v5", expert="hopper", failure_source="found")
    with pytest.raises(GailfeError, match="action_mode"):
        make_provenance(env_id="Hopper-v5", expert="hopper", failure_source="none", action_mode="greedy")


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
