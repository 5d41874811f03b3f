"""What orbax is to believe while it is called, and what it is not to print."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import jax

_REPEATED = "_SignalingThread.run() raised an exception"
"""How orbax's threads log what is raised to their caller, too."""


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

    Each of its threads logs it with a traceback. Tensorstore's threads go on, and print, for each array, that nobody
    waits for it any more. That may be later, so after an error it is kept out to the end of the process.
    """
    log = logging.getLogger("absl")
    if not any(isinstance(held, _Repeated) for held in log.filters):
        log.addFilter(_Repeated())
    before = sys.excepthook
    if not isinstance(before, _Hook):
        sys.excepthook = _Hook(before)
    yield
    sys.excepthook = before


class _Repeated(logging.Filter):
    """Passes all records but those of an error that is raised as well."""

    def filter(self, record: logging.LogRecord) -> bool:
        return _REPEATED not in str(record.msg)


class _Hook:
    """Shows uncaught errors as before, but for those that say that an event loop has ended."""

    def __init__(self, before: Any):
        self.before = before

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        frames = traceback.extract_tb(trace)
        asked = bool(frames) and frames[0].filename == asyncio.base_events.__file__
        if not (kind is RuntimeError and asked and str(error) == "Event loop is closed"):
            self.before(kind, error, trace)
