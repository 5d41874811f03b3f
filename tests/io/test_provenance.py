from __future__ import annotations

import getpass
import json
import platform
import subprocess
from datetime import datetime

import pytest

from gailfe_jax.io import provenance as module
from gailfe_jax.io.provenance import command_line, git_state, provenance


def test_it_is_json_with_what_a_reader_needs():
    found = json.loads(json.dumps(provenance()))
    assert datetime.fromisoformat(found["date"]).utcoffset().total_seconds() == 0
    assert found["python"] == platform.python_version()
    assert found["versions"]["mujoco"].startswith("3.17")
    assert found["hardware"]["cores"] >= 1
    assert found["hardware"]["cpu"]
    assert platform.node() not in json.dumps(found) or len(platform.node()) < 4
    assert f"/{getpass.getuser()}/" not in json.dumps(found)


def test_command_line_reads_as_typed_and_hides_foreign_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inside, outside = str(tmp_path / "runs" / "x"), "/somewhere/else/demos.npz"
    assert command_line(["/somewhere/bin/gailfe", "train", "--steps", "1e6"]) == "gailfe train --steps 1e6"
    assert (
        command_line(["gailfe", "--out", inside, f"--demos={outside}"]) == "gailfe --out runs/x --demos=.../demos.npz"
    )
    assert command_line([str(tmp_path / "experiments" / "figure1.py"), "a b"]) == "python experiments/figure1.py 'a b'"
    words = ["gailfe", "train", "--distributed", "node17:1234", "2", "0"]
    assert command_line(words) == "gailfe train --distributed HOST:PORT 2 0"
    cli = str(module.Path(module.__file__).parent.parent / "cli" / "main.py")
    assert command_line([cli, "bench"]) == "python -m gailfe_jax.cli.main bench"


def test_git_state_of_a_repository(tmp_path):
    def git(*words):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", *identity, "-C", str(tmp_path), *words], check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    package, installed = tmp_path / "package", tmp_path / ".venv" / "package"
    for folder in (package, installed, tmp_path / "experiments" / "results"):
        folder.mkdir(parents=True)
        (folder / "file.py").write_text("x = 1\n")
    git("add", "package", "experiments")
    git("commit", "-q", "-m", "first")
    clean = {"commit": git("rev-parse", "HEAD"), "dirty": False}
    assert git_state(package) == clean
    assert git_state(installed) is None  # untracked: somebody else's repository
    (tmp_path / "experiments" / "results" / "file.py").write_text("x = 2\n")
    assert git_state(package) == clean  # results change while an experiment writes them
    (package / "file.py").write_text("x = 2\n")
    assert git_state(package) == clean | {"dirty": True}


def test_no_git_is_no_error(tmp_path, monkeypatch):
    assert git_state(tmp_path) is None
    monkeypatch.setenv("PATH", "")
    assert git_state(module.Path(module.__file__).parent) is None


@pytest.mark.parametrize("argv", [[], [""], ["-c"]])
def test_an_interactive_session_has_a_command(argv):
    assert command_line(argv) == "python"
