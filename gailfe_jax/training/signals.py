"""Interruptions that wait for a chunk of iterations to end."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def deferred_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of raising, so that a chunk ends and is saved; a second one raises."""
    caught: list[int] = []

    def handler(number: int, frame: Any) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    try:
        old = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # Not in the main thread: signals are not ours to handle.
        yield caught
        return
    try:
        yield caught
    finally:
        for number, previous in old.items():
            # None is a handler that Python does not know, such as the one of JAX's preemption service.
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
