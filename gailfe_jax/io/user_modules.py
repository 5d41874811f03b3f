"""Modules of the user's own, named on the command line, that register tasks, rewards, annotators or formats."""

from __future__ import annotations

import contextlib
import importlib
import pathlib
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gailfe_jax.errors import GailfeError

SEARCHED = "in this folder, on PYTHONPATH or among the installed ones"
"""Where Python looks for a module of the user's own."""

_imported: list[str] = []
_asked: list[str] | None = None


def import_user_module(name: str) -> None:
    """Imports a module, so that what it registers is known. Importing it twice does nothing.

    The current folder, or that of the file, joins `sys.path` behind all others: a `calendar.py` there hides nothing.

    Args:
      name: `my_module` or `package.module`, in the current folder or installed, or a file: `folder/my_module.py`.

    Raises:
      GailfeError: there is no such module or file, its import fails, or another module has its name.
    """
    if name.endswith(".py"):
        file = pathlib.Path(name).absolute()
        if not file.is_file():
            raise GailfeError(f"import: {name}: no such file")
        folder, parts = file.parent, [file.stem]
    else:
        folder, parts = pathlib.Path.cwd(), name.split(".")
        file = folder.joinpath(*parts).with_suffix(".py")
    if not all(part.isidentifier() for part in parts):
        raise GailfeError(f"import: got {name!r}; expected a module's name or a .py file whose name Python can import")
    search_this_folder(folder)
    dotted = ".".join(parts)
    try:
        found = getattr(importlib.import_module(dotted), "__file__", None)
    except ModuleNotFoundError as error:
        # Otherwise the module is there, and one that it imports is missing.
        if error.name is None or not f"{dotted}.".startswith(f"{error.name}."):
            raise _failure(name, error) from error
        if not file.is_file():
            raise GailfeError(f"import: {name}: no such module {SEARCHED}") from None
        found = None
    # A script that ends itself must not end the command in silence.
    except (Exception, SystemExit) as error:
        raise _failure(name, error) from error
    if file.is_file() and (found is None or pathlib.Path(found).resolve() != file.resolve()):
        raise GailfeError(f"import: {name}: Python has another module {parts[0]!r}; expected a name that is free")
    if name not in _imported:
        _imported.append(name)


@contextlib.contextmanager
def only_asked_for(words: Iterable[str]) -> Iterator[None]:
    """Inside, a module is imported by its name only where the user has given that name: a file, perhaps somebody
    else's, may name a module (an environment's, an expert's), and has none imported.

    Args:
      words: the user's own. `ask_for` adds others.
    """
    global _asked
    before, _asked = _asked, [*words]
    try:
        yield
    finally:
        _asked = before


def ask_for(words: Iterable[str]) -> None:
    """Counts other words as the user's own: those of a file of settings that the user has named."""
    if _asked is not None:
        _asked.extend(words)


def check_asked_for(module: str, what: str) -> None:
    """Holds, inside `only_asked_for`, that the user has given the name of a module.

    Args:
      module: its name, or its file.
      what: needs it, in words.

    Raises:
      GailfeError: nobody but a file has.
    """
    if _asked is None or module in _imported:
        return
    if not any(module in re.split(r"[^\w./\\-]+", word) for word in _asked):
        raise GailfeError(
            f"{what}: a file names the module {module!r}, and no file has one imported; expected it again as a "
            f"flag, or --import {module}"
        )


def search_this_folder(folder: pathlib.Path | None = None) -> None:
    """Lets Python look for modules in `folder`, by default the current one, behind all other places."""
    place = str(folder or pathlib.Path.cwd())
    if place not in sys.path:
        sys.path.append(place)


def imported_modules() -> tuple[str, ...]:
    """The names that `import_user_module` was given in this process, in order, each once.

    Whoever continues the work later or in another process (a resumed run, a job of a sweep) imports them first.
    """
    return tuple(_imported)


def missing_modules(record: Mapping[str, Any]) -> list[str]:
    """The modules that a record says were imported, and that this process has not imported.

    They are named to the user and never imported by themselves: a record is data, perhaps somebody else's.
    """
    names = record.get("imports", [])
    return [str(name) for name in names if name not in _imported] if isinstance(names, list) else []


def require_modules(where: str, record: Mapping[str, Any]) -> None:
    """Refuses to go on with what `record` describes before its modules are imported.

    Raises:
      GailfeError: names them.
    """
    missing = missing_modules(record)
    if missing:
        flags = " ".join(f"--import {name}" for name in missing)
        raise GailfeError(f"{where}: was made with modules of the user's own; expected {flags}")


def _failure(name: str, error: BaseException) -> GailfeError:
    if isinstance(error, GailfeError):
        return GailfeError(f"import: {name}: {error}")
    reason = f"{type(error).__name__}: {error}".removesuffix(": ")
    # Python's import machinery stands between our call and the module's own line.
    machinery = ("<frozen importlib", importlib.__file__)
    frames = traceback.extract_tb(error.__traceback__)[1:]
    own = next((frame for frame in frames if not frame.filename.startswith(machinery)), None)
    # A syntax error names its line itself.
    if own is not None and not isinstance(error, SyntaxError):
        reason += f" ({pathlib.Path(own.filename).name}, line {own.lineno})"
    return GailfeError(f"import: {name}: {reason}")
