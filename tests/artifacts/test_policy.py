from __future__ import annotations

import dataclasses
import hashlib
import importlib.resources
import itertools
import json
import math
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from gailfe_jax.artifacts import numpy_mlp, policy
from gailfe_jax.artifacts.numpy_mlp import mlp_weights
from gailfe_jax.artifacts.oracle import Oracle
from gailfe_jax.artifacts.policy import Policy, PolicyBatch, check_policy, expert_names, load_expert
from gailfe_jax.envs import CLASSIC, TASKS
from gailfe_jax.errors import GailfeError, GailfeWarning
from gailfe_jax.io.safetensors_io import write_tensors
from gailfe_jax.nn import normaliser
from gailfe_jax.nn.categorical import CategoricalPolicy
from gailfe_jax.nn.distributions import ActionUnits, GaussianPolicy, MixturePolicy
from gailfe_jax.nn.normaliser import RunningStats
from gailfe_jax.nn.squashed import SquashedPolicy
from gailfe_jax.types import EnvSpec


def make_policy(
    seed: int = 0, *, sizes: tuple[int, ...] = (11, 100, 100, 3), activation: str = "tanh", **changes
) -> Policy:
    rng = np.random.default_rng(seed)
    weights = [(rng.normal(size=(i, j)) / i**0.5, rng.normal(size=j) * 0.1) for i, j in itertools.pairwise(sizes)]
    fields = {
        "weights": weights,
        "activation": activation,
        "obs_mean": rng.normal(size=sizes[0]),
        "obs_std": rng.uniform(0.5, 2.0, sizes[0]),
        "log_std": rng.normal(size=sizes[-1]) * 0.3 - 1,
        "action_low": np.full(sizes[-1], -1.0),
        "action_high": np.full(sizes[-1], 1.0),
        "metadata": {"env": "hopper", "seed": str(seed)},
    }
    return Policy(**(fields | changes))


def test_hand_computed_action():
    # x = ((3 - 1) / 2, clip((100 - 0) / 1)) = (1, 10); hidden = relu(1 * 1 + 10 * -0.05 + 0, ...) = (0.5, 0)
    hand = Policy(
        weights=[
            (np.array([[1.0, -1.0], [-0.05, 0.0]]), np.zeros(2)),
            (np.array([[0.5, 6.0], [7.0, 0.0]]), [0.1, 0.0]),
        ],
        activation="relu",
        obs_mean=[1.0, 0.0],
        obs_std=[2.0, 1.0],
        log_std=np.log([0.5, 2.0]),
        action_low=-1.0,
        action_high=2.0,
    )
    np.testing.assert_allclose(hand.act([3.0, 100.0]), [0.5 * 0.5 + 0.1, 2.0], rtol=1e-6)

    class Draws:
        def standard_normal(self, shape):
            return np.full(shape, -1.0)

    # 0.35 - 0.5 and 3 - 2: the clip comes after the noise.
    np.testing.assert_allclose(hand.act([3.0, 100.0], deterministic=False, rng=Draws()), [-0.15, 1.0], rtol=1e-5)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_acts_as_the_jax_network_does(activation):
    net = GaussianPolicy((64, 32), 3, activation=activation)
    key = jax.random.key(0)
    obs = 3 * jax.random.normal(key, (200, 11)) + 1
    stats = RunningStats.init(11).update(2 * jax.random.normal(jax.random.key(1), (50, 11)))
    params = net.init(key, obs)["params"]
    params = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(2), x.shape), params)
    expected = net.apply({"params": params}, stats.normalise(obs))
    ours = Policy(mlp_weights(params["mean"]), activation, stats.mean, stats.std, params["log_std"], -np.inf, np.inf)
    np.testing.assert_allclose(ours.act(np.asarray(obs)), expected.mean, rtol=1e-4, atol=2e-5)
    assert numpy_mlp.OBS_CLIP == normaliser.OBS_CLIP == 10.0
    draws = ours.act(np.tile(obs[0], (20_000, 1)), deterministic=False, rng=np.random.default_rng(0))
    np.testing.assert_allclose(draws.std(axis=0), jnp.exp(expected.log_std), rtol=0.03)


