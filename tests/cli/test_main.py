from __future__ import annotations

import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib

import numpy as np
import pytest

import gailfe_jax
from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.cli.commands import COMMANDS
from gailfe_jax.cli.main import main
from gailfe_jax.cli.parsing import parse
from gailfe_jax.cli.train import Train, defaults
from gailfe_jax.config.flat import Hyper
from gailfe_jax.data.demonstrations import Demonstrations
from gailfe_jax.methods.table import ALGORITHMS, COMBINATIONS, resolve_config
from gailfe_jax.training.loop import load_run
from tests import haste

ROOT = pathlib.Path(__file__).parent.parent.parent
TINY = [
    *("--num-envs", "4", "--unroll-length", "32", "--hidden", "8", "--value-minibatch", "64"),
    *("--eval-every", "128", "--eval-episodes", "1"),
]
GAILFE = [
    *("--algo", "gailfe", "--disc-hidden", "8", "--disc-minibatch", "64", "--failure-capacity", "6"),
    *("--seeds", "2", "--first-seed", "1"),
]
EVALUATIONS = 24


pytestmark = pytest.mark.usefixtures("quick_programs")


@pytest.fixture(scope="module")
def expert_file(tmp_path_factory):
    rng = np.random.default_rng(0)
    policy = Policy(
        weights=[(rng.normal(size=(11, 8)), np.zeros(8)), (rng.normal(size=(8, 3)), np.zeros(3))],
        activation="tanh", obs_mean=np.zeros(11), obs_std=np.ones(11), log_std=np.zeros(3), action_low=-1,
        action_high=1, metadata={"env": "hopper", "seed": "5"},
    )  # fmt: skip
    return policy.save(tmp_path_factory.mktemp("expert") / "expert.safetensors")


@pytest.fixture(scope="module")
def demos_file(expert_file, tmp_path_factory):
    path = tmp_path_factory.mktemp("demos") / "folder" / "demos.npz"
    words = f"demos --env hopper --expert {expert_file} --trajectories 4 --failures 8 --out {path}"
    assert main(words.split()) == 0
    return path


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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


def test_evaluate_prints_json_and_a_table(run_dir, capsys):
    assert main(["evaluate", str(run_dir), "--episodes", "2", "--json"]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert [row["seed"] for row in report["seeds"]] == [1, 2]
    assert report["backend"] == "gymnasium" and report["env"] == "Hopper-v5"
    assert report["expert_normalised"] == pytest.approx(report["mean"] / load_run(run_dir)["demos"]["expert_return"])
    assert json.loads((run_dir / "evaluation.json").read_text()) == report
    assert main(["evaluate", str(run_dir), "--episodes", "2"]) == 0
    out = capsys.readouterr().out
    assert "Hopper-v5, 2 episodes" in out and "95% bootstrap interval" in out


def test_demos_writes_what_it_says(demos_file, expert_file, capsys):
    demonstrations = Demonstrations.load(demos_file, expect_env="Hopper-v5")
    assert (demonstrations.expert.num_trajectories, demonstrations.failures.num_trajectories) == (4, 8)
    assert demonstrations.provenance["expert"] == str(expert_file)
    assert demonstrations.provenance["command"]


def test_expert_writes_a_policy_and_its_report(tmp_path, capsys):
    out = tmp_path / "expert.safetensors"
    flags = [*TINY, "--run-dir", str(tmp_path / "run"), "--episodes", "2", "--steps", "512", "--ppo-minibatches", "2"]
    assert main(["expert", "--env", "Hopper-v5", "--out", str(out), *flags, "--quiet"]) == 0
    policy, report = Policy.load(out), json.loads((tmp_path / "expert.json").read_text())
    assert policy.metadata["env"] == "hopper" and policy.metadata["algo"] == "ppo"
    assert float(policy.metadata["expert_return"]) == report["mean"] == np.mean(report["returns"])
    assert len(report["returns"]) == 2 and report["steps"] in (128, 256, 384, 512)
    assert load_run(tmp_path / "run")["config"]["anneal"]
    assert main(["evaluate", str(out), "--episodes", "2", "--json"]) == 0
    printed = capsys.readouterr().out
    # The same episodes as those of the report.
    assert json.loads(printed[printed.index("{") :])["seeds"][0]["returns"] == report["returns"]


SHOWN = {
    "train": ["--out", "--resume", "--algo", "--env", "--demos", "--steps", "--seeds", "--failure-threshold"],
    "sweep": ["--out", "--grid", "--random", "--settings", "--resume", "--seeds", "--demos", "--disc-lr"],
    "expert": ["--out", "--env", "--run-dir", "--episodes", "--policy-lr"],
    "demos": ["--out", "--env", "--trajectories", "--failures", "--annotator", "--snapshots"],
    "evaluate": ["PATH", "--episodes", "--backend", "--json"],
    "video": ["PATH", "--out", "--episodes"],
    "confidence": ["PATH", "--demos", "--episodes", "--seed"],
    "bench": ["physics", "train", "peers", "--engine", "--repeats", "--learning"],
    "algorithms": ["usage: gailfe algorithms"],
    "quickstart": ["--out", "--seeds", "--steps"],
}


@pytest.mark.parametrize("command", SHOWN)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in SHOWN[command])


