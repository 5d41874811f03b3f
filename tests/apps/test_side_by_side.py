"""Trainings in processes of their own."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time

import pytest

from gailfe_jax.apps.collection import collect_demonstrations
from gailfe_jax.apps.side_by_side import Training, train_side_by_side
from gailfe_jax.artifacts.policy import load_expert
from gailfe_jax.config.run import DemoSettings
from gailfe_jax.envs import make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.training.run_folder import load_policies
from tests.tiny import tiny, tiny_run


@pytest.fixture
def demos(tmp_path):
    made = collect_demonstrations(make_env("cartpole"), load_expert("cartpole"), trajectories=2, seed=0)
    path = tmp_path / "demos.npz"
    made.save(path)
    return DemoSettings(demos=str(path))


def training(folder, demos, algo="bc", **run):
    return Training(tiny(algo), "cartpole", tiny_run(**run), demos, folder)


@pytest.mark.slow
def test_all_of_them_come_to_their_end(tmp_path, demos, capfd, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    folders = [tmp_path / "bc", tmp_path / "gail"]
    assert train_side_by_side([training(folder, demos, folder.name, quiet=False) for folder in folders])
    for folder in folders:
        assert len(load_policies(folder)) == 1 and json.loads((folder / "summary.json").read_text())["finished"]
    shown = capfd.readouterr().out
    assert "bc on cartpole" in shown and "gail (trpo) on cartpole" in shown
    # The processes' surroundings are not this one's.
    assert os.environ["TERM"] == "xterm" and "multi_thread_eigen" not in os.environ.get("XLA_FLAGS", "")


@pytest.mark.slow
def test_the_first_that_fails_ends_the_others_and_is_told(tmp_path, demos):
    missing = DemoSettings(demos=str(tmp_path / "nothing.npz"))
    long, started = training(tmp_path / "long", demos, "gail", steps=1e9), time.monotonic()
    with pytest.raises(GailfeError, match="nothing") as caught:
        train_side_by_side([long, training(tmp_path / "bad", missing)])
    assert "\n" not in str(caught.value) and time.monotonic() - started < 300
    assert not (tmp_path / "bad").exists()


@pytest.mark.slow
def test_a_signal_saves_all_and_they_go_on(tmp_path, demos):
    folder = tmp_path / "gail"
    # Longer than this test could wait for.
    endless = training(folder, demos, "gail", steps=1e9)

    def interrupt():
        metrics = folder / "metrics.jsonl"
        while not metrics.exists() or not metrics.read_text():
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt, daemon=True).start()
    assert not train_side_by_side([endless])
    stopped = json.loads((folder / "summary.json").read_text())
    assert not stopped["finished"] and list((folder / "checkpoints").iterdir())


@pytest.mark.slow
def test_one_that_is_killed_is_told_in_words(tmp_path, demos):
    folder = tmp_path / "gail"

    def kill():
        while not (folder / "config.json").exists():
            time.sleep(0.2)
        for process in multiprocessing.active_children():
            process.kill()

    threading.Thread(target=kill, daemon=True).start()
    with pytest.raises(GailfeError, match="gail: training was killed, as by the system when memory runs out; "):
        train_side_by_side([training(folder, demos, "gail", steps=1e9)])
