"""Which settings a sweep tries: a grid, draws from distributions, or the rows of a file, as typed values of fields.

A field is one of `Hyper` (traced), `Config` or `DemoSettings` (static); no two of these share a name.
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import itertools
import json
import math
import pathlib
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from gailfe_jax.config.flat import Config, Hyper
from gailfe_jax.envs import canonical_name
from gailfe_jax.errors import GailfeError
from gailfe_jax.methods.table import resolve_config
from gailfe_jax.training.loop import DemoSettings, RunSettings

Values: TypeAlias = dict[str, Any]
"""Field name to typed value: what one setting changes."""
_REDRAWS = 1000  # Draws in a row that repeat earlier settings, before a search space counts as used up.
_DIGITS = 6  # Significant digits of a drawn number: as exact as anyone tunes, and as short as a table can show.


@dataclasses.dataclass(frozen=True)
class Base:
    """What a setting starts from."""

    config: Config = dataclasses.field(default_factory=Config)
    hyper: Hyper = dataclasses.field(default_factory=Hyper)
    run: RunSettings = dataclasses.field(default_factory=RunSettings)
    demos: DemoSettings = dataclasses.field(default_factory=DemoSettings)


BaseFn: TypeAlias = Callable[[str | None, str | None], Base]
"""`(algo, env) -> Base`, None where the sweep does not vary it: presets differ between methods and tasks."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One point of a sweep.

    Attributes:
      values: what it changes.
      config, hyper, run, demos: the whole of it.
    """

    values: Values
    config: Config
    hyper: Hyper
    run: RunSettings
    demos: DemoSettings

    @property
    def label(self) -> str:
        """`name=value` of all it changes."""
        return " ".join(f"{name}={show(value)}" for name, value in self.values.items()) or "as it is"

    def get(self, name: str) -> Any:
        """The value of any field, whether or not this setting changes it."""
        return getattr(getattr(self, field_of(name).part), name)

    @property
    def key(self) -> str:
        """Equal for settings that train the same."""
        return repr((self.config, self.hyper, self.run, self.demos))

    @property
    def program_key(self) -> str:
        """Equal for settings that one program can train side by side."""
        return repr((self.config, self.run, self.demos))


@dataclasses.dataclass(frozen=True)
class Field:
    """A field that a sweep can vary.

    Attributes:
      name: of the field.
      part: `config`, `hyper` or `demos`.
      kind: its Python type; `tuple` for layer sizes.
      choices: the only values, for names from a list; else empty.
      optional: whether it may be None.
    """

    name: str
    part: Literal["config", "hyper", "demos"]
    kind: type
    choices: tuple[str, ...] = ()
    optional: bool = False

    @property
    def expected(self) -> str:
        """The values it takes, for messages."""
        words = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text"}
        words[tuple] = "layer sizes such as 64x64, or none"
        shown = f"one of {', '.join(self.choices)}" if self.choices else words[self.kind]
        return f"{shown}, or none" if self.optional else shown


def _fields() -> Iterator[Field]:
    owners: dict[Literal["config", "hyper", "demos"], type] = {"config": Config, "hyper": Hyper, "demos": DemoSettings}
    for part, owner in owners.items():
        hints = typing.get_type_hints(owner)
        for field in dataclasses.fields(owner):
            kind, choices, optional = hints[field.name], (), False
            if typing.get_origin(kind) in (types.UnionType, typing.Union):
                (kind,) = (arm for arm in typing.get_args(kind) if arm is not type(None))
                optional = True
            if typing.get_origin(kind) is Literal:
                kind, choices = str, typing.get_args(kind)
            yield Field(field.name, part, typing.get_origin(kind) or kind, choices, optional)


FIELDS: dict[str, Field] = {field.name: field for field in _fields()}
"""All of them by name."""


def field_of(name: str) -> Field:
    """The field called `name`; dashes count as underscores.

    Raises:
      GailfeError: no such field.
    """
    name = name.strip().replace("-", "_")
    if name not in FIELDS:
        near = difflib.get_close_matches(name, FIELDS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else "gailfe train --help lists them"
        raise GailfeError(f"{name or '(no name)'}: no such field to sweep; {hint}")
    return FIELDS[name]


def read_value(field: Field, given: Any) -> Any:
    """`given` as the type of `field`: text from a command line or a table, or a value from JSON.

    Raises:
      GailfeError: it has another type, or is empty.
    """
    wrong = GailfeError(f"{field.name}: got {given!r}; expected {field.expected}")
    value = given.strip() if isinstance(given, str) else given
    if value == "" and isinstance(value, str):
        raise GailfeError(f"{field.name}: got an empty value; expected {field.expected}")
    if field.optional and (value is None or value == "none"):
        return None
    if field.kind is str:
        if not isinstance(value, str) or (field.choices and value not in field.choices):
            raise wrong
        return value
    if field.kind is bool:
        words = {"true": True, "false": False}
        if not isinstance(value, bool) and str(value).lower() not in words:
            raise wrong
        return value if isinstance(value, bool) else words[str(value).lower()]
    if field.kind is tuple:
        sizes = ([] if value == "none" else value.split("x")) if isinstance(value, str) else value
        if not isinstance(sizes, list | tuple):
            raise wrong
        try:
            return tuple(_number(size, int) for size in sizes)
        except ValueError:
            raise wrong from None
    try:
        return _number(value, field.kind)
    except ValueError:
        raise wrong from None


def _number(value: Any, kind: type) -> Any:
    """Raises ValueError for what is no finite number of this kind."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError
    number = float(value)
    if not math.isfinite(number) or (kind is int and not number.is_integer()):
        raise ValueError
    # Not by way of a float, which would round large whole numbers.
    return int(value) if kind is int and not isinstance(value, str) else kind(number)


