"""Pictures of a task's states, drawn on demand by a child process (see `gailfe_jax.analysis.opengl` for why)."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Hashable
from typing import IO, Any

import numpy as np

from gailfe_jax.analysis.opengl import HINT, child_command, child_environment, platforms
from gailfe_jax.envs.registry import base_name, find_task
from gailfe_jax.errors import GailfeError, one_line
from gailfe_jax.io.user_modules import import_user_module, imported_modules

_LENGTH = struct.Struct("<q")
_KEPT = 2000
"""Pictures that are kept: some tens of megabytes."""
_QUALITY = 85


class Pictures:
    """Draws a MuJoCo task. The child starts at once and in the background; `draw` waits for it.

    Args:
      env: name of the task, for `make_env`.
      start: a state `(qpos [nq], qvel [nv])` that is drawn to see whether a platform renders.
      size: of the picture in pixels, both ways.
    """

    def __init__(self, env: str, start: tuple[np.ndarray, np.ndarray], size: int):
        self._order = {"env": base_name(env), "modules": imported_modules(), "size": size, "nq": len(start[0])}
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._kept: collections.OrderedDict[Hashable, bytes] = collections.OrderedDict()
        self.problem: str | None = None
        """Why nothing can be drawn, once that is known."""
        self._begun = threading.Thread(target=self._begin, args=start, daemon=True)
        self._begun.start()

    def draw(self, key: Hashable, state: Callable[[], tuple[np.ndarray, np.ndarray]]) -> bytes:
        """A JPEG of `state() -> (qpos [nq], qvel [nv])`, which is asked for unless the picture of this `key` is kept.

        Raises:
          GailfeError: nothing can be drawn here.
        """
        self._begun.join()
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            if self.problem is not None or self._child is None:
                raise GailfeError(self.problem or "pictures: closed")
            try:
                picture = _ask(self._child, *state())
            except (OSError, EOFError) as error:
                self.problem = f"pictures: the process that draws has ended ({one_line(error)})"
                raise GailfeError(self.problem) from None
            self._kept[key] = picture
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return picture

    def close(self) -> None:
        """Ends the child."""
        self._closed = True
        child = self._child
        if child is not None:
            self._child = None
            _end(child)

    def _begin(self, qpos: np.ndarray, qvel: np.ndarray) -> None:
        failures = []
        for platform in platforms():
            child = subprocess.Popen(
                child_command("gailfe_jax.annotate.pictures"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=child_environment(platform),
                # Ctrl-C in the terminal is for this process, which then ends the child.
                start_new_session=os.name == "posix",
            )
            try:
                _write(child.stdin, json.dumps(self._order).encode())
                _ask(child, qpos, qvel)
            except (OSError, EOFError, GailfeError) as error:
                if self._closed:
                    return
                said = _end(child)
                failures.append(f"{platform}: {error if isinstance(error, GailfeError) else said}")
                continue
            # Nobody reads it from here on: a full pipe would stop the child.
            threading.Thread(target=_drain, args=(child.stderr,), daemon=True).start()
            self._child = child
            if self._closed:
                self.close()
            return
        self.problem = f"no OpenGL platform renders on this machine ({'; '.join(failures)}); {HINT}"


def _ask(child: subprocess.Popen[bytes], qpos: np.ndarray, qvel: np.ndarray) -> bytes:
    """The child's picture of a state.

    Raises:
      OSError, EOFError: the child has ended.
      GailfeError: it says why it cannot draw.
    """
    _write(child.stdin, np.concatenate([qpos, qvel]).astype("<f8").tobytes())
    reply = _read(child.stdout)
    if reply[:1] != b"+":
        raise GailfeError(reply[1:].decode(errors="replace"))
    return reply[1:]


def _end(child: subprocess.Popen[bytes]) -> str:
    """Ends a child; the last line that it said, or its exit code."""
    if child.poll() is None:
        with contextlib.suppress(OSError):
            assert child.stdin is not None
            child.stdin.close()
        try:
            child.wait(timeout=2)
        except subprocess.TimeoutExpired:
            child.kill()
    with contextlib.suppress(OSError, ValueError):
        assert child.stderr is not None
        lines = child.stderr.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), f"exit code {child.wait()}")
    return f"exit code {child.wait()}"


def _drain(pipe: IO[bytes] | None) -> None:
    with contextlib.suppress(OSError, ValueError):
        while pipe is not None and pipe.read(65536):
            pass


def _write(pipe: IO[bytes] | None, message: bytes) -> None:
    assert pipe is not None
    pipe.write(_LENGTH.pack(len(message)) + message)
    pipe.flush()


def _read(pipe: IO[bytes] | None) -> bytes:
    """The next message. Raises EOFError where there is none."""
    assert pipe is not None
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError("no answer")
    message = pipe.read(_LENGTH.unpack(head)[0])
    if len(message) < _LENGTH.unpack(head)[0]:
        raise EOFError("half an answer")
    return message


def _child_main() -> None:
    """Answers each state with `+` and a JPEG, or `-` and why not, until its input ends."""
    answers, given = os.fdopen(os.dup(1), "wb"), sys.stdin.buffer
    # What a library prints is no answer.
    os.dup2(2, 1)
    order = json.loads(_read(given))
    picture: Any = None
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            state = np.frombuffer(_read(given), "<f8")
            try:
                if picture is None:
                    picture = _picture(order)
                _write(answers, b"+" + _jpeg(picture, state, order["nq"]))
            except Exception as error:  # Whatever MuJoCo, OpenGL and a user's module raise.
                _write(answers, b"-" + one_line(error, first=True).encode())


def _picture(order: dict[str, Any]) -> Any:
    for module in order["modules"]:
        import_user_module(module)
    from gailfe_jax.envs.physics.picture import Picture

    return Picture(find_task(order["env"]), order["size"], order["size"], "track", plain=True)


def _jpeg(picture: Any, state: np.ndarray, nq: int) -> bytes:
    import imageio.v3 as iio

    frame = picture.draw(state[:nq], state[nq:])
    if not frame.any():
        raise GailfeError("the picture is black")
    return iio.imwrite("<bytes>", frame, extension=".jpg", quality=_QUALITY)


if __name__ == "__main__":
    _child_main()
