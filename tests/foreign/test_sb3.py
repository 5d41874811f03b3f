from __future__ import annotations

import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest

from benchmarks.fuzz.raw import changed
from gailfe_jax.artifacts.host_policy import HostPolicy
from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.errors import GailfeError
from gailfe_jax.foreign.registry import read_expert
from gailfe_jax.foreign.sb3 import read_sb3
from gailfe_jax.foreign.state_dict import read_state_dict
from tests.foreign.mutations import refuses
from tests.foreign.specs import CHOICES, LIFT, MODELS

EXPECTED = dict(np.load(MODELS / "expected.npz"))


def spec_of(name):
    return CHOICES if name in ("ppo_choices", "dqn") else LIFT


@pytest.mark.parametrize("name", ["ppo", "a2c_relu", "ppo_choices", "sac", "td3", "dqn"])
def test_a_model_acts_as_stable_baselines3_says(name):
    policy = read_expert(MODELS / f"{name}.zip", spec_of(name))
    assert isinstance(policy, Policy) == name.startswith(("ppo", "a2c"))
    obs = EXPECTED["obs"]
    assert np.abs(obs).max() > 10  # beyond what a policy of ours clips
    np.testing.assert_allclose(policy.act(obs), EXPECTED[name], rtol=2e-5, atol=2e-5)
    assert len(np.unique(EXPECTED[name])) > 2
    assert policy.act(obs[0]).shape == EXPECTED[name][0].shape
    rows = policy.act_rows(obs)
    assert rows.shape == (16, spec_of(name).action_size) and rows.dtype == np.float32


def test_ppo_keeps_its_distribution():
    policy = read_sb3(MODELS / "ppo.zip", LIFT)
    state = read_state_dict(zipfile.ZipFile(MODELS / "ppo.zip").read("policy.pth"), "ppo")
    np.testing.assert_array_equal(policy.log_std, state["log_std"])
    loose = Policy(policy.weights, policy.activation, policy.obs_mean, policy.obs_std, policy.log_std, -np.inf, np.inf)
    draws = loose.act(np.zeros((20_000, 3)), deterministic=False, rng=np.random.default_rng(0))
    np.testing.assert_allclose(draws.std(axis=0), np.exp(state["log_std"]), rtol=0.03)


def rewritten(name, tmp_path, **changes):
    """A model whose members, or entries of `data`, are others."""
    source = zipfile.ZipFile(MODELS / f"{name}.zip")
    members = {entry: source.read(entry) for entry in source.namelist()}
    data = json.loads(members["data"])
    for key, value in changes.items():
        if isinstance(value, bytes):
            members[key.replace("policy_pth", "policy.pth")] = value
        else:
            data[key] = value
    if not any(isinstance(value, bytes) and key == "data" for key, value in changes.items()):
        members["data"] = json.dumps(data).encode()
    path = tmp_path / "changed.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, content in members.items():
            archive.writestr(entry, content)
    return path


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("ppo", {"use_sde": True}, "'use_sde' is true; expected a model without"),
        ("ppo", {"data": b"[]"}, "'data' is damaged; expected the JSON"),
        ("ppo", {"data": b"[" * 100_000}, "'data' is damaged; expected the JSON"),
        ("ppo", {"observation_space": None}, "'observation_space' is missing; expected Box for lift"),
        ("ppo", {"observation_space": {":type:": "<class 'x.Dict'>"}}, "'observation_space' is Dict; expected Box"),
        ("ppo", {"action_space": {":type:": "<class 'x.MultiDiscrete'>"}}, "'action_space' is MultiDiscrete; expected"),
        (
            "ppo",
            {"action_space": {":type:": "<class 'x.Box'>", "low": "[-1. -1.]", "high": "[1. 1.]"}},
            r"'action_space' has low \[-1.0, -1.0\]; expected \[-2.0, -0.5\] for lift",
        ),
        (
            "ppo",
            {"policy_kwargs": {"activation_fn": "<class 'torch.nn.ELU'>"}},
            "activation_fn is .*ELU.*; expected Tanh",
        ),
        ("ppo", {"policy_kwargs": {"squash_output": True}}, "'squash_output' is true; expected false"),
        (
            "ppo",
            {"policy_kwargs": {"features_extractor_class": "<class 'NatureCNN'>"}},
            "NatureCNN.*; expected the flat",
        ),
        ("ppo", {"policy_pth": b"no zip"}, "'policy.pth': expected a zip archive; this one is foreign or cut off"),
        ("ppo_sde", {}, "'use_sde' is true"),
        ("ppo_sde", {"use_sde": False}, r"'log_std' has shape \[4, 2\]; expected \[2\]"),
    ],
)
def test_what_is_no_such_model_is_refused_in_one_line(name, changes, message, tmp_path):
    path = rewritten(name, tmp_path, **changes) if changes else MODELS / f"{name}.zip"
    with pytest.raises(GailfeError, match=message) as refused:
        read_sb3(path, LIFT)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_a_model_for_another_environment_is_refused(tmp_path):
    wider = dataclasses.replace(LIFT, obs_size=4)
    with pytest.raises(GailfeError, match="expected 4 inputs, as lift or the layer before gives"):
        read_sb3(MODELS / "ppo.zip", wider)
    more = dataclasses.replace(LIFT, action_size=3, action_low=(-1.0,), action_high=(1.0,))
    with pytest.raises(GailfeError, match="gives 2 numbers; expected 3 of lift"):
        read_sb3(MODELS / "sac.zip", more)
    with pytest.raises(GailfeError, match="'action_space' is Box; expected Discrete for pick"):
        read_sb3(MODELS / "ppo.zip", CHOICES)
    with pytest.raises(GailfeError, match=r"missing.zip: expected a readable Stable-Baselines3 zip"):
        read_sb3(tmp_path / "missing.zip", LIFT)


