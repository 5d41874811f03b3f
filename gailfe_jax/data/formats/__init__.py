"""The formats of demonstrations, chosen by a table.

A file's suffix, such as `.npz`, or a prefix, such as `minari:`, chooses the format. A new format is a function that
returns `Demonstrations`, and one line:

    from gailfe_jax import Demonstrations, register_demonstration_format

    def read_csv(path: str) -> Demonstrations: ...

    register_demonstration_format("csv", reader=read_csv, matches=".csv")

Whatever a reader returns is validated here like any other, and none of the built-in readers can run code.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gailfe_jax.data.formats import hdf5, minari, npz
from gailfe_jax.data.formats.arrays import hint
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.errors import GailfeError, one_line
from gailfe_jax.io.atomic import replacing
from gailfe_jax.io.env_names import means

if TYPE_CHECKING:
    from gailfe_jax.types import Env

Reader = Callable[[str], Demonstrations]
"""From a file's path, or from what follows the prefix. GailfeError, or any error, where it cannot be read."""
Writer = Callable[[str, Demonstrations], None]
"""To a file's path, or to what follows the prefix."""


@dataclasses.dataclass(frozen=True)
class DemonstrationFormat:
    """How one kind of demonstrations is found, read and written.

    Attributes:
      name: one word.
      reader: see `Reader`.
      writer: see `Writer`; None for a format that is only read.
      matches: suffixes of files (`.npz`) and prefixes of other sources (`minari:`).
    """

    name: str
    reader: Reader
    writer: Writer | None
    matches: tuple[str, ...]


_BUILT_IN = (
    DemonstrationFormat("npz", npz.read, npz.write, (".npz",)),
    DemonstrationFormat("hdf5", hdf5.read, hdf5.write, (".h5", ".hdf5")),
    DemonstrationFormat("minari", minari.read, None, ("minari:",)),
)
_formats = {entry.name: entry for entry in _BUILT_IN}
_PREFIX = re.compile(r"[A-Za-z][\w+-]+:")  # Two letters and more: `C:` is a drive.
_SUFFIX = re.compile(r"(\.[\w+-]+)+")


def register_demonstration_format(
    name: str, *, reader: Reader, matches: str | Sequence[str], writer: Writer | None = None
) -> None:
    """Makes demonstrations of another format readable, and writable if there is a writer, in this process.

    A later registration replaces an earlier one of the same name. What the reader returns is validated as every file's
    content is; errors that are no `GailfeError` count as a damaged file. A file's writer is given a temporary name with
    the same suffix, which takes the file's place once it is whole; it may rely on valid demonstrations whose provenance
    JSON can hold.

    Args:
      name: any word but a built-in format's.
      reader: `(path or what follows the prefix) -> Demonstrations`.
      matches: what chooses the format: a suffix of files such as `.csv`, a prefix such as `mystore:`, or several.
      writer: `(path or what follows the prefix, Demonstrations) -> None`.

    Raises:
      GailfeError: the name is built in or no word, or a match is neither a suffix nor a prefix, or another format's.
    """
    built_in = [entry.name for entry in _BUILT_IN]
    if name in built_in or name.split() != [name]:
        raise GailfeError(f"format: got the name {name!r}; expected one word other than {', '.join(built_in)}")
    chosen = (matches,) if isinstance(matches, str) else tuple(matches)
    if not chosen:
        raise GailfeError(f"format {name!r}: matches nothing; expected a suffix such as .csv or a prefix such as csv:")
    taken = {match: entry.name for entry in _formats.values() if entry.name != name for match in entry.matches}
    for match in chosen:
        if not (_SUFFIX.fullmatch(match) or _PREFIX.fullmatch(match)):
            raise GailfeError(f"format {name!r}: matches {match!r}; expected a suffix such as .csv or a prefix csv:")
        if match.lower() in taken:
            raise GailfeError(f"format {name!r}: {match!r} belongs to the format {taken[match.lower()]!r}")
    _formats[name] = DemonstrationFormat(name, reader, writer, tuple(match.lower() for match in chosen))


def demonstration_formats() -> Mapping[str, DemonstrationFormat]:
    """All formats by name, the built-in ones first."""
    return MappingProxyType(_formats)


def read_demonstrations(
    source: str | os.PathLike[str],
    *,
    expect_env: str | None = None,
    action_low: float | np.ndarray = -np.inf,
    action_high: float | np.ndarray = np.inf,
    tolerance: float = 1e-5,
    discrete: bool = False,
) -> Demonstrations:
    """Reads and validates demonstrations of any format; see `Demonstrations.load`."""
    name, demonstrations = _read(source)
    demonstrations.validate(
        name, expect_env=expect_env, action_low=action_low, action_high=action_high, tolerance=tolerance,
        discrete=discrete,
    )  # fmt: skip
    return demonstrations