def test_what_each_command_explains_is_tested():
    assert list(SHOWN) == list(COMMANDS)


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_help_lists_the_commands(words, capsys):
    assert main(words) == 0
    shown = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 100 for line in shown)
    for name, command in COMMANDS.items():
        assert [line for line in shown if line.split()[:1] == [name] and line.endswith(f"  {command.summary}")]


def test_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gailfe {gailfe_jax.__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("trian --out x", "unknown command 'trian'; did you mean 'train'?"),
        ("eval runs/x", "unknown command 'eval'; did you mean 'evaluate'?"),
        ("nonsense", f"unknown command 'nonsense'; expected one of {', '.join(COMMANDS)}"),
        ("--out x", "got '--out'; expected a command first (gailfe --help lists them)"),
    ],
)
def test_an_unknown_command_is_told_the_nearest(words, message, capsys):
    assert main(words.split()) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"gailfe: error: {message}\n")


def test_what_is_not_asked_for_is_not_imported():
    """Help is there at once because it imports next to nothing, and no command pays for another's packages."""
    script = """
import json, sys
from gailfe_jax.cli.main import main
seen = {}
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit:
        pass
    seen[" ".join(words)] = sorted({"jax", "scipy", "matplotlib", "tyro", "rich", "numpy"} & set(sys.modules))
print(json.dumps(seen))
"""
    instant = [["--help"], ["--version"], ["trian"], []]
    late = [[name, "--help"] for name in COMMANDS if name not in ("train", "sweep", "expert")]
    words = json.dumps([*instant, *late])
    done = subprocess.run([sys.executable, "-c", script, words], capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout.splitlines()[-1])
    assert all(seen[" ".join(words)] == [] for words in instant), seen
    assert all(not {"jax", "scipy", "matplotlib"} & set(seen[" ".join(words)]) for words in late), seen


def test_algorithms_lists_the_methods(capsys):
    assert main(["algorithms"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ALGORITHMS)
    assert all(c.name.split()[0] in shown for c in COMBINATIONS)


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


def test_the_console_script_is_this_main(capfd):
    """`python -m gailfe_jax`, the other way in, is what the killed run was started by."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"gailfe": f"{main.__module__}:{main.__name__}"}
    script = shutil.which("gailfe", path=str(pathlib.Path(sys.executable).parent))
    if script is None:
        pytest.skip("the package is not installed here, so it has no console script")
    main(["algorithms"])
    shown = subprocess.run([script, "algorithms"], capture_output=True, text=True, check=True).stdout
    assert shown == capfd.readouterr().out


@pytest.mark.parametrize(
    "words",
    ["train --out x --colour red", "train", "train --out x --seeds many", "evaluate", "bench x"],
)
def test_words_that_do_not_parse_exit_with_2(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    assert stop.value.code == 2
    assert capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nonsense", "unknown command 'nonsense'"),
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
        ("expert --out x.txt", "out: got 'x.txt'; expected a file name that ends in .safetensors"),
        ("expert --out x.safetensors --env brax:fast", "brax:fast has no Gymnasium environment"),
        ("demos --out x.txt", "out: got 'x.txt'; expected a file name that ends in .npz or .h5"),
        ("demos --out x.npz --expert missing.safetensors", "missing.safetensors: expected a readable policy file"),
        ("demos --out x.npz --env halfcheetah --expert {expert}", "expert: a policy for hopper; expected one for half"),
        ("demos --out x.npz --expert {expert} --trajectories 0", "expected at least 1"),
        ("demos --out x.npz --expert {expert} --seed -1", "seed: got -1"),
        ("demos --out x.npz --expert {expert} --noise nan", "noise: got nan"),
        ("evaluate full", "full/config.json: no such file; expected a run folder"),
        ("evaluate missing", "missing: expected a readable policy file"),
        ("evaluate {expert} --env halfcheetah", "sizes are (11, 3); expected (17, 6) for halfcheetah"),
        ("evaluate {expert} --episodes 0", "episodes: got 0"),
        ("evaluate {expert} --seed -1", "seed: got -1"),
        ("video missing", "missing: expected a readable policy file"),
        ("video full", "full/config.json: no such file"),
        ("video {expert} --seed-index 1", "seed_index: got 1; expected 0 to 0"),
        ("bench physics --env nonsense", "env: unknown task 'nonsense'"),
        ("bench train --repeats 0", "repeats: got 0"),
        ("bench physics --num-envs 0", "num_envs: got (0,)"),
        ("bench physics --env brax:fast", "env: brax:fast has no bare engine"),
        ("quickstart --out full", "full: exists and holds no quickstart"),
        ("quickstart --out x --seeds 0", "seeds: got 0"),
    ],
)
def test_bad_input_ends_in_one_line(words, message, demos_file, expert_file, tmp_path, monkeypatch, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    damaged = demos_file.read_bytes()
    (tmp_path / "damaged.npz").write_bytes(damaged[: len(damaged) // 2])
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    assert main(words.format(demos=demos_file, expert=expert_file).split()) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("gailfe: error: ") and captured.err.count("\n") == 1
    assert message in captured.err
    assert captured.out == ""
    assert contents(tmp_path) == before


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


def test_an_interruption_before_training_exits_with_130(monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt("somewhere: interrupted")

    monkeypatch.setattr("gailfe_jax.apps.evaluate_run.policies_of", interrupt)
    assert main(["video", "x"]) == 130
    assert capsys.readouterr().err == "gailfe: somewhere: interrupted\n"
