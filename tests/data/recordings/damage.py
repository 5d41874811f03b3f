"""Files changed at random, and what a reader may make of them: valid demonstrations, or one line of ours."""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Iterator

import numpy as np

from benchmarks.fuzz.kinds import recording
from benchmarks.fuzz.raw import changed
from gailfe_jax.errors import GailfeError


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
        recording(path, words)
    except GailfeError as error:
        message = str(error)
        assert "\n" not in message and message.startswith(str(path)), message
        return "refused"
    return "read"
