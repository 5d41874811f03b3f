"""The error that means: the user can mend this, its milder sister, and how an error reads on one line."""

from __future__ import annotations

import contextlib
import os
import pathlib
import reprlib
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

_LONGEST_LINE = 1500
WITHOUT_X64 = "everything here is float32, and what has to be float64 travels as its bits"
"""Why JAX's 64-bit mode is refused."""


class GailfeError(ValueError):
    """A mistake the user can mend: the message is one line that names the file or field and what was expected.

    The command line prints it without a traceback and exits with code 2.
    """


class GailfeWarning(UserWarning):
    """What the user should know and may have meant: one line, which the command line prints without a traceback."""


def expect(name: str, value: Any, kinds: Any, expected: str) -> None:
    """Holds that an argument is of a kind.

    Args:
      name: of the argument.
      value: what was given.
      kinds: a class, or a tuple of classes.
      expected: the kinds in words.

    Raises:
      GailfeError: it is none of them.
    """
    if not isinstance(value, kinds):
        shown = f"the class {value.__name__}" if isinstance(value, type) else one_line(reprlib.repr(value))
        raise GailfeError(f"{name}: got {shown}; expected {expected}")


def shown_in_one_line(others: Callable[..., None]) -> Callable[..., None]:
    """A `warnings.showwarning` that prints a warning of ours as a line, once however often it is given, and leaves the
    `others` to who showed them before."""
    printed: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:
        if issubclass(category, GailfeWarning):
            if str(message) not in printed:
                printed.add(str(message))
                print(f"gailfe: warning: {message}", file=sys.stderr)
        else:
            others(message, category, *where, **options)

    return show


@contextlib.contextmanager
def warned_unless_refused() -> Iterator[None]:
    """Inside, warnings wait for the end: beside a `GailfeError`, whose line says what is wrong, they are left out."""
    waiting: list[warnings.WarningMessage] = []
    refused = False
    try:
        with warnings.catch_warnings(record=True) as waiting:
            yield
    except GailfeError:
        refused = True
        raise
    finally:
        for said in () if refused else waiting:
            warnings.warn_explicit(said.message, said.category, said.filename, said.lineno)


def one_line(said: BaseException | str, *, first: bool = False) -> str:
    """What an exception or a text says, on one line; of an exception without words its type and where it was raised.

    Args:
      said: the exception or text.
      first: only its first line, where another package's message goes on with advice or a listing.
    """
    words = str(said).strip()
    if first:
        words = words.splitlines()[0] if words else ""
    squeezed = " ".join(words.split())
    return squeezed or (_type_and_place(said) if isinstance(said, BaseException) else "")


def _type_and_place(error: BaseException) -> str:
    kind = type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    return f"{kind} in {pathlib.Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else kind


def where_raised(error: BaseException, *machinery: str) -> str:
    """`my_env.py, line 12`: the innermost frame of an exception that is not in the folders `machinery`; "" if none."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(machinery)]
    return f"{pathlib.Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""


def failed(what: str, error: BaseException) -> GailfeError:
    """What the user is told of code of theirs that raised: what it is, how it failed, and in which line.

    Args:
      what: the function, in words.
      error: what it raised.
    """
    cause = one_line(error, first=True)
    # What it called of ours and of the array packages is not where the mistake is.
    place = where_raised(error, *_machinery())
    return GailfeError(f"{what} fails ({type(error).__name__}: {cause})" + (f" in {place}" if place else ""))


def _machinery() -> tuple[str, ...]:
    """The folders of this package and of those that hold arrays, as frames of a traceback begin."""
    names = ("gailfe_jax", "jax", "jaxlib", "numpy")
    found = (getattr(sys.modules.get(name), "__file__", None) for name in names)
    return tuple(f"{pathlib.Path(file).parent}{os.sep}" for file in found if file)


def refusal(error: BaseException) -> str:
    """What the user is told of an error: `file: reason` where the file system refused, else its message on one line."""
    if isinstance(error, OSError):
        return one_line(f"{error.filename or 'file system'}: {error.strerror or error}")
    return one_line(error)


def shown(text: str) -> str:
    """A line as a terminal may show it: what a file named cannot move its cursor, and is cut where it has no end."""
    plain = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
    return plain if len(plain) <= _LONGEST_LINE else f"{plain[: _LONGEST_LINE // 2]} ... {plain[-_LONGEST_LINE // 2 :]}"


def raised_in_program(error: BaseException) -> str | None:
    """What a `GailfeError` said that a host callback raised inside a JAX program, which hands on its traceback as text;
    None where `error` is no such thing."""
    if not type(error).__module__.startswith("jax"):
        return None
    mark = f"{GailfeError.__name__}: "
    _, found, rest = str(error).rpartition(mark)
    return rest.splitlines()[0].strip() if found else None
