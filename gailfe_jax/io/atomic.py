"""Files that are written whole or not at all.

A reader, a kill and a power cut meet the old file or the new one, never half of either.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_DRAFT = re.compile(r"\..+\.[0-9a-f]{32}\.partial(\.[\w.]+)?")
"""Names of what is being written, and of what a kill left half written."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, suffix: str = "") -> Iterator[Path]:
    """A hidden name beside `path`; what the block writes there takes the place of `path` when the block ends.

    The new content is on disk before the rename, and the rename before this returns. Where the block or the file system
    fails, the hidden file is removed and the old file stays.

    Args:
      path: the file to write, in a folder that exists.
      suffix: how the hidden name ends, for writers that read the kind of file off its name.

    Raises:
      OSError: the file cannot be written.
    """
    path = Path(path)
    if not path.name or path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial{suffix}")
    try:
        yield draft
        sync_file(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def is_draft(path: str | os.PathLike[str]) -> bool:
    """Whether a file has the hidden name of one that is being written, or that a kill left half written."""
    return _DRAFT.fullmatch(Path(path).name) is not None


def remove_drafts(folder: str | os.PathLike[str]) -> None:
    """Removes what killed processes left half written in a folder and below it; nobody else may write there now."""
    for path in filter(is_draft, Path(folder).rglob(".*")):
        path.unlink(missing_ok=True)


def write_bytes_atomic(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes `content`; folders are made.

    Raises:
      OSError: the file cannot be written.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        draft.write_bytes(content)


def write_text_atomic(path: str | os.PathLike[str], text: str) -> None:
    """Writes `text` in UTF-8; folders are made.

    Raises:
      OSError: the file cannot be written.
    """
    write_bytes_atomic(path, text.encode())


def write_json_atomic(path: str | os.PathLike[str], obj: Any) -> None:
    """Writes `plain(obj)` as JSON; folders are made.

    Raises:
      TypeError: `obj` holds something JSON has no word for.
      OSError: the file cannot be written.
    """
    write_text_atomic(path, json.dumps(plain(obj), indent=2, allow_nan=False) + "\n")


def plain(obj: Any) -> Any:
    """`obj` in the types of JSON.

    NumPy and JAX numbers and arrays become numbers and lists, paths become strings, what is not finite becomes None.
    """
    if isinstance(obj, Mapping):
        return {str(key): plain(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [plain(value) for value in obj]
    if isinstance(obj, os.PathLike):
        return os.fspath(obj)
    if isinstance(obj, bool | int | str) or obj is None:
        return obj
    if isinstance(obj, float):
        return obj if math.isfinite(obj) else None
    if hasattr(obj, "tolist"):
        return plain(obj.tolist())
    return obj


def sync_file(path: str | os.PathLike[str]) -> None:
    """Returns once the content of the file `path` is on disk."""
    # Windows syncs no file that is open for reading only.
    with open(path, "rb" if os.name == "posix" else "rb+") as file:
        os.fsync(file.fileno())


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Returns once the names in the folder `path` are on disk: only then is a rename safe from a power cut."""
    if os.name != "posix":
        return  # Other systems do not open folders.
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        return  # One may write into a folder that one may not read.
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network drives open folders and do not sync them.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
