"""The contract of every format of demonstrations that is written, and the table that chooses it.

`text` is a user's format: one that is registered here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

import gailfe_jax
from gailfe_jax.data import formats
from gailfe_jax.data.formats import (
    check_demonstrations,
    demonstration_formats,
    load_demonstrations,
    register_demonstration_format,
)
from gailfe_jax.data.trajectories import Demonstrations, Trajectories
from gailfe_jax.data.validation import FIELDS, PARTS
from gailfe_jax.envs import make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.digests import file_sha256
from tests.data.made import (
    ACTION,
    OBS,
    assert_equal_demonstrations,
    make_demonstrations,
    make_trajectories,
    one_line,
)


def write_text(path: str, demonstrations: Demonstrations) -> None:
    parts = {part: dataclasses.asdict(getattr(demonstrations, part)) for part in PARTS}
    content = {"env": demonstrations.env_id, "provenance": demonstrations.provenance, "parts": parts}
    Path(path).write_text(json.dumps(content, default=np.ndarray.tolist), encoding="utf-8")


def read_text(path: str) -> Demonstrations:
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    parts = {}
    for part, arrays in content["parts"].items():
        size = {"obs": (-1, OBS), "next_obs": (-1, OBS), "action": (-1, ACTION), "simulator_state": (-1, 4)}
        parts[part] = Trajectories(**{
            field: None if values is None else np.array(values, FIELDS[field][0]).reshape(size.get(field, (-1,)))
            for field, values in arrays.items()
        })  # fmt: skip
    return Demonstrations(env_id=content["env"], provenance=content["provenance"], **parts)


@pytest.fixture(autouse=True)
def users_format(monkeypatch):
    monkeypatch.setattr(formats, "_formats", dict(formats._formats))
    gailfe_jax.register_demonstration_format("text", reader=read_text, writer=write_text, matches=".demo.json")


SUFFIXES = [
    *(match for entry in demonstration_formats().values() if entry.writer for match in entry.matches),
    ".demo.json",
]
contract = pytest.mark.parametrize("suffix", SUFFIXES)


def test_the_contract_covers_every_format_that_is_written():
    written = {name for name, entry in demonstration_formats().items() if entry.writer}
    assert written == {"npz", "hdf5", "text"}
    assert {formats._find(f"demos{suffix}").format.name for suffix in SUFFIXES} == written


@contract
@pytest.mark.parametrize("failures", [(), (2, 4)])
@pytest.mark.parametrize("state", [True, False])
def test_round_trip_is_bit_exact_and_deterministic(tmp_path, suffix, failures, state):
    original = make_demonstrations(failures, state)
    path, again = tmp_path / f"demos{suffix}", tmp_path / f"again{suffix}"
    original.save(path)
    loaded = Demonstrations.load(path, expect_env="Hopper-v5")
    assert_equal_demonstrations(loaded, original)
    loaded.save(str(again))
    assert file_sha256(path) == file_sha256(again)
    assert sorted(os.listdir(tmp_path)) == sorted([path.name, again.name])


@contract
def test_a_failed_write_leaves_the_old_file(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"demos{suffix}"
    make_demonstrations().save(path)
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
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


@contract
def test_another_environment_is_refused(tmp_path, suffix):
    path = tmp_path / f"demos{suffix}"
    make_demonstrations().save(path)
    with pytest.raises(GailfeError) as error:
        Demonstrations.load(path, expect_env="Ant-v5")
    assert one_line(error) == f"{path}: field 'env_id': demonstrations of 'Hopper-v5', expected 'Ant-v5'"


@contract
def test_what_a_reader_returns_is_validated(tmp_path, suffix):
    path = tmp_path / f"demos{suffix}"
    original = make_demonstrations()
    original.save(path)
    peak = float(np.abs(original.expert.action).max())
    with pytest.raises(GailfeError) as error:
        Demonstrations.load(path, action_low=-peak / 2, action_high=peak / 2)
    assert one_line(error).startswith(f"{path}: field 'expert/action': action[")


@contract
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + bytes(50), b"\x89HDF\r\n\x1a\n" + bytes(900)])
def test_not_a_data_file(tmp_path, suffix, content):
    path = tmp_path / f"demos{suffix}"
    path.write_bytes(content)
    with pytest.raises(GailfeError) as error:
        Demonstrations.load(path)
    assert one_line(error).startswith(f"{path}: not ")


def test_no_file_and_no_format(tmp_path):
    for path in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(GailfeError, match=r"no such file|suffix"):
            Demonstrations.load(path)
    with pytest.raises(GailfeError, match=r"suffix '\.pkl', expected one of \.npz, \.h5, \.hdf5"):
        Demonstrations.load(tmp_path / "demos.pkl")


@contract
def test_a_file_that_is_cut_off_is_refused_in_one_line(tmp_path, suffix):
    path = tmp_path / f"demos{suffix}"
    make_demonstrations().save(path)
    data = path.read_bytes()
    for size in (0, 1, *range(7, len(data) - 1, len(data) // 20), len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(GailfeError) as error:
            Demonstrations.load(path)
        assert one_line(error).startswith(f"{path}: ")


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_a_damaged_file_is_refused_or_harmless(tmp_path, suffix):
    """Any flipped byte and any cut: one error that names the file, or the same content (the byte carried none)."""
    path = tmp_path / f"demos{suffix}"
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


# The table.


def test_a_source_is_found_by_its_longest_suffix_or_its_prefix(tmp_path):
    register_demonstration_format("json", reader=read_text, matches=(".json", "json:"))
    for source, name, argument in (
        ("a/demos.json", "json", "a/demos.json"),
        ("a/demos.demo.JSON", "text", "a/demos.demo.JSON"),
        ("json:any/thing.npz", "json", "any/thing.npz"),
        ("minari:D4RL/hopper-v0", "minari", "D4RL/hopper-v0"),
        ("./a.b/demos.x.H5", "hdf5", "a.b/demos.x.H5"),
    ):
        found = formats._find(source)
        assert (found.format.name, found.argument) == (name, argument)
    for source in ("demos", ".npz", "demos.npz.bak", "store:x", "demos.npz/none"):
        with pytest.raises(
            GailfeError, match=r"expected one of \.npz, \.h5, \.hdf5, minari:, \.demo\.json, \.json"
        ) as error:
            formats._find(source)
        assert "gailfe_jax.register_demonstration_format" in one_line(error)


def test_what_is_no_file_is_read_and_written_through_a_prefix(tmp_path):
    store = {}
    register_demonstration_format("store", reader=store.__getitem__, writer=store.__setitem__, matches="store:")
    make_demonstrations().save("store:walk")
    assert list(store) == ["walk"]
    assert_equal_demonstrations(Demonstrations.load("store:walk"), make_demonstrations())
    with pytest.raises(
        GailfeError, match=r"^store:run: not readable as store, damaged or foreign \(KeyError: 'run'\)$"
    ):
        Demonstrations.load("store:run")
    with pytest.raises(GailfeError, match=r"^store:walk: field 'env_id'"):
        Demonstrations.load("store:walk", expect_env="Ant-v5")


def test_a_format_that_is_only_read_says_what_is_written():
    register_demonstration_format("pairs", reader=read_text, matches=".pairs")
    for source in ("minari:tiny/hopper-v0", "demos.pairs"):
        with pytest.raises(GailfeError, match=r"is only read, expected one of \.npz, \.h5, \.hdf5, \.demo\.json$"):
            make_demonstrations().save(source)


def test_a_reader_must_return_demonstrations(tmp_path):
    register_demonstration_format("odd", reader=lambda path: {"obs": [1.0]}, matches=".odd")  # type: ignore
    (tmp_path / "demos.odd").touch()
    with pytest.raises(GailfeError, match="the reader of format 'odd' returned dict, expected Demonstrations"):
        Demonstrations.load(tmp_path / "demos.odd")


def test_a_later_registration_replaces_an_earlier_one_and_frees_its_names():
    register_demonstration_format("text", reader=read_text, matches=".txt")
    register_demonstration_format("other", reader=read_text, matches=".demo.json")
    assert demonstration_formats()["text"].matches == (".txt",)
    assert demonstration_formats()["text"].writer is None
    assert formats._find("a.demo.json").format.name == "other"


@pytest.mark.parametrize(
    ("name", "matches", "message"),
    [
        ("npz", ".new", "got the name 'npz'; expected one word other than npz, hdf5, minari"),
        ("two words", ".new", "got the name 'two words'; expected one word"),
        ("", ".new", "got the name ''"),
        ("new", (), "format 'new': matches nothing; expected a suffix such as .csv"),
        ("new", "csv", "format 'new': matches 'csv'; expected a suffix"),
        ("new", ".", r"matches '\.'"),
        ("new", "c:", "matches 'c:'"),
        ("new", "a/b:", "matches 'a/b:'"),
        ("new", ".a/b", r"matches '\.a/b'"),
        ("new", (".new", ".NPZ"), r"format 'new': '\.NPZ' belongs to the format 'npz'"),
        ("new", "minari:", "'minari:' belongs to the format 'minari'"),
        ("new", ".demo.json", "belongs to the format 'text'"),
    ],
)
def test_names_and_matches_that_are_refused(name, matches, message):
    before = dict(demonstration_formats())
    with pytest.raises(GailfeError, match=message) as error:
        register_demonstration_format(name, reader=read_text, matches=matches)
    one_line(error)
    assert demonstration_formats() == before


def test_demonstrations_of_another_environment_say_how_they_become_this_ones(tmp_path):
    env, trajectories = make_env("cartpole"), make_trajectories([3, 2])
    odd = Demonstrations("my-robot", trajectories, Trajectories.empty(OBS, ACTION))
    path = tmp_path / "demos.npz"
    odd.save(path)
    said = "field 'env_id': demonstrations of 'my-robot', expected 'CartPole-v1', for env (--env) is cartpole; if they "
    said += "are of it all the same, "
    for call, how in (
        (lambda: load_demonstrations(path, env), f"gailfe demos import {path} --out NEW.npz with this --env"),
        (lambda: check_demonstrations("demos", odd, env), "env_id='CartPole-v1'"),
    ):
        with pytest.raises(GailfeError) as error:
            call()
        assert one_line(error).endswith(f"{said}{how} says so, or name='my-robot' of an environment of your own")


def test_an_environment_says_what_its_demonstrations_must_be(tmp_path):
    env = make_env("hopper")
    expert = make_trajectories([3, 2])
    wide = dataclasses.replace(expert, action=2 * expert.action)
    for trajectories, env_id, message in (
        (expert, "Hopper-v5", "size 2, expected the task's action size, 3"),
        (
            expert,
            "Ant-v5",
            r"demonstrations of 'Ant-v5', expected 'Hopper-v5', for env \(--env\) is hopper; if they are ",
        ),
    ):
        Demonstrations(env_id, trajectories, Trajectories.empty(OBS, ACTION)).save(tmp_path / "demos.npz")
        with pytest.raises(GailfeError, match=message):
            load_demonstrations(tmp_path / "demos.npz", env)
    fitting = [
        dataclasses.replace(x, action=np.concatenate([x.action, x.action[:, :1]], axis=1)) for x in (expert, wide)
    ]
    none = Trajectories.empty(OBS, ACTION + 1)
    Demonstrations("Hopper-v5", fitting[0], none).save(tmp_path / "demos.npz")
    assert load_demonstrations(str(tmp_path / "demos.npz"), env).expert.num_transitions == 5
    Demonstrations("Hopper-v5", fitting[1], none).save(tmp_path / "demos.npz")
    with pytest.raises(GailfeError, match=r"/action': action\[0\] is .* outside \[-1, 1\]"):
        load_demonstrations(tmp_path / "demos.npz", env)
