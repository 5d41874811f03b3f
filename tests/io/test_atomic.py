"""Writing whole files: what is on disk after a write, a failing write and a kill."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import stat
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.io.atomic import (
    is_draft,
    remove_drafts,
    replacing,
    sync_folder,
    write_bytes_atomic,
    write_json_atomic,
    write_text_atomic,
)

WRITES = {
    "bytes": (write_bytes_atomic, b"\x00\xff", b"\x00\xff"),
    "text": (write_text_atomic, "∞\n", "∞\n".encode()),
    "JSON": (write_json_atomic, {"a": [1, 2]}, b'{\n  "a": [\n    1,\n    2\n  ]\n}\n'),
}


def fill(path, content):
    with replacing(path) as draft:
        draft.write_bytes(content)


@pytest.mark.parametrize("name", WRITES)
def test_the_content_is_written_and_folders_are_made(tmp_path, name):
    write, value, content = WRITES[name]
    path = tmp_path / "a" / "b" / "file"
    for _ in range(2):
        write(str(path), value)
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]


def test_json_holds_plain_values(tmp_path):
    path = tmp_path / "folder" / "summary.json"
    write_json_atomic(
        path, {"a": jnp.arange(2), "b": np.float32(0.5), "c": (math.nan, True), "d": path, 3: np.bool_(0)}
    )
    assert json.loads(path.read_text()) == {"a": [0, 1], "b": 0.5, "c": [None, True], "d": str(path), "3": False}
    with pytest.raises(TypeError):
        write_json_atomic(path, {"a": object()})
    assert json.loads(path.read_text())["b"] == 0.5


@pytest.mark.parametrize("write", [*(entry[:2] for entry in WRITES.values()), (fill, b"new")])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch, call, write):
    path = tmp_path / "summary.json"
    write_json_atomic(path, {"old": 1})

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="disk full"):
        write[0](path, write[1])
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_leaves_nothing(tmp_path):
    path = tmp_path / "film.mp4"

    def film(begun):
        with replacing(path, suffix=".mp4") as draft:
            assert (draft.parent, draft.suffix) == (tmp_path, ".mp4")
            if begun:
                draft.write_bytes(b"half a film")
            raise RuntimeError("no picture")

    for begun in (True, False):
        with pytest.raises(RuntimeError, match="no picture"):
            film(begun)
        assert list(tmp_path.iterdir()) == []


def test_content_is_on_disk_before_the_rename_and_the_folder_after_it(tmp_path, monkeypatch):
    """The order that a power cut cannot break."""
    done = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor):
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def renamed(old, new):
        done.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    write_text_atomic(tmp_path / "file", "text")
    assert done == ["file", "rename", "folder"]


def test_a_file_has_the_rights_that_any_other_gets(tmp_path):
    write_text_atomic(tmp_path / "ours", "text")
    (tmp_path / "any").write_text("text")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "any").stat().st_mode


@pytest.mark.parametrize(("code", "harmless"), [(errno.EINVAL, True), (errno.ENOTSUP, True), (errno.EIO, False)])
def test_only_a_folder_that_cannot_be_synced_at_all_is_forgiven(tmp_path, monkeypatch, code, harmless):
    def refuse(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    if harmless:
        sync_folder(tmp_path)
    else:
        with pytest.raises(OSError, match=os.strerror(code)):
            sync_folder(tmp_path)


CHILD = """
import sys
from gailfe_jax.io.atomic import write_text_atomic
print("ready", flush=True)
for number in range(10**9):
    write_text_atomic(sys.argv[1], f"{number}\\n" * 20_000)
"""


def test_a_kill_leaves_a_whole_file(tmp_path):
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    path.write_text("old\n")
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    while path.read_text() == "old\n":
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    lines = path.read_text().splitlines()
    assert len(lines) == 20_000 and len(set(lines)) == 1


def test_what_a_kill_left_half_written_is_known_and_removed(tmp_path):
    (tmp_path / "policies").mkdir()
    with replacing(tmp_path / "policies" / "seed_0.npz", suffix=".npz") as draft:
        draft.touch()
    name = draft.name
    (tmp_path / "policies" / "seed_0.npz").unlink()
    left = [tmp_path / f".config.json.{'0f' * 16}.partial", tmp_path / "policies" / name]
    kept = [tmp_path / name for name in ("config.json", ".partial", ".notes.partial", f"x.{'0' * 32}.partial")]
    for path in (*left, *kept):
        path.write_text("half")
    assert [path.name for path in (*left, *kept) if is_draft(path)] == [path.name for path in left]
    remove_drafts(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
