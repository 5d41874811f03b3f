from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import textwrap
import types

import numpy as np
import pytest

from benchmarks.peers import inputs, learning, replay, runner, speed
from benchmarks.peers.__main__ import main
from benchmarks.peers.comparisons import IMITATION, STABLE_BASELINES3, STABLE_BASELINES3_SAC
from gailfe_jax.apps.collection import collect_demonstrations
from gailfe_jax.artifacts.policy import load_expert
from gailfe_jax.envs import make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.base import Rollout
from gailfe_jax.learners.setup import build_setup
from gailfe_jax.policies.ppo import PPO

SCRIPTS = runner.scripts()
REAL_ENVIRONMENT = (runner.ROOT / "runs" / "peers-env" / ".installed").is_file()

FAKE_PEER = """
import argparse, json, os, pathlib, sys
words = sys.argv[1:]
options = dict(zip(words[::2], words[1::2]))
rate = {"dummy1": 100.0, "dummy2": 50.0, "subproc1": 400.0, "subproc2": 200.0}[options["--vec"] + options["--threads"]]
curve = [{"steps": 4096, "seconds": 2.0, "return": 10.0}, {"steps": 8192, "seconds": 4.0, "return": 1e9}]
result = {"task": "fake", "num_envs": 8, "configuration": options, "python": "3", "versions": {}, "setup_seconds": 0.5,
          "steps_per_second": rate, "curve": curve, "cwd": os.getcwd(), "path": os.environ.get("PYTHONPATH")}
pathlib.Path(options["--out"]).write_text(json.dumps(result))
"""


def executable(path: pathlib.Path, text: str) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def hopper_demos():
    return collect_demonstrations(make_env("hopper"), load_expert("hopper"), trajectories=2, keep_failed=True)


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> pathlib.Path:
    """A repository with peers that only pretend, whose environment is not made yet."""
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    folder = tmp_path / "benchmarks" / "peers" / "scripts"
    folder.mkdir(parents=True)
    (folder / "requirements.txt").write_text("nothing==1.0\n")
    for script in ("imitation_gail.py", "sb3_ppo.py", "sb3_sac.py"):
        (folder / script).write_text(FAKE_PEER)
    # `python -m venv --clear FOLDER` makes an interpreter that installs nothing and runs scripts with this one.
    base = executable(
        tmp_path / "base-python",
        f"""\
        #!/bin/sh
        echo made >> {tmp_path}/made
        mkdir -p "$4/bin"
        printf '#!/bin/sh\\n[ "$1" = -m ] && exit 0\\nexec {sys.executable} "$@"\\n' > "$4/bin/python"
        chmod +x "$4/bin/python"
        """,
    )
    monkeypatch.setattr(runner, "_base_python", lambda: str(base))
    return tmp_path


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ratios_are_taken_within_a_repeat():
    row = speed.compared([10.0, 20.0, 40.0], [100.0, 300.0, 200.0], [200.0, 400.0, 1000.0])
    assert (row["peer_steps_per_second"], row["steps_per_second"], row["bare_steps_per_second"]) == (20.0, 200.0, 400.0)
    assert row["ratio"] == 10.0  # Of 10, 15 and 5.
    assert row["share_of_bare"] == 0.5  # Of 0.5, 0.75 and 0.2.
    assert row["raw"][2] == {"peer": 40.0, "ours": 200.0, "bare": 1000.0}


def test_the_first_evaluation_at_the_target_counts():
    curve = [{"steps": s, "seconds": s / 10, "return": r} for s, r in ((10, 1.0), (20, 5.0), (30, 2.0), (40, 9.0))]
    reached = learning.outcome(curve, 5.0, 0.5)
    assert (reached["reached"], reached["seconds"], reached["seconds_with_start"], reached["steps"]) == (
        True,
        2,
        2.5,
        20,
    )
    missed = learning.outcome(curve, 9.5, 0.5)
    assert (missed["reached"], missed["seconds"], missed["steps"], missed["best_return"]) == (False, None, None, 9.0)


def test_the_environment_is_made_once_for_its_requirements(checkout):
    python = runner.peer_python()
    assert python == checkout / "runs" / "peers-env" / "bin" / "python" and python.is_file()
    runner.peer_python()
    assert (checkout / "made").read_text().count("made") == 1
    (runner.scripts() / "requirements.txt").write_text("nothing==2.0\n")
    runner.peer_python()
    assert (checkout / "made").read_text().count("made") == 2


