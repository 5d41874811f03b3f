"""Tables of what can be chosen by name, to which users add theirs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from gailfe_jax.config.parts import Part, settings_of
from gailfe_jax.config.tree import leaves
from gailfe_jax.errors import GailfeError

T = TypeVar("T")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
METHOD_NAMES = (
    "ppo", "trpo", "sac", "td3", "gail", "gailfe", "mail", "gasil", "fem", "gtal", "irlf", "constant", "bc", "dagger"
)  # fmt: skip
"""The methods that come with the package. What becomes a method when it is registered needs another name."""


_TAKEN = {"problem": "binding fills it in", "kind": "config.json tells parts by it"}


def check_part(what: str, kind: type[Part]) -> None:
    """Holds that a class of parts is complete and that its settings can be read wherever settings are.

    Args:
      what: to call it in messages.
      kind: the class.

    Raises:
      GailfeError: names the methods that are missing, or the first setting that cannot be.
    """
    missing = sorted(getattr(kind, "__abstractmethods__", ()))
    if missing:
        raise GailfeError(f"{what}: {kind.__name__} has no {', '.join(missing)}; expected a class that defines them")
    for setting in settings_of(kind):
        name = setting.name
        function = any(callable(vars(base).get(name)) for base in kind.__mro__)
        why = "it is the name of a function" if function else _TAKEN.get(name)
        if why is not None:
            raise GailfeError(f"{kind.__name__}.{name}: {why}; expected another name for a setting")
    # That of the parts inside it, and what it says that nothing reads.
    leaves(kind())


class Registry(Mapping[str, T], Generic[T]):
    """A table from names to what they stand for. Built-in entries stay; a user's may be replaced.

    Args:
      what: a word for what it holds, for messages.
      built_in: the entries that come with the package.
      register: name of the function that adds to it.
      reserved: further names that users cannot have.
    """

    def __init__(self, what: str, built_in: Mapping[str, T], register: str = "", reserved: tuple[str, ...] = ()):
        self.what = what
        self._register = register or f"register_{what}"
        self._built_in = dict(built_in)
        self._reserved = dict.fromkeys((*built_in, *reserved))
        self._added: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        return self._added[name] if name in self._added else self._built_in[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._built_in
        yield from (name for name in self._added if name not in self._built_in)

    def __len__(self) -> int:
        return len(self._built_in) + len(self._added)

    def add(self, name: str, entry: T, kind: type | None = None) -> None:
        """Adds a user's entry, or replaces one.

        Args:
          name: one word.
          entry: what it stands for.
          kind: the class that `entry`, itself a class, has to be below.

        Raises:
          GailfeError: the name is built in, reserved or no word, the entry is of another kind, or see `check_part`.
        """
        if not isinstance(name, str) or not _WORD.fullmatch(name) or name in self._reserved:
            taken = ", ".join(self._reserved)
            raise GailfeError(f"{self.what}: got the name {name!r}; expected one word other than {taken}")
        if kind is not None and not (isinstance(entry, type) and issubclass(entry, kind)):
            raise GailfeError(f"{self.what} {name}: got {entry!r}; expected a subclass of {kind.__name__}")
        if kind is not None and issubclass(kind, Part):
            part: Any = entry
            check_part(f"{self.what} {name}", part)
        self._added[name] = entry

    def find(self, name: str) -> T:
        """The entry called `name`.

        Raises:
          GailfeError: no such entry.
        """
        if name not in self:
            raise GailfeError(f"{self.what}: unknown {self.what} {name!r}; expected one of {', '.join(self)}")
        return self[name]

    def name_of(self, entry: Any) -> str:
        """The name under which `entry` stands in the table.

        Raises:
          GailfeError: it stands in none.
        """
        for name in self:
            if self[name] is entry:
                return name
        shown = getattr(entry, "__name__", repr(entry))
        raise GailfeError(f"{self.what}: {shown} has no name; expected one given by gailfe_jax.{self._register}")
