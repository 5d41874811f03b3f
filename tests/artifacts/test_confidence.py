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
from gailfe_jax.io.safetensors_io import write_tensors
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


@pytest.mark.slow
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


# Files with the right digest and the wrong content. They hold a discriminator of two observed numbers and one action.


def _crafted(path, tensors=None, header=None, file_format="gailfe_jax discriminator 1"):
    held = {
        "kernel_0": np.ones((3, 4), np.float32), "bias_0": np.zeros(4, np.float32),
        "kernel_1": np.ones((4, 1), np.float32), "bias_1": np.zeros(1, np.float32),
        "mean": np.zeros(3, np.float32), "std": np.ones(3, np.float32),
    }  # fmt: skip
    words = {"activation": "tanh", "obs_size": "2", "slope": "1.0", "offset": "0.0", "calibrated": "0"}
    words |= {"metadata": json.dumps({"env": "x"})}
    tensors = {name: array for name, array in (held | (tensors or {})).items() if array is not None}
    header = {name: text for name, text in (words | (header or {})).items() if text is not None}
    return write_tensors(path, file_format, tensors, header)


def _with(name, value, shape):
    return {name: np.full(shape, value, np.float32)}


CRAFTED_TENSORS = {
    **{f"{bad} in {name}": (_with(name, bad, shape), f"{name}: expected finite numbers")
       for name, shape in (("kernel_0", (3, 4)), ("bias_1", (1,)), ("mean", (3,)), ("std", (3,)))
       for bad in (np.nan, np.inf, -np.inf)},
    "whole numbers": ({"mean": np.zeros(3, np.int32)}, "mean: got int32; expected floats"),
    "no first kernel": ({"kernel_0": None}, "kernel_0: missing"),
    "no bias": ({"bias_1": None}, "bias_1: missing"),
    "no layers": (dict.fromkeys(("kernel_0", "bias_0", "kernel_1", "bias_1")), "layers: got none"),
    "no mean": ({"mean": None}, "mean, std: expected both"),
    "something else": (_with("extra", 0, 1), "mean, std: expected both"),
    "a std of zero": (_with("std", 0, 3), "a positive std"),
    "a negative std": (_with("std", -1, 3), "a positive std"),
    "a kernel of one axis": (_with("kernel_0", 0, 3), r"layer 0: kernel has shape \[3\]; expected"),
    "an empty kernel": (_with("kernel_0", 0, (3, 0)), r"layer 0: kernel has shape \[3, 0\]; expected"),
    "kernels that do not follow": (_with("kernel_1", 0, (5, 1)), r"kernel has shape \[5, 1\]; expected \[4, j\]"),
    "a bias of another size": (_with("bias_0", 0, 5), r"layer 0: bias has shape \[5\]; expected \[4\]"),
    "a bias that would spread": (_with("bias_0", 0, 1), r"layer 0: bias has shape \[1\]; expected \[4\]"),
    "two logits": (_with("kernel_1", 0, (4, 2)) | _with("bias_1", 0, 2), "the last one gives 2 numbers; expected 1"),
    "a mean of another size": (_with("mean", 0, 2), r"mean: got shape \[2\]; expected \[3\]"),
    "a mean that would spread": (_with("mean", 0, 1), r"mean: got shape \[1\]; expected \[3\]"),
    "a mean of two axes": (_with("mean", 0, (1, 3)), r"mean: got shape \[1, 3\]; expected \[3\]"),
}  # fmt: skip
CRAFTED_HEADERS = {
    "no activation": ({"activation": None}, "no such 'activation'"),
    "another activation": ({"activation": "exp"}, "activation: got 'exp'"),
    "no observations": ({"obs_size": "0"}, "do not fit"),
    "all observed": ({"obs_size": "3"}, "do not fit"),
    "more observed": ({"obs_size": "1" * 30}, "do not fit"),
    "a negative size": ({"obs_size": "-1"}, "do not fit"),
    "a size of thousands of digits": ({"obs_size": "1" * 5000}, "obs_size: got '111"),
    "a size in other digits": ({"obs_size": "\u0662"}, "obs_size: got"),
    "a fraction": ({"obs_size": "2.5"}, "obs_size: got '2.5'"),
    "no slope": ({"slope": None}, "no such 'slope'"),
    "a slope that is none": ({"slope": "nan"}, "slope: got 'nan'; expected a finite number"),
    "an infinite offset": ({"offset": "1e999"}, "offset: got '1e999'"),
    "half calibrated": ({"calibrated": "2"}, "no such '2'"),
    "metadata that are none": ({"metadata": "[]"}, "metadata: expected a JSON object of texts"),
    "nested metadata": ({"metadata": '{"a":' * 10_000}, "metadata: nests more than"),
    "metadata of numbers": ({"metadata": '{"a": 1}'}, "metadata: expected a JSON object of texts"),
    "other metadata": ({"metadata": '{"reward_inputs": "states"}'}, "expected states, as the metadata say"),
    "other inputs": ({"inputs": "pictures"}, "inputs: got 'pictures'"),
    "inputs that do not fit": ({"inputs": "states"}, "do not fit states"),
    "transitions that do not fit": ({"inputs": "transitions"}, "do not fit transitions"),
    "features that are none": ({"features": "{}"}, "features: expected a list"),
    "no feature": ({"features": "[]"}, "features: expected a list"),
    "a feature twice": ({"features": "[0, 0]"}, "features: expected a list"),
    "half a feature": ({"features": "[0.5]"}, "features: expected a list"),
    "a feature beyond": ({"features": "[2]"}, "do not fit"),
    "a negative feature": ({"features": "[-1]"}, "do not fit"),
}


@pytest.mark.parametrize("case", [*CRAFTED_TENSORS, *CRAFTED_HEADERS])
def test_a_crafted_file_is_refused_when_it_is_read(tmp_path, case):
    tensors, said = CRAFTED_TENSORS.get(case, (None, ""))
    header, words = CRAFTED_HEADERS.get(case, (None, ""))
    path = _crafted(tmp_path / "x.safetensors", tensors, header)
    with pytest.raises(GailfeError, match=said or words) as error:
        Confidence.load(path)
    assert str(error.value).startswith(f"{path}: not a valid discriminator (") and "\n" not in str(error.value)


def test_what_was_crafted_is_otherwise_whole(tmp_path):
    judge = Confidence.load(_crafted(tmp_path / "x.safetensors"))
    assert judge(np.zeros((2, 2)), np.zeros((2, 1))).tolist() == [0.5, 0.5]