def test_a_failed_installation_ends_in_one_line(checkout, monkeypatch, capsys):
    base = executable(checkout / "broken-python", "#!/bin/sh\necho no such thing\nexit 1\n")
    monkeypatch.setattr(runner, "_base_python", lambda: str(base))
    assert main([]) == 2
    log = checkout / "runs" / "peers-env.log"
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"benchmarks.peers: error: peers: their environment could not be made; see {log}"
    )
    assert log.read_text() == "no such thing\n"
    assert not (checkout / "runs" / "peers-env" / ".installed").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--env walker2d", "env: got walker2d; expected halfcheetah or hopper"),
        ("--env nonsense", "env: unknown task 'nonsense'"),
        ("--repeats 0", "repeats: got 0"),
        ("--learning --seeds 0", "seeds: got 0"),
        ("--learning --time-limit nan", "time_limit: got nan"),
        ("", "peers: needs the repository's folder benchmarks/peers; expected to run from a checkout"),
    ],
)
def test_bad_input_ends_in_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"benchmarks.peers: error: {message}") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--learning --repeats 2", "--repeats goes without --learning"),
        ("--seeds 2", "--seeds goes with --learning"),
        ("--time-limit 9", "--time-limit goes with --learning"),
    ],
)
def test_a_flag_that_the_comparison_does_not_read_is_refused(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_an_older_python_is_looked_for(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 13, 1))
    monkeypatch.setattr(runner.shutil, "which", lambda name: "found" if name == "python3.11" else None)
    assert runner._base_python() == "found"
    monkeypatch.setattr(runner.shutil, "which", lambda name: None)
    with pytest.raises(GailfeError, match=r"^peers: no python3\.12 or python3\.11 found"):
        runner._base_python()


def test_a_peer_runs_apart_from_our_packages(checkout, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "ours")
    result = runner.run_peer("sb3_ppo.py", vec="dummy", threads=1, eval_every=4)
    assert result["configuration"]["--eval-every"] == "4"
    assert result["path"] is None and os.path.samefile(result["cwd"], checkout / "runs" / "peers")


def test_a_peer_that_fails_is_named_with_its_log(checkout):
    (runner.scripts() / "sb3_ppo.py").write_text("print('why')\nraise SystemExit(3)\n")
    log = checkout / "runs" / "peers" / "sb3_ppo.log"
    with pytest.raises(GailfeError, match=rf"^peers: sb3_ppo.py failed with exit code 3; see {log}$"):
        runner.run_peer("sb3_ppo.py")
    assert log.read_text() == "why\n"


def test_the_fastest_settings_are_taken_and_the_slow_given_up(monkeypatch):
    def run_peer(script, *, limit, vec, threads, seconds):
        if threads == 2 or vec == slow:
            raise subprocess.TimeoutExpired(script, limit)
        return {"steps_per_second": {"dummy": 3.0, "subproc": 2.0}[vec]}

    monkeypatch.setattr(runner, "run_peer", run_peer)
    slow = ""
    settings, trials = runner.fastest("x.py")
    assert settings == {"vec": "dummy", "threads": 1}
    assert [trial["steps_per_second"] for trial in trials] == [3.0, None, 2.0, None]
    monkeypatch.setattr(runner, "run_peer", lambda script, **options: run_peer(script, **(options | {"threads": 2})))
    with pytest.raises(GailfeError, match=r"^peers: x.py finished no two iterations"):
        runner.fastest("x.py")


@pytest.fixture
def small(monkeypatch, checkout, hopper_demos, compiled_in_haste):
    """Ours as small as can be, compiled in haste, and demonstrations made once."""
    monkeypatch.setattr(inputs, "collect_demonstrations", lambda *args, **options: hopper_demos)
    monkeypatch.setattr(speed, "_BARE_STEPS", 10)
    monkeypatch.setattr(learning, "_EVAL_EVERY", 1024)
    monkeypatch.setattr(learning, "_EVAL_EPISODES", 1)
    shape = {"rollout.num_envs": 2, "rollout.unroll_length": 16}
    for name in ("IMITATION", "STABLE_BASELINES3"):
        monkeypatch.setattr(speed, name, dataclasses.replace(getattr(speed, name), shapes={"small": shape}, steps=64))
    sac = dataclasses.replace(STABLE_BASELINES3_SAC, shapes={"small": shape}, seeds={"small": 3}, steps=64)
    monkeypatch.setattr(replay, "STABLE_BASELINES3_SAC", sac)
    return checkout


