"""A part carries its own settings: its fields are the settings, and its methods the functions that read them.

    class Discriminator(Reward):
        hidden: tuple[int, ...] = setting((100, 100))
        \"\"\"Hidden layers.\"\"\"
        lr: float = traced(3e-4, step_size="reward")
        \"\"\"Adam learning rate.\"\"\"

A **static** setting shapes the program. A **traced** setting is a number inside the program, so that many values of it
train side by side under `vmap`, and a new value compiles nothing. A part is a JAX pytree: its traced settings, and
those of the parts inside it, are the leaves; everything else is the tree's structure. Traced settings never meet
Python control flow.

The string below a field says what it does. Command line, configuration files, sweeps and records read it from here.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import math
import reprlib
import textwrap
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from gailfe_jax.errors import GailfeError, expect, one_line
from gailfe_jax.types import Array, Problem, Scalar

PartT = TypeVar("PartT", bound="Part")
StepSize = Literal["policy", "value", "reward", "weights", "model", "alpha"]
_KEY = "gailfe_jax"
_LARGEST = 2**31 - 1  # Of sizes and counts: indices on devices have 32 bits.
_ANNOTATIONS = "bool, int, float, str, tuple[int, ...] or a Literal of words, or one of these or None"


@dataclasses.dataclass(frozen=True)
class Marks:
    """What a field is, beside its type.

    Attributes:
      traced: whether it is a number inside the program.
      step_size: for schedules, whose step it is; None for what is no step size.
      hidden: whether it is no setting at all but what binding fills in.
      least, above, most, below: bounds; `above` and `below` are excluded themselves.
      part: whether it holds another part.
    """

    traced: bool = False
    step_size: StepSize | None = None
    hidden: bool = False
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    part: bool = False


def setting(
    default: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> Any:
    """A static setting with its default and its bounds."""
    return _field(default, Marks(least=least, above=above, most=most, below=below))


def traced(
    default: float,
    *,
    step_size: StepSize | None = None,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> Any:
    """A traced setting and its bounds; `step_size` names the schedule that it follows, and a step is never negative."""
    least = 0.0 if step_size is not None and least is None and above is None else least
    return _field(default, Marks(True, step_size, least=least, above=above, most=most, below=below))


def subpart(default: Any = None) -> Any:
    """A part inside this one. None stands for a method without it."""
    return _field(default, Marks(part=True))


def bound(default: Any = None) -> Any:
    """No setting: what `bind` fills in. It is part of the program's structure."""
    return _field(default, Marks(hidden=True))


def _field(default: Any, marks: Marks) -> Any:
    return dataclasses.field(default=default, metadata={_KEY: marks})


