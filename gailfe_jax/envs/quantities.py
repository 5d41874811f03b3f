"""Numbers that carry a name and a unit through a task's `observe` instead of a value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

Unit: TypeAlias = Mapping[str, int] | str
"""Exponents of base units, or a text with which nothing can be computed."""

Exponents: TypeAlias = dict[str, int]
ONE: Exponents = {}
METRE, RADIAN, SECOND = {"m": 1}, {"rad": 1}, {"s": 1}
SPEED, SPIN, ACCELERATION = {"m": 1, "s": -1}, {"rad": 1, "s": -1}, {"m": 1, "s": -2}
FORCE, TORQUE = {"kg": 1, "m": 1, "s": -2}, {"kg": 1, "m": 2, "s": -2}
UNKNOWN = "unknown"

_SPOKEN = [(FORCE, "N"), (TORQUE, "N m"), (ONE, "1")]
_LONGEST = 100


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A number known by name.

    Attributes:
      name: what it is, as a task file would write it.
      unit: of it; None where that is not known.
    """

    name: str
    unit: Any = None

    # What is left of an array of no dimensions after arithmetic, seen as an array.
    shape = ()
    ndim = 0

    def reshape(self, *shape: Any) -> np.ndarray:
        """An array of `shape` that holds it alone."""
        return _alone(self).reshape(*shape)

    def __add__(self, other: Any) -> Quantity:
        return self._sum(other, "+")

    def __radd__(self, other: Any) -> Quantity:
        return _as_quantity(other)._sum(self, "+")

    def __sub__(self, other: Any) -> Quantity:
        return self._sum(other, "-")

    def __rsub__(self, other: Any) -> Quantity:
        return _as_quantity(other)._sum(self, "-")

    def __mul__(self, other: Any) -> Quantity:
        return self._product(other, "*", 1)

    def __rmul__(self, other: Any) -> Quantity:
        return _as_quantity(other)._product(self, "*", 1)

    def __truediv__(self, other: Any) -> Quantity:
        return self._product(other, "/", -1)

    def __rtruediv__(self, other: Any) -> Quantity:
        return _as_quantity(other)._product(self, "/", -1)

    def __neg__(self) -> Quantity:
        return _named(f"-{self.name}", self.unit)

    def _sum(self, other: Any, sign: str) -> Quantity:
        other = _as_quantity(other)
        return _named(f"({self.name} {sign} {other.name})", self.unit if self.unit == other.unit else None)

    def _product(self, other: Any, sign: str, power: int) -> Quantity:
        other = _as_quantity(other)
        unit = None
        if isinstance(self.unit, Mapping) and isinstance(other.unit, Mapping):
            names = [*self.unit, *(name for name in other.unit if name not in self.unit)]
            unit = {name: self.unit.get(name, 0) + power * other.unit.get(name, 0) for name in names}
            unit = {name: exponent for name, exponent in unit.items() if exponent}
        return _named(f"({self.name} {sign} {other.name})", unit)

    @property
    def said_unit(self) -> str:
        """The unit in letters; `unknown` where it is not known, `1` of a pure number."""
        if self.unit is None:
            return UNKNOWN
        if isinstance(self.unit, str):
            return self.unit
        for unit, word in _SPOKEN:
            if self.unit == unit:
                return word
        above = [_power(name, n) for name, n in self.unit.items() if n > 0]
        below = [_power(name, -n) for name, n in self.unit.items() if n < 0]
        return " ".join(above or ["1"]) + "".join(f"/{word}" for word in below)


def _power(name: str, exponent: int) -> str:
    return name if exponent == 1 else f"{name}^{exponent}"


def _named(name: str, unit: Any) -> Quantity:
    # Sums of many numbers would be as long as all of them.
    return Quantity(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}...", unit)


def _as_quantity(value: Any) -> Quantity:
    return value if isinstance(value, Quantity) else Quantity(f"{float(value):g}", ONE)


def _alone(value: Any) -> np.ndarray:
    array = np.empty((), object)
    array[()] = value
    return array


class Words:
    """The array module that `observe` is given: NumPy's shapes, and words for its arithmetic.

    What it has no word for raises AttributeError.
    """

    def asarray(self, value: Any) -> np.ndarray:
        """An object array of what `value` holds."""
        return value if isinstance(value, np.ndarray) and value.dtype == object else _quantities(value)

    def concatenate(self, parts: Any, axis: int = 0) -> np.ndarray:
        """As NumPy's."""
        return np.concatenate([_quantities(part) for part in parts], axis=axis)

    def stack(self, parts: Any, axis: int = 0) -> np.ndarray:
        """As NumPy's."""
        return np.stack([_quantities(part) for part in parts], axis=axis)

    def broadcast_to(self, value: Any, shape: tuple[int, ...]) -> np.ndarray:
        """As NumPy's."""
        return np.broadcast_to(_quantities(value), shape)

    def clip(self, value: Any, low: Any, high: Any) -> np.ndarray:
        """Each number of `value`, called clipped."""
        return _each(value, lambda x: _named(f"clip({x.name}, {float(low):g}, {float(high):g})", x.unit))

    def abs(self, value: Any) -> np.ndarray:
        """Each number's size, in its own unit."""
        return _each(value, lambda x: _named(f"abs({x.name})", x.unit))

    def square(self, value: Any) -> np.ndarray:
        """Each number times itself."""
        return _each(value, lambda x: _named(f"{x.name}^2", (x * x).unit))

    def sqrt(self, value: Any) -> np.ndarray:
        """Each number's root, in the root of its unit where that is one."""

        def root(x: Quantity) -> Quantity:
            even = isinstance(x.unit, Mapping) and not any(n % 2 for n in x.unit.values())
            return _named(f"sqrt({x.name})", {name: n // 2 for name, n in x.unit.items()} if even else None)

        return _each(value, root)

    def __getattr__(self, name: str) -> Callable[..., np.ndarray]:
        if name in ("sin", "cos", "tanh", "exp"):
            return lambda value: _each(value, lambda x: _named(f"{name}({x.name})", ONE))
        if name in ("sum", "mean", "min", "max"):
            return lambda value, axis=-1: _reduced(name, value, axis)
        raise AttributeError(f"no word for {name}")


def _quantities(value: Any) -> np.ndarray:
    if isinstance(value, Quantity):
        return _alone(value)
    array = np.asarray(value)
    return array if array.dtype == object else _each(array, _as_quantity)


def _each(value: Any, function: Callable[[Any], Quantity]) -> np.ndarray:
    array = _alone(value) if isinstance(value, Quantity) else np.asarray(value)
    found = np.empty(array.shape, object)
    for index in np.ndindex(*array.shape):
        found[index] = function(array[index])
    return found


def _reduced(name: str, value: Any, axis: int) -> np.ndarray:
    rows = np.moveaxis(_quantities(value), axis, -1)
    found = np.empty(rows.shape[:-1], object)
    for index in np.ndindex(*found.shape):
        row = rows[index]
        same = all(x.unit == row[0].unit for x in row)
        shown = row[0].name if len(row) == 1 else f"{row[0].name} ... {row[-1].name}"
        found[index] = _named(f"{name}({shown})", row[0].unit if same else None)
    return found
