"""The settings of a training as flags: which there are depends on the method, its policy step and the task.

Each command has options of its own, a dataclass, and the settings of a `Setup` beside them. Values are written as in
sweeps and files: `--reward.hidden 64x64`. A name that is unique by its last word may be written by that word alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import pathlib
import tomllib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

import tyro

from gailfe_jax.cli.parsing import parse, peek
from gailfe_jax.config.parts import Setting
from gailfe_jax.config.tree import Leaf, find
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.methods import METHODS, find_method
from gailfe_jax.learners.record import flat_values
from gailfe_jax.learners.setup import Setup, build_setup

Options = TypeVar("Options")
CHOICES = ("algo", "policy", "env")
"""What the presets depend on, and so what is read before the other words."""


class _Unset:
    """Stands for a flag that was not given."""

    def __repr__(self) -> str:
        return "unset"


_UNSET: Any = _Unset()


def read_words(
    kind: type[Options], command: str, words: Sequence[str], *, start: Setup | None = None, algo: str | None = None
) -> tuple[Options, dict[str, Any], Setup]:
    """What a command's words say.

    Args:
      kind: dataclass of the command's own options; `out` among them.
      command: its name.
      words: what follows it.
      start: settings to start from, of a run that is resumed.
      algo: the method, where the command has but one.

    Returns:
      `(options, values, setup)`: the options, the settings that were given by full name, and all settings.

    Raises:
      GailfeError: an unknown flag, or a value of another type or out of bounds.
      SystemExit: after help (0), or words that do not parse (2).
    """
    words = _method_first(words) if algo is None else list(words)
    values = read_config(peek(words, "--config"))
    values |= {name: given for name in CHOICES if (given := peek(words, f"--{name}")) is not None}
    if algo is not None:
        values["algo"] = algo
    base = build_setup({name: value for name, value in values.items() if name in CHOICES}, start)
    own = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    if any(word in ("-h", "--help") for word in words):
        from gailfe_jax.cli.help import show_help

        following = [words[i + 1] for i, word in enumerate(words[:-1]) if word in ("-h", "--help")]
        # A flag is a topic only where it ends the line: before a value it is a choice, as in `--help --policy ppo`.
        after = [word for word in following if not word.startswith("-") or (word[:2] == "--" and word is words[-1])]
        chosen = algo is None and peek(words, "--algo") is not None
        show_help(kind, command, base, after[0] if after else None, chosen)
        raise SystemExit(0)
    if algo is None:
        _refuse_late_method(command, words)
    words = _in_full(words, own, base)
    parsed: Any = parse(_with_settings(kind, base), command, words)  # type: ignore[type-var]
    names = {_field_name(name): name for name in base.leaves}
    given = {full: value for field, full in names.items() if not isinstance(value := getattr(parsed, field), _Unset)}
    values = values | given
    options = kind(**{name: getattr(parsed, name) for name in own})
    return options, values, build_setup(values, start)


def _method_first(words: Sequence[str]) -> list[str]:
    """`train gail ...` as `train --algo gail ...`."""
    if not words or words[0].startswith("-"):
        return list(words)
    return ["--algo", find_method(words[0]).name, *words[1:]]


def _refuse_late_method(command: str, words: Sequence[str]) -> None:
    """Raises GailfeError where a method's name follows a flag's value, so that nothing reads it."""
    for i, word in enumerate(words[2:], 2):
        if word in METHODS and not words[i - 1].startswith("-"):
            raise GailfeError(f"got {word!r} after the flags; expected the method first: gailfe {command} {word} ...")


def read_config(path: str | None) -> dict[str, Any]:
    """The settings of a configuration file (TOML) by full name; none where there is no file.

    Raises:
      GailfeError: no such file, or no TOML.
    """
    if path is None:
        return {}
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
        record = tomllib.loads(text)
    except FileNotFoundError:
        raise GailfeError(f"config: {path}: no such file; expected settings in TOML") from None
    except (OSError, UnicodeDecodeError):
        raise GailfeError(f"config: {path}: cannot be read; expected settings in TOML") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise GailfeError(f"config: {path}: {error}; expected settings in TOML") from None
    values: dict[str, Any] = {}
    for name, value in record.items():
        # The method's parts may stand at the top.
        inside = value if name in ("method", "environment", "demos", "run") and isinstance(value, Mapping) else None
        values |= flat_values({name: value} if inside is None else inside)
    kind = values.pop("policy.kind", None)
    return values if kind is None else values | {"policy": kind}


def write_config(setup: Setup) -> str:
    """All settings that something reads, as a configuration file."""
    import tomli_w

    return tomli_w.dumps(setup.record())


def _in_full(words: Sequence[str], own: Sequence[str], setup: Setup) -> list[str]:
    """`words` with every setting's flag in full, and switches as `--name=true` or `--name=false`.

    Raises:
      GailfeError: a flag that neither the command nor the method has.
    """
    known = {name: leaf.setting for name, (_, leaf) in setup.leaves.items()}
    found, remaining = [], list(words)
    while remaining:
        word = remaining.pop(0)
        flag, equals, value = word.partition("=")
        if not word.startswith("--") or word == "--":
            found.append(word)
            continue
        name = flag[2:].replace("-", "_")
        if name in own or name.removeprefix("no_") in own:
            found.append(word)
            continue
        if name in ("algo", "policy"):
            # They have been read; the others go by what they chose.
            if not equals and remaining:
                remaining.pop(0)
            continue
        full, on = _find_flag(name, known, setup)
        if known[full].kind is not bool or known[full].optional:
            if not equals and (not remaining or remaining[0].startswith("--")):
                raise GailfeError(f"{full}: got no value; expected {known[full].expected}")
            found.append(f"{_flag(full)}={value if equals else remaining.pop(0)}")
            continue
        if equals or (remaining and remaining[0].lower() in ("true", "false")):
            said = (value if equals else remaining.pop(0)).lower()
            if said not in ("true", "false"):
                raise GailfeError(f"{full}: got {said!r}; expected true or false")
            on = on == (said == "true")
        found.append(f"{_flag(full)}={str(on).lower()}")
    return found


def _find_flag(name: str, known: Mapping[str, Setting], setup: Setup) -> tuple[str, bool]:
    """`(full name, False for --no-name)`."""
    path, dot, last = name.rpartition(".")
    if last.startswith("no_"):
        with contextlib.suppress(GailfeError):
            return find(f"{path}{dot}{last.removeprefix('no_')}", known), False
    return find(name, known, hint=setup.hint), True


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _field_name(name: str) -> str:
    return f"setting_{name.replace('.', '__')}"


def _with_settings(kind: type, setup: Setup) -> type:
    """The command's dataclass with a field for every setting, as text; only what is given is read further."""
    fields = [_field(name, leaf) for name, (_, leaf) in setup.leaves.items()]
    made = dataclasses.make_dataclass(kind.__name__, fields, bases=(kind,), frozen=True, kw_only=True)
    made.__doc__ = inspect.getdoc(kind)
    return made


def _field(name: str, leaf: Leaf) -> tuple[str, Any, Any]:
    argument = tyro.conf.arg(name=name.replace("_", "-"), help=leaf.setting.help)
    text = tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar(leaf.setting),
        instance_from_str=lambda args: args[0],
        is_instance=lambda value: True,
        str_from_instance=lambda value: [str(value)],
    )
    return _field_name(name), Annotated[Any, text, argument], dataclasses.field(default=_UNSET)


def metavar(setting: Setting) -> str:
    """What a flag's value looks like."""
    if setting.choices:
        return "|".join(setting.choices)
    return {bool: "true|false", int: "N", float: "X", str: "TEXT", tuple: "64x64"}[setting.kind]
