"""How a task's own functions fail: in one line that names the function, the file and the line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gailfe_jax.errors import GailfeError, failed
from gailfe_jax.types import Task


class named_failure:
    """Inside, whatever a function of the task raises is a `GailfeError` that names it.

    A class, because it stands around every step of the C engine, where a generator would be felt.

    Args:
      task: whose function is called.
      function: `observe`, `reward` or `terminated`.
      states: of which it is called, in words.
    """

    __slots__ = ("function", "states", "task")

    def __init__(self, task: Task, function: str, states: str = "a step"):
        self.task, self.function, self.states = task, function, states

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, GailfeError):
            raise failed(f"task {self.task.name!r}: {self.function} of {self.states}", error) from error


def traced(task: Task, function: str, states: str, call: Callable[[], Any]) -> Any:
    """What `call()` gives, in which JAX traces a function of the task on one state.

    Args:
      task, function, states: see `named_failure`.
      call: calls it.

    Raises:
      GailfeError: it fails, or gives an array of another shape than for one state.
    """
    what = f"{states}, traced by JAX,"
    with named_failure(task, function, what):
        value = call()
    shape, expected = getattr(value, "shape", ()), (task.obs_size,) if function == "observe" else ()
    if shape != expected:
        raise GailfeError(
            f"task {task.name!r}: {function} of {what} gives shape {list(shape)} for one state; "
            f"expected {list(expected)}"
        )
    return value
