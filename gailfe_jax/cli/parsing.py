"""What the commands share in reading their words."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import itertools
import re
import reprlib
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

import tyro

from gailfe_jax.cli.commands import IMPORT_HELP
from gailfe_jax.errors import GailfeError

Flat = tyro.conf.OmitArgPrefixes
Positional = tyro.conf.Positional
PathWord = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
PathWords = Annotated[
    tuple[str, ...],
    tyro.conf.Positional,
    tyro.conf.arg(metavar="PATH...", help_behavior_hint="(at least one)"),
]
Settings = TypeVar("Settings")


# What Python and tyro say of a word that is no number.
_NO_NUMBER = re.compile(
    r"(?P<flag>--\S+): (?P<kind>invalid literal for int\(\)|could not convert string to float).*: (?P<word>'.*')"
)
_NO_NUMBER_OR_NONE = re.compile(
    r"(?P<flag>--\S+): no type matching \{None\}\|(?P<kind>INT|FLOAT) could .* from \[(?P<word>'.*?')\]"
)
# Any seed fits, and no count that anybody means is larger.
_LARGEST = 2**63 - 1
_LONGEST_NUMBER = 100


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
    """The words after `flag` up to the next flag, before the real parse; None without it.

    Raises:
      GailfeError: its words begin behind a `=`.
    """
    for word in args:
        if word.startswith(f"{flag}="):
            raise GailfeError(f"{flag.strip('-')}: got {word!r}; expected {flag} and its words, without =")
    if flag not in args:
        return None
    after = args[len(args) - args[::-1].index(flag) :]
    return list(itertools.takewhile(lambda word: not word.startswith("--"), after))


def is_given(args: Sequence[str], name: str) -> bool:
    """Whether the flag of an option is among the words."""
    return name in map(_flag_name, args)


def refuse_idle(args: Sequence[str], idle: Mapping[str, str]) -> None:
    """Refuses flags that nothing reads.

    Args:
      args: the words of a command.
      idle: `option -> why nothing reads it`.

    Raises:
      GailfeError: names the first of them, and why.
    """
    for name, why in idle.items():
        if is_given(args, name):
            raise GailfeError(f"{name}: nothing reads it: {why}")


def refuse_repeats(args: Sequence[str]) -> None:
    """Raises GailfeError where a flag is given twice: the first value would be lost."""
    seen: set[str] = set()
    for name in filter(None, map(_flag_name, args)):
        name = name.removeprefix("no_")
        if name in seen:
            raise GailfeError(f"{name} is given twice; expected each flag once")
        seen.add(name)


def _flag_name(word: str) -> str:
    """The option that a word is the flag of; empty where it is none."""
    return word[2:].partition("=")[0].replace("-", "_") if word.startswith("--") else ""


def parse(
    kind: type[Settings],
    command: str,
    args: Sequence[str],
    default: Settings | None = None,
    earlier: Sequence[str] = (),
) -> Settings:
    """Reads the words of a command into its dataclass, starting from `default`.

    Args:
      kind: the dataclass.
      command: its name.
      args: the words.
      default: what to start from.
      earlier: words of an earlier call, which `args` come after.

    Raises:
      GailfeError: words that do not parse, a flag that is given twice, or a value out of range.
      SystemExit: after help.
    """
    refuse_repeats(args)
    _refuse_unmeant(kind, args)
    options: dict[str, Any] = {} if default is None else {"default": default}
    about = f"{inspect.getdoc(kind)}\n\n{IMPORT_HELP}"
    shown = io.StringIO()
    try:
        with contextlib.redirect_stderr(shown):
            found = tyro.cli(kind, prog=f"gailfe {command}", description=about, args=[*earlier, *args], **options)
    except SystemExit as stop:
        # A value out of range raises our one line; tyro would draw a box around it.
        cause: BaseException | None = stop
        while cause is not None and not isinstance(cause, GailfeError):
            cause = cause.__cause__ or cause.__context__
        if cause is not None:
            raise cause from None
        if stop.code:
            said = _without_box(shown.getvalue())
            if (match := _NO_NUMBER.search(said) or _NO_NUMBER_OR_NONE.search(said)) is not None:
                expected = "a whole number" if match["kind"] in ("invalid literal for int()", "INT") else "a number"
                raise GailfeError(f"{_flag_name(match['flag'])}: got {match['word']}; expected {expected}") from None
            raise GailfeError(f"{said} (gailfe {command} --help says more)") from None
        print(shown.getvalue(), end="", file=sys.stderr)
        raise
    for field in dataclasses.fields(found):  # type: ignore[arg-type]
        value = getattr(found, field.name)
        if isinstance(value, int) and abs(value) > _LARGEST:
            raise GailfeError(f"{field.name}: got {value}; expected a whole number of at most {_LARGEST}")
    return found


def _refuse_unmeant(kind: type, args: Sequence[str]) -> None:
    """Raises GailfeError for values that nobody means: empty ones, and numbers in digits that are not 0 to 9."""
    numbers = {field.name for field in dataclasses.fields(kind) if re.search(r"\b(int|float)\b", str(field.type))}
    name = ""
    for word in args:
        flag = _flag_name(word)
        name, value = (flag, word.partition("=")[2]) if flag else (name, word)
        if flag and "=" not in word:
            continue
        if not value.strip():
            raise GailfeError(f"{name or 'a word'}: got an empty value; expected one")
        # Python itself reads no number of thousands of digits.
        if name in numbers and not (value.isascii() and len(value) <= _LONGEST_NUMBER):
            raise GailfeError(f"{name}: got {reprlib.repr(value)}; expected a number in the digits 0 to 9")


def _without_box(text: str) -> str:
    """What tyro says in a box, as one line, up to the rule above its hint at the help."""
    lines = [line.strip().strip("│").strip() for line in text.splitlines() if not line.startswith(("╭", "╰"))]
    groups: list[list[str]] = [[]]
    for line in lines:
        if len(line) > 1 and not line.strip("─-"):
            groups.append([])
        else:
            groups[-1].append(line)
    # Where the terminal has no such signs, the title stands above a rule of its own.
    said = groups[1] if "╭" not in text and len(groups) > 1 else groups[0]
    return " ".join(" ".join(said).split())
