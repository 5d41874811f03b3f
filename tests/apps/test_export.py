from __future__ import annotations

import json
import os

import numpy as np
import pytest

from gailfe_jax.apps.export import export_path
from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.errors import GailfeError, GailfeWarning
from gailfe_jax.training.chosen import choose_policy
from tests.runs import contents, make_run, policy


@pytest.fixture
def run_dir(tmp_path):
    return make_run(tmp_path / "run", seeds=(1, 2, 10))


def metrics(run_dir, **columns):
    lines = [
        {"seed": seed, "step": step, **{name: values[i] + step for name, values in columns.items()}}
        for step in (100, 200)
        for i, seed in enumerate((1, 2, 10))
    ]
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def evaluation(run_dir, means, age=0.0):
    rows = [{"seed": seed, "mean": mean, "std": 1.0} for seed, mean in zip((1, 2, 10), means, strict=True)]
    file = run_dir / "evaluation.json"
    file.write_text(json.dumps({"seeds": rows, "episodes": 50, "has_reward": True}))
    newest = max(path.stat().st_mtime for path in (run_dir / "policies").iterdir())
    os.utime(file, (newest - age, newest - age))


def test_the_best_seed_is_taken_and_why_is_said(run_dir):
    with pytest.raises(
        GailfeError, match="nothing says which of its seeds is best; expected --seed with one of 1, 2, 10"
    ):
        choose_policy(run_dir)
    assert choose_policy(run_dir, 10).why == "seed 10, as asked for"
    metrics(run_dir, demo_distance=[0.3, 0.1, 0.2], length_mean=[9, 1, 1])
    assert choose_policy(run_dir).seed == 2
    metrics(run_dir, return_mean=[3.0, 1.0, 2.0])
    chosen = choose_policy(run_dir)
    assert (chosen.seed, chosen.policy.metadata["seed"]) == (1, "1")
    assert chosen.why == "seed 1, the best of 3 by return (203, the run's last evaluation)"
    evaluation(run_dir, [5.0, 6.0, 7.0])
    chosen = choose_policy(run_dir)
    assert chosen.why == "seed 10, the best of 3 by mean return (7, 50 episodes of evaluation.json)"
    assert chosen.file == run_dir / "policies" / "seed_10.safetensors"
    # What was evaluated before the policies were saved says nothing of them.
    evaluation(run_dir, [5.0, 6.0, 7.0], age=60)
    assert choose_policy(run_dir).seed == 1


@pytest.mark.parametrize("damage", ["not json", "[]", '{"seeds": 3}', '{"seeds": [{"seed": 1, "mean": "high"}]}'])
def test_a_damaged_evaluation_is_left_out(run_dir, damage):
    metrics(run_dir, return_mean=[1.0, 2.0, 3.0])
    (run_dir / "evaluation.json").write_text(damage)
    assert choose_policy(run_dir).seed == 10


def test_one_seed_or_one_file_is_no_choice(run_dir, tmp_path):
    alone = make_run(tmp_path / "alone", seeds=(4,))
    assert choose_policy(alone).why == "seed 4, the only one"
    file = alone / "policies" / "seed_4.safetensors"
    assert choose_policy(file).seed is None
    with pytest.raises(GailfeError, match=r"seed: got 4; nothing reads it: .*seed_4\.safetensors is one policy's file"):
        choose_policy(file, 4)
    with pytest.raises(GailfeError, match="seed: got 3; expected one of 1, 2, 10"):
        choose_policy(run_dir, 3)


def test_an_export_names_its_policy_and_its_numbers(run_dir):
    done = export_path(run_dir, "numpy", seed=2)
    assert done.folder == run_dir / "export" / "numpy" and done.said.startswith("ok: 32 actions")
    with np.load(done.folder / "policy.npz") as file:
        record = json.loads(str(file["contract"]))
    assert record["source"]["seed"] == "2" and len(record["source"]["sha256"]) == 64
    assert record["observation"]["names"][:2] == ["joint:rootz.qpos", "joint:rooty.qpos"]
    assert record["observation"]["units"][:6] == ["m", "rad", "rad", "rad", "rad", "m/s"]
    assert record["action"]["units"] == ["200 N m"] * 3 and record["action"]["low"] == [-1.0] * 3
    assert record["seconds_per_step"] == 0.008
    expected = Policy.load(run_dir / "policies" / "seed_2.safetensors")
    np.testing.assert_array_equal(record["self_test"]["action"], expected.act(record["self_test"]["obs"]))


def test_nothing_is_overwritten_unasked(run_dir, tmp_path):
    export_path(run_dir, "numpy", seed=2, out=tmp_path / "out")
    (tmp_path / "out" / "mine.txt").write_text("mine")
    before = contents(tmp_path / "out")
    with pytest.raises(
        GailfeError, match=r"out: .*out exists and is not empty; expected another --out, or --overwrite"
    ):
        export_path(run_dir, "numpy", seed=1, out=tmp_path / "out")
    assert contents(tmp_path / "out") == before
    export_path(run_dir, "numpy", seed=1, out=tmp_path / "out", overwrite=True)
    after = contents(tmp_path / "out")
    assert after["mine.txt"] == b"mine" and after["policy.npz"] != before["policy.npz"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_where_it_goes_is_looked_at_first(run_dir, tmp_path, overwrite):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "deeper"):
        # The run has no such seed either, which would be found later.
        with pytest.raises(GailfeError, match=r"out: .*file is a file; expected a folder to write"):
            export_path(run_dir, "numpy", seed=77, out=out, overwrite=overwrite)


def test_what_is_wrong_leaves_nothing_behind(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("gailfe_jax.export.numpy.runtime_file", lambda name: b"import sys; sys.exit('failed: broken')")
    with pytest.raises(GailfeError, match=r"export: python.* -I policy.py fails .failed: broken."):
        export_path(run_dir, "numpy", seed=1, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(GailfeError, match="to: got 'matlab'; expected one of onnx, jax, numpy, c"):
        export_path(run_dir, "matlab", seed=1)


def test_without_its_task_a_policys_numbers_have_no_names(tmp_path):
    path = policy(1, env="gone").save(tmp_path / "policy.safetensors")
    with pytest.warns(GailfeWarning, match="'gone', which is no task that is known .*names and units are unknown"):
        done = export_path(path, "numpy")
    assert done.folder == tmp_path / "policy_numpy"
    with np.load(done.folder / "policy.npz") as file:
        record = json.loads(str(file["contract"]))
    assert record["observation"]["names"][3] == "obs[3]" and set(record["observation"]["units"]) == {"unknown"}
    with pytest.raises(GailfeError, match="sizes are"):
        export_path(path, "numpy", env="halfcheetah", out=tmp_path / "other")
    assert not (tmp_path / "other").exists()