@pytest.fixture(scope="module")
def mixtures():
    """A mixture of three in JAX at 200 observations, and the same policy in NumPy."""
    net = MixturePolicy((64, 32), 2, 3)
    obs = 3 * jax.random.normal(jax.random.key(0), (200, 11)) + 1
    stats = RunningStats.init(11).update(2 * jax.random.normal(jax.random.key(1), (50, 11)))
    params = net.init(jax.random.key(0), obs)["params"]
    params = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(2), x.shape), params)
    weights = mlp_weights(params["components"])
    ours = Policy(weights, "tanh", stats.mean, stats.std, params["log_std"], -np.inf, np.inf)
    return np.asarray(obs), net.apply({"params": params}, stats.normalise(obs)), ours


def test_a_mixture_acts_as_the_jax_network_does(mixtures):
    obs, dist, ours = mixtures
    assert (ours.action_size, ours.components, ours.noise_size) == (2, 3, 3)
    assert len(np.unique(np.argmax(dist.logits, axis=-1))) == 3
    np.testing.assert_allclose(ours.act(obs), dist.mode, rtol=1e-4, atol=2e-5)
    draws = ours.act(np.tile(obs[0], (20_000, 1)), deterministic=False, rng=np.random.default_rng(0))
    mean, weights = np.asarray(dist.mean[0]), np.asarray(dist.weights[0])[:, None]
    expected = np.sum(weights * mean, axis=0)
    variance = np.sum(weights * (np.exp(2 * dist.log_std) + (mean - expected) ** 2), axis=0)
    np.testing.assert_allclose(draws.mean(axis=0), expected, atol=0.05)
    np.testing.assert_allclose(draws.var(axis=0), variance, rtol=0.05)


def test_a_mixture_is_saved_and_loaded(mixtures, tmp_path):
    obs, _, ours = mixtures
    loaded = Policy.load(ours.save(tmp_path / "mixture.safetensors"))
    assert loaded.log_std.shape == (3, 2)
    assert np.array_equal(loaded.act(obs), ours.act(obs))
    drawn = [p.act(obs, deterministic=False, rng=np.random.default_rng(1)) for p in (ours, loaded)]
    assert np.array_equal(*drawn)


def test_a_mixtures_hand_computed_actions():
    # No hidden layer: component means (1, -1), logits (0, log 3), whatever the observation.
    bias = [1.0, -1.0, 0.0, np.log(3.0)]
    ours = Policy([(np.zeros((2, 4)), bias)], "tanh", [0, 0], [1, 1], np.log([[0.5], [2.0]]), -2.5, 9.0)
    batch, obs = PolicyBatch([ours]), np.zeros((1, 1, 2))
    assert batch.act(obs) == -1.0
    # The last number's share of lower draws, 0.24 and 0.26, is below and above the first weight, 0.25.
    for choice, expected in ((-0.7063, 1 + 0.5 * 0.4), (-0.6433, -1 + 2.0 * 0.4)):
        np.testing.assert_allclose(batch.act(obs, noise=np.array([[[0.4, choice]]])), expected, rtol=1e-6)
    assert batch.act(obs, noise=np.array([[[-3.0, 5.0]]])) == -2.5


# Logits of the weights 0.5, 0.3 and 0.2, whatever the observation.
CHOICES = [(np.zeros((2, 3)), np.log([0.5, 0.3, 0.2]))]


