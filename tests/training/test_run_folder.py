"""What a run folder holds, and how a damaged or foreign one is told."""

from __future__ import annotations

import json
import math
import os
import shutil

import jax
import numpy as np
import pytest

from gailfe_jax.config.run import DemoSettings, EnvSettings, MjxSettings
from gailfe_jax.errors import GailfeError, GailfeWarning
from gailfe_jax.rewards.linear import FeatureMatching
from gailfe_jax.training import run_folder, showing
from gailfe_jax.training.chosen import choose_policy
from gailfe_jax.training.run_folder import check_record, load_policies, load_run, read_record, without_places
from gailfe_jax.training.start import from_the_start
from tests.runs import contents, metrics_of
from tests.tiny import tiny
from tests.training.cliff import CHUNK, EVALUATIONS, METHOD, SEEDS, settings

pytestmark = pytest.mark.usefixtures("quick_programs")


def test_a_run_folder_holds_what_it_should(whole):
    folder, steps = whole.run_dir, [CHUNK * (i + 1) for i in range(EVALUATIONS)]
    records = metrics_of(folder)
    assert [(record["seed"], record["step"]) for record in records] == [
        (seed, step) for step in steps for seed in SEEDS
    ]
    for name in ("return_mean", "length_mean", "discriminator_accuracy", "multiplier", "failure_log_d", "violation"):
        assert all(math.isfinite(record[name]) for record in records), name
    assert all(record["expert_normalised"] > 0 for record in records)
    record = load_run(folder)
    assert record["environment"]["env"] == "cliff" and record["engine"] == "none"
    assert record["demos"]["annotator"] == "terminated" and record["demos"]["collected_failures"] == 6
    assert record["provenance"]["versions"]["jax"] == jax.__version__
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["finished"] and summary["steps"] == steps[-1] and summary["steps_per_second"] > 0
    assert summary["final"]["return_mean"] == [r["return_mean"] for r in records[-2:]]
    assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "learning_curve.svg").is_file()
    assert {path.name for path in (folder / "tensorboard").iterdir()} == {"mean", "seed3", "seed4"}
    assert {path.name for path in (folder / "discriminators").iterdir()} == {f"seed_{s}.safetensors" for s in SEEDS}
    assert whole.metrics["return_mean"][1].shape == (2, EVALUATIONS)
    assert not whole.interrupted and whole.steps == steps[-1]


