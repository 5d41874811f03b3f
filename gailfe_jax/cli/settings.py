"""The settings of a training as flags: which there are depends on the method, its policy step and the task.

Each command has options of its own, a dataclass, and the settings of a `Setup` beside them. Values are written as in
sweeps and files: `--reward.hidden 64x64`. A name that is unique by its last word may be written by that word alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

import tyro

from gailfe_jax.cli.parsing import parse, peek, refuse_repeats
from gailfe_jax.config.parts import Setting
from gailfe_jax.config.tree import Leaf, find
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.toml_text import read_toml
from gailfe_jax.io.user_modules import ask_for
from gailfe_jax.learners.methods import METHODS, find_method
from gailfe_jax.learners.record import flat_pairs
from gailfe_jax.learners.setup import CHOICES, ConfigFile, Setup, all_settings, build_setup

Options = TypeVar("Options")


class _Unset:
    """Stands for a flag that was not given."""

    def __repr__(self) -> str:
        return "unset"


_UNSET: Any = _Unset()


def read_words(
    kind: type[Options],
    command: str,
    words: Sequence[str],
    *,
    start: Setup | None = None,
    algo: str | None = None,
    earlier: Sequence[str] = (),
) -> tuple[Options, dict[str, Any], Setup]:
    """What a command's words say.

    Args:
      kind: dataclass of the command's own options; `out` among them.
      command: its name.
      words: what follows it.
      start: settings to start from, of a run that is resumed.
      algo: the method, where the command has but one.
      earlier: the words that what is resumed was started with; `words` come after them.

    Returns:
      `(options, values, setup)`: the options, the settings that the words give by full name, and all settings, those
      of --config among them.

    Raises:
      GailfeError: an unknown flag, one that is given twice, or a value of another type or out of bounds.
      SystemExit: after help (0).
    """
    words, asks_help, topic = _split_help(words)
    if algo is None:
        words, earlier = _method_first(words), _method_first(earlier)
    refuse_repeats(words)
    both = [*earlier, *words]
    config = read_config(peek(both, "--config"))
    if config is not None and peek(words, "--config") is not None:
        ask_for(value for value in config.values.values() if isinstance(value, str))
    values: dict[str, Any] = {name: given for name in CHOICES if (given := _choice(both, name)) is not None}
    if algo is not None:
        _refuse_another(command, algo, values, config)
        values["algo"] = algo
    base = build_setup(values, start, config and config.choices)
    own = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if asks_help:
        from gailfe_jax.cli.help import show_help

        show_help(kind, command, base, topic, algo is None and "algo" in values)
        raise SystemExit(0)
    if algo is None:
        _refuse_late_method(command, words, own, base)
    before, words = (_in_full(some, own, base) for some in (earlier, words))
    parsed: Any = parse(_with_settings(kind, base), command, words, earlier=before)  # type: ignore[type-var]
    names = {_field_name(name): name for name in base.leaves}
    given = {full: value for field, full in names.items() if not isinstance(value := getattr(parsed, field), _Unset)}
    values = values | given
    options = kind(**{name: getattr(parsed, name) for name in own})
    return options, values, build_setup(values, start, config)


def _split_help(words: Sequence[str]) -> tuple[list[str], bool, str | None]:
    """`(the other words, whether help is asked for, on which setting or part)`."""
    others: list[str] = []
    asks, topic = False, None
    remaining = list(words)
    while remaining:
        word = remaining.pop(0)
        flag, _, value = word.partition("=")
        if flag not in ("-h", "--help"):
            others.append(word)
            continue
        asks = True
        # A flag is a topic only where it ends the line: before a value it is a choice, as in `--help --policy ppo`.
        last = len(remaining) == 1 and remaining[0].startswith("--")
        if remaining and not value and (last or not remaining[0].startswith("-")):
            value = remaining.pop(0)
        topic = topic or value or None
    return others, asks, topic


def _choice(words: Sequence[str], name: str) -> str | None:
    """The value of `--algo`, `--policy` or `--env`; None where it is not given.

    Raises:
      GailfeError: it is given without a value.
    """
    value = peek(words, f"--{name}")
    if value == "" or (value or "").startswith("--") or words[-1:] == [f"--{name}"]:
        raise GailfeError(f"{name}: got no value; expected {_expected(all_settings()[name])}")
    return value


def _expected(setting: Setting) -> str:
    return "a task" if setting.name == "env" else setting.expected


def _refuse_another(command: str, algo: str, values: Mapping[str, Any], config: ConfigFile | None) -> None:
    """Raises GailfeError where words or a file choose another method than the command's own."""
    file = config.values if config is not None else {}
    for given, source in ((values, ""), (file, f"{config.source}: " if config is not None else "")):
        if given.get("algo", algo) != algo:
            raise GailfeError(f"{source}algo: got {given['algo']!r}; expected none: gailfe {command} trains by {algo}")