def test_a_choices_hand_computed_draws():
    ours = Policy(CHOICES, "tanh", [0, 0], [1, 1], None, 0, 1)
    assert (ours.discrete, ours.action_size, ours.noise_size, ours.components) == (True, 3, 1, 1)
    batch, obs = PolicyBatch([ours]), np.zeros((1, 4, 2))
    # Their shares of lower draws: 0.48, 0.52, 0.79 and 0.81.
    noise = np.array([-0.0502, 0.0502, 0.8064, 0.8779])[None, :, None]
    np.testing.assert_array_equal(batch.act(obs, noise=noise), [[0, 1, 1, 2]])
    assert batch.act(obs).dtype == batch.act(obs, noise=noise).dtype == np.int64
    draws = ours.act(np.zeros((20_000, 2)), deterministic=False, rng=np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(draws) / 20_000, [0.5, 0.3, 0.2], atol=0.01)
    assert (ours.act([0, 0]), ours.act([0, 0]).shape) == (0, ())
    rows = ours.act_rows(np.zeros((2, 5, 2)))
    assert rows.dtype == np.float32 and np.array_equal(rows, np.broadcast_to([1.0, 0.0, 0.0], (2, 5, 3)))


def test_a_choosing_policy_acts_as_the_jax_network_does_and_is_saved(tmp_path):
    net = CategoricalPolicy((32,), 3)
    obs = np.asarray(3 * jax.random.normal(jax.random.key(0), (200, 4)))
    params = net.init(jax.random.key(1), obs)["params"]
    params = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(2), x.shape), params)
    ours = Policy(mlp_weights(params["logits"]), "tanh", np.zeros(4), np.ones(4), None, 0, 1, {"env": "cartpole"})
    expected = net.apply({"params": params}, obs).mode
    assert len(np.unique(ours.act(obs))) == 3
    np.testing.assert_array_equal(ours.act_rows(obs), expected)
    loaded = Policy.load(ours.save(tmp_path / "choices.safetensors"))
    assert loaded.discrete and loaded.log_std is None and loaded.metadata == ours.metadata
    drawn = [p.act(obs, deterministic=False, rng=np.random.default_rng(1)) for p in (ours, loaded)]
    assert np.array_equal(*drawn) and np.array_equal(loaded.act(obs), ours.act(obs))
    # A loop and a stack choose alike.
    batch = PolicyBatch([ours, loaded])
    noise = np.random.default_rng(2).normal(size=(2, 200, 1))
    alone = [PolicyBatch([ours]).act(obs[None], noise=part[None])[0] for part in noise]
    assert np.array_equal(batch.act(np.stack([obs, obs]), noise=noise), alone)
    # A Gaussian of as many outputs does not stack with it.
    with pytest.raises(GailfeError, match=r"policies\[1\]: expected architecture .*'3 choices'"):
        PolicyBatch([ours, make_policy(sizes=(4, 32, 3))])


def test_a_policy_is_for_an_environment_of_its_kind_of_action():
    choosing = Policy(CHOICES, "tanh", [0, 0], [1, 1], None, 0, 1)
    spec = EnvSpec("puck", None, "none", 2, 3, (-1.0,), (1.0,), 5)
    with pytest.raises(GailfeError, match=r"^p: its actions are choices; expected continuous for puck$"):
        check_policy("p", choosing, spec)
    check_policy("p", choosing, dataclasses.replace(spec, discrete=True))
    with pytest.raises(GailfeError, match=r"^p: its actions are continuous; expected choices for puck$"):
        check_policy("p", make_policy(sizes=(2, 3), metadata={}), dataclasses.replace(spec, discrete=True))


@pytest.mark.parametrize(
    ("options", "digest"),
    [
        ({}, "1e4035497a07cf424fafb8bd81d641e7227e1de7203328186c82371d53a1749c"),
        (
            dict(sizes=(11, 32, 8), log_std=np.full((2, 3), -1.0), action_low=-1.0, action_high=1.0),
            "5743eb82d0b820e6be5431168062252df20b553bb9185dd70ce9a536908bf4b8",
        ),
    ],
    ids=["gaussian", "mixture"],
)
def test_files_of_gaussians_are_as_before_there_were_choices(options, digest, tmp_path):
    path = make_policy(**options).save(tmp_path / "policy.safetensors")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    assert not Policy.load(path).discrete