def marks_of(field: dataclasses.Field[Any]) -> Marks:
    """What a field is; a plain field is a static setting."""
    return field.metadata.get(_KEY, Marks())


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Part:
    """Base of everything that has settings. Subclasses become frozen dataclasses and pytrees by themselves.

    Attributes:
      problem: the sizes and bounds that it works on; None until it is bound.
    """

    problem: Problem = bound()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, kw_only=True, repr=False)(cls)
        jax.tree_util.register_pytree_with_keys(cls, _flatten_with_keys, functools.partial(_unflatten, cls), _flatten)

    def __post_init__(self) -> None:
        for field in settings_of(type(self)):
            value = getattr(self, field.name)
            # One spelling, whichever the caller wrote.
            if field.kind is float and _whole(value):
                object.__setattr__(self, field.name, float(value))
            elif field.kind is tuple and isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
            check(f"{type(self).__name__}.{field.name}", field, getattr(self, field.name))
        for name, kinds in _kinds_of_parts(type(self)).items():
            words = " or ".join("None" if kind is type(None) else f"an object of {kind.__name__}" for kind in kinds)
            expect(f"{type(self).__name__}.{name}", getattr(self, name), kinds, words)

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in _names(type(self), hidden=False))
        return f"{type(self).__name__}({', '.join(shown)})"

    def replace(self: PartT, **changes: Any) -> PartT:
        """A copy with other values."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def bind(self: PartT, problem: Problem) -> PartT:
        """A copy that knows what it works on, as do the parts inside it."""
        inner = {name: part.bind(problem) for name, part in subparts(self)}
        return _copy(self, {"problem": problem} | inner)

    def values(self) -> dict[str, Any]:
        """Its own settings by name, without those of the parts inside it."""
        return {setting.name: getattr(self, setting.name) for setting in settings_of(type(self))}

    def unread(self) -> dict[str, str]:
        """Settings that nothing reads as the others stand: `name -> why`, in words that follow "nothing reads it: "."""
        return {}


# Itself too: fields are inherited from dataclasses alone.
dataclasses.dataclass(frozen=True, kw_only=True, repr=False)(Part)


def subparts(part: Part) -> Iterator[tuple[str, Part]]:
    """`(name, part)` of the parts inside `part`, in order of the fields."""
    for name in _names(type(part), hidden=False):
        value = getattr(part, name)
        if isinstance(value, Part):
            yield name, value


@functools.cache
def _names(kind: type, hidden: bool) -> tuple[str, ...]:
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(kind)
    return tuple(field.name for field in fields if marks_of(field).hidden == hidden)


@functools.cache
def _children(kind: type) -> tuple[frozenset[str], tuple[str, ...]]:
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(kind)
    always = frozenset(field.name for field in fields if marks_of(field).traced or marks_of(field).part)
    return always, tuple(field.name for field in fields)


def _split(part: Part) -> tuple[list[tuple[str, Any]], tuple[Any, ...]]:
    """`(children by name, static values)`; a child is a traced number or another part."""
    always, names = _children(type(part))
    children = [(name, getattr(part, name)) for name in names if name in always]
    return children, tuple(getattr(part, name) for name in names if name not in always)


def _flatten_with_keys(part: Part) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
    children, static = _split(part)
    return [(jax.tree_util.GetAttrKey(name), value) for name, value in children], static


def _flatten(part: Part) -> tuple[list[Any], tuple[Any, ...]]:
    children, static = _split(part)
    return [value for _, value in children], static


def _unflatten(kind: type[PartT], static: tuple[Any, ...], children: Any) -> PartT:
    # Not by way of `__init__`: inside JAX a leaf may be a tracer or a placeholder.
    always, names = _children(kind)
    inner, outer = iter(children), iter(static)
    part = object.__new__(kind)
    for name in names:
        object.__setattr__(part, name, next(inner) if name in always else next(outer))
    return part


def _copy(part: PartT, changes: dict[str, Any]) -> PartT:
    """`dataclasses.replace` without checks, for values that JAX made."""
    copy = object.__new__(type(part))
    for name in _children(type(part))[1]:
        object.__setattr__(copy, name, changes.get(name, getattr(part, name)))
    return copy


def map_traced(part: PartT, fn: Callable[[Marks, Any], Any]) -> PartT:
    """`part` with every traced setting, in it and in the parts inside it, replaced by `fn(marks, value)`."""
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(part):  # type: ignore[arg-type]
        value = getattr(part, field.name)
        if marks_of(field).traced:
            changes[field.name] = fn(marks_of(field), value)
        elif isinstance(value, Part):
            changes[field.name] = map_traced(value, fn)
    return _copy(part, changes)


def as_arrays(part: PartT) -> PartT:
    """`part` with every traced setting a float32 array, so that a new value does not retrace.

    Raises:
      GailfeError: one is not finite, or out of its bounds.
    """
    _check_arrays(part)

    def array(path: Any, value: Scalar) -> Array:
        made = jnp.asarray(value, jnp.float32)
        if not bool(jnp.all(jnp.isfinite(made))):
            raise GailfeError(f"{path_name(path)}: got {value}; expected a finite number")
        return made

    return jax.tree_util.tree_map_with_path(array, part)


def _check_arrays(part: Part, prefix: str = "") -> None:
    """Holds arrays of traced settings to the bounds that single numbers are held to when they are given."""
    for name, inner in subparts(part):
        _check_arrays(inner, f"{prefix}{name}.")
    for setting in settings_of(type(part)):
        value = getattr(part, setting.name)
        if setting.marks.traced and hasattr(value, "shape"):
            for number in np.asarray(value, np.float64).ravel():
                # What is not finite is refused as such.
                if math.isfinite(number) and not _within(setting.marks, float(number)):
                    raise GailfeError(f"{prefix}{setting.name}: got {number:g}; expected {setting.expected}")


def path_name(path: Any) -> str:
    """A pytree's path as settings are named: `policy.max_kl`."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


@dataclasses.dataclass(frozen=True)
class Setting:
    """A setting as its class declares it.

    Attributes:
      name: of the field.
      kind: its Python type; `tuple` for layer sizes.
      choices: the only values, for names from a list; else empty.
      optional: whether it may be None.
      marks: whether it is traced, its bounds.
      default: of the class.
      help: the string below the field.
    """

    name: str
    kind: type
    choices: tuple[str, ...]
    optional: bool
    marks: Marks
    default: Any
    help: str

    @property
    def expected(self) -> str:
        """The values it takes, for messages."""
        words = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text"}
        words[tuple] = "layer sizes such as 64x64, or none"
        shown = f"one of {', '.join(self.choices)}" if self.choices else words[self.kind]
        marks = self.marks
        for word, bound in (("from", marks.least), ("above", marks.above), ("to", marks.most), ("below", marks.below)):
            if bound is not None:
                shown += f" {word} {bound}" if self.kind is int and _whole(bound) else f" {word} {bound:g}"
        return f"{shown}, or none" if self.optional else shown


def _hints(kind: type) -> dict[str, Any]:
    """The annotations of a class, evaluated."""
    try:
        return typing.get_type_hints(kind)
    except Exception as error:  # Whatever an annotation raises.
        fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(kind)
        word = getattr(error, "name", None)
        names = [f"{kind.__name__}.{field.name}" for field in fields if word and word in str(field.type)]
        where = names[0] if names else kind.__name__
        raise GailfeError(f"{where}: no such annotation ({one_line(error)}); expected {_ANNOTATIONS}") from None