@pytest.mark.slow
def test_ours_counts_the_steps_of_its_iterations(small, hopper_demos, monkeypatch):
    ours = speed._Ours(make_env("hopper"), speed.IMITATION, "small", hopper_demos, repeats=1)
    assert (ours.trainer.chunk, ours.steps, ours.bare_steps) == (2, 64, 10)
    assert ours.method.policy.average > 0  # The preset's.
    clock = iter([1.0, 3.0, 7.0])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(ours.trainer, "advance", lambda state, demos: (state, {}))
    assert ours.rates() == (10 / 2, 64 / 4)


def test_what_learns_without_demonstrations_is_shown_none(small, hopper_demos):
    ours = speed._Ours(make_env("hopper"), speed.STABLE_BASELINES3, "small", hopper_demos, repeats=1)
    assert ours.demos is None and np.isfinite(ours.rates()).all()


def test_every_configuration_of_ours_is_valid():
    for comparison in (IMITATION, STABLE_BASELINES3, STABLE_BASELINES3_SAC):
        assert set(comparison.seeds) <= set(comparison.shapes)
        for changes in comparison.shapes.values():
            method = build_setup({"algo": comparison.algo, "env": "halfcheetah", **changes}).method
            policy = method.on(make_env("halfcheetah")).policy
            assert not isinstance(policy, PPO) or method.rollout.batch_size % policy.minibatches == 0


@pytest.fixture
def timed(monkeypatch):
    """Ours as what it says it takes, not trained."""

    class Ours:
        def __init__(self, env, comparison, label, demos, repeats):
            sizes = {name.removeprefix("rollout."): size for name, size in comparison.shapes[label].items()}
            self.rollout = Rollout(**sizes)
            self.trainer = types.SimpleNamespace(compile_seconds=1.5)
            self.rates = iter([(8000.0, 4000.0), (9000.0, 6000.0)]).__next__

    monkeypatch.setattr(speed, "_Ours", Ours)


def test_sac_beside_its_peer(small, timed):
    assert main(["--env", "hopper", "--repeats", "2", "--replay", "--out", str(small / "x.json")]) == 0
    report = json.loads((small / "x.json").read_text())
    (row,) = report["rows"]
    assert (report["what"], row["peer"], row["algo"]) == ("peers_replay", "Stable-Baselines3 SAC", "sac")
    assert (row["seeds"], row["peer_steps_per_second"], row["ratio"]) == (3, 400.0, 12.5)


def test_speed_beside_peers(small, timed, capsys):
    assert main(["--env", "hopper", "--repeats", "2", "--out", str(small / "x.json")]) == 0
    report = json.loads((small / "x.json").read_text())
    assert [(row["env"], row["algo"], row["peer"]) for row in report["rows"]] == [
        ("hopper", "gail", "imitation GAIL"),
        ("hopper", "ppo", "Stable-Baselines3 PPO"),
    ]
    for row in report["rows"]:
        # The fastest of the pretended settings.
        assert row["peer_steps_per_second"] == 400.0 and len(row["raw"]) == 2
        assert (row["steps_per_second"], row["bare_steps_per_second"], row["ratio"]) == (5000.0, 8500.0, 12.5)
        assert (row["num_envs"], row["batch"]) == (2, 32)
    for peer in report["peers"]:
        assert (peer["vec"], peer["threads"], len(peer["trials"])) == ("subproc", 1, 4)
    assert report["peers"][0]["demonstrations"]["pairs"] > 0
    assert "--demos" in report["peers"][0]["configuration"] and "--demos" not in report["peers"][1]["configuration"]
    assert "ours/peer" in capsys.readouterr().out
    assert (small / "x.png").stat().st_size > 0


