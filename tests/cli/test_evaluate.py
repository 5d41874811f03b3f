from __future__ import annotations

import json

import pytest

from gailfe_jax.cli.main import main
from gailfe_jax.training.run_folder import load_run
from tests.runs import make_run


def test_evaluate_prints_json_and_a_table(tmp_path, capsys):
    run_dir = make_run(tmp_path / "run", seeds=(1, 2))
    assert main(["evaluate", str(run_dir), "--episodes", "2", "--json"]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert [row["seed"] for row in report["seeds"]] == [1, 2]
    assert report["backend"] == "gymnasium" and (report["env"], report["gymnasium_id"]) == ("hopper", "Hopper-v5")
    assert report["expert_normalised"] == pytest.approx(report["mean"] / load_run(run_dir)["demos"]["expert_return"])
    assert json.loads((run_dir / "evaluation.json").read_text()) == report
    assert main(["evaluate", str(run_dir), "--episodes", "2"]) == 0
    out = capsys.readouterr().out
    assert "hopper, 2 episodes" in out and "95% bootstrap interval" in out


def test_a_share_of_a_negative_return_is_left_out_with_a_word(tmp_path, capsys):
    run_dir = make_run(tmp_path / "run", seeds=(1,), expert_return=-153.0)
    assert main(["evaluate", str(run_dir), "--episodes", "1"]) == 0
    assert "of expert: none, for the expert's return, -153, is not positive" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("evaluate full", "full/config.json: no such file; expected a run folder"),
        ("evaluate missing", "missing: expected a readable policy file"),
        ("evaluate {expert} --env halfcheetah", "sizes are (11, 3); expected (17, 6) for halfcheetah"),
        ("evaluate {expert} --episodes 0", "episodes: got 0"),
        ("evaluate {expert} --seed -1", "seed: got -1"),
        ("evaluate {expert} --episodes 1e99", "episodes: got '1e99'; expected a whole number"),
        (
            "evaluate {expert} --episodes 99999999999",
            "episodes: got 99999999999; expected a whole number from 1 to 1000000",
        ),
        (f"evaluate {{expert}} --seed {10**30}", f"seed: got {10**30}; expected a whole number of at most"),
        ("evaluate {expert} --expert-return much", "expert_return: got 'much'; expected a number"),
    ],
)
def test_bad_input_ends_in_one_line(refused, words, message):
    refused(words, message)
