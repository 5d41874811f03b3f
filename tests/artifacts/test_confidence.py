"""A run's discriminators as a measure of confidence."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gailfe_jax
from gailfe_jax.artifacts.confidence import Confidence, confidence, confidence_files, sigmoid
from gailfe_jax.cli.main import main
from gailfe_jax.errors import GailfeError
from gailfe_jax.training.export import to_confidences
from gailfe_jax.training.loop import train
from gailfe_jax.types import StateAction
from tests.tiny import tiny, tiny_run, toy_demonstrations
from tests.toy import Cliff, Drift, cliff_expert

pytestmark = pytest.mark.usefixtures("quick_programs")


@pytest.fixture(scope="module")
def run(quick_programs, toy_tasks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("confidence")
    for seed, name in ((0, "demos.npz"), (1, "unseen.npz")):
        toy_demonstrations(Cliff(), cliff_expert(), trajectories=20, failures=0, seed=seed).save(folder / name)
    # Enough discriminator steps to tell the two kinds apart, too many to be calibrated.
    method = tiny("gail", rollout__unroll_length=32, reward__hidden=(8, 6), reward__steps=30, reward__lr=1e-2)
    settings = tiny_run(1024, seeds=2, eval_every=256)
    train(method, "cliff", settings, demos=str(folder / "demos.npz"), out=folder / "run")
    return folder


def test_it_is_the_discriminators_own_belief():
    learner = tiny("gail", reward__hidden=(8, 6)).on(Drift())
    discriminator = learner.reward
    keys = jax.random.split(jax.random.key(0), 3)
    obs, action = 2 * jax.random.normal(keys[0], (60, 2)), jax.random.uniform(keys[1], (60, 2), minval=-1)
    state = jax.jit(discriminator.init)(keys[2], StateAction(0.7 * obs + 1, action))

    @dataclasses.dataclass
    class State:
        reward: object

    stacked = jax.tree.map(lambda x: jnp.stack([x, x + 0.1]), state)
    judges = to_confidences(State(stacked), learner, "drift", 7, np.array([4, 9]))
    assert [judge.metadata["seed"] for judge in judges] == ["4", "9"]
    logit = discriminator.logit(state, obs, action)
    np.testing.assert_allclose(judges[0].logit(obs, action), logit, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(judges[0](obs, action), 1 - jax.nn.sigmoid(logit), rtol=1e-3, atol=1e-4)
    assert not np.allclose(judges[1](obs, action), judges[0](obs, action))
    # On the true reward and under a reward that is no discriminator there is none.
    assert to_confidences(State(()), tiny("fem").on(Drift()), "drift", 7, np.array([4])) == []
    assert to_confidences(State(None), tiny("ppo").on(Drift()), "drift", 7, np.array([4])) == []


def test_a_run_is_calibrated_on_unseen_data(run, capsys):
    folder = run / "run"
    obs, action = np.zeros((5, 2, 2)), np.zeros((5, 2, 2))
    before = confidence(folder, obs, action, seed_index=1)
    assert before.shape == (5, 2) and not Confidence.load(confidence_files(folder)[1]).calibrated
    unseen = run / "unseen.npz"
    assert main(["confidence", str(folder), "--demos", str(unseen), "--episodes", "40"]) == 0
    assert "calibration error" in capsys.readouterr().out
    report = json.loads((folder / "confidence.json").read_text())
    # Fitted on one half and judged on the other, and yet at least as good.
    assert report["after"]["log_loss"] <= report["before"]["log_loss"] + 0.02
    assert report["after"]["calibration_error"] < 0.15
    assert [row["seed"] for row in report["seeds"]] == [0, 1]
    assert (folder / "confidence.png").read_bytes().startswith(b"\x89PNG")
    judge = Confidence.load(confidence_files(folder)[1])
    assert judge.calibrated and judge.slope == report["seeds"][1]["slope"] > 0
    expected = sigmoid(-(judge.slope * judge.logit(obs, action) + judge.offset))
    np.testing.assert_array_equal(gailfe_jax.confidence(folder, obs, action, seed_index=1), expected)
    # What the report holds is what the saved file says: a second time nothing is left to correct.
    assert main(["confidence", str(folder), "--demos", str(unseen), "--episodes", "40"]) == 0
    again = json.loads((folder / "confidence.json").read_text())
    assert again["after"] == report["after"]


def test_bad_input_is_one_line(run, tmp_path, capsys):
    folder, zeros = run / "run", (np.zeros(2), np.zeros(2))
    judge = Confidence.load(confidence_files(folder)[0])
    for bad, message in (
        ((np.zeros(3), zeros[1]), r"^obs: expected shape \[\.\.\., 2\], got \[3\]"),
        ((zeros[0], np.full(2, np.nan)), "^action: expected finite numbers"),
        ((np.zeros((2, 2)), np.zeros((3, 2))), "^action: expected as many as obs"),
        ((np.array(["x"] * 2), zeros[1]), "^obs: expected real numbers"),
    ):
        with pytest.raises(GailfeError, match=message):
            judge(*bad)
    with pytest.raises(GailfeError, match=r"^seed_index: got 2; expected 0 to 1"):
        confidence(folder, *zeros, seed_index=2)
    with pytest.raises(GailfeError, match="no discriminators"):
        confidence(tmp_path, *zeros)
    damaged = tmp_path / "seed_0.safetensors"
    damaged.write_bytes(confidence_files(folder)[0].read_bytes()[:-3])
    with pytest.raises(GailfeError, match=r"seed_0\.safetensors: "):
        Confidence.load(damaged)
    with pytest.raises(GailfeError, match="found 'gailfe_jax policy 1'"):
        Confidence.load(folder / "policies" / "seed_0.safetensors")
    for command, message in (
        (f"confidence {folder} --demos {run / 'demos.npz'}", "the run was trained on it; expected held-out"),
        (f"confidence {folder} --demos {run / 'unseen.npz'} --episodes 1", "episodes: got 1"),
        (f"confidence {tmp_path} --demos {run / 'unseen.npz'}", "config.json: no such file"),
    ):
        assert main(command.split()) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
