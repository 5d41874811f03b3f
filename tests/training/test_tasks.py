"""Runs on tasks that are not toys: a MuJoCo task on the C engine, and one of brax's."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.apps.collection import collect_demonstrations
from gailfe_jax.apps.evaluate_run import evaluate_path
from gailfe_jax.envs import make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.training.loop import train
from gailfe_jax.training.run_folder import load_policies, load_run
from tests.runs import policy
from tests.tiny import tiny, tiny_run
from tests.training.cliff import METHOD, SEEDS, restored, settings

pytestmark = pytest.mark.usefixtures("quick_programs")


def test_hopper_trains_on_the_engine_for_the_cpu(tmp_path):
    env = make_env("hopper")
    demos = collect_demonstrations(env, policy(0), trajectories=4, failures=8, seed=0, keep_failed=True)
    result = train(METHOD, "Hopper-v5", settings(1), out=tmp_path / "run", demos=demos)
    record = load_run(result.run_dir)
    assert record["environment"]["env"] == "hopper" and record["engine"] == "mujoco_c"
    assert record["demos"]["annotator"] == "terminated" and record["demos"]["collected_failures"] == 6
    assert json.loads((result.run_dir / "summary.json").read_text())["env"] == "hopper"
    assert np.isfinite(result.metrics["return_mean"][1]).all()
    policies = load_policies(result.run_dir)
    assert [policy.metadata["seed"] for policy in policies] == ["3", "4"]
    assert policies[0].metadata["env"] == "hopper"
    obs = np.random.default_rng(0).normal(size=(5, 11)).astype(np.float32)
    demos.save(tmp_path / "demos.npz")
    record["demos"]["demos"] = str(tmp_path / "demos.npz")
    (result.run_dir / "config.json").write_text(json.dumps(record))
    _, learner, state = restored(result.run_dir, env)
    for index, found in enumerate(policies):
        agent = jax.tree.map(lambda x, i=index: x[i], state.agent)
        mode = np.clip(learner.policy.deterministic_action(agent, jnp.asarray(obs)), -1, 1)
        np.testing.assert_allclose(found.act(obs), mode, atol=1e-5)
    assert policies[0].act(obs[0]).shape == (3,) and len(policies) == len(SEEDS)


@pytest.mark.slow
def test_an_environment_of_brax_trains_and_is_judged_on_its_own_engine(tmp_path):
    method = tiny("ppo", rollout__num_envs=2, policy__hidden=(4,))
    result = train(method, "brax:fast", tiny_run(32, eval_every=16), out=tmp_path / "run")
    assert np.isfinite(result.metrics["return_mean"][1]).all()
    with pytest.raises(GailfeError, match=r"brax:fast has no Gymnasium environment; use --backend engine"):
        evaluate_path(tmp_path / "run", backend="gymnasium")
    report = evaluate_path(tmp_path / "run", episodes=2)
    assert report["env"] == "brax:fast" and report["backend"] == "engine" and len(report["seeds"][0]["returns"]) == 2
