"""Experts from outside in the three places that ask one: demonstrations, DAgger, evaluation."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from gailfe_jax.analysis.evaluation import evaluate_policy
from gailfe_jax.apps.collection import collect_demonstrations
from gailfe_jax.apps.evaluate_run import evaluate_path
from gailfe_jax.artifacts.host_policy import HostPolicy
from gailfe_jax.artifacts.policy import load_expert
from gailfe_jax.config.run import DemoSettings
from gailfe_jax.envs import make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.export.onnx import to_onnx
from gailfe_jax.foreign.host_oracle import HostOracle, oracle_of
from gailfe_jax.foreign.registry import as_expert, is_foreign, read_expert
from gailfe_jax.learners.forward_training import forward_training
from gailfe_jax.learners.smile import smile
from gailfe_jax.learners.sources import Demos
from gailfe_jax.learners.stagewise import Stagewise
from gailfe_jax.training.loop import train
from tests.foreign.specs import CHOICES, LIFT
from tests.learners.likelihood import run, small
from tests.tiny import tiny, tiny_run

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


class Model:
    """As Stable-Baselines3's models."""

    def predict(self, obs, state=None, episode_start=None, deterministic=False):
        assert deterministic
        return np.tile([[0.5, 9.0]], (len(obs), 1)), state


def zeros(obs):
    return np.zeros((len(obs), 2))


@pytest.mark.parametrize(("expert", "expected"), [(Model(), [0.5, 1.5]), (zeros, [0, 0])])
def test_functions_and_models_act_within_the_bounds(expert, expected):
    policy = as_expert(expert, LIFT)
    action = policy.act(np.zeros((4, 5, 3)))
    assert action.dtype == np.float32
    np.testing.assert_allclose(action, np.broadcast_to(expected, (4, 5, 2)))
    np.testing.assert_allclose(policy.predict(np.zeros(3))[0], expected)


def test_choices_are_given_as_numbers_or_as_scores():
    for given in (lambda obs: np.full(len(obs), 2), lambda obs: np.tile([0.0, 0.1, 0.7], (len(obs), 1))):
        policy = as_expert(given, CHOICES)
        assert policy.act(np.zeros((2, 3))).tolist() == [2, 2]
        assert policy.act_rows(np.zeros(3)).tolist() == [0, 0, 1]


def fails(obs):
    raise KeyError("no such joint")


@pytest.mark.parametrize(
    ("expert", "spec", "message"),
    [
        (
            fails,
            LIFT,
            r"^expert: fails on observations \[1, 3\] \(KeyError: 'no such joint'; test_experts.py, line \d+\)$",
        ),
        (
            lambda obs: np.zeros(2),
            LIFT,
            r"^expert: gives \[2\] of float64 for observations \[1, 3\]; expected \[1, 2\] real",
        ),
        (lambda obs: "left", LIFT, r"^expert: gives \[\] of <U4"),
        (lambda obs: None, LIFT, r"^expert: gives NoneType for observations"),
        (lambda obs: zeros(obs) * np.nan, LIFT, "^expert: gives nan or infinity; expected finite numbers$"),
        (lambda obs: np.full(len(obs), 3), CHOICES, "^expert: gives choice 3 to 3; expected 0 to 2$"),
        (zeros, CHOICES, r"expected \[1\] whole numbers, or scores \[1, 3\]"),
        (Model, LIFT, "^expert: got the class Model; expected a policy, a function"),
        (3, LIFT, "^expert: got a int; expected a policy, a function"),
    ],
)
def test_what_does_not_act_is_refused_in_one_line(expert, spec, message):
    with pytest.raises(GailfeError, match=message):
        as_expert(expert, spec).act(np.zeros(3))