def _method_first(words: Sequence[str]) -> list[str]:
    """`train gail ...` as `train --algo gail ...`."""
    if not words or words[0].startswith("-"):
        return list(words)
    return ["--algo", find_method(words[0]).name, *words[1:]]


def _refuse_late_method(command: str, words: Sequence[str], own: Mapping[str, Any], setup: Setup) -> None:
    """Raises GailfeError where a method's name is no flag's value, so that nothing reads it."""
    for before, word in itertools.pairwise(words):
        if word in METHODS and (not before.startswith("-") or _takes_none(before, own, setup)):
            raise GailfeError(f"got {word!r} after the flags; expected the method first: gailfe {command} {word} ...")


def _takes_none(flag: str, own: Mapping[str, Any], setup: Setup) -> bool:
    """Whether a flag takes no value, or has it already."""
    name = flag[2:].replace("-", "_")
    if "=" in name or name.removeprefix("no_") in own:
        return "=" in name or own[name.removeprefix("no_")].default is False
    known = {full: leaf.setting for full, (_, leaf) in setup.leaves.items()}
    with contextlib.suppress(GailfeError):
        setting = known[_find_flag(name, known, setup)[0]]
        return setting.kind is bool and not setting.optional
    return False


def read_config(path: str | None) -> ConfigFile | None:
    """The settings of a configuration file (TOML); None where there is no file.

    Raises:
      GailfeError: no such file, no TOML, or a setting that is given twice.
    """
    if path is None:
        return None
    source = f"config: {path}"
    record = read_toml(pathlib.Path(path), source, "settings")
    values: dict[str, Any] = {}
    for name, value in record.items():
        # The method's parts may stand at the top.
        inside = value if name in ("method", "environment", "demos", "run") and isinstance(value, Mapping) else None
        for full, given in flat_pairs({name: value} if inside is None else inside, empty=True):
            full = full.strip().replace("-", "_")
            if given == {} and not _names_setting(full):
                continue  # A part without settings.
            full = "policy" if full == "policy.kind" else full
            if full in values:
                raise GailfeError(f"{source}: {full} is given twice; expected each setting once")
            values[full] = given
    return ConfigFile(source, values)


def _names_setting(name: str) -> bool:
    with contextlib.suppress(GailfeError):
        return bool(find(name, all_settings()))
    return False


def write_config(setup: Setup) -> str:
    """All settings that something reads, as a configuration file."""
    import tomli_w

    return tomli_w.dumps(setup.record())


def _in_full(words: Sequence[str], own: Mapping[str, Any], setup: Setup) -> list[str]:
    """`words` with every setting's flag in full, and switches as `--name=true` or `--name=false`.

    Raises:
      GailfeError: a flag that neither the command nor the method has, or a value that is none.
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
        values = [value] if equals else []
        if name in ("algo", "policy"):
            # They have been read; the others go by what they chose.
            if not equals:
                remaining.pop(0)
            continue
        full, on = _find_flag(name, known, setup)
        while remaining and not remaining[0].startswith("--"):
            values.append(remaining.pop(0))
        switch = known[full].kind is bool and not known[full].optional
        if not values and not switch:
            raise GailfeError(f"{full}: got no value; expected {known[full].expected}")
        given = " ".join(values) if values else "true"
        if len(values) > 1 or (switch and given.lower() not in ("true", "false")):
            raise GailfeError(f"{full}: got {given!r}; expected {known[full].expected}")
        if switch:
            given = str(on == (given.lower() == "true")).lower()
        found.append(f"{_flag(full)}={given}")
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
