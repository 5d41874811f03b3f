"""The host loop: what it trains, when it ends, and what it returns."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest

from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.training.loop import train
from gailfe_jax.training.run_folder import load_policies
from tests.runs import assert_same_run, contents, metrics_of
from tests.tiny import tiny
from tests.training.cliff import CHUNK, ENV, EVALUATIONS, METHOD, settings

pytestmark = pytest.mark.usefixtures("quick_programs")


def test_a_run_traces_its_program_once(go, quick_programs):
    # No other test compiles a program of this width.
    go(None, method=tiny("ppo", policy__hidden=(7,)))
    trainer = quick_programs[-1]
    assert trainer.compile_seconds > 0
    assert trainer.traces == 1
    assert quick_programs.count(trainer) == EVALUATIONS


def test_a_run_without_a_folder_learns_the_same(go, whole):
    seen = []
    result = go(None, on_evaluation=lambda step, row: seen.append((step, row["return_mean"].tolist())))
    assert result.run_dir is None
    np.testing.assert_array_equal(result.metrics["return_mean"][1], whole.metrics["return_mean"][1])
    assert seen[-1] == (EVALUATIONS * CHUNK, whole.metrics["return_mean"][1][:, -1].tolist())
    for ours, theirs in zip(result.policies, whole.policies, strict=True):
        np.testing.assert_array_equal(ours.weights[0][0], theirs.weights[0][0])


def test_demonstrations_come_by_their_files_name_or_from_memory(go, whole, demos_file):
    for shown in (str(demos_file), Demonstrations.load(demos_file)):
        result = train(METHOD, ENV, settings(), demos=shown)
        np.testing.assert_array_equal(result.metrics["return_mean"][1], whole.metrics["return_mean"][1])


def test_a_signal_ends_the_chunk_and_saves(go, whole, tmp_path):
    folder, handler = tmp_path / "run", signal.getsignal(signal.SIGINT)
    # After the evaluation is written: the loop has looked for signals, and not saved, when this one comes.
    result = go(
        folder,
        settings(checkpoint_seconds=1e9),
        on_evaluation=lambda step, row: os.kill(os.getpid(), signal.SIGTERM) if step == 2 * CHUNK else None,
    )
    assert result.interrupted and result.steps == 2 * CHUNK
    assert not json.loads((folder / "summary.json").read_text())["finished"]
    assert len(load_policies(folder)) == 2
    assert signal.getsignal(signal.SIGINT) is handler
    go(folder, resume=True)
    assert_same_run(folder, whole.run_dir)


def test_a_run_whose_seeds_have_all_stopped_is_at_its_end(go, tmp_path):
    """A rate at which steps soon make it worse: patience ends two iterations after the best snapshot."""
    method = tiny("bc", policy__lr=3.0, patience=2.0)
    first = go(tmp_path / "run", settings(50), method)
    assert first.steps < 40 * CHUNK and first.summary["finished"] and not first.interrupted
    assert first.metrics["stopped"][1][:, -1].tolist() == [1, 1]
    assert (first.metrics["stopped"][1][:, -2] == 0).any()
    before = contents(tmp_path / "run" / "policies")
    again = go(tmp_path / "run", settings(50), method, resume=True)
    assert again.steps == first.steps and again.summary["finished"]
    assert contents(tmp_path / "run" / "policies") == before
    assert metrics_of(tmp_path / "run")[-1]["step"] == first.steps


def test_rows_that_repeat_a_seed_train_beside_their_own_settings(go):
    """As in a sweep: rows of one seed differ in nothing but their traced settings."""
    method = tiny("ppo")
    method = method.replace(policy=method.policy.replace(gamma=np.array([0.9, 0.9, 0.8])))
    result = go(None, settings(1), method, seeds=[3, 3, 3])
    first, second, other = (policy.weights[0][0] for policy in result.policies)
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
