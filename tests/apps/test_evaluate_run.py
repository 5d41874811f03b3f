from __future__ import annotations

import json

import numpy as np
import pytest

from gailfe_jax.apps.evaluate_run import evaluate_path, known_expert_return, policies_of
from gailfe_jax.artifacts.policy import Policy, expert_names, load_expert
from gailfe_jax.errors import GailfeError
from gailfe_jax.training.run_folder import load_policies
from tests.runs import make_run, policy


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs"))


def test_policies_come_in_order_of_their_seeds(run_dir):
    assert [policy.metadata["seed"] for policy in load_policies(run_dir)] == ["9", "10"]
    policies, _, env = policies_of(run_dir)
    assert len(policies) == 2 and env.spec.gymnasium_id == "Hopper-v5"


@pytest.mark.slow
def test_both_backends_tell_of_the_same_policies(run_dir):
    """Other initial states, the same distribution: means within what their spread allows."""
    reports = {name: evaluate_path(run_dir, episodes=40, backend=name) for name in ("gymnasium", "engine")}
    for ours, theirs in zip(*(report["seeds"] for report in reports.values()), strict=True):
        assert ours["seed"] == theirs["seed"]
        error = np.hypot(ours["std"], theirs["std"]) / np.sqrt(40)
        assert abs(ours["mean"] - theirs["mean"]) < 5 * error
        assert 0.5 < ours["length"] / theirs["length"] < 2


def test_a_report_adds_up(run_dir):
    report = evaluate_path(run_dir, episodes=3, seed=2)
    json.dumps(report, allow_nan=False)
    assert (report["env"], report["backend"], report["episodes"], report["seed"]) == ("hopper", "gymnasium", 3, 2)
    for row in report["seeds"]:
        assert len(row["returns"]) == 3
        assert row["mean"] == pytest.approx(np.mean(row["returns"])) and row["std"] == pytest.approx(
            np.std(row["returns"])
        )
        assert row["expert_normalised"] == pytest.approx(row["mean"] / 50)
    assert report["mean"] == pytest.approx(np.mean([row["mean"] for row in report["seeds"]]))
    assert report["interval"][0] <= report["iqm"] <= report["interval"][1]
    assert evaluate_path(run_dir, episodes=3, seed=2)["seeds"] == report["seeds"]
    assert evaluate_path(run_dir, episodes=3, seed=3)["seeds"] != report["seeds"]


def test_one_policy_file_is_judged_as_in_its_run(run_dir):
    report = evaluate_path(run_dir, episodes=2)
    alone = evaluate_path(run_dir / "policies" / "seed_10.safetensors", episodes=2, expert_return=50.0)
    assert alone["seeds"] == report["seeds"][1:]


def test_the_return_that_scores_are_measured_by(run_dir, tmp_path):
    assert known_expert_return(run_dir, "hopper") == 50.0
    assert evaluate_path(run_dir, episodes=1, expert_return=100.0)["expert_return"] == 100.0
    without = make_run(tmp_path / "run", expert_return=None)
    shipped = float(load_expert("hopper").metadata["expert_return"]) if "hopper" in expert_names() else None
    assert known_expert_return(without, "hopper") == shipped
    # No share can be told of a return that is not positive; that is no reason to refuse the returns themselves.
    negative = make_run(tmp_path / "negative", expert_return=-3.0)
    report = evaluate_path(negative, episodes=1)
    assert (report["expert_return"], report["known_expert_return"]) == (None, -3.0)
    assert report["seeds"][0]["expert_normalised"] is None

    with pytest.raises(GailfeError, match="expert_return: expected more than"):
        evaluate_path(negative, episodes=1, expert_return=-3.0)


def test_what_cannot_be_judged_is_named(run_dir, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    unnamed = policy(0).save(tmp_path / "unnamed.safetensors")
    Policy(**(vars(Policy.load(unnamed)) | {"metadata": {}})).save(unnamed)
    for path, options, message in (
        (empty, {}, r"empty/config.json: no such file; expected a run folder"),
        (make_run(tmp_path / "young", seeds=()), {}, r"young/policies: no policies; expected"),
        (tmp_path / "missing.safetensors", {}, r"missing.safetensors: expected a readable policy file"),
        (unnamed, {}, r"unnamed.safetensors: does not say which task it is for; add --env"),
        (run_dir, {"env": "nonsense"}, r"^env: unknown task 'nonsense'"),
        (run_dir, {"env": "walker2d"}, r"sizes are \(11, 3\); expected \(17, 6\) for walker2d"),
        (run_dir, {"env": "walker2d", "backend": "engine"}, r"sizes are \(11, 3\); expected \(17, 6\) for walker2d"),
        (run_dir, {"episodes": 0}, r"^episodes: got 0; expected a whole number from 1"),
        (run_dir, {"seed": -1}, r"^seed: got -1; expected 0 or more"),
    ):
        with pytest.raises(GailfeError, match=message) as error:
            evaluate_path(path, **options)
        assert "\n" not in str(error.value)
    assert evaluate_path(unnamed, episodes=1, env="Hopper-v5")["env"] == "hopper"