def test_dtypes_and_shapes():
    ours = make_policy()
    obs = np.random.default_rng(1).normal(size=(2, 5, 11))
    action = ours.act(obs)
    assert action.dtype == np.float32
    assert action.shape == (2, 5, 3)
    assert np.array_equal(action, ours.act(obs.astype(np.float32)))
    assert ours.act(obs[0, 0]).shape == (3,)
    assert ours.act(np.zeros((0, 11))).shape == (0, 3)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 70), row=st.integers(0, 69), seed=st.integers(0, 1000))
def test_an_action_does_not_depend_on_the_batch(n, row, seed):
    ours = make_policy(seed)
    obs = np.random.default_rng(seed + 1).normal(size=(n, 11)) * 3
    assert np.array_equal(ours.act(obs)[row % n], ours.act(obs[row % n]))


MIXTURE = dict(sizes=(11, 32, 8), log_std=np.full((2, 3), -1.0), action_low=-1.0, action_high=1.0)
"""Two components, three action dimensions."""


@pytest.mark.parametrize("options", [{"activation": "tanh"}, {"activation": "relu"}, MIXTURE], ids=str)
def test_a_batch_of_policies_equals_a_loop(options):
    policies = [make_policy(seed, **(options | {"action_high": 0.1 * (seed + 1)})) for seed in range(4)]
    rng = np.random.default_rng(0)
    obs, noise = rng.normal(size=(4, 21, 11)) * 2, rng.normal(size=(4, 21, policies[0].noise_size))
    batch = PolicyBatch(policies)
    assert np.array_equal(batch.act(obs), np.stack([p.act(o) for p, o in zip(policies, obs)]))
    alone = [PolicyBatch([p]).act(o[None], noise=z[None])[0] for p, o, z in zip(policies, obs, noise)]
    assert np.array_equal(batch.act(obs, noise=noise), np.stack(alone))


def test_stochastic_actions_are_reproducible_and_need_a_generator():
    ours = make_policy()
    obs = np.zeros((6, 11))
    first, second = (ours.act(obs, deterministic=False, rng=np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, ours.act(obs))
    with pytest.raises(GailfeError, match="rng"):
        ours.act(obs, deterministic=False)


def test_predict_is_called_as_stable_baselines3s():
    ours, obs = make_policy(), np.random.default_rng(0).normal(size=(6, 11))
    action, state = ours.predict(obs, deterministic=True)
    assert np.array_equal(action, ours.act(obs)) and state is None
    assert np.array_equal(ours.predict(obs)[0], action)
    # As its evaluation calls it.
    action, state = ours.predict(obs, state="kept", episode_start=np.ones(6, bool), deterministic=False)
    assert action.shape == (6, 3) and state == "kept" and not np.array_equal(action, ours.act(obs))
    drawn = [ours.predict(obs, None, None, False, rng=np.random.default_rng(1))[0] for _ in range(2)]
    assert np.array_equal(*drawn)
    assert Policy(CHOICES, "tanh", [0, 0], [1, 1], None, 0, 1).predict([0, 0])[0] == 0


@pytest.mark.parametrize(
    ("obs", "message"),
    [
        (np.zeros(10), r"expected shape \[\.\.\., 11\], got \[10\]"),
        (np.float64(1), "expected shape"),
        (np.full(11, np.nan), "finite"),
        (np.full(11, 1e300), "finite"),
        (np.zeros(11, complex), "real numbers"),
        (np.array(["a"] * 11), "real numbers"),
    ],
)
def test_bad_observations_are_refused(obs, message):
    with pytest.raises(GailfeError, match=message):
        make_policy().act(obs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "gelu"}, "activation: expected one of tanh, relu, got 'gelu'"),
        ({"weights": []}, "weights"),
        ({"weights": [(np.ones((11, 4)), np.ones(4)), (np.ones((5, 3)), np.ones(3))]}, r"weights\[1\] kernel.*4 rows"),
        ({"weights": [(np.ones((11, 3)), np.ones(4))]}, r"weights\[0\] bias: expected shape \[3\], got \[4\]"),
        ({"obs_mean": np.ones(10)}, "obs_mean"),
        ({"obs_mean": np.full(11, np.nan)}, "obs_mean: expected finite"),
        ({"obs_std": np.zeros(11)}, "obs_std: expected positive"),
        ({"log_std": np.zeros(4)}, "log_std"),
        ({"log_std": "text"}, "log_std: expected numbers"),
        (
            {"log_std": np.zeros((2, 3))},
            r"log_std: expected shape \[K, a\] with K \* \(a \+ 1\) = 3 outputs, got \[2, 3\]",
        ),
        (MIXTURE | {"log_std": np.zeros((2, 2))}, r"log_std: expected shape .* = 8 outputs, got \[2, 2\]"),
        (MIXTURE | {"log_std": np.full((2, 3), np.nan)}, "log_std: expected finite"),
        (MIXTURE | {"action_high": np.ones(2)}, r"action_high: expected shape \[3\], got \[2\]"),
        ({"action_low": 2.0}, "action_low"),
        ({"log_std": None}, "action_low, action_high: expected 0 and 1 for a policy that chooses"),
    ],
)
def test_inconsistent_fields_are_refused(change, message):
    with pytest.raises(GailfeError, match=message):
        make_policy(**change)


