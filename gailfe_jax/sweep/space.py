"""Which settings a sweep tries: a grid, draws from distributions, or the rows of a file, as typed values.

Any setting of the method, the environment or the demonstrations can vary; how a run is carried out cannot.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from gailfe_jax.config.parts import Setting, map_traced
from gailfe_jax.config.values import read_value, show_value
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.csv_text import cells_of
from gailfe_jax.io.json_text import parse_json
from gailfe_jax.io.limited import read_limited
from gailfe_jax.learners.setup import ConfigFile, Setup, all_settings, build_setup, find_setting

Values: TypeAlias = dict[str, Any]
"""Full name to typed value: what one point changes."""
MOST_SETTINGS = 10_000
"""Of one sweep. Each has a folder, and its own rows in the tables; more are several sweeps."""
_REDRAWS = 1000  # Draws in a row that repeat earlier settings, before a search space counts as used up.
_LARGEST_FILE = 16 * 2**20
_DIGITS = 6  # Significant digits of a drawn number: as exact as anyone tunes, and as short as a table can show.


@dataclasses.dataclass(frozen=True)
class Point:
    """One point of a sweep.

    Attributes:
      values: what it changes, by full name.
      setup: the whole of it.
    """

    values: Values
    setup: Setup

    @property
    def label(self) -> str:
        """`name=value` of all it changes."""
        return label(self.values)

    def get(self, name: str) -> Any:
        """The value of any setting, whether or not this point changes it; None where its method has none."""
        return self.setup.get(name)

    @property
    def key(self) -> str:
        """Equal for points that train the same."""
        return repr(self.setup)

    @property
    def program_key(self) -> str:
        """Equal for points that one program can train side by side."""
        same = map_traced(self.setup.method, lambda marks, value: 0.0)
        return repr(dataclasses.replace(self.setup, method=same))


def label(values: Mapping[str, Any]) -> str:
    """`name=value` of all values."""
    return " ".join(f"{name}={show_value(value)}" for name, value in values.items()) or "as it is"


@dataclasses.dataclass(frozen=True)
class Field:
    """A setting that a sweep varies.

    Attributes:
      name: in full.
      setting: what its class declares.
    """

    name: str
    setting: Setting

    @property
    def kind(self) -> type:
        """Its Python type."""
        return self.setting.kind

    def read(self, given: Any, *, exact: bool = False) -> Any:
        """`given` as its type; raises GailfeError. See `read_value`."""
        return read_value(self.name, self.setting, given, exact=exact)


def field_of(name: str) -> Field:
    """The setting called `name`, in full or by its last word.

    Raises:
      GailfeError: no such setting.
    """
    full = find_setting(name)
    return Field(full, all_settings()[full])


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
    count = 1
    for field, text in _assignments(words, "grid", "name=value,value"):
        parts = text.split(",")
        # Before they are made: ten fields of nine values are billions.
        count *= len(parts)
        _check_count("grid", count)
        values = [field.read(part) for part in parts]
        for index, value in enumerate(values):
            if value in values[:index]:
                raise GailfeError(f"{field.name}: got {show_value(value)} twice; expected different values")
        axes[field.name] = values
    return [dict(zip(axes, combination)) for combination in itertools.product(*axes.values())]


def _check_count(name: str, count: int) -> None:
    if count > MOST_SETTINGS:
        raise GailfeError(f"{name}: got {count} settings; expected at most {MOST_SETTINGS} in a sweep")


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
            values = [field.read(part) for part in rest.split("," if "," in rest else ":")]
            if len(set(values)) < len(values):
                raise GailfeError(f"{field.name}: got {rest!r}; expected different choices")
            found.append(Distribution(field, choices=tuple(values)))
            continue
        if kind not in ("uniform", "log"):
            raise GailfeError(f"{field.name}: got {text!r}; expected {_FORM}")
        if field.kind not in (int, float):
            raise GailfeError(
                f"{field.name}: got {text!r}; expected name=choice:a:b, for it takes {field.setting.expected}"
            )
        ends = rest.split(":")
        if len(ends) != 2:
            raise GailfeError(f"{field.name}: got {text!r}; expected name={kind}:low:high")
        low, high = (field.read(end) for end in ends)
        if not low < high or (kind == "log" and low <= 0):
            least = "0 < low < high" if kind == "log" else "low < high"
            raise GailfeError(f"{field.name}: got {text!r}; expected {least}")
        if not math.isfinite(float(high) - float(low)):
            raise GailfeError(f"{field.name}: got {text!r}; expected bounds whose difference is finite")
        found.append(Distribution(field, low=low, high=high, log=kind == "log"))
    return found


def random(words: Sequence[str], samples: int, seed: int = 0) -> list[Values]:
    """`samples` different settings drawn from `distributions(words)`; more samples continue the same list.

    Raises:
      GailfeError: as `distributions`, or the space has not so many different settings.
    """
    if samples < 1:
        raise GailfeError(f"samples: got {samples}; expected at least 1")
    _check_count("samples", samples)
    if seed < 0:
        raise GailfeError(f"sweep_seed: got {seed}; expected 0 or more")
    space = distributions(words)
    rng = np.random.default_rng(seed)
    rows: list[Values] = []
    seen: set[str] = set()
    repeats = 0
    while len(rows) < samples:
        row = {part.field.name: part.draw(rng) for part in space}
        if (key := repr(row)) in seen:
            repeats += 1
            if repeats == _REDRAWS:
                raise GailfeError(f"samples: got {samples}; only {len(rows)} different settings could be drawn")
            continue
        repeats = 0
        seen.add(key)
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
    if not path.exists():
        raise GailfeError(f"{path}: no such file; expected one setting per row")
    try:
        text = read_limited(path, _LARGEST_FILE, "file of settings").decode("utf-8-sig")
    except UnicodeDecodeError:
        raise GailfeError(f"{path}: not a text file that can be read; expected one setting per row") from None
    found_rows = _csv_rows(path, text) if path.suffix.lower() == ".csv" else _json_rows(path, text)
    rows = list(itertools.islice(found_rows, MOST_SETTINGS + 1))
    _check_count(str(path), len(rows))
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
                values[field.name] = field.read(given)
        except GailfeError as error:
            raise GailfeError(f"{path}, line {number}: {error}") from None
        found.append(values)
    return found


def _csv_rows(path: pathlib.Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.reader(text.splitlines())
    names: list[str] | None = None
    for cells in cells_of(reader, str(path)):
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
            row = parse_json(line, nonfinite=True)
        except GailfeError as error:
            raise GailfeError(f"{path}, line {number}: {error}; expected a JSON object of fields") from None
        if not isinstance(row, dict):
            raise GailfeError(f"{path}, line {number}: got {line.strip()[:40]!r}; expected a JSON object of fields")
        yield number, row


def build(
    rows: Sequence[Values], base: Mapping[str, Any], first: int = 0, config: ConfigFile | None = None
) -> list[Point]:
    """The points of `rows`: each starts from the preset of its method on its task, then `base`, its own values last.

    Args:
      rows: what each point changes.
      base: settings of all points, by name.
      first: number of the first one, for messages.
      config: settings of all points that come before `base`; what a point leaves without a reader is dropped.

    Raises:
      GailfeError: there are none, one does not go together, or two are the same.
    """
    if not rows:
        raise GailfeError("settings: got none; expected at least one")
    common = {_full(name): value for name, value in base.items()}
    points: list[Point] = []
    seen: dict[str, int] = {}
    for number, values in enumerate(rows, start=first):
        try:
            point = Point(dict(values), build_setup(common | values, config=config))
        except GailfeError as error:
            raise GailfeError(f"setting {number} ({label(values)}): {error}") from None
        same = seen.setdefault(point.key, number)
        if same != number:
            raise GailfeError(
                f"setting {number} ({point.label}): trains the same as setting {same} "
                f"({points[same - first].label}); expected different settings"
            )
        points.append(point)
    return points


def _full(name: str) -> str:
    """A name in full, or as it is where no method has it: `build_setup` says what is wrong with it."""
    try:
        return find_setting(name)
    except GailfeError:
        return name
