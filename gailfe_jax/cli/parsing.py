"""What the commands share in reading their words."""

from __future__ import annotations

import contextlib
import inspect
import io
import itertools
import sys
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import tyro

from gailfe_jax.cli.commands import IMPORT_HELP
from gailfe_jax.errors import GailfeError

Flat = tyro.conf.OmitArgPrefixes
Positional = tyro.conf.Positional
PathWord = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
Settings = TypeVar("Settings")


def peek(args: Sequence[str], flag: str) -> str | None:
    """The value of `flag` in `args`, before the real parse: presets depend on it. The last one counts, as there."""
    value = None
    for i, word in enumerate(args):
        if word == flag and i + 1 < len(args):
            value = args[i + 1]
        elif word.startswith(flag + "="):
            value = word.partition("=")[2]
    return value


def peek_all(args: Sequence[str], flag: str) -> list[str] | None:
    """The words after `flag` up to the next flag, before the real parse; None without it."""
    if flag not in args:
        return None
    after = args[len(args) - args[::-1].index(flag) :]
    return list(itertools.takewhile(lambda word: not word.startswith("--"), after))


def parse(kind: type[Settings], command: str, args: Sequence[str], default: Settings | None = None) -> Settings:
    """Reads the words of a command into its dataclass, starting from `default`.

    Raises:
      GailfeError: words that do not parse, or a value out of range.
      SystemExit: after help.
    """
    options: dict[str, Any] = {} if default is None else {"default": default}
    about = f"{inspect.getdoc(kind)}\n\n{IMPORT_HELP}"
    shown = io.StringIO()
    try:
        with contextlib.redirect_stderr(shown):
            return tyro.cli(kind, prog=f"gailfe {command}", description=about, args=args, **options)
    except SystemExit as stop:
        # A value out of range raises our one line; tyro would draw a box around it.
        cause: BaseException | None = stop
        while cause is not None and not isinstance(cause, GailfeError):
            cause = cause.__cause__ or cause.__context__
        if cause is not None:
            raise cause from None
        if stop.code:
            raise GailfeError(f"{_without_box(shown.getvalue())} (gailfe {command} --help says more)") from None
        print(shown.getvalue(), end="", file=sys.stderr)
        raise


def _without_box(text: str) -> str:
    """What tyro says in a box, as one line, up to the rule above its hint at the help."""
    lines = [line.strip().strip("│").strip() for line in text.splitlines() if not line.startswith(("╭", "╰"))]
    said = itertools.takewhile(lambda line: not line.startswith("──"), lines)
    return " ".join(" ".join(said).split())
