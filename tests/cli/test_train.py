"""`gailfe train`: a run that is killed and interrupted comes to what it would have been."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import types

import pytest

from gailfe_jax.cli.main import main
from gailfe_jax.io import user_modules
from gailfe_jax.learners.presets import preset
from gailfe_jax.training.run_folder import load_run
from tests import haste
from tests.cli.tiny import RUN, sizes
from tests.runs import assert_same_run, contents, manifest_of, metrics_of
from tests.tiny import toy_demonstrations
from tests.toy import Cliff, cliff_expert

ROOT = pathlib.Path(__file__).parent.parent.parent
EVALUATIONS, STEPS = 24, 32  # Of so many steps each.

pytestmark = pytest.mark.usefixtures("quick_programs")


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """A module of the user's own that registers the toy tasks, and demonstrations for one of them."""
    folder = tmp_path_factory.mktemp("toys")
    (folder / "toy_tasks.py").write_text("from tests import toy\n\ntoy.register()\n")
    toy_demonstrations(Cliff(), cliff_expert()).save(folder / "demos.npz")
    return folder


@pytest.fixture(scope="module", autouse=True)
def forgotten(toy_tasks):
    """The modules that are imported here, and what they register."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(user_modules, "_imported", [])
        patch.setattr(sys, "path", list(sys.path))
        yield
    sys.modules.pop("toy_tasks", None)


@pytest.fixture(scope="module")
def flags(toys):
    run = ["--steps", str(STEPS * EVALUATIONS), "--seeds", "2", "--first-seed", "1"]
    return [*sizes("gailfe"), *RUN, *run, "--env", "cliff", "--demos", str(toys / "demos.npz"), *imports(toys)]


def imports(toys):
    return ["--import", str(toys / "toy_tasks.py")]


def start(*words):
    env = haste.environment() | {"PYTHONPATH": str(ROOT), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    command = [sys.executable, "-m", "gailfe_jax", *map(str, words)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_checkpoints(process, folder, count, after=0):
    """Until `count` whole checkpoints beyond step `after` have been saved; returns the newest one's step."""
    seen = set()
    while len(seen) < count:
        assert process.poll() is None, process.communicate()
        seen |= {int(path.parent.name[5:17]) for path in (folder / "checkpoints").glob("step_*/manifest.json")}
        seen = {step for step in seen if step > after}
        time.sleep(0.005)
    return max(seen)


