"""Help for commands with many settings: one line each, or all that there is to say of some of them."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gailfe_jax.cli.commands import IMPORT_HELP
from gailfe_jax.config.parts import field_docs
from gailfe_jax.config.tree import Leaf
from gailfe_jax.config.values import show_value
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.methods import METHODS, about, policy_choices, policy_name
from gailfe_jax.learners.setup import Setup
from gailfe_jax.policies.registry import POLICY_UPDATES

_WIDTH = 118  # Where nobody says how wide the terminal is.
_MOST_ROWS = 63  # With the lines around them they fit on 70.
_COMMON = ("environment", "demos", "run")


def show_help(kind: type, command: str, setup: Setup, topic: str | None, method_chosen: bool) -> None:
    """Prints help.

    Args:
      kind: dataclass of the command's own options.
      command: its name.
      setup: the settings, with their values.
      topic: a setting or a part that all is to be said of, or None.
      method_chosen: whether the method's own settings are to be listed, or those that all methods share.
    """
    console = Console(highlight=False, soft_wrap=False)
    console.width = max(console.width, _WIDTH) if not console.is_terminal else console.width
    if topic is not None:
        _show_topic(console, kind, command, setup, topic)
    elif method_chosen:
        _show_method(console, command, setup)
    else:
        _show_common(console, kind, command, setup)


def _show_method(console: Console, command: str, setup: Setup) -> None:
    """One line for each setting of the method; the others by name, as are those of parts inside its parts where all
    would be too many."""
    method = setup.method
    summary, source = about(method)
    console.print(Text(f"gailfe {command} {method.name}: {summary}" + (f" ({source})" if source else "")))
    choices = policy_choices(method)
    # The flags' first words name the part.
    leaves = [leaf for _, leaf in _labelled(setup, "method")]
    inner = [leaf for leaf in leaves if leaf.name.count(".") > 1] if len(leaves) >= _MOST_ROWS else []
    rows = [_row("", leaf) for leaf in leaves if leaf not in inner]
    if choices:
        step = "How the policy steps: " + ", ".join(f"{n} ({POLICY_UPDATES[n].summary})" for n in choices)
        rows.insert(0, ("", "--policy", policy_name(method), step))
    _print_rows(console, rows)
    if inner:
        word = inner[0].name.rpartition(".")[0]
        console.print(Text(f"Of smaller parts (--help {word} explains one): {', '.join(map(_brief, inner))}"))
    common = [_brief(leaf) for part in _COMMON for _, leaf in _labelled(setup, part)]
    console.print(Text(f"Of every method (gailfe {command} --help explains them): {', '.join(common)}"))
    console.print(Text(f"In full: gailfe {command} {method.name} --help NAME, for a setting or a part such as reward."))


def _show_common(console: Console, kind: type, command: str, setup: Setup) -> None:
    """The command, its own options, what all methods share, and the methods."""
    fixed = command == "expert"
    console.print(Text(f"usage: gailfe {command}{'' if fixed else ' METHOD'} --out OUT [OPTIONS]\n"))
    console.print(Text(f"{inspect.getdoc(kind)}\n"))
    rows = list(_own(kind))
    for part in (("method",) if fixed else ()) + _COMMON:
        named = part
        for label, leaf in _labelled(setup, part):
            rows.append(_row(label or named, leaf))
            named = ""
    _print_rows(console, rows)
    if not fixed:
        console.print(Text(f"\nmethods (gailfe {command} METHOD --help lists their settings):"))
        _print_rows(console, [("", name, "", about(METHODS[name])[0]) for name in METHODS])
    console.print(Text(f"In full: gailfe {command} --help NAME, for a setting or a part such as policy."))
    console.print(Text(IMPORT_HELP))


def _show_topic(console: Console, kind: type, command: str, setup: Setup, topic: str) -> None:
    """All there is to say of the settings, or of the command's own option, that a word names.

    Raises:
      GailfeError: no setting has such a name.
    """
    wanted = topic.strip("-").replace("-", "_")
    own = field_docs(kind)
    if wanted in own:
        console.print(Text(f"--{wanted.replace('_', '-')}", style="bold"))
        console.print(Text(f"    {' '.join(own[wanted].split())}"))
        return
    found = [leaf for _, leaf in setup.leaves.values() if _about(leaf.name, wanted)]
    if not found and wanted in METHODS and command != "expert":
        raise GailfeError(f"help: {wanted} is a method; expected gailfe {command} {wanted} --help")
    if not found:
        raise GailfeError(f"help: {wanted}: no such setting; {setup.hint(wanted)}")
    for leaf in found:
        marks = leaf.setting.marks
        console.print(Text(f"--{leaf.name.replace('_', '-')} {_shown(leaf)}", style="bold"))
        how = "traced: a sweep trains many values in one program" if marks.traced else "static"
        console.print(Text(f"    {leaf.setting.help}"))
        console.print(Text(f"    Expected: {leaf.setting.expected}; {how}."))
        if leaf.unread is not None:
            console.print(Text(f"    Nothing reads it now: {leaf.unread}."))


def _about(name: str, wanted: str) -> bool:
    return name == wanted or name.startswith(f"{wanted}.") or name.endswith(f".{wanted}")


def _labelled(setup: Setup, part: str) -> Iterator[tuple[str, Leaf]]:
    """`(name of the part where a new one begins, setting)` of all settings that something reads."""
    before = ""
    for _, leaf in (pair for pair in setup.leaves.values() if pair[0] == part):
        if leaf.unread is not None:
            continue
        label = leaf.name.rpartition(".")[0]
        yield ("" if label == before else label), leaf
        before = label


def _own(kind: type) -> Iterator[tuple[str, str, str, str]]:
    docs = field_docs(kind)
    for field in dataclasses.fields(kind):
        default = "" if field.default in (dataclasses.MISSING, None, ()) else show_value(field.default)
        yield "", f"--{field.name.replace('_', '-')}", default, first_words(docs.get(field.name, ""))


def _print_rows(console: Console, rows: Sequence[tuple[str, str, str, str]]) -> None:
    """`(part, flag, default, meaning)` in columns; what does not fit of the last one is cut."""
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    shown = [column for column, width in enumerate(widths) if width] + [3]
    for column in shown[:-1]:
        table.add_column(no_wrap=True, style=("dim", "cyan", "")[column], min_width=widths[column])
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for row in rows:
        table.add_row(*(Text(row[column]) for column in shown))
    console.print(table)


def _row(label: str, leaf: Leaf) -> tuple[str, str, str, str]:
    return label, _flag(leaf), _shown(leaf), first_words(leaf.setting.help)


def _flag(leaf: Leaf) -> str:
    return f"--{leaf.name.replace('_', '-')}"


def _brief(leaf: Leaf) -> str:
    return f"{_flag(leaf)} {_shown(leaf)}"


def _shown(leaf: Leaf) -> str:
    value = leaf.value
    return f"{value:.6g}" if isinstance(value, float) else show_value(value)


def first_words(text: str) -> str:
    """The first sentence of a setting's help."""
    sentence = re.split(r"(?<=[^.])\.\s|;\s", text, maxsplit=1)[0]
    return sentence if sentence.endswith(".") else f"{sentence}."
