"""A folder or file of somebody else's has nothing run: no module imported, no function called, no job submitted."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.cli import sweep as sweep_command
from gailfe_jax.cli.main import main
from gailfe_jax.errors import GailfeError, GailfeWarning
from gailfe_jax.io.user_modules import ask_for, check_asked_for, only_asked_for

EVIL = """
import pathlib
pathlib.Path("ran").touch()
def act(obs):
    pathlib.Path("ran").touch()
"""
_PPO = ["--algo", "ppo", "--quiet"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Somebody's folder: a module, and room for what names it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil_twin.py").write_text(EVIL)
    (tmp_path / "x").mkdir()
    path = list(sys.path)
    yield tmp_path / "x"
    sys.path[:] = path
    assert "evil_twin" not in sys.modules


def _run(folder, **changes):
    record = {"version": 2, "algo": "ppo", "environment": {"env": "cartpole"}, "method": {}, "run": {}, "demos": {}}
    (folder / "config.json").write_text(json.dumps(record | {"engine": "own", "imports": []} | changes))


def _sweep(folder, *words):
    record = {"version": 2, "words": ["--out", str(folder), *words], "settings": {}, "imports": []}
    (folder / "sweep.json").write_text(json.dumps(record))


def _policy(path):
    zeros = np.zeros
    Policy([(zeros((4, 2)), zeros(2))], "tanh", zeros(4), np.ones(4), None, 0, 1, {"env": "gym:evil_twin:X-v0"}).save(
        path
    )
    return str(path)


NAMES_A_MODULE = {
    "a run's environment": (lambda x: _run(x, environment={"env": "gym:evil_twin:X-v0"}), ["train", "--resume"]),
    "a delayed one": (lambda x: _run(x, environment={"env": "delayed2:gym:evil_twin:X-v0"}), ["train", "--resume"]),
    "one that restarts": (lambda x: _run(x, environment={"env": "gym:evil_twin:X-v0"}), ["train", "--restart"]),
    "a run's expert": (lambda x: _run(x, algo="dagger", demos={"expert": "evil_twin:act"}), ["train", "--resume"]),
    "one in a file": (lambda x: _run(x, algo="dagger", demos={"expert": "evil_twin.py:act"}), ["train", "--resume"]),
    "an expert of Python's": (lambda x: _run(x, algo="dagger", demos={"expert": "os:abort"}), ["train", "--resume"]),
    "a sweep's environment": (
        lambda x: _sweep(x, *_PPO, "--grid", "gamma=0.9", "--env", "gym:evil_twin:X-v0"), ["sweep", "--resume"]
    ),
    "one of its settings": (
        lambda x: _sweep(x, *_PPO, "--grid", "env=cartpole,gym:evil_twin:X-v0"), ["sweep", "--resume"]
    ),
    "one that is drawn": (
        lambda x: _sweep(x, *_PPO, "--random", "env=choice:gym:evil_twin:X-v0,cartpole", "--samples", "2"),
        ["sweep", "--resume"],
    ),
    "a sweep's expert": (
        lambda x: _sweep(x, "--algo", "dagger", "--env", "hopper", "--grid", "expert=evil_twin:act", "--quiet"),
        ["sweep", "--resume"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMES_A_MODULE)
def test_no_module_is_imported_because_a_folder_names_it(case, folder, capsys):
    make, (command, *words) = NAMES_A_MODULE[case]
    make(folder)
    assert main([command, "--out", "x", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("gailfe: error: ") and said.count("\n") == 1
    assert "no file has one imported; expected it again as a flag, or --import" in said
    assert not (folder.parent / "ran").exists()


def test_no_module_is_imported_because_a_policy_names_it(folder, capsys):
    assert main(["evaluate", _policy(folder / "x.safetensors")]) == 2
    assert "names the module 'evil_twin', and no file has one imported" in capsys.readouterr().err
    assert not (folder.parent / "ran").exists()


def test_a_flag_that_a_sweep_folder_brings_imports_nothing(folder, capsys):
    _sweep(folder, *_PPO, "--grid", "gamma=0.9", "--import", "evil_twin")
    assert main(["sweep", "--out", "x", "--resume"]) == 2
    assert "import: no such setting" in capsys.readouterr().err
    _sweep(folder, *_PPO, "--grid", "gamma=0.9", "--tyro-write-completion", "bash", "written")
    assert main(["sweep", "--out", "x", "--resume"]) == 2
    assert "no such setting" in capsys.readouterr().err and not (folder.parent / "written").exists()
    _sweep(folder, *_PPO, "--grid", "gamma=0.9", "-h")
    assert main(["sweep", "--out", "x", "--resume"]) == 2
    assert "field 'words': got '-h'; expected settings" in capsys.readouterr().err
    _sweep(folder, *_PPO, "--grid", 3)
    assert main(["sweep", "--out", "x", "--resume"]) == 2
    assert "field 'words': expected texts" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--cluster", "slurm"], ["--cluster=slurm"], ["--cluster", "local", "--cluster-options", "a=1", "b=2"]]
)
def test_a_sweep_folder_submits_no_job(words, folder, monkeypatch, capsys):
    from gailfe_jax.sweep import study

    monkeypatch.setattr(study, "make_executor", lambda *_: pytest.fail("a job"))
    _sweep(folder, *_PPO, "--env", "cartpole", *words, "--grid", "gamma=0.9")
    assert main(["sweep", "--out", "x", "--resume"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("gailfe: warning: x: was started with --cluster") and "give it again" in said[0]
    # It went on to compare the settings.
    assert "0 in the folder and 1 now" in said[-1]


def test_flags_that_are_given_again_count():
    held = ["--grid", "gamma=0.9", "--cluster", "slurm", "--cluster_options", "a=1", "--seeds", "2"]
    again = ["--resume", "--cluster", "slurm", "--cluster-options", "a=1"]
    assert sweep_command._as_data("x", held, again) == ["--grid", "gamma=0.9", "--seeds", "2"]
    with pytest.warns(GailfeWarning, match="x: was started with --cluster, which no folder brings"):
        sweep_command._as_data("x", held, ["--resume", "--cluster-options", "a=1"])


def test_a_module_that_the_user_names_may_be_imported():
    check_asked_for("mine", "from Python")
    for words in (["--env", "gym:mine:X-v0"], ["--env=delayed2:gym:mine:X-v0?a=1"], ["--expert", "mine:act"]):
        with only_asked_for(words):
            check_asked_for("mine", "x")
    with only_asked_for(["--expert", "folder/mine.py:act"]):
        check_asked_for("folder/mine.py", "x")
        for other in ("mine", "folder", "mine.py"):
            with pytest.raises(GailfeError, match=f"x: a file names the module '{other}'"):
                check_asked_for(other, "x")
        ask_for(["gym:mine:X-v0"])
        check_asked_for("mine", "x")
    check_asked_for("anything", "outside")
