"""Runs that an older release made, whose settings stood in two flat records, are read, judged and resumed.

`old_runs/` holds what it left of GAILFE and cloning on Hopper after 128 of 256 steps, `whole.jsonl` what it measured
when it went on itself, and of other methods config.json and the names of their checkpoints' leaves.
"""

from __future__ import annotations

import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from gailfe_jax.apps.evaluate_run import evaluate_path
from gailfe_jax.artifacts.confidence import Confidence
from gailfe_jax.config import compat
from gailfe_jax.config.run import EnvSettings, MjxSettings
from gailfe_jax.config.tree import set_values
from gailfe_jax.envs import make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.methods import find_method, policy_name, with_policy
from gailfe_jax.training.checkpoint import CheckpointManager
from gailfe_jax.training.inputs import prepare_inputs
from gailfe_jax.training.loop import train
from gailfe_jax.training.manifest import describe, named_leaves
from gailfe_jax.training.plan import find_env
from gailfe_jax.training.program import Trainer
from gailfe_jax.training.run_folder import check_run, identity, load_policies, load_run, read_record
from tests.runs import metrics_of

MODEL = MjxSettings(solver_setting="model")
FOLDER = pathlib.Path(__file__).parent / "old_runs"
SIZES = {"rollout.num_envs": 2, "rollout.unroll_length": 16, "policy.hidden": (4,)}
IMITATION = {"reward.hidden": (4,), "reward.steps": 2, "reward.minibatch": 16}
METHODS = {
    "gailfe": (
        None,
        IMITATION | {"policy.gamma": 0.99, "policy.value_minibatch": 16, "reward.replay": 64, "failures.capacity": 2}
        | {"self_demonstrations.use": "both", "self_demonstrations.capacity": 1, "constraint.dual_lr": 0.1},
    ),
    "bc": (None, {"policy.minibatch": 16}),
    "mail": (
        None,
        IMITATION | {"policy.gamma": 0.99, "policy.value_minibatch": 16, "policy.average": 0.9, "start.steps": 4}
        | {"start.minibatch": 16, "policy.model.hidden": (4,), "policy.model.fit_steps": 2}
        | {"policy.model.minibatch": 8, "policy.model.capacity": 64, "policy.max_kl": 0.02},
    ),
    "ppo": (
        None,
        {"policy.gamma": 0.99, "policy.epochs": 1, "policy.minibatches": 2}
        | {"self_imitation.updates": 2, "self_imitation.capacity": 1, "self_imitation.minibatch": 16},
    ),
    "gasil": (
        "ppo",
        IMITATION | {"policy.gamma": 0.99, "policy.epochs": 1, "policy.minibatches": 2}
        | {"self_demonstrations.capacity": 1, "true_reward.add": True},
    ),
    "dagger": (None, {"policy.minibatch": 16, "aggregate_capacity": 128, "fit_steps": 4}),
}  # fmt: skip


def method_of(name):
    """The method whose settings the old release was given, beside the defaults that it had."""
    policy, values = METHODS[name]
    method = find_method(name) if policy is None else with_policy(find_method(name), policy)
    return method, SIZES | values


