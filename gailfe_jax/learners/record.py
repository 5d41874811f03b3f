"""A method as a record of plain values, for configuration files and run folders, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from gailfe_jax.config import compat
from gailfe_jax.config.parts import Part
from gailfe_jax.config.run import EnvSettings
from gailfe_jax.config.tree import Leaf, leaves, nearest, put, without_unread
from gailfe_jax.config.values import read_value
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.adversarial import Adversarial
from gailfe_jax.learners.base import Learner
from gailfe_jax.learners.methods import find_method, policy_choices, policy_name, with_policy
from gailfe_jax.rewards.registry import REWARDS


def part_record(part: Part) -> dict[str, Any]:
    """The settings of a part that something reads, as nested plain values."""
    return leaves_record(leaves(part).values())


def leaves_record(settings: Iterable[Leaf]) -> dict[str, Any]:
    """Those of `settings` that something reads, as nested plain values; arrays become lists, and None is left out."""
    nested: dict[str, Any] = {}
    for leaf in settings:
        if leaf.unread is not None or leaf.value is None:
            continue
        *path, last = leaf.name.split(".")
        place = nested
        for name in path:
            place = place.setdefault(name, {})
        value = np.asarray(leaf.value).tolist() if hasattr(leaf.value, "shape") else leaf.value
        place[last] = list(value) if isinstance(value, tuple) else value
    return nested


def method_record(method: Learner, settings: Iterable[Leaf] | None = None) -> dict[str, Any]:
    """A method's settings that something reads, and the name of its policy step where that can be chosen.

    Args:
      method: the method.
      settings: its settings, where the caller knows of more that nothing reads.
    """
    record = part_record(method) if settings is None else leaves_record(settings)
    if policy_choices(method):
        record["policy"] = {"kind": policy_name(method)} | record.get("policy", {})
    return record


def flat_values(record: Mapping[str, Any]) -> dict[str, Any]:
    """`dotted name -> value` of a nested record."""
    return dict(flat_pairs(record))


def flat_pairs(record: Mapping[str, Any], prefix: str = "", *, empty: bool = False) -> Iterator[tuple[str, Any]]:
    """`(dotted name, value)` of a nested record; a table without anything in it is a value where `empty` ones count."""
    for name, value in record.items():
        if isinstance(value, Mapping) and (value or not empty):
            yield from flat_pairs(value, f"{prefix}{name}.", empty=empty)
        else:
            yield f"{prefix}{name}", value


def read_part(start: Any, record: Any, where: str) -> Any:
    """`start` with the values of a record.

    Args:
      start: a part with its defaults.
      record: nested plain values.
      where: what to call the record in messages.

    Raises:
      GailfeError: an unknown name, or a value of another type or out of bounds.
    """
    if not isinstance(record, Mapping):
        raise GailfeError(f"{where}: got {record!r}; expected a table of settings")
    known, typed = leaves(start), {}
    for name, value in flat_pairs(record, empty=True):
        if value == {} and any(other.startswith(f"{name}.") for other in known):
            continue
        if name not in known:
            raise GailfeError(f"{where}: field {name!r} is unknown; {nearest(name, known)}")
        if known[name].setting.marks.traced and isinstance(value, list) and value:
            typed[name] = np.array([read_value(f"{where}.{name}", known[name].setting, x, exact=True) for x in value])
        else:
            typed[name] = read_value(f"{where}.{name}", known[name].setting, value, exact=True)
    return put(start, typed)


def read_method(algo: Any, record: Any, start: Learner | None = None) -> Learner:
    """The method called `algo` with the values of a record.

    Args:
      algo: its name.
      record: as `method_record` makes it, or a part of one.
      start: what the record's values go into; the method's own defaults if None.

    Raises:
      GailfeError: as `read_part`, or an unknown method or policy step.
    """
    method = find_method(algo) if start is None else start
    if not isinstance(record, Mapping):
        raise GailfeError(f"method: got {record!r}; expected a table of settings")
    record = dict(record)
    if isinstance(record.get("policy"), Mapping) and "kind" in record["policy"]:
        policy = dict(record["policy"])
        kind = policy.pop("kind")
        if not isinstance(kind, str):
            raise GailfeError(f"method.policy.kind: got {kind!r}; expected the name of a policy step")
        method, record["policy"] = with_policy(method, kind), policy
    return read_part(method, record, "method")


def _kinds(method: Learner) -> tuple[str, ...]:
    """The words of `compat.FLAT` that hold for a method."""
    if not isinstance(method, Adversarial):
        return ("likelihood",)
    return ("rewards",) if method.reward is None else ("rewards", REWARDS.name_of(type(method.reward)))


def read_flat(config: Mapping[str, Any], hyper: Mapping[str, Any]) -> tuple[EnvSettings, Learner]:
    """The environment and the method that flat settings of an old run or result file stand for.

    What their method did not read is left out, whatever it says.

    Raises:
      GailfeError: a field that no release knew, an unknown method, or a value of another type.
    """
    flat = dict(config) | dict(hyper)
    for name in flat:
        if name not in compat.FLAT:
            raise GailfeError(f"config.json: field {name!r} is unknown to this release")
    method = find_method(flat.pop("algo", "gail"))
    values = compat.today(flat, _kinds(method))
    kind = values.pop("policy", None)
    if kind is not None and policy_choices(method):
        method = with_policy(method, kind)
    place = EnvSettings()
    own = leaves(place)
    place = put(
        place, {name: read_value(name, own[name].setting, values[name], exact=True) for name in own if name in values}
    )
    fitting = {name: leaf for name, leaf in leaves(method).items() if name in values}
    typed = {name: _read_old(name, leaf.setting, values[name]) for name, leaf in fitting.items()}
    return place, without_unread(put(method, typed))


def _read_old(name: str, setting: Any, value: Any) -> Any:
    if setting.marks.traced and hasattr(value, "__len__") and not isinstance(value, str):
        return np.asarray(value, np.float64)
    return read_value(name, setting, value, exact=True)
