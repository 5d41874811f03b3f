"""What orbax is to believe while it is called, and what it is not to print."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator
from typing import Any

import jax

from gailfe_jax.errors import one_line

_LOG = logging.getLogger(__name__)
_REASONS = {
    "RESOURCE_EXHAUSTED": errno.ENOSPC,
    "PERMISSION_DENIED": errno.EACCES,
    "NOT_FOUND": errno.ENOENT,
}
"""What tensorstore calls refusals of the file system where it does not give the system's own words."""
_PATIENCE = 5.0
"""Seconds for a thread that has been told to end."""
_ORBAX = os.path.join("orbax", "checkpoint", "")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Lets orbax believe that this process is the only one.

    In a run of several it waits for all of them whatever its options say (0.12 compares everybody's path even where one
    process is named as the only active one); here one process saves what all have brought together.
    """
    count = jax.process_count
    if count() == 1:
        yield
        return
    setattr(jax, "process_count", lambda *_: 1)  # noqa: B010
    try:
        yield
    finally:
        setattr(jax, "process_count", count)  # noqa: B010


@contextlib.contextmanager
def without_noise() -> Iterator[None]:
    """Keeps out what orbax prints of an error besides raising it.

    Each of its threads logs it with a traceback. Where one array has failed the threads of tensorstore still report the
    others, to an event loop that has ended by then, and Python would print a traceback for each. Of a coroutine that
    nothing came of Python warns when it is thrown away.
    """
    log, repeated = logging.getLogger("absl"), _Repeated()
    # Orbax makes loops of both, of which the second need not be installed.
    running = set(threading.enumerate())
    makers = [module for name in ("asyncio", "uvloop") if (module := sys.modules.get(name)) is not None]
    before = [module.new_event_loop for module in makers]
    log.addFilter(repeated)
    for module in makers:
        setattr(module, "new_event_loop", _Loop)  # noqa: B010
    try:
        yield
    except BaseException as error:
        _end_threads(running)
        _throw_away(error)
        raise
    finally:
        for module, maker in zip(makers, before):
            setattr(module, "new_event_loop", maker)  # noqa: B010
        log.removeFilter(repeated)


def _end_threads(but: Collection[threading.Thread]) -> None:
    """Ends the threads of orbax that wait for what has failed: with them the process would go on for minutes."""
    for thread in threading.enumerate():
        if thread not in but and type(thread).__module__.startswith("orbax."):
            # None of it is promised by orbax, and an error is raised already.
            with contextlib.suppress(Exception):
                held: Any = thread
                held.cancel()
                told = sys.modules[type(thread).__module__]
                told.set_signals(held._receive_signals, operation_id=held._operation_id)
                threading.Thread.join(thread, _PATIENCE)


def _throw_away(error: BaseException) -> None:
    """Ends at once what only the frames of an error hold, and without a word."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        link: BaseException | None = error
        while link is not None:
            traceback.clear_frames(link.__traceback__)
            link = link.__cause__ or link.__context__
        gc.collect()


def in_words(error: Exception) -> str:
    """What the file system said, of which orbax and tensorstore make many types; else their first line."""
    said = str(error)
    known = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EIO)
    code = next((code for code in known if os.strerror(code) in said), None)
    code = code or next((code for name, code in _REASONS.items() if name in said), None)
    return one_line(error, first=True) if code is None else os.strerror(code)


class _Repeated(logging.Filter):
    """Passes all records but what orbax complains of: it is raised as well, or of no matter."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno < logging.WARNING or _ORBAX not in record.pathname


class _Loop(asyncio.SelectorEventLoop):
    """An event loop to which anything may still be reported when it has ended, and that prints nothing by itself."""

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any, context: Any = None) -> asyncio.Handle:
        try:
            return super().call_soon_threadsafe(callback, *args, context=context)
        except RuntimeError:
            if not self.is_closed():
                raise
        late = asyncio.Handle(callback, args, self, context)
        late.cancel()
        return late

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        # Such as that nobody has asked how a task of the same save ended: one of them is raised.
        _LOG.debug("%s", context.get("message"))