@functools.cache
def _kinds_of_parts(kind: type) -> dict[str, tuple[type, ...]]:
    """`field -> the classes, None's among them, whose objects it takes`, of the fields that hold parts."""
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(kind)
    hints = _hints(kind)
    arms = {field.name: _arms(hints[field.name]) for field in fields if marks_of(field).part}
    allowed = (Part, type(None))
    return {
        name: tuple(arm for arm in arms if isinstance(arm, type) and issubclass(arm, allowed)) or allowed
        for name, arms in arms.items()
    }


def _arms(annotated: Any) -> tuple[Any, ...]:
    """What a union is of; anything else alone."""
    union = typing.get_origin(annotated) in (types.UnionType, typing.Union)
    return typing.get_args(annotated) if union else (annotated,)


def _declared(annotated: Any) -> tuple[type, tuple[str, ...], bool] | None:
    """`(type, choices, whether it may be None)` of a setting's annotation; None for one that no setting can have."""
    arms = _arms(annotated)
    kinds = [arm for arm in arms if arm is not type(None)]
    if len(kinds) != 1:
        return None
    (kind,), optional = kinds, len(arms) > 1
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        return (str, choices, optional) if all(isinstance(choice, str) for choice in choices) else None
    if kind == tuple[int, ...]:
        return tuple, (), optional
    return (kind, (), optional) if kind in (bool, int, float, str) else None


@functools.cache
def settings_of(kind: type) -> tuple[Setting, ...]:
    """The settings that a class declares itself or inherits, without those of the parts inside it.

    Raises:
      GailfeError: names the first setting whose annotation, marks or default cannot be.
    """
    hints, found = _hints(kind), []
    helps = field_docs(kind)
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(kind)
    for field in fields:
        marks = marks_of(field)
        if marks.hidden or marks.part:
            continue
        where, declared = f"{kind.__name__}.{field.name}", _declared(hints[field.name])
        if declared is None:
            raise GailfeError(f"{where}: is annotated {field.type}; expected {_ANNOTATIONS}")
        if marks.traced and declared != (float, (), False):
            raise GailfeError(f"{where}: is annotated {field.type}; expected float for a traced setting")
        if marks.step_size not in (None, *typing.get_args(StepSize)):
            steps = ", ".join(typing.get_args(StepSize))
            raise GailfeError(f"{where}: got step_size {marks.step_size!r}; expected one of {steps}")
        if field.default is dataclasses.MISSING:
            raise GailfeError(f"{where}: has no default; expected one, as in setting(1)")
        found.append(Setting(field.name, *declared, marks, field.default, helps.get(field.name, "")))
        check(f"{where}: its default", found[-1], field.default)
    return tuple(found)


def setting_named(kind: type, name: str) -> Setting:
    """The setting of `kind` called `name`; KeyError if there is none."""
    for found in settings_of(kind):
        if found.name == name:
            return found
    raise KeyError(name)


def check(name: str, setting: Setting, value: Any) -> None:
    """Refuses a value of another type or out of bounds.

    Raises:
      GailfeError: names the setting and what was expected. Arrays pass: they are traced settings of several seeds.
    """
    if setting.marks.traced and hasattr(value, "shape"):
        return
    if value is None and setting.optional:
        return
    if not _fits(setting, value):
        shown = f"{value!r}" if isinstance(value, str) else reprlib.repr(value)
        raise GailfeError(f"{name}: got {shown}; expected {setting.expected}{most_of(setting, value)}")


def most_of(setting: Setting, value: Any) -> str:
    """What bounds `value` where its setting names no bound, in words; else empty."""
    large = setting.kind is int and setting.marks.most is None and _whole(value) and value > _LARGEST
    return f" to {_LARGEST}" if large else ""


def _fits(setting: Setting, value: Any) -> bool:
    marks = setting.marks
    if setting.kind is bool:
        return isinstance(value, bool)
    if setting.kind is str:
        return isinstance(value, str) and (not setting.choices or value in setting.choices)
    if setting.kind is tuple:
        return isinstance(value, tuple) and all(_whole(size) and 1 <= size <= _LARGEST for size in value)
    if not isinstance(value, int | float) or isinstance(value, bool) or (setting.kind is int and not _whole(value)):
        return False
    # Whole numbers may be larger than any float.
    finite = math.isfinite(value) if isinstance(value, float) else abs(value) < 2**1023
    large = setting.kind is int and marks.most is None and abs(value) > _LARGEST
    return finite and not large and _within(marks, value)


def _within(marks: Marks, value: float) -> bool:
    return (
        (marks.least is None or value >= marks.least)
        and (marks.above is None or value > marks.above)
        and (marks.most is None or value <= marks.most)
        and (marks.below is None or value < marks.below)
    )


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@functools.cache
def field_docs(kind: type) -> dict[str, str]:
    """`field -> the string below it`, those of the bases included; empty where the source is not at hand."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(base) or base is Part:
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError, SyntaxError):
            continue
        body = typing.cast(ast.ClassDef, tree.body[0]).body
        for before, after in itertools.pairwise(body):
            if not (isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name)):
                continue
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                docs[before.target.id] = " ".join(str(after.value.value).split())
    return docs