def show(value: Any) -> str:
    """`value` as `read_value` takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "x".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _assignments(words: Sequence[str], flag: str, form: str) -> Iterator[tuple[Field, str]]:
    """Fields and what follows their `=`.

    Raises:
      GailfeError: a word of another form, or a field named twice.
    """
    seen: set[str] = set()
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise GailfeError(f"{flag}: got {word!r}; expected {form}")
        field = field_of(name)
        if field.name in seen:
            raise GailfeError(f"{flag}: {field.name} is given twice; expected each field once")
        seen.add(field.name)
        if not text.strip():
            raise GailfeError(f"{field.name}: got an empty value; expected {form}")
        yield field, text


def grid(words: Sequence[str]) -> list[Values]:
    """Every combination of the values of `name=v1,v2`, the last field varying fastest.

    Raises:
      GailfeError: unknown fields, values of another type, or one value twice.
    """
    axes: dict[str, list[Any]] = {}
    for field, text in _assignments(words, "grid", "name=value,value"):
        values = [read_value(field, part) for part in text.split(",")]
        for index, value in enumerate(values):
            if value in values[:index]:
                raise GailfeError(f"{field.name}: got {show(value)} twice; expected different values")
        axes[field.name] = values
    return [dict(zip(axes, combination)) for combination in itertools.product(*axes.values())]


@dataclasses.dataclass(frozen=True)
class Distribution:
    """Where draws of one field come from.

    Attributes:
      field: which one.
      choices: draw one of these; or, where there are none,
      low, high: draw between these, both included,
      log: uniformly on a logarithmic scale.
    """

    field: Field
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    def draw(self, rng: np.random.Generator) -> Any:
        """One value."""
        if self.choices:
            return self.choices[int(rng.integers(len(self.choices)))]
        if self.field.kind is int and not self.log:
            return int(rng.integers(int(self.low), int(self.high), endpoint=True))
        ends = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        number = float(rng.uniform(*ends))
        return self.rounded(math.exp(number) if self.log else number)

    def rounded(self, number: float) -> Any:
        """`number` inside the bounds and as short as it is written."""
        if self.field.kind is int:
            return int(min(max(round(number), self.low), self.high))
        return min(max(float(f"{number:.{_DIGITS}g}"), self.low), self.high)


_FORM = "name=uniform:low:high, name=log:low:high or name=choice:a:b"


def distributions(words: Sequence[str]) -> list[Distribution]:
    """The distributions of `name=uniform:low:high`, `name=log:low:high`, `name=choice:a:b` (or `choice:a,b`).

    Raises:
      GailfeError: unknown fields or distributions, bounds that are none.
    """
    found = []
    for field, text in _assignments(words, "random", _FORM):
        kind, _, rest = text.strip().partition(":")
        if kind == "choice":
            # A comma separates values that hold colons themselves, as brax:ant does.
            values = [read_value(field, part) for part in rest.split("," if "," in rest else ":")]
            if len(set(values)) < len(values):
                raise GailfeError(f"{field.name}: got {rest!r}; expected different choices")
            found.append(Distribution(field, choices=tuple(values)))
            continue
        if kind not in ("uniform", "log"):
            raise GailfeError(f"{field.name}: got {text!r}; expected {_FORM}")
        if field.kind not in (int, float):
            raise GailfeError(f"{field.name}: got {text!r}; expected name=choice:a:b, for it takes {field.expected}")
        ends = rest.split(":")
        if len(ends) != 2:
            raise GailfeError(f"{field.name}: got {text!r}; expected name={kind}:low:high")
        low, high = (read_value(field, end) for end in ends)
        if not low < high or (kind == "log" and low <= 0):
            least = "0 < low < high" if kind == "log" else "low < high"
            raise GailfeError(f"{field.name}: got {text!r}; expected {least}")
        found.append(Distribution(field, low=low, high=high, log=kind == "log"))
    return found


def random(words: Sequence[str], samples: int, seed: int = 0) -> list[Values]:
    """`samples` different settings drawn from `distributions(words)`; more samples continue the same list.

    Raises:
      GailfeError: as `distributions`, or the space has not so many different settings.
    """
    if samples < 1:
        raise GailfeError(f"samples: got {samples}; expected at least 1")
    if seed < 0:
        raise GailfeError(f"sweep_seed: got {seed}; expected 0 or more")
    space = distributions(words)
    rng = np.random.default_rng(seed)
    rows: list[Values] = []
    repeats = 0
    while len(rows) < samples:
        row = {part.field.name: part.draw(rng) for part in space}
        if row in rows:
            repeats += 1
            if repeats == _REDRAWS:
                raise GailfeError(f"samples: got {samples}; only {len(rows)} different settings could be drawn")
            continue
        repeats = 0
        rows.append(row)
    return rows


def from_file(path: str | pathlib.Path) -> list[Values]:
    """One setting per row of a `.csv` (names in the first) or per line of a `.jsonl`.

    Raises:
      GailfeError: no such file, another format, or a row that is none; the message says which.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise GailfeError(f"settings: got {str(path)!r}; expected a file name that ends in .csv or .jsonl")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise GailfeError(f"{path}: no such file; expected one setting per row") from None
    except (OSError, UnicodeDecodeError):
        raise GailfeError(f"{path}: not a text file that can be read; expected one setting per row") from None
    rows = list(_csv_rows(path, text) if path.suffix.lower() == ".csv" else _json_rows(path, text))
    if not rows:
        raise GailfeError(f"{path}: holds no settings; expected one per row")
    found = []
    for number, row in rows:
        values: Values = {}
        try:
            for name, given in row.items():
                field = field_of(str(name))
                if field.name in values:
                    raise GailfeError(f"{field.name} is given twice; expected each field once")
                values[field.name] = read_value(field, given)
        except GailfeError as error:
            raise GailfeError(f"{path}, line {number}: {error}") from None
        found.append(values)
    return found