def test_one_bound_for_all_actions_is_enough():
    spec = dataclasses.replace(LIFT, action_low=(-1.0,), action_high=(1.0,))
    with pytest.raises(GailfeError, match="'action_space' has low"):
        read_sb3(MODELS / "td3.zip", spec)
    # Of a model whose bounds cannot be read the environment's are taken.
    assert isinstance(read_sb3(MODELS / "td3.zip", LIFT), HostPolicy)


def torch_file(listing, **storages):
    """A torch file around a list of tensors."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", listing)
        for key, value in storages.items():
            archive.writestr(f"archive/data/{key.lstrip('_')}", value)
    return content.getvalue()


TENSOR = (
    b"\x80\x02}(X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK%btQK%bK%b\x85K%b\x85\x89ccollections\nOrderedDict\n)RtRu."
)


def tensor(count=2, offset=0, size=2, stride=1):
    return TENSOR % tuple(bytes([n]) for n in (count, offset, size, stride))


def test_a_list_of_one_tensor_is_read():
    numbers = np.array([1.5, -2.0], "<f4").tobytes()
    np.testing.assert_array_equal(read_state_dict(torch_file(tensor(), _0=numbers), "x")["a"], [1.5, -2.0])
    assert read_state_dict(torch_file(tensor(size=0), _0=numbers), "x")["a"].shape == (0,)
    np.testing.assert_array_equal(
        read_state_dict(torch_file(tensor(size=3, stride=0), _0=numbers), "x")["a"], [1.5] * 3
    )


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        (b"\x80\x02cos\nsystem\n(X\x04\x00\x00\x00true\x85R.", r"names 'os.system'; expected nothing but tensors"),
        (b"\x80\x02cbuiltins\neval\n(X\x03\x00\x00\x001+1tR.", r"names 'builtins.eval'"),
        (b"\x80\x02ctorch\nload\n.", r"names 'torch.load'"),
        (b"\x80\x02ccollections\nOrderedDict\n(K\x01tR.", "calls something with other arguments than tensors have"),
        (b"\x80\x04\x95", "is of protocol 4; expected 2"),
        (b"\x80\x02(ios\nsystem\n", r"has the word b'i' at byte 3; expected a list of tensors alone"),
        (b"\x80\x02\x8c\x02os\x8c\x06system\x93.", r"has the word b'\\x8c'"),
        (b"\x80\x02\x81.", r"has the word b'\\x81'"),
        (b"\x80\x02Pabc\n.", r"has the word b'P'"),
        (b"\x80\x02K\x01.", "lists no tensors by name; expected a state dict"),
        (b"\x80\x02}X\x01\x00\x00\x00aK\x01s.", "lists 1 values; expected at most 10000 tensors and nothing else"),
        (b"\x80\x02}K\x01K\x01s.", "puts something else than named values into a table"),
        (b"\x80\x02}h\x07.", "recalls what it has not got"),
        (b"\x80\x02u.", "takes more than it has"),
        (b"\x80\x02(\x85.", "takes more than it has"),
        (b"\x80\x02X\xff\xff\xff\xff", "is cut off"),
        (b"\x80\x02}", "is cut off; expected a whole list"),
        (b"", "is cut off"),
        (tensor(size=3), r"tensor 'a': reaches to number 2; expected less than 2"),
        (tensor(stride=9), "reaches to number 9"),
        (tensor(offset=1), "reaches to number 2"),
        (tensor(count=3), "has 8 bytes; expected 3 numbers"),
        (
            tensor().replace(b"K\x02tQ", b"J\xff\xff\xff\x7ftQ"),
            "lists a storage of 2147483647 numbers; expected at most",
        ),
        (tensor().replace(b"K\x02\x85", b"J\xff\xff\xff\x7f\x85"), "impossible shape"),
        (tensor().replace(b"\x85K\x01\x85", b"K\x01\x86K\x01\x85"), "impossible shape"),
        (tensor().replace(b"K\x02\x85", b"J\xff\xff\xff\x03\x85"), r"lists a tensor of shape \(67108863,\)"),
        (tensor().replace(b"0X\x03", b"/X\x03"), "names the storage '/'; expected a number"),
        (tensor().replace(b"FloatStorage", b"QInt8Storage"), r"names 'torch.QInt8Storage'"),
    ],
)
def test_a_list_of_anything_else_is_refused_and_not_run(listing, message):
    with pytest.raises(GailfeError, match=f"^x: .*{message}") as refused:
        read_state_dict(torch_file(listing, _0=np.zeros(2, "<f4").tobytes()), "x")
    assert "\n" not in str(refused.value)


def test_nothing_large_is_unpacked():
    # 66 MiB of zeros are 66 KiB in the file.
    bomb = torch_file(tensor(), _0=bytes(66 * 2**20))
    assert len(bomb) < 2**17
    with pytest.raises(GailfeError, match=r"'archive/data/0' has 69206016 bytes; expected at most"):
        read_state_dict(bomb, "x")
    with pytest.raises(GailfeError, match=r"'archive/data\.pkl' has 8388608 bytes; expected at most"):
        read_state_dict(torch_file(bytes(8 * 2**20)), "x")


def test_a_list_that_doubles_its_tuples_is_refused_at_once():
    # A tuple of two of itself, a hundred times: as a tree it would be larger than any memory.
    doubled = b"\x80\x02)q\x00" + b"".join(
        b"h%bh%b\x86q%b" % (bytes([i]), bytes([i]), bytes([i + 1])) for i in range(99)
    )
    for end in (b".", b"Q.", b"X\x01\x00\x00\x00ah\x63s.", b"ctorch._utils\n_rebuild_tensor_v2\nh\x63R."):
        with pytest.raises(GailfeError, match=r"^x: "):
            read_state_dict(torch_file(doubled + end), "x")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ppo", "sac", "dqn"])
def test_some_hundred_mutated_models_are_read_or_refused(name, tmp_path):
    """Bytes of the zip, of the torch file inside and of its list of tensors are changed, dropped or repeated."""
    spec, rng = spec_of(name), np.random.default_rng(0)
    whole = (MODELS / f"{name}.zip").read_bytes()
    source = zipfile.ZipFile(MODELS / f"{name}.zip")
    inner = source.read("policy.pth")
    pth = zipfile.ZipFile(io.BytesIO(inner))
    listing = pth.read("archive/data.pkl")
    storages = {f"_{entry.rpartition('/')[2]}": pth.read(entry) for entry in pth.namelist() if "/data/" in entry}
    path, refused = tmp_path / "mutated.zip", 0
    for i in range(450):
        if i % 3 == 0:
            path.write_bytes(changed(whole, rng))
        elif i % 3 == 1:
            rewritten(name, tmp_path, policy_pth=changed(inner, rng)).rename(path)
        else:
            rewritten(name, tmp_path, policy_pth=torch_file(changed(listing, rng), **storages)).rename(path)
        refused += refuses(path, lambda: read_sb3(path, spec).act(EXPECTED["obs"]))
    assert refused > 200
