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
from gailfe_jax.config.flat import Config, Hyper
from gailfe_jax.envs import make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.rewards.discriminator import Discriminator
from gailfe_jax.training.loop import DemoSettings, RunSettings, to_confidences, train
from gailfe_jax.types import StateAction

TINY = Config(
    algo="gail", env="hopper", num_envs=4, unroll_length=32, hidden=(8,), disc_hidden=(8, 6), disc_minibatch=64,
    disc_steps=30, value_minibatch=64,
)  # fmt: skip


@pytest.fixture(scope="module")
def run(quick_programs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("confidence")
    for seed, name in ((0, "demos.npz"), (1, "unseen.npz")):
        command = f"demos --env hopper --trajectories 4 --failures 0 --seed {seed} --out {folder / name}"
        assert main(command.split()) == 0
    # Enough discriminator steps to tell the two kinds apart, too many to be calibrated.
    settings = RunSettings(steps=1024, seeds=2, eval_every=256, eval_episodes=1, tensorboard=False, quiet=True)
    train(
        TINY, Hyper(disc_lr=1e-2), settings=settings, demos=DemoSettings(str(folder / "demos.npz")), out=folder / "run"
    )
    return folder


def test_it_is_the_discriminators_own_belief():
    spec = make_env("hopper").spec
    discriminator = Discriminator(TINY, spec)
    keys = jax.random.split(jax.random.key(0), 3)
    obs, action = 2 * jax.random.normal(keys[0], (60, 11)), jax.random.uniform(keys[1], (60, 3), minval=-1)
    state = discriminator.init(keys[2], StateAction(0.7 * obs + 1, action))

    @dataclasses.dataclass
    class State:
        cost: object

    stacked = jax.tree.map(lambda x: jnp.stack([x, x + 0.1]), state)
    judges = to_confidences(State(stacked), TINY, make_env("hopper"), 7, np.array([4, 9]))
    assert [judge.metadata["seed"] for judge in judges] == ["4", "9"]
    logit = discriminator.logit(state, obs, action)
    np.testing.assert_allclose(judges[0].logit(obs, action), logit, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(judges[0](obs, action), 1 - jax.nn.sigmoid(logit), rtol=1e-3, atol=1e-4)
    assert not np.allclose(judges[1](obs, action), judges[0](obs, action))
    # On the true reward and under a cost that is no discriminator there is none.
    assert to_confidences(State(()), TINY, make_env("hopper"), 7, np.array([4])) == []
    assert to_confidences(State(None), TINY, make_env("hopper"), 7, np.array([4])) == []


def test_a_run_is_calibrated_on_unseen_data(run, capsys):
    folder = run / "run"
    obs, action = np.zeros((5, 2, 11)), np.zeros((5, 2, 3))
    before = confidence(folder, obs, action, seed_index=1)
    assert before.shape == (5, 2) and not Confidence.load(confidence_files(folder)[1]).calibrated
    unseen = run / "unseen.npz"
    assert main(["confidence", str(folder), "--demos", str(unseen), "--episodes", "6"]) == 0
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
    assert main(["confidence", str(folder), "--demos", str(unseen), "--episodes", "6"]) == 0
    again = json.loads((folder / "confidence.json").read_text())
    assert again["after"] == report["after"]


def test_bad_input_is_one_line(run, tmp_path, capsys):
    folder, zeros = run / "run", (np.zeros(11), np.zeros(3))
    judge = Confidence.load(confidence_files(folder)[0])
    for bad, message in (
        ((np.zeros(10), zeros[1]), r"^obs: expected shape \[\.\.\., 11\], got \[10\]"),
        ((zeros[0], np.full(3, np.nan)), "^action: expected finite numbers"),
        ((np.zeros((2, 11)), np.zeros((3, 3))), "^action: expected as many as obs"),
        ((np.array(["x"] * 11), zeros[1]), "^obs: expected real numbers"),
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
