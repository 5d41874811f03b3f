"""Interruptions that wait for a chunk of iterations to end."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

NUMBERS = (signal.SIGINT, signal.SIGTERM)
_END = bytes([0])  # No signal has this number.
STOPPING = "stopping: the iterations under way are finished and saved first; once more ends it at once, unsaved"


@contextlib.contextmanager
def deferred_signals(say: Callable[[str], None] | None = None) -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of raising, so that a chunk ends and is saved; a second one raises.

    Args:
      say: called with `STOPPING` at the first of them, at once and in a thread of its own. Python itself looks at
        signals between two lines, and while a compiled program runs there is none for seconds or minutes.
    """
    caught: list[int] = []

    def handler(number: int, frame: Any) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    try:
        old = {number: signal.signal(number, handler) for number in NUMBERS}
    except ValueError:  # Not in the main thread: signals are not ours to handle.
        yield caught
        return
    try:
        with _said_at_once(say):
            yield caught
    finally:
        for number, previous in old.items():
            # None is a handler that Python does not know, such as the one of JAX's preemption service.
            signal.signal(number, signal.SIG_DFL if previous is None else previous)


@contextlib.contextmanager
def _said_at_once(say: Callable[[str], None] | None) -> Iterator[None]:
    """Has `say` called as soon as a signal comes, whatever the main thread does."""
    if say is None:
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def listen() -> None:
        said = False
        while (number := os.read(reader, 1)) != _END:
            if before != -1:  # Somebody else listens, too.
                with contextlib.suppress(OSError):
                    os.write(before, number)
            if number[0] in NUMBERS and not said:
                said = True
                say(STOPPING)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        # A word of our own and not the pipe's end, which a forked child that lives on would keep from coming.
        os.write(writer, _END)
        thread.join()
        os.close(writer)
        os.close(reader)