def test_policies_of_different_architectures_do_not_stack():
    with pytest.raises(GailfeError, match=r"policies\[1\]"):
        PolicyBatch([make_policy(), make_policy(sizes=(11, 64, 3))])
    # As many outputs, but one is a mixture.
    with pytest.raises(GailfeError, match=r"policies\[1\]: expected architecture .* 8\), got .*\(2, 3\)\)"):
        PolicyBatch([make_policy(sizes=(11, 32, 8)), make_policy(**MIXTURE)])
    with pytest.raises(GailfeError, match="at least one"):
        PolicyBatch([])
    with pytest.raises(GailfeError, match=r"expected shape \[1, n, 11\]"):
        PolicyBatch([make_policy()]).act(np.zeros((2, 3, 11)))


WITHOUT_JAX = """
import sys
sys.modules |= {"jax": None, "flax": None}
import numpy as np
from gailfe_jax import load_expert
from gailfe_jax.artifacts.confidence import Confidence
layers = [(np.array([[2.0], [1.0]]), np.array([0.5]))]
print(load_expert("hopper").act(np.zeros(11)).tolist())
print(Confidence(layers, "tanh", np.zeros(2), np.ones(2), 1).logit([1.0], [-4.0]).tolist())
"""


def test_files_act_where_jax_is_not_installed():
    done = subprocess.run([sys.executable, "-c", WITHOUT_JAX], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    action, logit = map(json.loads, done.stdout.splitlines())
    assert action == load_expert("hopper").act(np.zeros(11)).tolist()
    assert logit == 2.0 - 4.0 + 0.5


def test_save_and_load(tmp_path):
    ours = make_policy(action_low=-np.inf)
    path = ours.save(tmp_path / "new" / "hopper.safetensors")
    assert path.stat().st_size < 200_000
    assert [entry.name for entry in path.parent.iterdir()] == ["hopper.safetensors"]
    loaded = Policy.load(path)
    assert loaded.metadata == {"env": "hopper", "seed": "0"}
    assert loaded.activation == ours.activation
    for name, value in ours._tensors().items():
        assert np.array_equal(loaded._tensors()[name], value)
        assert loaded._tensors()[name].dtype == np.float32
    obs = np.random.default_rng(0).normal(size=(9, 11))
    assert np.array_equal(loaded.act(obs), ours.act(obs))


def test_the_same_policy_gives_the_same_bytes(tmp_path):
    files = [make_policy().save(tmp_path / f"{i}.safetensors").read_bytes() for i in range(6)]
    assert len(set(files)) == 1


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = make_policy(0).save(tmp_path / "p.safetensors")
    before = path.read_bytes()

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        make_policy(1).save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    return content[:-5000] + bytes([content[-5000] ^ 1]) + content[-4999:]


def rename_env(content: bytes) -> bytes:
    return content.replace(b"hopper", b"walker")


DAMAGE = {
    "empty": lambda content: b"",
    "text": lambda content: b"# a README, not a policy\n" * 40,
    "npz": lambda content: b"PK\x03\x04" + bytes(500),
    "cut off": cut,
    "one bit": flip,
    "metadata edited": rename_env,
    "foreign safetensors": lambda content: safetensors.numpy.save({"w": np.zeros(3)}, {"format": "pt"}),
    "no header": lambda content: safetensors.numpy.save({"w": np.zeros(3)}),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_and_foreign_files_are_one_line(tmp_path, case):
    path = make_policy().save(tmp_path / "p.safetensors")
    path.write_bytes(DAMAGE[case](path.read_bytes()))
    with pytest.raises(GailfeError, match=r"p\.safetensors: ") as caught:
        Policy.load(path)
    assert "\n" not in str(caught.value)


def test_a_well_signed_file_with_wrong_content_is_refused(tmp_path):
    tensors = {"kernel_0": np.zeros((2, 2), np.float32), "other": np.zeros(2, np.float32)}
    header = {"activation": "tanh", "metadata": json.dumps({})}
    path = write_tensors(tmp_path / "p.safetensors", policy._FORMAT, tensors, header)
    with pytest.raises(GailfeError, match=r"p\.safetensors: not a valid policy"):
        Policy.load(path)


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "absent.safetensors", tmp_path):
        with pytest.raises(GailfeError, match=path.name):
            Policy.load(path)


def test_experts(tmp_path, monkeypatch):
    assert {"halfcheetah", "hopper", "walker2d", *CLASSIC} <= set(expert_names()) <= {*TASKS, *CLASSIC}
    # Ho & Ermon 2016; TD3 (Fujimoto et al. 2018, table 1); of rl-baselines3-zoo PPO on Swimmer and TQC on Humanoid.
    published = {"halfcheetah": 4464, "hopper": 3571, "walker2d": 6717}
    published |= {"ant": 4372, "inverted_double_pendulum": 9337, "reacher": -3.6, "swimmer": 282, "humanoid": 7239}
    # Ho & Ermon again, whose experts were stochastic. CartPole has 500 steps now. On MountainCar 16 of their episodes
    # made -98.75 with a standard error of 2.2, and the best that can be done is -97.7 (value iteration on a fine grid).
    published |= {"acrobot": -75.25, "cartpole": 500, "mountain_car": -98.75 - 2.2}
    for name in expert_names():
        assert load_expert(name).metadata["env"] == name
        assert float(load_expert(name).metadata["expert_return"]) >= published.get(name, -math.inf)
    for name in expert_names():
        path = importlib.resources.files("gailfe_jax.artifacts") / "experts" / f"{name}.safetensors"
        with importlib.resources.as_file(path) as file:
            assert file.stat().st_size < (700_000 if name == "humanoid" else 200_000)  # 348 numbers go into it.
    monkeypatch.setattr(importlib.resources, "files", lambda package: tmp_path)
    with pytest.raises(GailfeError, match=r"\(none\), got 'hopper'"):
        load_expert("hopper")
    make_policy().save(tmp_path / "experts" / "hopper.safetensors")
    make_policy().save(tmp_path / "experts" / "ant.safetensors")
    assert load_expert("hopper").metadata["env"] == "hopper"
    for name in ("walker2d", "../experts/hopper", ""):
        with pytest.raises(GailfeError, match="ant, hopper"):
            load_expert(name)


def test_a_policy_is_used_under_another_name_of_its_task():
    choosing = Policy(CHOICES, "tanh", [0, 0], [1, 1], None, 0, 1, {"env": "puck"})
    spec = EnvSpec("gym:Puck-v0", "Puck-v0", "none", 2, 3, (0.0,), (1.0,), 5, discrete=True)
    with pytest.raises(GailfeError, match=r"^p: a policy for puck; expected one for gym:Puck-v0$"):
        check_policy("p", choosing, spec)
    with pytest.warns(GailfeWarning, match=r"^p: a policy for puck, used on gym:Puck-v0$"):
        check_policy("p", choosing, spec, ["puck"])
    pushing = make_policy(sizes=(2, 3), metadata={"env": "puck"})
    wider = dataclasses.replace(spec, discrete=False, action_low=(-9.0,), action_high=(9.0,))
    with pytest.raises(GailfeError, match=r"^p: a policy for puck with action_low .*; expected .* for gym:Puck-v0$"):
        check_policy("p", pushing, wider, ["puck"])


def test_a_squashed_policy_acts_as_the_jax_network_does_and_is_saved(tmp_path):
    low, high = np.array([-0.5, 1.0]), np.array([0.5, 5.0])
    net = SquashedPolicy((32,), 2, units=ActionUnits.of(tuple(low), tuple(high), 2))
    obs = np.asarray(3 * jax.random.normal(jax.random.key(0), (200, 4)))
    params = net.init(jax.random.key(1), obs)["params"]
    params = jax.tree.map(lambda x: x + 0.5 * jax.random.normal(jax.random.key(2), x.shape), params)
    layers = mlp_weights(params["squashed"])
    ours = Policy(layers, "relu", np.zeros(4), np.ones(4), None, low, high, {"env": "a"}, squashed=True)
    assert (ours.discrete, ours.action_size, ours.noise_size, ours.components) == (False, 2, 2, 1)
    dist = net.apply({"params": params}, obs)
    np.testing.assert_allclose(ours.act(obs), dist.mode, rtol=1e-4, atol=1e-5)
    assert np.ptp(ours.act(obs)[:, 1]) > 2 and (ours.act(obs) >= low).all() and (ours.act(obs) <= high).all()
    noise = np.random.default_rng(0).normal(size=(1, 200, 2))
    np.testing.assert_allclose(PolicyBatch([ours]).act(obs[None], noise=noise)[0], dist.from_noise(noise[0]), rtol=1e-4)
    np.testing.assert_allclose(Oracle.of(ours).act(obs), ours.act(obs), rtol=1e-4, atol=1e-5)
    loaded = Policy.load(ours.save(tmp_path / "squashed.safetensors"))
    assert loaded.squashed and loaded.log_std is None and not loaded.discrete
    np.testing.assert_array_equal(loaded.act(obs), ours.act(obs))
    # A choice of as many outputs does not stack with it.
    with pytest.raises(GailfeError, match=r"policies\[1\]: expected architecture .*'2 squashed'"):
        PolicyBatch([ours, Policy(layers, "relu", np.zeros(4), np.ones(4), None, 0, 1)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action_high": np.inf}, "action_low, action_high: expected finite bounds"),
        ({"log_std": np.zeros(2)}, "log_std: expected none, and outputs for mean and log_std, squashed"),
        ({"weights": [(np.zeros((4, 3)), np.zeros(3))]}, "log_std: expected none, and outputs for mean"),
    ],
)
def test_what_cannot_be_squashed_is_named(changes, message):
    fields = {
        "weights": [(np.zeros((4, 2)), np.zeros(2))], "activation": "tanh", "obs_mean": np.zeros(4),
        "obs_std": np.ones(4), "log_std": None, "action_low": -1.0, "action_high": 1.0, "squashed": True,
    }  # fmt: skip
    with pytest.raises(GailfeError, match=f"^{message}"):
        Policy(**(fields | changes))
