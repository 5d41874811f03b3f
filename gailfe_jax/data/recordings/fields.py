"""Which columns of a recording are which of our fields."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gailfe_jax.errors import GailfeError

# Names that other layouts use, the likeliest first. A name with a number behind it (obs_0, obs_1) is a part of a
# vector, and one with a slash (obs/object) of a group.
KNOWN_NAMES: dict[str, tuple[str, ...]] = {
    "obs": ("obs", "observations", "observation", "observation.state", "state"),
    "action": ("action", "actions", "acts", "acs", "act"),
    "next_obs": ("next_obs", "next_observations", "next_observation", "next.observation.state"),
    "reward": ("reward", "rewards", "rews", "rew", "next.reward"),
    "terminated": ("terminated", "terminals", "terminations", "next.terminated"),
    "truncated": ("truncated", "timeouts", "truncations", "next.truncated"),
    "done": ("done", "dones", "next.done", "terminal"),
    "episode": ("episode", "episode_index", "episode_id", "trajectory"),
    "step": ("frame_index", "step"),
    "starts": ("episode_starts",),
    "ends": ("episode_ends",),
    "offsets": ("offsets",),
    "simulator_state": ("simulator_state", "infos/simulator_state"),
}
_SHOWN = 12  # names of a listing
ACTIONS = ("required", "optional", "none")
"""Whether actions have to be there, may be missing, or are left out."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What the user says of a recording's columns.

    Attributes:
      mapped: our field to the names that make it; names may hold `*`.
      label: the column that says which episodes failed, or succeeded; None without one.
      label_means_failed: whether that column is true where an episode failed.
      time_limit: of the environment, by which episodes are split where nothing else tells; None where unknown.
      actions: one of `ACTIONS`.
    """

    mapped: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    label: str | None = None
    label_means_failed: bool = True
    time_limit: int | None = None
    actions: str = "required"

    @classmethod
    def of_words(cls, words: Sequence[str], **others: Any) -> Request:
        """From `obs=observation.state`, `action=x,y` and the like.

        Raises:
          GailfeError: a word of another form, an unknown field, or a field twice.
        """
        mapped: dict[str, tuple[str, ...]] = {}
        for word in words:
            field, equals, names = word.partition("=")
            parts = tuple(name for name in names.split(",") if name)
            if not equals or field not in KNOWN_NAMES or not parts:
                raise GailfeError(
                    f"map: got {word!r}; expected FIELD=NAME[,NAME...], FIELD one of {', '.join(KNOWN_NAMES)}"
                )
            if field in mapped:
                raise GailfeError(f"map: {field} is given twice; expected each field once")
            mapped[field] = parts
        if "action" in mapped and others.get("actions") == "none":
            raise GailfeError("map: action is given beside --no-actions; expected one of them")
        return cls(mapped, **others)


@dataclasses.dataclass(frozen=True, eq=False)
class Columns:
    """Named arrays with one row a step, or with one more.

    Attributes:
      where: what messages call them: the file, and perhaps the episode.
      names: of all arrays, `group/name` inside a group.
      read: a name to its array, checked for its size before it is read.
      readable: whether an array is plain numbers of at most two dimensions; what is not is left out of a group.
    """

    where: str
    names: Sequence[str]
    read: Callable[[str], np.ndarray]
    readable: Callable[[str], bool] = lambda name: True

    def array(self, request: Request, field: str, notes: list[str], known: Sequence[str] = ()) -> np.ndarray | None:
        """The array of a field; None where it has none.

        Args:
          request: what the user says.
          field: one of `KNOWN_NAMES`.
          notes: where a choice is said.
          known: names to look for before those of `KNOWN_NAMES`.

        Raises:
          GailfeError: a name that the user gives is not there, or parts that do not fit one another.
        """
        names = self.find(request, field, known)
        if not names:
            return None
        # A group's arrays are joined in the order of their names, as Gymnasium flattens a Dict.
        alone = len(names) == 1 or field in request.mapped  # The reason why it cannot be read is to be said.
        read = [name for name in names if alone or self.readable(name)]
        if left := [name for name in names if name not in read]:
            notes.append(f"{field}: {', '.join(left)} left out, for they are no vectors of numbers")
        if not read:
            raise GailfeError(
                f"{self.where}: field '{field}': {', '.join(names)} are no vectors of numbers; {self._listing()}"
            )
        if len(read) > 1:
            shown = read if len(read) <= _SHOWN else [*read[:2], "...", read[-1]]
            notes.append(f"{field}: {', '.join(shown)}, joined in this order")
        return self._joined(field, read)

    def find(self, request: Request, field: str, known: Sequence[str] = ()) -> list[str]:
        """The names that make a field, empty where it has none.

        Raises:
          GailfeError: a name that the user gives is not there.
        """
        if field in request.mapped:
            return [name for pattern in request.mapped[field] for name in self._matching(pattern, field)]
        if field == "next_obs" and (beside := self._beside(self.find(request, "obs"))):
            return beside
        if field == "next_obs" and "obs" in request.mapped:
            return []  # The usual one belongs to the usual observation.
        for name in (*known, *KNOWN_NAMES[field]):
            if name in self.names:
                return [name]
            if parts := self._parts(name):
                return parts
        return []

    def _parts(self, name: str) -> list[str]:
        numbered = re.compile(rf"{re.escape(name)}[._]?\[?\d+\]?")
        if parts := [other for other in self.names if numbered.fullmatch(other)]:
            return natural(parts)
        return natural(other for other in self.names if other.startswith(f"{name}/"))

    def _beside(self, obs: Sequence[str]) -> list[str]:
        """The names of the observation after each step, where each part of the observation has one."""
        ways = (("obs/", "next_obs/"), ("observations/", "next_observations/"), ("observation.", "next.observation."))
        found = [
            next(
                (
                    other
                    for old, new in ways
                    if name.startswith(old) and (other := new + name[len(old) :]) in self.names
                ),
                "",
            )
            or (f"next_{name}" if f"next_{name}" in self.names else "")
            for name in obs
        ]
        return found if found and all(found) else []

    def _matching(self, pattern: str, field: str) -> list[str]:
        # A part of a group may be named without it.
        for candidate in (pattern, f"obs/{pattern}", f"observations/{pattern}"):
            if candidate in self.names:
                return [candidate]
            if found := [name for name in self.names if fnmatch.fnmatchcase(name, candidate)]:
                return natural(found)
            if found := self._parts(candidate):
                return found
        what = f"no column and no file {pattern!r}" if field == "failures" else f"no {pattern!r} in it"
        raise GailfeError(f"{self.where}: {field}: {what}; {self._listing()}")

    def _listing(self) -> str:
        names = natural(self.names)
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return f"there are {', '.join(names[:_SHOWN])}{more}" if names else "there is nothing"

    def _joined(self, field: str, names: Sequence[str]) -> np.ndarray:
        arrays = [self.read(name) for name in names]
        if len(arrays) == 1:
            return arrays[0]
        parts = [array[:, None] if array.ndim == 1 else array for array in arrays]
        shapes = {name: list(array.shape) for name, array in zip(names, arrays, strict=True)}
        if any(part.ndim != 2 or len(part) != len(parts[0]) for part in parts):
            raise GailfeError(f"{self.where}: {field}: shapes {shapes}; expected as many rows of numbers in each")
        return np.concatenate(parts, axis=1)

    def must(self, request: Request, field: str, notes: list[str], known: Sequence[str] = ()) -> np.ndarray:
        """`array` of a field that has to be there.

        Raises:
          GailfeError: it is not, or see `array`.
        """
        found = self.array(request, field, notes, known)
        if found is None:
            also = ", or --no-actions, where nobody recorded any" if field == "action" else ""
            raise GailfeError(
                f"{self.where}: field '{field}': missing; {self._listing()}; expected --map {field}=NAME, which says "
                f"it{also}"
            )
        return found

    def actions(self, request: Request, notes: list[str]) -> np.ndarray | None:
        """The actions; None where there are none, or none are asked for.

        Raises:
          GailfeError: they are missing and have to be there, or see `array`.
        """
        if request.actions == "required":
            return self.must(request, "action", notes)
        if request.actions == "optional":
            return self.array(request, "action", notes)
        if left := self.find(request, "action"):
            notes.append(f"action: {', '.join(left[:_SHOWN])} left out, as --no-actions says")
        return None

    def label(self, request: Request) -> np.ndarray | None:
        """The user's column of labels; None where none is asked for.

        Raises:
          GailfeError: there is no such column.
        """
        if request.label is None:
            return None
        return self.read(self._matching(request.label, "failures" if request.label_means_failed else "success")[0])


def natural(names: Any) -> list[str]:
    """Names in the order of the numbers in them: `demo_2` before `demo_10`."""
    return sorted(names, key=lambda name: [(int(s), "") if s.isdigit() else (-1, s) for s in re.split(r"(\d+)", name)])


def as_flags(where: str, field: str, array: np.ndarray) -> np.ndarray:
    """`[n]` bool of a column of marks.

    Raises:
      GailfeError: it is no column of numbers.
    """
    array = np.asarray(array)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim > 1 or array.dtype.kind not in "biuf":
        raise GailfeError(
            f"{where}: field '{field}': {array.dtype} of shape {list(array.shape)}, expected one mark a step"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise GailfeError(f"{where}: field '{field}': NaN or infinity, expected one mark a step")
    return array != 0
