from __future__ import annotations

import json
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from gailfe_jax.cli.main import main
from gailfe_jax.cli.parsing import parse
from gailfe_jax.cli.train import Train, defaults
from gailfe_jax.config.flat import Hyper
from gailfe_jax.learners.methods import COMBINATIONS, resolve_config
from gailfe_jax.training.loop import load_run
from tests import haste
from tests.cli.tiny import TINY
from tests.runs import contents

ROOT = pathlib.Path(__file__).parent.parent.parent
GAILFE = [
    *("--algo", "gailfe", "--disc-hidden", "8", "--disc-minibatch", "64", "--failure-capacity", "6"),
    *("--seeds", "2", "--first-seed", "1"),
]
EVALUATIONS = 24

pytestmark = pytest.mark.usefixtures("quick_programs")


def start(*words):
    env = haste.environment() | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "gailfe_jax", *map(str, words)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def manifest(folder):
    newest = max((folder / "checkpoints").glob("step_*/manifest.json"))
    return json.loads(newest.read_text())["body"]


def wait_for_checkpoints(process, folder, count, after=0):
    """Until `count` whole checkpoints beyond step `after` have been saved; returns the newest one's step."""
    seen = set()
    while len(seen) < count:
        assert process.poll() is None, process.communicate()
        seen |= {int(path.parent.name[5:17]) for path in (folder / "checkpoints").glob("step_*/manifest.json")}
        seen = {step for step in seen if step > after}
        time.sleep(0.005)
    return max(seen)


def metrics_of(folder):
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if name != "steps_per_second"} for record in records]


@pytest.fixture(scope="module")
def run_dir(quick_programs, demos_file, tmp_path_factory):
    """A run that is killed, resumed, interrupted, and resumed to its end."""
    folder = tmp_path_factory.mktemp("runs") / "cut"
    flags = [*TINY, *GAILFE, "--demos", demos_file, "--steps", 128 * EVALUATIONS]
    process = start("train", "--out", folder, *flags, "--checkpoint-seconds", 0)
    killed_at = wait_for_checkpoints(process, folder, 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL

    process = start("train", "--out", folder, "--resume")
    wait_for_checkpoints(process, folder, 3, after=killed_at)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert int(re.search(r"resuming at step ([\d,]+)", out)[1].replace(",", "")) >= killed_at
    assert err.splitlines()[-1] == f"interrupted; continue with: gailfe train --out {folder} --resume"
    steps = [record["step"] for record in metrics_of(folder)]
    assert manifest(folder)["step"] == steps[-1] < 128 * EVALUATIONS
    assert not json.loads((folder / "summary.json").read_text())["finished"]

    assert main(["train", "--out", str(folder), "--resume", "--quiet", "--checkpoint-seconds", "99"]) == 0
    return folder


def test_killed_and_interrupted_and_resumed_equals_uninterrupted(run_dir, demos_file, tmp_path):
    flags = [*TINY, *GAILFE, "--demos", str(demos_file), "--steps", str(128 * EVALUATIONS)]
    assert main(["train", "--out", str(tmp_path / "whole"), *flags, "--quiet", "--no-tensorboard"]) == 0
    whole = tmp_path / "whole"
    assert metrics_of(run_dir) == metrics_of(whole)
    assert len(metrics_of(whole)) == 2 * EVALUATIONS
    assert manifest(run_dir)["leaves"] == manifest(whole)["leaves"]
    for seed in (1, 2):
        name = f"policies/seed_{seed}.safetensors"
        assert (run_dir / name).read_bytes() == (whole / name).read_bytes()
    assert len(load_run(run_dir)["resumed"]) == 2


def test_a_run_is_kept_from_being_overwritten(run_dir, demos_file, capsys):
    before = contents(run_dir)
    flags = [*TINY, *GAILFE, "--demos", str(demos_file)]
    for words, message in (
        (flags, "already holds a run; add --resume to continue it, or choose another --out"),
        (["--resume", "--hidden", "9"], "configuration field config.hidden is [8] in the checkpoint and [9] now"),
        (
            ["--resume", "--gamma", "0.9"],
            f"configuration field hyper.gamma is {Hyper().gamma} in the checkpoint and 0.9 now",
        ),
    ):
        assert main(["train", "--out", str(run_dir), *words]) == 2
        captured = capsys.readouterr()
        assert message in captured.err and captured.err.count("\n") == 1
    assert contents(run_dir) == before


@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda c: c.name)
def test_the_flags_it_prints_are_understood(combination):
    words = combination.flags.split()
    parsed = parse(Train, "train", ["--out", "x", *words], defaults(["--out", "x", *words]))
    config = resolve_config(parsed.config)
    assert {name: getattr(config, name) for name in combination.settings} == combination.settings


@pytest.mark.parametrize("value", ["-log_d", "1-d", "log_1-d", "logit"])
def test_the_names_of_rewards_are_no_flags(value):
    parsed = parse(Train, "train", ["--out", "x", "--disc-reward", value], defaults([]))
    assert parsed.config.disc_reward == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train --out x", "demos: --algo gail needs a demonstration file"),
        ("train --out x --demos missing.npz", "missing.npz: no such file"),
        ("train --out x --demos damaged.npz", "damaged.npz: not a readable .npz file"),
        ("train --out x --demos {demos} --env walker2d", "demonstrations of 'Hopper-v5', expected 'Walker2d-v5'"),
        ("train --out x --demos {demos} --trajectories 9", "asked for 9, expected 1 to 4"),
        ("train --out x --demos {demos} --disc-lr nan", "disc_lr: got nan; expected a finite number"),
        ("train --out x --demos {demos} --algo gailfe --annotator z", "annotator 'z': expected one of"),
        ("train --out x --algo nonsense", "algo: unknown algorithm 'nonsense'"),
        ("train --out x --env nonsense", "env: unknown task 'nonsense'"),
        ("train --out x --env brax:nonsense --algo ppo", "unknown brax environment 'nonsense'"),
        ("train --out x --engine nonsense --algo ppo", "engine: unknown engine 'nonsense'"),
        ("train --out x --steps -5", "steps: got -5"),
        ("train --out x --algo bc", "demos: --algo bc needs a demonstration file"),
        ("train --out x --algo bc --demos {demos} --bc-minibatch 100", "bc_minibatch: got 100; expected a divisor"),
        ("train --out x --algo bc --bc-validation 1", "bc_validation: got 1.0; expected a share in [0, 1)"),
        ("train --out x --algo dagger --expert missing.safetensors", "missing.safetensors: expected a readable policy"),
        ("train --out x --algo dagger --expert damaged.npz", "damaged.npz: expected"),
        ("train --out x --algo dagger --env walker2d --expert {expert}", "expert: a policy for hopper; expected one"),
        ("train --out x --algo gail --generator likelihood", "generator: --algo gail has more than a likelihood"),
        ("train --out x --algo ppo --num-envs 0", "num_envs: got 0"),
        ("train --out x --algo ppo --seeds 0", "seeds: got 0; expected a number from 1"),
        ("train --out full --algo ppo", "full: exists and holds no run"),
        ("train --out full/notes.txt/x --algo ppo", "Not a directory"),
    ],
)
def test_bad_input_ends_in_one_line(refused, words, message):
    refused(words, message)
