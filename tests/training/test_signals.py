from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from gailfe_jax.training.signals import STOPPING, deferred_signals


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_kept_and_said_once_and_the_second_raises(number):
    said, before = [], signal.getsignal(number)
    with deferred_signals(said.append) as caught:
        os.kill(os.getpid(), number)
        assert wait_for(lambda: said == [STOPPING]) and caught == [number]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert said == [STOPPING] and signal.getsignal(number) is before
    assert signal.set_wakeup_fd(-1) == -1


def test_other_signals_are_not_spoken_of():
    said, before = [], signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with deferred_signals(said.append) as caught:
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.1)
        assert said == [] and caught == []
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_who_listened_before_still_hears():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer)
    try:
        said = []
        with deferred_signals(said.append):
            os.kill(os.getpid(), signal.SIGINT)
            assert wait_for(lambda: bool(said))
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        # The second one, too, which is said no more.
        assert os.read(reader, 10) == bytes([signal.SIGINT] * 2) and said == [STOPPING]
        assert signal.set_wakeup_fd(before) == writer
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


def test_a_forked_child_that_lives_on_holds_nothing_up():
    # In a process of its own: JAX is not to be forked.
    text = """
import os, time
from gailfe_jax.training.signals import deferred_signals
with deferred_signals(print):
    if (child := os.fork()) == 0:
        time.sleep(60)
        os._exit(0)
os.kill(child, 9)
print("left")
"""
    out = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=30)
    assert out.stdout == "left\n", out.stderr


def test_without_a_word_nothing_listens():
    with deferred_signals() as caught:
        assert signal.set_wakeup_fd(-1) == -1
        os.kill(os.getpid(), signal.SIGTERM)
        assert wait_for(lambda: caught == [signal.SIGTERM])


def test_in_another_thread_signals_are_left_alone():
    found = []

    def run():
        with deferred_signals(found.append) as caught:
            found.append(caught)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [[]]


def test_it_is_said_while_the_main_thread_is_busy_in_a_library():
    """One long call stands for a compiled program: Python looks at no signal before it returns."""
    text = """
import hashlib, os, signal, threading, time
from gailfe_jax.training.signals import deferred_signals
said = []
with deferred_signals(lambda text: said.append(time.monotonic())) as caught:
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    hashlib.pbkdf2_hmac("sha256", b"word", b"salt", 3_000_000)
    ended = time.monotonic()
print(ended - said[0] > 0.3, len(caught))
"""
    out = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=120)
    assert out.stdout.split() == ["True", "1"], out.stderr