@pytest.fixture(scope="module")
def whole(quick_programs, flags, tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert main(["train", *flags, "--out", str(folder), "--quiet", "--no-tensorboard"]) == 0
    return folder


@pytest.fixture(scope="module")
def cut(quick_programs, flags, toys, tmp_path_factory):
    """A run that is killed, resumed, interrupted, and resumed to its end."""
    folder = tmp_path_factory.mktemp("runs") / "cut"
    process = start("train", *flags, "--out", folder, "--checkpoint-seconds", 0)
    killed_at = wait_for_checkpoints(process, folder, 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL

    process = start("train", "--out", folder, "--resume", *imports(toys))
    wait_for_checkpoints(process, folder, 3, after=killed_at)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert int(re.search(r"resuming at step ([\d,]+)", out)[1].replace(",", "")) >= killed_at
    assert err.splitlines()[-1] == f"interrupted; continue with: gailfe train --out {folder} --resume"
    steps = [record["step"] for record in metrics_of(folder)]
    assert manifest_of(folder)["step"] == steps[-1] < STEPS * EVALUATIONS
    assert not json.loads((folder / "summary.json").read_text())["finished"]

    words = ["--out", str(folder), "--resume", "--quiet", "--checkpoint-seconds", "99", *imports(toys)]
    assert main(["train", *words]) == 0
    return folder


@pytest.mark.slow
def test_killed_and_interrupted_and_resumed_equals_uninterrupted(whole, cut):
    assert_same_run(cut, whole)
    assert len(load_run(cut)["resumed"]) == 2


def test_a_run_writes_an_evaluation_an_iteration_and_a_policy_a_seed(whole):
    assert len(metrics_of(whole)) == 2 * EVALUATIONS
    assert {path.name for path in (whole / "policies").iterdir()} == {"seed_1.safetensors", "seed_2.safetensors"}


def test_a_run_is_kept_from_being_overwritten(whole, flags, toys, capsys):
    before = contents(whole)
    gamma = preset("gailfe", "cliff")[0].policy.gamma
    for words, message in (
        (flags, "already holds a run; add --resume to continue it, or choose another --out"),
        (
            ["--resume", "--policy.hidden", "9"],
            "configuration field method.policy.hidden is [8] in the checkpoint and [9] now",
        ),
        (["--resume", "--gamma", "0.9"], f"field method.policy.gamma is {gamma} in the checkpoint and 0.9 now"),
        (["gail", "--resume"], "configuration field algo is 'gailfe' in the checkpoint and 'gail' now"),
    ):
        assert main(["train", *words, "--out", str(whole), *imports(toys)]) == 2
        captured = capsys.readouterr()
        assert message in captured.err and captured.err.count("\n") == 1
    assert contents(whole) == before


def test_a_run_with_a_users_own_task_is_resumed_with_its_module(whole, toys, capsys, monkeypatch):
    """A record is data, perhaps somebody else's: modules are named to the user and imported when they say so."""
    monkeypatch.setattr(user_modules, "_imported", [])
    before = contents(whole)
    assert main(["train", "--out", str(whole), "--resume"]) == 2
    message = f"was made with modules of the user's own; expected --import {toys / 'toy_tasks.py'}\n"
    assert capsys.readouterr().err.endswith(message)
    assert contents(whole) == before


def test_it_trains_as_a_file_says(whole, flags, tmp_path, capsys):
    """`--print-config` of flags, and `--config` of what it printed, train the same."""
    assert main(["train", *flags, "--print-config"]) == 0
    (tmp_path / "run.toml").write_text(capsys.readouterr().out)
    words = [
        "train",
        "--config",
        str(tmp_path / "run.toml"),
        "--steps",
        "32",
        "--out",
        str(tmp_path / "run"),
        "--quiet",
    ]
    assert main(words) == 0
    assert metrics_of(tmp_path / "run") == metrics_of(whole)[:2]
    ours, theirs = load_run(tmp_path / "run"), load_run(whole)
    assert ours["method"] == theirs["method"] and ours["environment"] == theirs["environment"]


def test_print_config_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "gail", "--print-config", "--out", "x"]) == 0
    assert 'algo = "gail"' in capsys.readouterr().out and os.listdir() == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train gail", "out: got none; expected --out and a folder for the run"),
        ("train --out x", "demos: gail needs a demonstration file"),
        ("train --out x --demos missing.npz", "missing.npz: no such file"),
        ("train --out x --demos damaged.npz", "damaged.npz: not a readable .npz file"),
        ("train --out x --demos {demos} --env walker2d", "demonstrations of 'Hopper-v5', expected 'Walker2d-v5'"),
        ("train --out x --demos {demos} --trajectories 9", "asked for 9, expected 1 to 4"),
        ("train --out x --demos {demos} --reward.lr nan", "reward.lr: got 'nan'; expected a finite number"),
        ("train gailfe --out x --demos {demos} --annotator z", "annotator 'z': expected one of"),
        ("train --out x --algo nonsense", "algo: unknown algorithm 'nonsense'"),
        ("train nonsense --out x", "algo: unknown algorithm 'nonsense'"),
        ("train --out x gail", "got 'gail' after the flags; expected the method first: gailfe train gail ..."),
        ("train --resume gail --out x", "got 'gail' after the flags; expected the method first: gailfe train gail ..."),
        ("train --quiet gail --out x", "got 'gail' after the flags; expected the method first: gailfe train gail ..."),
        ("train --out=x gail", "got 'gail' after the flags; expected the method first: gailfe train gail ..."),
        (
            "train --out x --distributed=localhost:1 2 0",
            "distributed: got '--distributed=localhost:1'; expected --distributed and its words, without =",
        ),
        ("train --out x --resume", "x: holds no run to resume; as a new run: demos: gail needs a demonstration file"),
        ("train --out x --resume --epochs 3", "x: holds no run to resume; as a new run: epochs: no such setting"),
        ("train --out x --env nonsense", "env: unknown task 'nonsense'"),
        ("train --out x --env brax:nonsense --algo ppo", "unknown brax environment 'nonsense'"),
        ("train --out x --engine nonsense --algo ppo", "engine: unknown engine 'nonsense'"),
        ("train --out x --steps -5", "steps: got '-5'; expected a finite number from 1"),
        ("train --out x --algo bc", "demos: bc needs a demonstration file"),
        ("train bc --out x --demos {demos} --policy.minibatch 100", "policy.minibatch: got 100; expected a divisor of"),
        ("train bc --out x --validation 1", "validation: got '1'; expected a finite number from 0 below 1"),
        ("train dagger --out x --expert missing.safetensors", "missing.safetensors: expected a readable policy"),
        ("train dagger --out x --expert damaged.npz", "damaged.npz: expected"),
        ("train dagger --out x --env walker2d --expert {expert}", "expert: a policy for hopper; expected one"),
        (
            "train gail --out x --policy likelihood",
            "policy: got 'likelihood' for gail; expected one of trpo, ppo, mail",
        ),
        ("train ppo --out x --num-envs 0", "rollout.num_envs: got '0'; expected a whole number from 1"),
        ("train ppo --out x --seeds 0", "seeds: got '0'; expected a whole number from 1"),
        ("train ppo --out full", "full: exists and holds no run"),
        ("train ppo --out full/notes.txt/x", "Not a directory"),
        ("train --config missing.toml --out x", "config: missing.toml: no such file"),
    ],
)
def test_bad_input_ends_in_one_line(refused, words, message):
    refused(words, message)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("gail --num-envs 1024", True),
        ("gail --num-envs 1023", False),
        ("gail --policy td3 --num-envs 4096", True),
        ("gail --num-envs 4096 --quiet", False),
        ("bc --num-envs 4096", False),
    ],
)
def test_the_preset_for_thousands_of_environments_is_told(words, said, tmp_path, monkeypatch, capsys):
    ended = types.SimpleNamespace(run_dir=None, interrupted=False, diverged={})
    monkeypatch.setattr("gailfe_jax.training.loop.train", lambda *_, **__: ended)
    assert main(["train", *words.split(), "--out", str(tmp_path / "run")]) == 0
    line = "preset: for thousands of environments, from --num-envs 1024 on; --print-config shows its settings\n"
    assert capsys.readouterr().out == (line if said else "")
