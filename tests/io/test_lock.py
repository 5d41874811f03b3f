"""One folder, one process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from gailfe_jax.errors import GailfeError
from gailfe_jax.io.lock import HOLDER, held, holds_nothing, named

HOLDS = """
import sys, time
from gailfe_jax.io.lock import held, named
with held(sys.argv[1]), named(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
    """A process that holds the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_another_process_is_named_and_a_kill_lets_go(tmp_path, other):
    with pytest.raises(GailfeError, match=rf"process {other.pid} on .* writes to it since 20.*; expected one process"):
        with held(tmp_path):
            pass
    other.kill()
    other.wait()
    # What names the holder is left over, and means nothing.
    assert json.loads((tmp_path / HOLDER).read_text())["process"] == other.pid
    with held(tmp_path), named(tmp_path):
        assert json.loads((tmp_path / HOLDER).read_text())["process"] == os.getpid()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("said", [None, "x", "[]", '{"process": "x"}', "{}"])
def test_a_holder_that_says_nothing_is_told_all_the_same(tmp_path, said):
    if said is not None:
        (tmp_path / HOLDER).write_text(said)
    with held(tmp_path), pytest.raises(GailfeError, match="another process writes to it"), held(tmp_path):
        pass


def test_a_folder_that_is_gone_or_another_is_noticed(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with held(folder) as lock:
        lock.check()
        shutil.move(folder, tmp_path / "moved")
        with pytest.raises(GailfeError, match=r"run: was removed, moved or replaced while it was written to"):
            lock.check()
        folder.mkdir()
        with pytest.raises(GailfeError, match="removed, moved or replaced"):
            lock.check()


def test_a_folder_holds_nothing_but_what_a_kill_leaves(tmp_path):
    assert holds_nothing(tmp_path)
    (tmp_path / HOLDER).write_text("{}")
    (tmp_path / f".config.json.{'0f' * 16}.partial").write_text("half")
    assert holds_nothing(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    assert not holds_nothing(tmp_path)
