"""A method's settings as a tree of names: `policy.max_kl`, `reward.hidden`, ...

One list serves the command line, sweeps, configuration files and records. A name that is unique by its last word may be
written by that word alone.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from gailfe_jax.config.parts import Part, Setting, settings_of, subparts
from gailfe_jax.config.values import read_value
from gailfe_jax.errors import GailfeError, expect

PartT = TypeVar("PartT", bound=Part)


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One setting of a tree of parts.

    Attributes:
      name: dotted, from the root.
      setting: what its class declares.
      value: as it stands.
      unread: why nothing reads it as the others stand; None where something does.
    """

    name: str
    setting: Setting
    value: Any
    unread: str | None


def leaves(part: Part) -> dict[str, Leaf]:
    """All settings of `part` and of the parts inside it by name, in order."""
    unread = dict(_unread(part))
    return {name: Leaf(name, s, value, unread.get(name)) for name, s, value in _walk(part)}


def _walk(part: Part, prefix: str = "") -> Iterator[tuple[str, Setting, Any]]:
    for setting in settings_of(type(part)):
        yield prefix + setting.name, setting, getattr(part, setting.name)
    for name, inner in subparts(part):
        yield from _walk(inner, f"{prefix}{name}.")


def _unread(part: Part, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Inner parts first: what an outer part says of them counts."""
    for name, inner in subparts(part):
        yield from _unread(inner, f"{prefix}{name}.")
    idle = part.unread()
    expect(f"{type(part).__name__}.unread", idle, dict, "a dictionary of names and reasons")
    for name, why in idle.items():
        yield prefix + name, why


def refuse_unread(part: Part) -> None:
    """Refuses settings that differ from their defaults though nothing reads them.

    Raises:
      GailfeError: names the first, and why nothing reads it.
    """
    for leaf in leaves(part).values():
        if leaf.unread is not None and _differs(leaf):
            raise GailfeError(f"{leaf.name}: got {leaf.value}; nothing reads it: {leaf.unread}")


def without_unread(part: PartT) -> PartT:
    """`part` with what nothing reads at its defaults, so that equal methods are equal."""
    while True:
        found = (leaf for leaf in leaves(part).values() if leaf.unread is not None)
        idle = {leaf.name: leaf.setting.default for leaf in found if _differs(leaf)}
        if not idle:
            return part
        # Again, because what is off now may have been what others were read for.
        part = put(part, idle)


def _differs(leaf: Leaf) -> bool:
    return hasattr(leaf.value, "shape") or leaf.value != leaf.setting.default


def put(part: PartT, values: Mapping[str, Any]) -> PartT:
    """`part` with typed values in place of others, by dotted name."""
    here = {name: value for name, value in values.items() if "." not in name}
    for name, inner in subparts(part):
        below = {key.removeprefix(f"{name}."): value for key, value in values.items() if key.startswith(f"{name}.")}
        if below:
            here[name] = put(inner, below)
    return part.replace(**here) if here else part


def find(name: str, known: Mapping[str, Any], *, hint: Callable[[str], str] | None = None) -> str:
    """The full name that `name` stands for: itself, or the one whose last word it is; dashes count as underscores.

    Args:
      name: as somebody wrote it.
      known: full names.
      hint: what to say of a name that is not among them, instead of the nearest one.

    Raises:
      GailfeError: no such setting, or one of several.
    """
    wanted = name.strip().replace("-", "_")
    if wanted in known:
        return wanted
    ending = [full for full in known if full.endswith(f".{wanted}")]
    if len(ending) == 1:
        return ending[0]
    if ending:
        raise GailfeError(f"{wanted}: is one of {', '.join(ending)}; expected one of these names")
    said = hint(wanted) if hint is not None else ""
    raise GailfeError(f"{wanted or '(no name)'}: no such setting; {said or nearest(wanted, known)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean ...?`, or what else to do."""
    names = list(known)
    words: dict[str, list[str]] = {}
    for full in names:
        words.setdefault(full.rpartition(".")[2], []).append(full)
    words |= {full: [full] for full in names}
    near = difflib.get_close_matches(name, words, n=1, cutoff=0.5)
    return f"did you mean {' or '.join(words[near[0]])}?" if near else "--help lists them"


def set_values(part: PartT, values: Mapping[str, Any], **options: Any) -> PartT:
    """`part` with other values, by full or short name; what nothing reads any more goes back to its default.

    Args:
      part: a method, or any part.
      values: `name -> value`, typed or as text.
      **options: for `find`.

    Raises:
      GailfeError: no such setting, a value of another type or out of bounds, or one that nothing reads.
    """
    known = leaves(part)
    typed: dict[str, Any] = {}
    for name, given in values.items():
        full = find(name, known, **options)
        if full in typed:
            raise GailfeError(f"{full} is given twice; expected each setting once")
        typed[full] = read_value(full, known[full].setting, given)
    changed = put(part, typed)
    now = leaves(changed)
    for name in typed:
        if now[name].unread is not None:
            raise GailfeError(f"{name}: nothing reads it: {now[name].unread}")
    return without_unread(changed)