def test_the_picture_begins_before_the_first_iteration(go, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(run_folder, "learning_curves", lambda curves, path, **options: drawn.update(curves, **options))
    result = go(tmp_path / "run", settings(2))
    start = json.loads((tmp_path / "run" / "start.json").read_text())
    steps, values = drawn["gailfe"]
    assert steps.tolist() == [0, CHUNK, 2 * CHUNK] and values[:, 0].tolist() == start["return_mean"]
    np.testing.assert_array_equal(values[:, 1:], result.metrics["return_mean"][1])
    assert drawn["expert_return"] > 0 and drawn["shown_return"] > 0
    # A run that goes on keeps the start that it had.
    go(tmp_path / "run", settings(3), resume=True)
    assert json.loads((tmp_path / "run" / "start.json").read_text()) == start
    assert drawn["gailfe"][0].tolist() == [0, CHUNK, 2 * CHUNK, 3 * CHUNK]


@pytest.mark.slow
def test_a_run_is_filmed_where_it_is_asked_for(go, tmp_path, monkeypatch, capsys):
    """Once it is done, with the best seed's policy and its discriminator; a run that cannot be filmed is whole."""
    asked, handed = [], []

    def record(policy, gymnasium_id, path, *, judge, **options):
        asked.append((int(policy.metadata["seed"]), gymnasium_id, judge is not None))
        if len(asked) > 1:
            raise GailfeError("video: no OpenGL platform")
        path.write_bytes(b"film")

    monkeypatch.setattr(showing, "record_video", record)
    monkeypatch.setattr("gailfe_jax.training.trackers.TensorBoard.film", lambda _, *film: handed.append(film))
    go(tmp_path / "run", settings(1, tensorboard=True))
    assert asked == []
    run = settings(1, tensorboard=True, film=True, quiet=False)
    go(tmp_path / "run", run, resume=True)
    assert asked == [(choose_policy(tmp_path / "run").seed, "gailfe_jax/cliff", True)]
    assert handed == [("film", tmp_path / "run" / "film.mp4")] and "filming an episode" in capsys.readouterr().out
    with pytest.warns(GailfeWarning, match="^film: video: no OpenGL platform; the run is whole without"):
        again = go(tmp_path / "run", run, resume=True)
    assert again.summary["finished"] and len(handed) == 1


def test_a_start_that_does_not_fit_is_left_out(tmp_path):
    steps, values = np.array([10, 20]), np.ones((2, 2))
    for text in ("", "[", "{}", '{"x": [1.0]}', '{"x": [1.0, null]}', '{"x": ["a", "b"]}'):
        (tmp_path / "start.json").write_text(text)
        assert from_the_start(tmp_path, "x", steps, values)[0].tolist() == [10, 20]


def test_it_says_what_it_does_and_how_it_stands(go, tmp_path, capsys):
    go(tmp_path / "run", settings(1, quiet=False, tensorboard=True, diagnostics_every=1))
    out = capsys.readouterr().out
    assert "compiling gailfe (" in out and ") on cliff, 2 seeds; about " in out
    first = out.index(f"training; the next evaluation comes after step {CHUNK} ...")
    assert out.index("compiling gailfe (") < first < out.index("doctor: ")
    assert "doctor: too early to say" in out
    summary = tmp_path / "run" / "summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"compile_seconds": 7.2}))
    go(tmp_path / "run", settings(2, quiet=False), resume=True)
    assert "on cliff, 2 seeds; the last time it took 7 s ..." in capsys.readouterr().out


def test_it_reads_back_as_the_settings_it_was_trained_with(whole, demos_file):
    held = read_record(load_run(whole.run_dir))
    assert held.method == METHOD
    assert held.place == EnvSettings(env="cliff", mjx=MjxSettings(solver_setting="model"))
    assert held.run == settings(tensorboard=True)
    assert held.demos == DemoSettings(demos=str(demos_file))
    assert held.imports == ()


def test_modules_that_were_imported_are_written_down(go, tmp_path):
    go(tmp_path / "run", settings(1), imports=("my_tasks", "parts/mine.py"))
    assert read_record(load_run(tmp_path / "run")).imports == ("my_tasks", "parts/mine.py")


def test_policies_come_in_order_of_their_seeds(whole, tmp_path):
    folder = shutil.copytree(whole.run_dir, tmp_path / "run")
    (folder / "policies" / "seed_4.safetensors").rename(folder / "policies" / "seed_10.safetensors")
    (folder / "policies" / "seed_best.safetensors").write_text("no policy")
    assert [policy.metadata["seed"] for policy in load_policies(folder)] == ["3", "4"]


def test_snapshots_keep_the_policies_of_every_evaluation(go, tmp_path):
    go(tmp_path / "run", settings(2, snapshots=True))
    expected = [f"step_{CHUNK * k:09d}_seed_{seed}.safetensors" for k in (1, 2) for seed in SEEDS]
    assert sorted(path.name for path in (tmp_path / "run" / "snapshots").iterdir()) == expected
    last = tmp_path / "run" / "snapshots" / expected[-1]
    assert last.read_bytes() == (tmp_path / "run" / "policies" / "seed_4.safetensors").read_bytes()


def test_folders_that_are_not_ours_stay_as_they_are(go, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(GailfeError, match="exists and holds no run; choose another --out"):
        go(tmp_path)
    with pytest.raises(GailfeError, match=r"notes.txt: is a file; expected a folder"):
        go(tmp_path / "notes.txt", resume=True)
    assert contents(tmp_path) == {"notes.txt": b"mine"}


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (tiny("gail").replace(reward=FeatureMatching()), "the record of 'gail' .* field 'reward.offset' is unknown"),
        (tiny("fem").replace(name="mine"), "the record of 'mine' .* unknown algorithm 'mine'"),
    ],
)
def test_a_method_that_its_record_would_not_bring_back_is_refused(go, tmp_path, method, message):
    with pytest.raises(GailfeError, match=message):
        go(tmp_path / "run", method=method)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"config.json: is no JSON .*; expected a config.json that gailfe train wrote"),
        ("[1]", r"config.json: damaged"),
        ("\x00\xff", r"config.json: is no JSON .*; expected a config.json that gailfe train wrote"),
        ('{"version": 99}', r"config.json: field 'version': 99; this release reads versions 1 and 2"),
        ("{}", r"config.json: field 'version': None"),
        ('{"version": 2, "environment": {}}', r"config.json: field 'method': missing or damaged"),
        ('{"version": 1, "config": {}}', r"config.json: field 'hyper': missing or damaged"),
        (("method", "xyz", "red"), r"method: field 'xyz' is unknown; --help lists them"),
        (("method", "hiden", [8]), r"method: field 'hiden' is unknown; did you mean policy.hidden or reward.hidden\?"),
        (("environment", "engin", "mjx"), r"config.json: environment: field 'engin' is unknown; did you mean engine\?"),
        (
            ("method", "rollout", {"num_envs": "many"}),
            r"method\.rollout\.num_envs: got 'many'; expected a whole number",
        ),
        (("method", "policy", {"gamma": "x"}), r"method\.policy\.gamma: got 'x'; expected a finite number"),
        (("method", "policy", {"kind": "adam"}), r"policy: got 'adam' for gailfe; expected one of trpo, ppo, mail"),
        (("method", "policy", {"kind": 3}), r"method\.policy\.kind: got 3; expected the name of a policy step"),
        (("run", "steps", "long"), r"config.json: run\.steps: got 'long'; expected a finite number from 1"),
        (("demos", "subsample", "all"), r"config.json: demos\.subsample: got 'all'; expected a whole number from 1"),
        (("method", "rollout", {"num_envs": 0}), r"method\.rollout\.num_envs: got 0; expected a whole number from 1"),
        ((None, "algo", "nonsense"), r"algo: unknown algorithm 'nonsense'; expected one of ppo, trpo, sac, td3, gail"),
        ((None, "algo", None), r"algo: got None; expected the name of a method"),
        ((None, "method", 3), r"config.json: field 'method': missing or damaged"),
        ((None, "seeds", 1.5), r"config.json: field 'seeds': got 1\.5; expected a list of whole numbers"),
        ((None, "seeds", [0, True]), r"config.json: field 'seeds': got \[0, True\]; expected a list of whole numbers"),
        ((None, "engine", []), r"config.json: field 'engine': got \[\]; expected the name of an engine"),
        ((None, "imports", "mine"), r"config.json: field 'imports': got 'mine'; expected a list of names"),
        ((None, "resumed", {}), r"config.json: field 'resumed': got \{\}; expected a list of tables"),
        (("environment", "env", 5), r"config.json: environment\.env: got 5; expected text"),
        (("method", "policy", {"gamma": {}}), r"method\.policy\.gamma: got \{\}; expected a finite number from 0 to 1"),
        (("method", "policy", {"gamma": []}), r"method\.policy\.gamma: got \[\]; expected a finite number from 0 to 1"),
        (
            ("method", "policy", {"gamma": 1e6}),
            r"method\.policy\.gamma: got 1000000\.0; expected a finite number from 0",
        ),
        (("method", "policy", {"hidden": [2**60]}), r"method\.policy\.hidden: got \[1152.*\]; expected layer sizes"),
        (("method", "reward", {"form": "-log_e"}), r"method\.reward\.form: got '-log_e'; expected one of -log_d, 1-d"),
        (
            ("run", "eval_episodes", 2**60),
            r"run\.eval_episodes: got 1152.*; expected a whole number from 1 to 1000000",
        ),
        (("run", "seeds", 1.5), r"run\.seeds: got 1\.5; expected a whole number from 1 to 65536"),
        (("run", "quiet", {}), r"run\.quiet: got \{\}; expected true or false"),
        (("method", "policy", {"max_kl": "0.2"}), r"method\.policy\.max_kl: got '0\.2'; expected a finite number"),
        (("method", "rollout", {"num_envs": "4"}), r"method\.rollout\.num_envs: got '4'; expected a whole number"),
        (("method", "rollout", {"num_envs": 4.0}), r"method\.rollout\.num_envs: got 4\.0; expected a whole number"),
        (("method", "reward", {"hidden": "8x8"}), r"method\.reward\.hidden: got '8x8'; expected layer sizes"),
        (("method", "reward", {"hidden": ["8"]}), r"method\.reward\.hidden: got \['8'\]; expected layer sizes"),
        (("run", "quiet", "true"), r"run\.quiet: got 'true'; expected true or false"),
        (("run", "steps", "1e3"), r"config.json: run\.steps: got '1e3'; expected a finite number from 1"),
        ("[" * 100_000, r"config.json: nests more than 64 objects and lists; expected fewer; expected a config.json"),
        ('{"version": 2, "version": 1}', r"config.json: version is given twice"),
        ('{"version": ' + "9" * 5000 + "}", r"config.json: holds a whole number of 5000 digits"),
        ('{"version": NaN}', r"config.json: holds NaN; expected a finite number"),
        (("demos", "expert_return", "high"), r"field 'demos\.expert_return': got 'high'; expected a number, or null"),
        (("demos", "provenance", []), r"field 'demos\.provenance': got \[\]; expected a table"),
    ],
)
def test_a_damaged_or_foreign_config_is_one_clear_error(go, half, tmp_path, content, message):
    folder = shutil.copytree(half, tmp_path / "run")
    path = folder / "config.json"
    if isinstance(content, tuple):
        part, name, value = content
        record = json.loads(path.read_text())
        (record if part is None else record[part])[name] = value
        content = json.dumps(record)
    path.write_bytes(content.encode("latin-1"))
    before = contents(folder)
    with pytest.raises(GailfeError, match=message) as error:
        go(folder, resume=True)
    assert "\n" not in str(error.value)
    assert contents(folder) == before