def _read(source: str | os.PathLike[str]) -> tuple[str, Demonstrations]:
    """What to call demonstrations, and they themselves, not validated yet."""
    chosen, name, argument, suffix = _find(source)
    if suffix is not None and not Path(argument).is_file():
        raise GailfeError(f"{name}: no such file")
    try:
        demonstrations = chosen.reader(argument)
    except GailfeError:
        raise
    except Exception as error:  # Whatever the reader's libraries raise at damage.
        why = one_line(f"{type(error).__name__}: {error}")
        raise GailfeError(f"{name}: not readable as {chosen.name}, damaged or foreign ({why})") from error
    if not isinstance(demonstrations, Demonstrations):
        kind = type(demonstrations).__name__
        raise GailfeError(f"{name}: the reader of format {chosen.name!r} returned {kind}, expected Demonstrations")
    return name, demonstrations


def load_demonstrations(source: str | os.PathLike[str], env: Env, also: Collection[str] = ()) -> Demonstrations:
    """Reads demonstrations for `env`: of its task, with actions inside its bounds, or that are its choices.

    Args:
      source: see `Demonstrations.load`.
      env: the environment, which `env_id` may call by any of its names (see `Demonstrations`).
      also: other names of its task.

    Raises:
      GailfeError: a missing, damaged or foreign file, other bounds or another environment.
    """
    name, demonstrations = _read(source)
    check_demonstrations(name, demonstrations, env, also)
    return demonstrations


def check_demonstrations(name: str, demonstrations: Demonstrations, env: Env, also: Collection[str] = ()) -> None:
    """Holds that demonstrations are whole, and for `env`: of its task, with actions inside its bounds, or that are its
    choices.

    Args:
      name: what messages call them.
      demonstrations: from a file or from memory.
      env, also: see `load_demonstrations`.

    Raises:
      GailfeError: see `Demonstrations.validate`.
    """
    spec = env.spec
    if not means(demonstrations.env_id, spec, also):
        expected = spec.gymnasium_id or spec.name
        is_stored = ":" in name or Path(name).exists()
        how = f"gailfe demos import {name} --out NEW.npz with this --env" if is_stored else f"env_id={expected!r}"
        # Who gave no --env has never heard of the one that was taken.
        raise GailfeError(
            f"{name}: field 'env_id': demonstrations of {demonstrations.env_id!r}, expected {expected!r}, for env "
            f"(--env) is {spec.name}; if they are of it all the same, {how} says so, or "
            f"name={demonstrations.env_id!r} of an environment of your own"
        )
    demonstrations.validate(
        name,
        action_low=np.asarray(spec.action_low),
        action_high=np.asarray(spec.action_high),
        discrete=spec.discrete,
    )


def write_demonstrations(path: str | os.PathLike[str], demonstrations: Demonstrations) -> None:
    """Writes demonstrations in the format that the name chooses; see `Demonstrations.save`."""
    chosen, name, argument, suffix = _find(path)
    if chosen.writer is None:
        written = [match for entry in _formats.values() if entry.writer for match in entry.matches]
        raise GailfeError(f"{name}: {chosen.name} is only read, expected one of {', '.join(written)}")
    demonstrations.validate(name, action_low=-np.inf, action_high=np.inf)
    try:
        json.dumps(demonstrations.provenance, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise GailfeError(f"{name}: field 'provenance': expected JSON values ({error})") from None
    try:
        if suffix is None:
            chosen.writer(argument, demonstrations)
        else:
            with replacing(argument, suffix=suffix) as draft:
                chosen.writer(str(draft), demonstrations)
    except OSError as error:
        raise GailfeError(f"{name}: cannot write ({error.strerror or one_line(error)})") from error


class _Source(NamedTuple):
    """Where demonstrations are: their format, what messages call them, and what its reader and writer are given.

    `suffix` is the one that chose the format of a file, and None for what is no file.
    """

    format: DemonstrationFormat
    name: str
    argument: str
    suffix: str | None


def _find(source: str | os.PathLike[str]) -> _Source:
    text = os.fspath(source)
    known = [(match, entry) for entry in _formats.values() for match in entry.matches]
    for match, entry in known:
        if match.endswith(":") and text.lower().startswith(match):
            return _Source(entry, text, text[len(match) :], None)
    path = Path(text)
    fitting = [(match, entry) for match, entry in known if re.fullmatch(f".+{re.escape(match)}", path.name.lower())]
    if not fitting:
        matches = ", ".join(match for match, _ in known)
        # A folder or another suffix may well be a recording.
        also = f"; {hint(text)}" if path.exists() else ""
        raise GailfeError(
            f"{path}: suffix {path.suffix!r}, expected one of {matches}, or one given to "
            f"gailfe_jax.register_demonstration_format{also}"
        )
    suffix, chosen = max(fitting, key=lambda pair: len(pair[0]))
    return _Source(chosen, str(path), str(path), suffix)