def _csv_rows(path: pathlib.Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.reader(text.splitlines())
    names: list[str] | None = None
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if names is None:
            names = cells
            if len({name.strip() for name in names}) < len(names):
                raise GailfeError(f"{path}, line {reader.line_num}: a field is named twice; expected each once")
            continue
        if len(cells) != len(names):
            raise GailfeError(f"{path}, line {reader.line_num}: got {len(cells)} values; expected {len(names)}")
        yield reader.line_num, dict(zip(names, cells))


def _json_rows(path: pathlib.Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise GailfeError(f"{path}, line {number}: got {line.strip()[:40]!r}; expected a JSON object of fields")
        yield number, row


def build(rows: Sequence[Values], base: BaseFn, first: int = 0) -> list[Setting]:
    """The settings of `rows`: each starts from the base of its method and task, its own values last.

    Args:
      rows: what each setting changes.
      base: what it starts from.
      first: number of the first one, for messages.

    Raises:
      GailfeError: there are none, one does not go together, or two are the same once resolved.
    """
    if not rows:
        raise GailfeError("settings: got none; expected at least one")
    bases: dict[tuple[str | None, str | None], Base] = {}
    settings: list[Setting] = []
    seen: dict[str, int] = {}
    for number, values in enumerate(rows, start=first):
        method = (values.get("algo"), values.get("env"))
        try:
            if method not in bases:
                bases[method] = base(*method)
            start = bases[method]
            parts: dict[str, Values] = {"config": {}, "hyper": {}, "demos": {}}
            for name, value in values.items():
                parts[field_of(name).part][name] = value
            config = resolve_config(dataclasses.replace(start.config, **parts["config"]))
            config = dataclasses.replace(config, env=canonical_name(config.env))
            hyper = start.hyper.replace(**parts["hyper"])
            demos = dataclasses.replace(start.demos, **parts["demos"])
        except GailfeError as error:
            shown = Setting(values, Config(), Hyper(), RunSettings(), DemoSettings()).label
            raise GailfeError(f"setting {number} ({shown}): {error}") from None
        setting = Setting(dict(values), config, hyper, start.run, demos)
        same = seen.setdefault(setting.key, number)
        if same != number:
            raise GailfeError(
                f"setting {number} ({setting.label}): trains the same as setting {same} "
                f"({settings[same - first].label}); expected different settings"
            )
        settings.append(setting)
    return settings