def test_an_expert_is_known_by_how_it_is_written(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("gailfe_jax.io.user_modules._imported", [])
    (tmp_path / "mine_for_experts.py").write_text(
        "import numpy as np\ndef act(obs):\n    return np.full((len(obs), 2), 0.25)\n"
    )
    for source in (f"{tmp_path}/mine_for_experts.py:act", "mine_for_experts:act"):
        assert is_foreign(source)
        assert read_expert(source, LIFT).act(np.zeros(3)).tolist() == [0.25, 0.25]
    with pytest.raises(GailfeError, match=r"^mine_for_experts:other: module mine_for_experts has no 'other'"):
        read_expert("mine_for_experts:other", LIFT)
    with pytest.raises(GailfeError, match="import: no_such_module: no such module"):
        read_expert("no_such_module:act", LIFT)
    for source in ("x.safetensors", "C:\\x.safetensors", "runs/x", "a:b:c.d"):
        assert not is_foreign(source)
    assert is_foreign("X.ONNX") and is_foreign("x.zip")


def test_a_program_asks_a_function_as_it_asks_a_policy(linear_expert):
    host = HostPolicy(
        linear_expert.act, 2, linear_expert.action_low, linear_expert.action_high, False, "host", "digest"
    )
    asked = oracle_of(host)
    assert isinstance(asked, HostOracle) and not jax.tree.leaves(asked)
    obs = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
    act = jax.jit(lambda oracle, obs: oracle.act(obs))
    np.testing.assert_array_equal(act(asked, obs), linear_expert.act(obs))
    np.testing.assert_array_equal(jax.jit(jax.vmap(asked.act))(obs), linear_expert.act(obs))
    np.testing.assert_allclose(act(oracle_of(linear_expert), obs), linear_expert.act(obs), atol=1e-6)


def test_dagger_asks_a_function_as_it_asks_its_policy(drift_env, linear_expert):
    method = small("dagger", aggregate_capacity=300, beta=0.5, policy__lr=1e-2)
    rows = []
    for expert in (linear_expert, as_expert(linear_expert.act, drift_env.spec)):
        _, states, metrics = run(method, drift_env, Demos(None, oracle=oracle_of(expert)), 2)
        rows.append((states[-1].sources.policy_replay.rows, metrics[-1]))
    for ours, theirs in zip(*(jax.tree.leaves(kept) for kept, _ in rows), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
    assert rows[0][1]["expert_distance"] == pytest.approx(rows[1][1]["expert_distance"], rel=1e-2)


@pytest.mark.slow
def test_dagger_is_trained_and_resumed_on_an_onnx_file(drift_env, linear_expert, tmp_path):
    path = tmp_path / "expert.onnx"
    path.write_bytes(to_onnx(linear_expert).SerializeToString())
    settings = DemoSettings(expert=str(path))
    train(tiny("dagger"), drift_env, tiny_run(32), demos=settings, out=tmp_path / "run")
    result = train(tiny("dagger"), drift_env, tiny_run(64), demos=settings, out=tmp_path / "run", resume=True)
    straight = train(tiny("dagger"), drift_env, tiny_run(64), demos=settings)
    obs = np.random.default_rng(0).normal(size=(8, 2))
    np.testing.assert_array_equal(result.policies[0].act(obs), straight.policies[0].act(obs))
    # Another expert is another run.
    other = dataclasses.replace(linear_expert, activation="relu", obs_std=[2, 2])
    path.write_bytes(to_onnx(other).SerializeToString())
    with pytest.raises(GailfeError, match=r"expert.onnx is another expert than the one that the run began with; exp"):
        train(tiny("dagger"), drift_env, tiny_run(96), demos=settings, out=tmp_path / "run", resume=True)


@pytest.mark.slow
def test_dagger_is_trained_on_an_expert_in_memory(drift_env, linear_expert):
    given = train(tiny("dagger"), drift_env, tiny_run(32), expert=linear_expert.act)
    by_policy = train(tiny("dagger"), drift_env, tiny_run(32), expert=linear_expert)
    obs = np.random.default_rng(0).normal(size=(8, 2))
    np.testing.assert_allclose(given.policies[0].act(obs), by_policy.policies[0].act(obs), atol=1e-3)


def test_an_expert_in_memory_is_for_those_who_ask_one(drift_env, linear_expert):
    with pytest.raises(GailfeError, match="expert: got one; nothing reads it: ppo asks no expert"):
        train(tiny("ppo"), drift_env, tiny_run(32), expert=linear_expert.act)
    with pytest.raises(GailfeError, match=r"^expert: got x\.onnx and another in memory; expected one of them"):
        train(tiny("dagger"), drift_env, tiny_run(32), demos=DemoSettings(expert="x.onnx"), expert=linear_expert.act)


@pytest.mark.slow
def test_the_older_methods_ask_a_function_too(drift_env, linear_expert):
    settings = dataclasses.replace(Stagewise(), fit_steps=2)
    for ask in (
        lambda expert: smile(drift_env, expert, settings, iterations=1, alpha=0.5, seeds=[0]).metrics,
        lambda expert: forward_training(drift_env, expert, settings, horizon=2).metrics,
    ):
        ours, theirs = ask(linear_expert), ask(linear_expert.act)
        np.testing.assert_allclose(ours["expert_distance"], theirs["expert_distance"], rtol=1e-3)


def test_demonstrations_of_a_function(drift_env, linear_expert):
    demos = collect_demonstrations(drift_env, linear_expert.act, trajectories=4, seed=1)
    same = collect_demonstrations(drift_env, linear_expert, trajectories=4, seed=1, deterministic=True)
    np.testing.assert_array_equal(demos.expert.action, same.expert.action)
    assert demos.provenance["action_mode"] == "deterministic"


@pytest.fixture(scope="module")
def cartpole_onnx(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "cartpole.onnx"
    path.write_bytes(to_onnx(load_expert("cartpole")).SerializeToString())
    return path


def test_evaluation_of_an_onnx_file_and_of_functions(cartpole_onnx):
    expert = load_expert("cartpole")
    policy = evaluate_policy(expert, "CartPole-v1", episodes=3)
    for given in (read_expert(cartpole_onnx, make_env("cartpole").spec), expert.act, Wrapped(expert)):
        found = evaluate_policy(given, "CartPole-v1", episodes=3)
        np.testing.assert_array_equal(found.returns, policy.returns)
    for backend in ("gymnasium", "engine"):
        report = evaluate_path(cartpole_onnx, env="cartpole", episodes=2, backend=backend, expert=str(cartpole_onnx))
        assert report["seeds"][0]["returns"] == [500, 500]
        assert report["expert_normalised"] == 1 and report["expert"] == "cartpole.onnx"


class Wrapped:
    def __init__(self, policy):
        self.predict = policy.predict


def test_evaluation_says_what_is_missing(cartpole_onnx):
    with pytest.raises(GailfeError, match="does not say which task it is for; add --env"):
        evaluate_path(cartpole_onnx, episodes=1)
    with pytest.raises(GailfeError, match="expected one of them"):
        evaluate_path(cartpole_onnx, env="cartpole", episodes=1, expert="x.onnx", expert_return=3.0)
    with pytest.raises(GailfeError, match=r"shape \[None, 4\]; expected floats \[batch, 11\] for hopper"):
        evaluate_path(cartpole_onnx, env="hopper", episodes=1)
