"""Files changed at random, and what a reader may make of them: valid demonstrations, or one line of ours."""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Iterator

import numpy as np

from gailfe_jax.data.episodes import build
from gailfe_jax.data.recordings import read_recording
from gailfe_jax.data.recordings.fields import Request
from gailfe_jax.data.trajectories import Demonstrations, Trajectories
from gailfe_jax.errors import GailfeError

_NUMBERS = (0, 2**31 - 1, 2**40, 2**63 - 1, 2**64 - 1)


def changed(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut off, with a few bytes changed or put in between, or with a number that is far too large."""
    data = bytearray(content)
    kind = int(rng.integers(6))
    if kind == 0:
        return bytes(data[: int(rng.integers(len(data) + 1))])
    if kind == 1 and len(data) > 8:
        place = int(rng.integers(len(data) - 8))
        data[place : place + 8] = _NUMBERS[int(rng.integers(len(_NUMBERS)))].to_bytes(8, "little")
    elif kind == 2:
        place = int(rng.integers(len(data) + 1))
        data[place:place] = rng.bytes(int(rng.integers(1, 16)))
    elif data:
        for _ in range(int(rng.integers(1, 8))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
    return bytes(data)


def damaged(source: pathlib.Path, work: pathlib.Path, count: int, seed: int) -> Iterator[pathlib.Path]:
    """`count` copies of a file or folder, each with one file changed; one at a time."""
    rng = np.random.default_rng(seed)
    target = work / source.name
    names = [""] if source.is_file() else sorted(str(p.relative_to(source)) for p in source.rglob("*") if p.is_file())
    if source.is_dir():
        shutil.copytree(source, target)
    for _ in range(count):
        name = names[int(rng.integers(len(names)))]
        content = (source / name).read_bytes()
        (target / name).write_bytes(changed(content, rng))
        yield target
        (target / name).write_bytes(content)


def outcome(path: pathlib.Path, words: tuple[str, ...] = ()) -> str:
    """`read` or `refused`.

    Raises:
      AssertionError: a message of several lines, or one that does not begin with the file.
      Exception: anything that is no error of ours.
    """
    try:
        recording = read_recording(path, Request.of_words(words))
        left = build(recording.name, recording.episodes, ends="truncated").trajectories
        nothing = Trajectories.empty(left.obs.shape[1], left.action.shape[1])
        Demonstrations("x", left, nothing).validate(recording.name)
    except GailfeError as error:
        message = str(error)
        assert "\n" not in message and message.startswith(str(path)), message
        return "refused"
    return "read"
