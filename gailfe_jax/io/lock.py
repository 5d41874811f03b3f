"""One folder, one process: a lock that the system lets go of when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from gailfe_jax.errors import GailfeError
from gailfe_jax.io.atomic import is_draft, write_json_atomic
from gailfe_jax.io.json_text import read_json

try:
    import fcntl
except ImportError:  # Not on Windows, where nothing is locked.
    fcntl = None

HOLDER = "in_use.json"
"""Names who holds the lock, for people; it may outlive a kill, and means nothing then."""
# Some network drives lock nothing.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.EACCES)


class Held:
    """A folder that this process alone writes to, from `held`."""

    def __init__(self, folder: Path, descriptor: int | None):
        self.folder = folder
        self._descriptor = descriptor

    def check(self) -> None:
        """Holds that the folder is still where it was.

        Raises:
          GailfeError: it was removed, moved or replaced.
        """
        if self._descriptor is None:
            return
        ours = os.fstat(self._descriptor)
        try:
            there = os.stat(self.folder)
        except OSError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            raise GailfeError(f"{self.folder}: was removed, moved or replaced while it was written to; stopping here")


@contextlib.contextmanager
def held(folder: str | os.PathLike[str]) -> Iterator[Held]:
    """Inside, no other process that asks may write to `folder`, which is there.

    Raises:
      GailfeError: another process holds it; the message says which.
    """
    folder = Path(folder)
    if fcntl is None:
        yield Held(folder, None)
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        yield Held(folder, None)
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise GailfeError(f"{folder}: {_holder(folder)}; expected one process for one folder") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield Held(folder, descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def named(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Inside, a file in `folder` says who writes to it; of a folder that is held."""
    path = Path(folder) / HOLDER
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    write_json_atomic(path, {"process": os.getpid(), "host": socket.gethostname(), "since": now})
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def is_held(folder: str | os.PathLike[str]) -> bool:
    """Whether a process writes to `folder`, as far as the folder says; nothing is locked to find out."""
    try:
        said = read_json(Path(folder) / HOLDER)
        process, host = int(said["process"]), said["host"]
    except (OSError, ValueError, TypeError, KeyError):
        return False
    if host != socket.gethostname() or fcntl is None:
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # Another user's.
        return True
    return process > 0


def holds_nothing(folder: str | os.PathLike[str]) -> bool:
    """Whether there is nothing in a folder but what a killed process may leave before it has written anything whole."""
    return all(path.name == HOLDER or is_draft(path) for path in Path(folder).iterdir())


def _holder(folder: Path) -> str:
    """Who holds a folder, as far as it says."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        said = read_json(folder / HOLDER)
        return f"process {int(said['process'])} on {said['host']!s} writes to it since {said['since']!s}"
    return "another process writes to it"