@pytest.fixture
def folder(request, tmp_path, monkeypatch):
    """The old run called by the test's parameter, in the folder where its demonstrations are."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(FOLDER / "demos.npz", tmp_path)
    return shutil.copytree(FOLDER / request.param, tmp_path / request.param)


@pytest.mark.parametrize("name", METHODS)
def test_settings_come_out_as_they_were_given(name):
    held = read_record(load_run(FOLDER / name))
    method, values = method_of(name)
    assert held.place == EnvSettings(env="hopper", engine="mujoco_c", mjx=MODEL)
    assert held.method == set_values(method, values)
    assert (held.run.steps, held.run.seeds, held.run.eval_every, held.run.keep) == (128, 2, 64, 1)
    assert held.run.quiet and not held.run.tensorboard
    assert held.demos.demos == ("demos.npz" if name in ("gailfe", "bc", "mail") else None)


@pytest.mark.parametrize("name", json.loads((FOLDER / "leaves.json").read_text()))
def test_every_leaf_of_an_old_checkpoint_has_its_place_in_todays_state(name):
    old = json.loads((FOLDER / "leaves.json").read_text())[name]
    found = {compat.leaf_name(leaf): shape for leaf, shape in old.items()}
    assert len(found) == len(old)
    method, env = read_record(load_run(FOLDER / name)).method, make_env("hopper")
    # The expert is shipped, and the methods that look at demonstrations are told what they look like.
    demos = read_record(load_run(FOLDER / name)).demos
    if method.needs_demonstrations and not method.asks_expert:
        demos = demos.replace(demos=str(FOLDER / "demos.npz"))
    shown = prepare_inputs(method, env, demos)
    template = Trainer(
        method.on(env, annotator=shown.annotator, success=shown.success), np.arange(2), chunk=1, eval_episodes=1
    ).template(shown.demos)
    today = {leaf: [list(describe(x).shape), describe(x).dtype] for leaf, x in named_leaves(template)}
    assert found == today


@pytest.mark.parametrize("folder", ["gailfe", "bc"], indirect=True)
def test_a_checkpoint_is_read_leaf_by_leaf(folder):
    """Into today's state, bit for bit: the manifest's digests are of what the old release held."""
    held = read_record(load_run(folder))
    env = make_env("hopper")
    inputs = prepare_inputs(held.method, env, held.demos)
    learner = held.method.on(env, annotator=inputs.annotator, success=inputs.success)
    template = Trainer(learner, np.arange(2), chunk=1, eval_episodes=1).template(inputs.demos)
    with pytest.raises(GailfeError, match=r"expected leaf \.agent\..*, the checkpoint has none"):
        CheckpointManager(folder / "checkpoints").restore(template)
    step, state = CheckpointManager(folder / "checkpoints").restore(template, rename=compat.leaf_name)
    assert step == 128 and np.asarray(state.iteration).tolist() == [4, 4]
    policies = load_policies(folder)
    for index, policy in enumerate(policies):
        agent = jax.tree.map(lambda x, i=index: x[i], state.agent)
        obs = np.random.default_rng(0).normal(size=(5, 11)).astype(np.float32)
        np.testing.assert_allclose(
            policy.act(obs), np.clip(learner.policy.deterministic_action(agent, obs), -1, 1), atol=1e-5
        )


@pytest.mark.parametrize("folder", ["ppo"], indirect=True)
def test_on_mjx_it_goes_on_with_the_models_own_solver_settings(folder):
    record = json.loads((folder / "config.json").read_text())
    record["config"]["engine"] = record["engine"] = "mjx"
    (folder / "config.json").write_text(json.dumps(record))
    saved = load_run(folder)
    held = read_record(saved)

    def resume(place):
        _, found, env = find_env(place)
        check_run(folder, identity(held.method, found, held.run, saved["demos"], "mjx", held.imports), True)
        return env.physics.model.opt.iterations

    # The numbers that follow from it, which the old record does not hold, are not what is named.
    named = r"field environment\.mjx\.solver_setting is 'model' in the checkpoint and 'cheap' now"
    with pytest.raises(GailfeError, match=named):
        resume(EnvSettings(engine="mjx"))
    # And once more, from what the first resumption wrote.
    own = make_env("hopper", "mjx").physics.model.opt.iterations
    assert resume(held.place) == resume(read_record(load_run(folder)).place) == own


@pytest.mark.parametrize("folder", ["gailfe", "bc"], indirect=True)
def test_its_policies_and_discriminators_are_judged(folder):
    report = evaluate_path(folder, episodes=2, backend="engine")
    assert [row["seed"] for row in report["seeds"]] == [0, 1]
    assert report["expert_return"] == load_run(folder)["demos"]["expert_return"]
    for path in (folder / "discriminators").glob("*.safetensors"):
        assert 0 < Confidence.load(path)(np.zeros(11), np.zeros(3)) < 1
    assert (folder / "discriminators").exists() == (folder.name == "gailfe")


@pytest.mark.parametrize("folder", ["gailfe", "bc"], indirect=True)
def test_it_is_not_continued_as_something_else(folder):
    held = read_record(load_run(folder))
    other = held.method.replace(rollout=held.method.rollout.replace(num_envs=4))
    with pytest.raises(GailfeError, match=r"field method\.rollout\.num_envs is 2 in the checkpoint and 4 now"):
        train(other, held.place, held.run, demos=held.demos, out=folder, resume=True)
    with pytest.raises(GailfeError, match=r"field method\.policy\.hidden is \[4\] in the checkpoint and \[5\] now"):
        train(
            set_values(held.method, {"policy.hidden": (5,)}),
            held.place,
            held.run,
            demos=held.demos,
            out=folder,
            resume=True,
        )


@pytest.mark.exact
@pytest.mark.slow
@pytest.mark.parametrize("folder", ["gailfe", "bc"], indirect=True)
def test_it_resumes_to_what_the_old_release_would_have_come_to(folder):
    """Compiled as the old release was: at full optimisation, and for an instruction set that every x86 has.

    Kinds of processors round differently where programs are compiled for each of them, and an episode of a hundred
    steps makes much of that. Numbers of other machines may differ in rounding still.
    """
    program = "import sys; from gailfe_jax.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "train", "--out", str(folder), "--resume", "--steps", "256"]
    isa = "--xla_cpu_max_isa=SSE4_2" if platform.machine().lower() in ("x86_64", "amd64") else ""
    env = os.environ | {
        "XLA_FLAGS": f"--xla_backend_optimization_level=3 {isa}",
        "JAX_ENABLE_COMPILATION_CACHE": "false",
    }
    subprocess.run(command, env=env, check=True)
    ours, theirs = metrics_of(folder), [json.loads(line) for line in (folder / "whole.jsonl").read_text().splitlines()]
    assert [(row["seed"], row["step"]) for row in ours] == [(row["seed"], row["step"]) for row in theirs]
    for mine, old in zip(ours, theirs, strict=True):
        assert mine.keys() == old.keys() - {"steps_per_second"}
        for name, value in mine.items():
            assert (value is None) == (old[name] is None), name
            if value is not None:
                np.testing.assert_allclose(value, old[name], rtol=1e-4, atol=1e-6, err_msg=name)
    record = load_run(folder)
    assert record["version"] == 2 and len(record["resumed"]) == 1
    assert policy_name(read_record(record).method) == ("trpo" if folder.name == "gailfe" else "likelihood")
