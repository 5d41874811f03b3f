from __future__ import annotations

import json

import pytest

from gailfe_jax.apps import quickstart
from gailfe_jax.artifacts.policy import load_expert
from gailfe_jax.cli.main import main
from gailfe_jax.config.run import RunSettings, whole_chunks
from gailfe_jax.config.tree import leaves, put, set_values, without_unread
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.errors import GailfeError
from gailfe_jax.training.loop import train
from gailfe_jax.training.run_folder import load_policies, load_run
from tests.tiny import SIZES


def a_quickstart(monkeypatch, out, *words):
    """Runs a small one on the command line; what it trained, process by process."""
    trained = []

    def side_by_side(trainings):
        trained.append([training.out.name for training in trainings])
        for training in trainings:
            known = leaves(training.method)
            sizes = {name: value for name, value in SIZES.items() if name in known}
            run = set_values(training.run, {"eval_episodes": 1, "quiet": True, "tensorboard": False})
            if training.out.name == "bc":
                run = set_values(run, {"steps": 64, "eval_every": 32})
            method = without_unread(put(training.method, sizes))
            train(method, training.env, run, demos=training.demos, out=training.out, resume=True)
        return True

    monkeypatch.setattr(quickstart, "train_side_by_side", side_by_side)
    monkeypatch.setattr(quickstart, "EVAL_EVERY", 32)
    monkeypatch.setattr(quickstart, "FILM_STEPS", 2)
    monkeypatch.setattr(quickstart, "FAILURES", 2)
    words = ["quickstart", "--out", str(out), "--env", "hopper", "--seeds", "2", "--episodes", "1", *words]
    assert main(words) == 0
    return trained


@pytest.mark.slow
def test_the_main_job(quick_programs, tmp_path, monkeypatch, capsys):
    out = tmp_path / "quickstart"
    out.mkdir()
    # What an earlier quickstart has left that had come to its end.
    (out / "quickstart.json").write_text('{"finished": true}')
    (out / "gail").mkdir()
    (out / "gail" / "config.json").write_text("old")
    assert a_quickstart(monkeypatch, out, "--steps", "128") == [["bc", "gail", "gailfe"]]
    demonstrations = Demonstrations.load(out / "demos.npz", expect_env="Hopper-v5")
    assert (demonstrations.expert.num_trajectories, demonstrations.failures.num_trajectories) == (4, 2)
    summary = json.loads((out / "quickstart.json").read_text())
    assert summary["finished"] and summary["asked"]["steps"] == 128
    assert summary["expert_return"] == pytest.approx(float(load_expert("hopper").metadata["expert_return"]))
    for name in ("bc", "gail", "gailfe"):
        assert len(load_policies(out / name)) == len(summary["methods"][name]["seeds"]) == 2
        assert summary["methods"][name]["backend"] == "gymnasium"
        config = load_run(out / name)
        assert config["algo"] == name and config["demos"]["subsample"] == quickstart.SUBSAMPLE
        assert name == "bc" or config["method"]["policy"]["kind"] == "td3"
    assert json.loads((out / "gail" / "summary.json").read_text())["steps"] == 128  # As it was given.
    assert (out / "quickstart.png").read_bytes().startswith(b"\x89PNG") and (out / "report.html").is_file()
    shown = capsys.readouterr().out
    assert "Hopper-v5, 1 Gymnasium episodes per seed" in shown and "gailfe" in shown
    assert (out / "gail.mp4").is_file() or "no film: " in shown


@pytest.mark.slow
def test_one_that_was_cut_off_goes_on(quick_programs, tmp_path, monkeypatch):
    out = tmp_path / "quickstart"

    def cut_off(trainings):
        return False

    monkeypatch.setattr(quickstart, "train_side_by_side", cut_off)
    with pytest.raises(KeyboardInterrupt, match="run quickstart again to go on"):
        quickstart.quickstart(out, env="hopper", seeds=2, steps=128, episodes=1)
    made = (out / "demos.npz").stat().st_mtime_ns
    a_quickstart(monkeypatch, out, "--steps", "128")
    assert (out / "demos.npz").stat().st_mtime_ns == made
    # It is done, and other words begin anew.
    a_quickstart(monkeypatch, out, "--steps", "64")
    assert (out / "demos.npz").stat().st_mtime_ns > made
    assert json.loads((out / "quickstart.json").read_text())["asked"]["steps"] == 64


@pytest.mark.parametrize("steps", [20_000.0, 40_960.0, 64.0, 1_000.0])
def test_steps_are_taken_as_they_are_given(tmp_path, steps):
    made = quickstart._training("gail", "halfcheetah", RunSettings(steps=steps), "demos.npz", tmp_path)
    batch = made.method.rollout.batch_size
    chunk, chunks = whole_chunks(made.run, batch)
    # An iteration for each look at most is added.
    assert steps <= chunk * chunks * batch < steps + batch * (1 + chunks)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(), "exists and holds no quickstart; choose another --out"),
        (dict(env="nonsense"), "^env: unknown task 'nonsense'"),
        (dict(seeds=0), "^seeds: got 0"),
        (dict(steps=float("nan")), "^steps: got nan"),
        (dict(episodes=0), "^episodes: got 0"),
    ],
)
def test_a_folder_of_somebody_else_stays_as_it_is(tmp_path, options, message):
    (tmp_path / "gail").mkdir()
    (tmp_path / "demos.npz").write_text("mine")
    with pytest.raises(GailfeError, match=message):
        quickstart.quickstart(tmp_path, **options)
    assert {path.name for path in tmp_path.iterdir()} == {"gail", "demos.npz"}


@pytest.mark.parametrize(
    ("called", "found", "program"),
    [
        (".venv/bin/gailfe", None, ".venv/bin/gailfe"),
        (".venv/bin/gailfe", "/usr/bin/gailfe", "gailfe"),
        ("my_script.py", None, "gailfe"),
    ],
)
def test_what_is_next_can_be_typed_in_this_shell(tmp_path, monkeypatch, called, found, program):
    monkeypatch.setattr("sys.argv", [called, "quickstart"])
    monkeypatch.setattr(quickstart.shutil, "which", lambda name: found)
    said = quickstart._next_steps(tmp_path, [], 1.0)
    assert f"next: {program} evaluate " in said and f"      {program} demos import " in said