@pytest.mark.slow
def test_time_to_learn_beside_a_peer(small, monkeypatch, capsys):
    # Any policy reaches the target; imitation's second evaluation pretends to.
    monkeypatch.setattr(learning, "TARGET", 1e-9)
    (runner.scripts() / "imitation_gail.py").write_text(FAKE_PEER.replace('"return": 10.0', '"return": -1.0'))
    report = learning.run(["hopper"], time_limit=50.0)
    json.dumps(report, allow_nan=False)
    (row,) = report["rows"]
    assert (row["peer"]["seconds"], row["peer"]["seconds_with_start"], row["peer"]["steps"]) == (4.0, 4.5, 8192)
    assert row["ours"]["reached"] and row["ours"]["steps"] == 1024 and len(row["ours"]["curve"]) == 1
    assert 0 < row["ours"]["seconds"] < row["ours"]["seconds_with_start"]
    assert report["peers"][0]["configuration"]["--target"] == str(row["target"])

    report["rows"].append(row | {"seed": 1, "peer": learning.outcome([], 1.0, 0.0)})
    capsys.readouterr()
    learning.show(report)
    shown = capsys.readouterr().out
    assert "4.0 (4.5)" in shown and "not within 50 s" in shown
    learning.draw(report, small / "y.png")
    assert (small / "y.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("target", "time_limit", "points", "seconds"),
    [(25.0, 100.0, 3, 6.0), (1e9, 3.0, 2, None)],
    ids=["the target ends it", "the time limit ends it"],
)
def test_our_clock_counts_training_only(target, time_limit, points, seconds, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(learning.time, "perf_counter", lambda: clock[0])

    def train(method, env, settings, *, demos, on_evaluation):
        assert (method.name, settings.first_seed, settings.seeds) == ("gail", 3, 1)
        clock[0] += 20.0  # Compiling.
        for k in range(1, 10):
            clock[0] += 2.0 + 5.0  # Training and an evaluation.
            row = {"steps_per_second": np.array([50.0]), "return_mean": np.array([10.0 * k])}
            on_evaluation(100 * k, row)

    monkeypatch.setattr(learning, "train", train)
    result = learning._learn(make_env("hopper"), None, target, time_limit, seed=3)
    assert [point["seconds"] for point in result["curve"]] == [2.0 * k for k in range(1, points + 1)]
    assert result["seconds"] == seconds and result["start_seconds"] == 25.0


def test_peers_read_our_demonstrations(hopper_demos, tmp_path):
    hopper_demos.save(tmp_path / "demos.npz")
    read = load("measure").read_demonstrations(str(tmp_path / "demos.npz"))
    assert len(read) == 2
    for i, trajectory in enumerate(read):
        expected = hopper_demos.expert.trajectory(i)
        np.testing.assert_array_equal(trajectory["obs"][:-1], expected.obs)
        np.testing.assert_array_equal(trajectory["obs"][1:], expected.next_obs)
        np.testing.assert_array_equal(trajectory["action"], expected.action)
        assert trajectory["terminated"] == expected.terminated[-1]


@pytest.fixture
def meter(monkeypatch, tmp_path):
    """A meter of the peers' scripts on a clock that is set by hand."""
    measure = load("measure")
    clock = [0.0]
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(measure, "PACKAGES", ("numpy",))
    returns = iter([1.0, 2.0, 3.0])

    def evaluate() -> float:
        clock[0] += 100.0
        return next(returns)

    def make(*words):
        args = measure.arguments("").parse_args(["--task", "hopper", "--out", str(tmp_path / "x.json"), *words])
        made = measure.Meter(args, evaluate)
        clock[0] += 7.0
        made.start()
        return made

    return make, clock, tmp_path / "x.json"


def test_speed_is_counted_from_the_second_iteration(meter):
    make, clock, out = meter
    timer = make("--seconds", "3")
    for steps, at, go_on in ((10, 5.0, True), (20, 7.0, True), (30, 9.0, False)):
        clock[0] = 7.0 + at
        assert timer.iteration(steps) == go_on
    timer.write(peer="x")
    result = json.loads(out.read_text())
    assert (result["steps"], result["seconds"], result["steps_per_second"]) == (20, 4.0, 5.0)
    assert (result["task"], result["setup_seconds"], result["peer"]) == ("Hopper-v4", 7.0, "x")


def test_evaluations_are_outside_the_clock(meter):
    make, clock, out = meter
    timer = make("--seconds", "50", "--eval-every", "20", "--target", "2")
    went_on = []
    for steps in (10, 20, 30, 40):
        clock[0] += 1.0
        went_on.append(timer.iteration(steps))
    assert went_on == [True, True, True, False]
    timer.write()
    result = json.loads(out.read_text())
    assert result["curve"] == [
        {"steps": 20, "seconds": 2.0, "return": 1.0},
        {"steps": 40, "seconds": 4.0, "return": 2.0},
    ]
    assert (result["steps"], result["seconds"], result["evaluation_seconds"]) == (40, 4.0, 200.0)
    slow = make("--seconds", "2", "--eval-every", "1000")
    clock[0] += 2.0
    assert not slow.iteration(10)


@pytest.mark.skipif(not REAL_ENVIRONMENT, reason="the peers' environment is not made here (python -m benchmarks.peers)")
def test_the_real_peer_runs(hopper_demos, tmp_path):
    hopper_demos.save(tmp_path / "demos.npz")
    result = runner.run_peer(
        "imitation_gail.py", limit=300, task="hopper", demos=tmp_path / "demos.npz", seconds=0.1, num_envs=8
    )
    assert result["steps"] == 4096 and result["steps_per_second"] > 0
    assert result["versions"]["imitation"] == "1.0.1" and result["configuration"]["rl"]["batch_size"] == 4096
