"""`gailfe play` as a command."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from gailfe_jax.artifacts.confidence import Confidence
from gailfe_jax.artifacts.value import ValueEstimate
from gailfe_jax.cli.main import main
from gailfe_jax.data.trajectories import Demonstrations, Trajectories
from gailfe_jax.io.digests import file_sha256
from tests.host_episodes import random_episode
from tests.report.test_page import Parsed
from tests.runs import make_run


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Two demonstrations and a failure on Hopper, of random actions."""
    shown = Trajectories.concatenate([random_episode("hopper", 60, seed) for seed in range(3)])
    path = tmp_path_factory.mktemp("recorded") / "demos.npz"
    Demonstrations("Hopper-v5", shown.take(2), shown.select([2])).save(path)
    return path


def page(path):
    return Parsed(path.read_text(encoding="utf-8"))


def test_episodes_of_a_file(recorded, tmp_path, monkeypatch, capsys):
    shutil.copy(recorded, tmp_path / "demos.npz")
    monkeypatch.chdir(tmp_path)
    assert main(["play", "demos.npz", "--demonstration", "1"]) == 0
    assert capsys.readouterr().out == "wrote demos-play.html: Demonstration 1, Failure 0\n"
    found = page(tmp_path / "demos-play.html")
    demos = Demonstrations.load(str(recorded))
    one, other = demos.expert.trajectory(1), demos.failures.trajectory(0)
    assert [episode["steps"] for episode in found.data["episodes"]] == [one.num_transitions, other.num_transitions]
    np.testing.assert_allclose(found.data["episodes"][0]["curves"]["reward"], one.reward, rtol=1e-3)
    assert f"return {one.reward.sum():,.1f}; the task ended it" in " ".join(found.words)
    assert [quantity["name"] for quantity in found.data["quantities"]] == ["reward"]


@pytest.mark.parametrize(
    ("env_id", "sizes", "end"),
    [("Pendulum-v1", (3, 1), "; gailfe video films a policy in it"), ("MountainCar-v0", (2, 3), "")],
)
def test_what_cannot_be_drawn_is_told_what_films_it(tmp_path, capsys, env_id, sizes, end):
    episode = {"obs": np.zeros((3, sizes[0])), "action": np.eye(sizes[1])[[0, 0]], "truncated": True}
    Demonstrations.from_episodes([episode], env_id=env_id).save(tmp_path / "demos.npz")
    assert main(["play", str(tmp_path / "demos.npz")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.endswith(f"which has a model to draw{end}\n"), said


def test_a_run_beside_its_demonstrations(recorded, tmp_path, capsys):
    run = make_run(tmp_path / "run", seeds=(9,))
    record = json.loads((run / "config.json").read_text())
    record["demos"] |= {"demos": str(recorded), "sha256": file_sha256(recorded)}
    (run / "config.json").write_text(json.dumps(record))
    layers = [(np.zeros((14, 1)), np.zeros(1))]
    Confidence(layers, "tanh", np.zeros(14), np.ones(14), 11).save(run / "discriminators" / "seed_9.safetensors")
    ValueEstimate([(np.zeros((11, 1)), np.full(1, 7.0))], "tanh", np.zeros(11), np.ones(11)).save(
        run / "values" / "seed_9.safetensors"
    )
    assert main(["play", str(run), "--max-steps", "10"]) == 0
    assert capsys.readouterr().out == f"wrote {run}/play.html: Policy of seed 9, Demonstration 0, Failure 0\n"
    found = page(run / "play.html")
    assert [quantity["name"] for quantity in found.data["quantities"]] == ["reward", "belief", "value"]
    for episode in found.data["episodes"]:
        assert episode["steps"] == 10
        assert episode["curves"]["belief"] == [0.5] * 10 and episode["curves"]["value"] == [7.0] * 10
    words = " ".join(found.words)
    assert "The policy is that of seed 9, the only one." in words and "cut here, of" in words
    # Where the file is gone the policy is shown beside the expert that is shipped.
    record["demos"]["demos"] = str(tmp_path / "gone.npz")
    (run / "config.json").write_text(json.dumps(record))
    assert main(["play", str(run), "--max-steps", "10"]) == 0
    shown = capsys.readouterr()
    assert shown.out.endswith("Policy of seed 9, Expert\n")
    assert shown.err.startswith("gailfe: warning: no demonstration is shown: ") and shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("play missing", "missing: expected a readable policy file"),
        ("play full", "full/config.json: no such file"),
        ("play damaged.npz", "damaged.npz"),
        ("play {expert} --out x.txt", "out: got x.txt; expected a file name that ends in .html"),
        ("play {expert} --max-steps 0", "max_steps: got 0"),
        ("play {expert} --seed -1", "seed: got -1"),
        ("play {expert} --seed-index 1", "seed_index: got 1; expected 0"),
        ("play {expert} --expert gone.safetensors", "gone.safetensors: expected a readable policy file"),
        ("play {demos} --seed-index 1", "seed_index: nothing reads it"),
        ("play {demos} --demonstration 9", "demonstration: got 9; expected 0 to 3"),
        ("play {demos} --env cartpole", "observed"),
    ],
)
def test_bad_input_ends_in_one_line(refused, words, message):
    refused(words, message)