def test_a_checkpoint_tells_of_no_folder(half):
    """Of this machine's: neither where it was written nor where demonstrations lay."""
    mine = [str(half).encode(), str(half.parent).encode(), os.path.expanduser("~/").encode()]
    for path in (half / "checkpoints").rglob("*"):
        assert not path.is_file() or not any(place in path.read_bytes() for place in mine), path


def test_names_of_files_elsewhere_are_cut():
    place = {"env": "delayed20:/home/me/arm.toml"}
    record = {"environment": place, "demos": {"demos": "/home/me/x.npz", "expert": "e.onnx", "provenance": {"a": "/b"}}}
    found = without_places(record | {"imports": ["/home/me/my.py", "mine"]})
    assert found["environment"] == {"env": "delayed20:arm.toml"} and found["imports"] == ["my.py", "mine"]
    assert found["demos"] == {"demos": "x.npz", "expert": "e.onnx"}
    assert without_places({"environment": {"env": "hopper"}, "demos": {}})["environment"] == {"env": "hopper"}


def _places(value, place=()):
    """Where the values of a record stand."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _places(inner, (*place, name))
    else:
        yield place


WRONG = (None, True, -1, 0.5, 2**70, 1e300, "", "x", [], {}, [None], [{}], {"a": 1})


def test_no_value_of_another_kind_is_read(half):
    """Whatever stands in a record is read as what it was, or refused in one line; nothing else is raised."""
    record = load_run(half)
    read, refused, said = 0, 0, set()
    for place in _places(
        {name: record[name] for name in ("algo", "engine", "environment", "method", "run", "imports")}
    ):
        for wrong in WRONG:
            changed = json.loads(json.dumps(record))
            outer = changed
            for name in place[:-1]:
                outer = outer[name]
            before, outer[place[-1]] = outer[place[-1]], wrong
            try:
                check_record(half / "config.json", changed)
                held = read_record(changed)
            except GailfeError as error:
                said.add(str(error))
                refused += 1
                continue
            # What was taken is of the kind that was there, or the absence of what may be absent.
            kinds = {bool: bool, int: int, float: (int, float), str: str, list: list}
            assert wrong is None or isinstance(wrong, kinds[type(before)]), (place, wrong)
            assert wrong is not True or isinstance(before, bool)
            assert held is not None
            read += 1
    assert refused > 400 and read < refused / 3
    assert all("\n" not in line and len(line) < 400 for line in said)
