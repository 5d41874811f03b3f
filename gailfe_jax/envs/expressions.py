"""Numbers read off the simulator, written as text: `qpos[2:]`, `site:tip.xpos - body:cube.xpos`, `norm(sensor:force)`.

Text is parsed into a few known operations and never run as code.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gailfe_jax.envs.physics.names import KINDS, Names
from gailfe_jax.envs.tasks.common import norm, squared
from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Fields

_KIND = re.compile(rf"\b({'|'.join(KINDS)}):")
_PART = re.compile(r"[\w/\-]+(?:\.[\w/\-]+)*(?=\.[A-Za-z_])|[\w/\-]+")
_ATTRIBUTE = re.compile(r"(?:\.([A-Za-z_]+))?")


@dataclasses.dataclass(frozen=True)
class _Value:
    """An array `[..., *shape]` and how many axes its own shape has."""

    array: Any
    rank: int


_FAR = 2**31  # Beyond any index.
_Read = Callable[[Any, Mapping[str, Any]], _Value]


@dataclasses.dataclass(frozen=True)
class Expression:
    """A compiled expression.

    Attributes:
      text: as it was written.
      where: what an error begins with.
      fields: arrays of the simulator that it reads.
      fields_before: those that it reads as they were before the step.
    """

    text: str
    where: str
    fields: frozenset[str]
    fields_before: frozenset[str]
    _read: _Read

    def vector(self, xp: Any, data: Fields, **names: Any) -> Any:
        """`[..., k]`, its numbers in one row."""
        value = self._read(xp, {"data": data} | names)
        batch = value.array.shape[: value.array.ndim - value.rank]
        row = value.array.reshape(*batch, -1)
        # What reads no state has no batch of its own.
        return row if batch else xp.broadcast_to(row, (*data.qpos.shape[:-1], row.shape[-1]))

    def number(self, xp: Any, data: Fields, **names: Any) -> Any:
        """`[...]`, of an expression that gives one number.

        Raises:
          GailfeError: it gives none or several, of which all but one would be ignored.
        """
        row = self.vector(xp, data, **names)
        if row.shape[-1] != 1:
            raise GailfeError(
                f"{self.where}: {self.text!r} gives {row.shape[-1]} numbers; expected one, "
                "by an index, norm, sum, min or max"
            )
        return row[..., 0]


def compile_expression(text: str, names: Names, where: str, extra: Sequence[str] = ()) -> Expression:
    """Compiles an expression.

    Args:
      text: numbers, `+ - * / **`, slices, the functions of `_FUNCTIONS`, arrays of MuJoCo's `mjData` by name, and
        `body:NAME.xpos`, `site:NAME.xpos`, `geom:NAME.xpos` (also `.x`, `.y`, `.z`), `joint:NAME.qpos`, `.qvel`,
        `sensor:NAME`, `actuator:NAME`, `tendon:NAME.length` and what else `gailfe_jax.envs.physics.names` lists.
      names: of the model.
      where: what an error begins with.
      extra: further names that the caller gives, such as `dt`; `before(...)` is known where `action` is, and reads the
        state alone.

    Raises:
      GailfeError: it does not parse, names what the model does not have, or has `before` around what no state has.
    """
    refused = GailfeError(f"{where}: {text!r} does not parse; expected such as 'qpos[2:]' or 'site:tip.xpos'")
    written, references = _without_parts(text, names)
    if any(re.search(r"\b_\d+_\b", piece) for piece in written):
        raise refused
    joined = "".join(f"{piece}_{i}_" for i, piece in enumerate(written[:-1])) + written[-1]
    try:
        tree = ast.parse(joined.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise refused from None
    compiler = _Compiler(text, names, where, references, tuple(extra))
    read = compiler.compile(tree)
    return Expression(text, where, frozenset(compiler.fields), frozenset(compiler.fields_before), read)


def _without_parts(text: str, names: Names) -> tuple[list[str], list[tuple[str, str, str | None]]]:
    """The pieces of a text between the parts of the model that it names, and `(kind, name, attribute)` of each."""
    pieces, references, start = [], [], 0
    while (match := _KIND.search(text, start)) is not None:
        kind, at = match[1], match.end()
        # A model's names may hold dots and letters of any language: the longest that stands there is meant.
        known = [name for name in names.parts[kind] if text.startswith(name, at) and not _goes_on(text, at, name)]
        written = _PART.match(text, at)
        name = max(known, key=len, default=written[0] if written else "")
        if not name:
            break
        attribute = _ATTRIBUTE.match(text, at + len(name))
        assert attribute is not None
        pieces.append(text[start : match.start()])
        references.append((kind, name, attribute[1]))
        start = attribute.end()
    return [*pieces, text[start:]], references


def _goes_on(text: str, at: int, name: str) -> bool:
    """Whether the word that `name` ends with goes on in the text behind it."""
    return re.match(r"\w", name[-1]) is not None and re.match(r"\w", text[at + len(name) :]) is not None


class _Compiler:
    def __init__(self, text: str, names: Names, where: str, references: list[Any], extra: tuple[str, ...]):
        self.text, self.names, self.where, self.references, self.extra = text, names, where, references, extra
        self.fields: set[str] = set()
        self.fields_before: set[str] = set()
        self._before = False

    def refuse(self, why: str) -> GailfeError:
        return GailfeError(f"{self.where}: {self.text!r}: {why}")

    def said(self, node: ast.expr) -> str:
        """The text of a part of the expression."""

        def part(match: re.Match[str]) -> str:
            kind, name, attribute = self.references[int(match[1])]
            return f"{kind}:{name}" + (f".{attribute}" if attribute else "")

        return re.sub(r"\b_(\d+)_", part, ast.unparse(node))

    def compile(self, node: ast.expr) -> _Read:
        match node:
            case ast.Constant(value=bool()):
                raise self.refuse(f"got {node.value}; expected a number")
            case ast.Constant(value=int() | float()):
                value = self.limit(node)
                return lambda xp, known: _Value(xp.asarray(value), 0)
            case ast.Name(id=name):
                return self.name(name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self.compile(operand)
                return lambda xp, known: _Value(-(value := inner(xp, known)).array, value.rank)
            case ast.BinOp(op=ast.Pow(), left=left, right=ast.Constant(value=2)):
                inner = self.compile(left)
                return lambda xp, known: _Value(squared(xp, (value := inner(xp, known)).array), value.rank)
            case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div() as op, left=left, right=right):
                return self.binary(_OPERATIONS[type(op)], self.compile(left), self.compile(right))
            case ast.Subscript(value=value, slice=index):
                return self.subscript(self.compile(value), index)
            case ast.Call(func=ast.Name(id="before"), args=[inner], keywords=[]) if "action" in self.extra:
                return self.before(inner)
            case ast.Call(func=ast.Name(id=name), args=[inner, *bounds], keywords=[]):
                return self.call(name, inner, bounds)
        raise self.refuse(f"{self.said(node)!r} is not understood; expected + - * / **2, slices, {_KNOWN}")

    def name(self, name: str) -> _Read:
        if re.fullmatch(r"_\d+_", name):
            reference = self.references[int(name[1:-1])]
            field, index, rank = self.names.find(*reference, where=f"{self.where}: {self.text!r}")
            return self.field(field, (Ellipsis, *index), rank)
        if name in self.extra:
            if self._before and name in _OF_THE_STEP:
                raise self.refuse(f"before({name}) is not known: {name} is of the step itself; {_BEFORE}")
            return lambda xp, known: _Value(xp.asarray(known[name]), 1 if name == "action" else 0)
        if name not in self.names.ranks:
            known = [*self.names.ranks, *self.extra]
            near = difflib.get_close_matches(name, known, n=1)
            raise self.refuse(
                f"no field {name!r}; " + (f"did you mean {near[0]}?" if near else "expected one of mjData's")
            )
        return self.field(name, (Ellipsis,), self.names.ranks[name])

    def field(self, field: str, index: tuple[Any, ...], rank: int) -> _Read:
        if 0 in self.names.shapes[field]:
            raise self.refuse(f"the model has no {field}; expected a field that holds numbers")
        self.fields.add(field)
        holder = "data"
        if self._before:
            self.fields_before.add(field)
            holder = "before"
        return lambda xp, known: _Value(getattr(known[holder], field)[index], rank)

    def before(self, node: ast.expr) -> _Read:
        if self._before:
            raise self.refuse(f"before({self.said(node)}) stands inside another before; {_BEFORE}")
        known, self.fields_before = self.fields_before, set()
        self._before = True
        inner = self.compile(node)
        self._before = False
        if not self.fields_before:
            raise self.refuse(f"before({self.said(node)}) reads nothing of the state; {_BEFORE}")
        self.fields_before |= known
        return inner

    def binary(self, operation: Callable[[Any, Any], Any], left: _Read, right: _Read) -> _Read:
        def read(xp: Any, known: Mapping[str, Any]) -> _Value:
            one, two = left(xp, known), right(xp, known)
            rank = max(one.rank, two.rank)
            # A number beside a row stands for a row of it.
            a, b = (x.array.reshape((*x.array.shape, *(1,) * (rank - x.rank))) for x in (one, two))
            return _Value(operation(a, b), rank)

        return read

    def subscript(self, inner: _Read, node: ast.expr) -> _Read:
        parts = node.elts if isinstance(node, ast.Tuple) else [node]
        index = tuple(self.index(part) for part in parts)
        taken = sum(isinstance(part, int) for part in index)

        def read(xp: Any, known: Mapping[str, Any]) -> _Value:
            value = inner(xp, known)
            if len(index) > value.rank:
                raise self.refuse(f"{len(index)} indices into what has {value.rank}")
            whole = (slice(None),) * (value.rank - len(index))
            shape = value.array.shape[value.array.ndim - value.rank :]
            try:
                found = _Value(value.array[(Ellipsis, *index, *whole)], value.rank - taken)
            except IndexError:
                raise self.refuse(f"index {self.said(node)} is beyond its {shape[0]} numbers") from None
            if 0 in found.array.shape[found.array.ndim - found.rank :]:
                raise self.refuse(f"index {self.said(node)!r} selects nothing out of shape {list(shape)}")
            return found

        return read

    def index(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Slice):
            parts = (None if part is None else self.whole(part) for part in (node.lower, node.upper, node.step))
            lower, upper, step = parts
            if step == 0:
                raise self.refuse(f"index {self.said(node)!r} has step 0; expected another")
            return slice(lower, upper, step)
        return self.whole(node)

    def whole(self, node: ast.expr) -> int:
        try:
            value = ast.literal_eval(node)
        except (ValueError, TypeError):
            value = None
        if not isinstance(value, int) or isinstance(value, bool) or not -_FAR < value < _FAR:
            raise self.refuse(f"index {self.said(node)!r}; expected a whole number or a slice")
        return value

    def call(self, name: str, node: ast.expr, bounds: Sequence[ast.expr]) -> _Read:
        if name not in _FUNCTIONS:
            near = difflib.get_close_matches(name, _FUNCTIONS, n=1)
            raise self.refuse(
                f"no function {name!r}; " + (f"did you mean {near[0]}?" if near else f"expected {_KNOWN}")
            )
        function, reduces, count = _FUNCTIONS[name]
        if len(bounds) != count:
            raise self.refuse(f"{name} takes {count + 1} arguments, got {len(bounds) + 1}")
        inner, limits = self.compile(node), [self.limit(bound) for bound in bounds]
        if limits and not limits[0] < limits[1]:
            raise self.refuse(f"{name} between {limits[0]:g} and {limits[1]:g}; expected the smaller bound first")

        def read(xp: Any, known: Mapping[str, Any]) -> _Value:
            value = inner(xp, known)
            return _Value(function(xp, value.array, *limits), value.rank - 1 if reduces else value.rank)

        return read

    def limit(self, node: ast.expr) -> float:
        try:
            return float(ast.literal_eval(node))
        except (ValueError, TypeError, OverflowError):
            raise self.refuse(f"{self.said(node)!r}; expected a number") from None


_OPERATIONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}
# The function, whether it makes one number of a row, and how many numbers it takes besides.
_FUNCTIONS: dict[str, tuple[Callable[..., Any], bool, int]] = {
    "sin": (lambda xp, x: xp.sin(x), False, 0),
    "cos": (lambda xp, x: xp.cos(x), False, 0),
    "tanh": (lambda xp, x: xp.tanh(x), False, 0),
    "exp": (lambda xp, x: xp.exp(x), False, 0),
    "sqrt": (lambda xp, x: xp.sqrt(x), False, 0),
    "abs": (lambda xp, x: xp.abs(x), False, 0),
    "clip": (lambda xp, x, low, high: xp.clip(x, low, high), False, 2),
    "norm": (norm, True, 0),
    "sum": (lambda xp, x: xp.sum(x, axis=-1), True, 0),
    "mean": (lambda xp, x: xp.mean(x, axis=-1), True, 0),
    "min": (lambda xp, x: xp.min(x, axis=-1), True, 0),
    "max": (lambda xp, x: xp.max(x, axis=-1), True, 0),
}
_KNOWN = ", ".join(_FUNCTIONS)
_OF_THE_STEP = ("action", "alive")
"""Names that a state before the step does not have."""
_BEFORE = "expected quantities of the state, such as before(site:tip.x)"
