"""An expert and demonstrations for the commands, and how a command refuses bad input."""

from __future__ import annotations

import numpy as np
import pytest

from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.cli.main import main
from tests.runs import contents


@pytest.fixture(scope="session")
def expert_file(tmp_path_factory):
    rng = np.random.default_rng(0)
    policy = Policy(
        weights=[(rng.normal(size=(11, 8)), np.zeros(8)), (rng.normal(size=(8, 3)), np.zeros(3))],
        activation="tanh", obs_mean=np.zeros(11), obs_std=np.ones(11), log_std=np.zeros(3), action_low=-1,
        action_high=1, metadata={"env": "hopper", "seed": "5"},
    )  # fmt: skip
    return policy.save(tmp_path_factory.mktemp("expert") / "expert.safetensors")


@pytest.fixture(scope="session")
def demos_file(expert_file, tmp_path_factory):
    path = tmp_path_factory.mktemp("demos") / "folder" / "demos.npz"
    words = f"demos --env hopper --expert {expert_file} --trajectories 4 --failures 8 --keep-failed --out {path}"
    assert main(words.split()) == 0
    return path


@pytest.fixture
def refused(request, expert_file, tmp_path, monkeypatch, capsys):
    """`refused(words, message)`: the command ends in one line that holds `message`, exits with 2 and writes nothing.

    In the current folder are `full`, a folder with somebody's file, and `damaged.npz`; `{demos}` and `{expert}` in the
    words stand for files.
    """
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    np.savez(tmp_path / "damaged.npz", obs=np.zeros((9, 11)), action=np.zeros((9, 3)))
    whole = (tmp_path / "damaged.npz").read_bytes()
    (tmp_path / "damaged.npz").write_bytes(whole[: len(whole) // 2])
    monkeypatch.chdir(tmp_path)

    def check(words, message):
        files = {"expert": expert_file}
        if "{demos}" in words:
            files["demos"] = request.getfixturevalue("demos_file")
        capsys.readouterr()
        before = contents(tmp_path)
        assert main(words.format(**files).split()) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("gailfe: error: ") and captured.err.count("\n") == 1
        assert message in captured.err
        assert captured.out == ""
        assert contents(tmp_path) == before

    return check
