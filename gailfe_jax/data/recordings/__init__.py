"""Recordings in the layouts of others, found by a table: what `gailfe demos import` reads.

A new layout is one file with a function `read`, and one line here. Outside the package:

    from gailfe_jax import Episode, Recording, register_recording_format

    def read_bag(source: str, request: Request) -> Recording: ...

    register_recording_format("bag", reader=read_bag, recognises=lambda source: source.endswith(".bag"), layout=".bag")

Readers yield episodes as they are; `gailfe_jax.data.episodes` derives, casts and says so. No built-in reader runs code
from a file, follows a link out of it, or takes memory that the file cannot fill.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from gailfe_jax.data.episodes import Recording
from gailfe_jax.data.recordings import arrays, csv, d4rl, imitation, lerobot, minari, own, robomimic
from gailfe_jax.data.recordings.fields import Request
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.errors import GailfeError, one_line

RecordingReader = Callable[[str, Request], Recording]
RecordingWriter = Callable[..., str]


@dataclasses.dataclass(frozen=True)
class RecordingFormat:
    """How one layout of recordings is told, read and written.

    Attributes:
      name: one word.
      layout: what it looks like, in one line, for messages.
      recognises: `(source) -> bool`, from names and the beginning of files.
      reader: `(source, Request) -> Recording`.
      writer: `(path, Demonstrations, **options) -> what else import needs to read the same back`; None without one.
    """

    name: str
    layout: str
    recognises: Callable[[str], bool]
    reader: RecordingReader
    writer: RecordingWriter | None = None


# What is asked first comes first: any HDF5 file is taken for D4RL's in the end.
_BUILT_IN = (
    RecordingFormat("gailfe", own.LAYOUT, own.recognises, own.read),
    RecordingFormat("minari", minari.LAYOUT, minari.recognises, minari.read, minari.write),
    RecordingFormat("lerobot", lerobot.LAYOUT, lerobot.recognises, lerobot.read, lerobot.write),
    RecordingFormat("imitation", imitation.LAYOUT, imitation.recognises, imitation.read),
    RecordingFormat("robomimic", robomimic.LAYOUT, robomimic.recognises, robomimic.read),
    RecordingFormat("d4rl", d4rl.LAYOUT, d4rl.recognises, d4rl.read, d4rl.write),
    RecordingFormat("csv", csv.LAYOUT, csv.recognises, csv.read),
    RecordingFormat("npz", arrays.LAYOUT, arrays.recognises, arrays.read),
)
_formats = {entry.name: entry for entry in _BUILT_IN}


def register_recording_format(
    name: str, *, reader: RecordingReader, recognises: Callable[[str], bool], layout: str = "a layout of your own"
) -> None:
    """Makes `gailfe demos import` read another layout, in this process.

    A later registration replaces an earlier one of the same name. It is asked before the built-in ones.

    Args:
      name: any word but a built-in layout's.
      reader: `(source, Request) -> Recording`; errors that are no `GailfeError` count as damage.
      recognises: `(source) -> bool`, whether the source is of this layout.
      layout: what it looks like, in one line.

    Raises:
      GailfeError: the name is built in or no word.
    """
    built_in = [entry.name for entry in _BUILT_IN]
    if name in built_in or name.split() != [name]:
        raise GailfeError(
            f"recording format: got the name {name!r}; expected one word other than {', '.join(built_in)}"
        )
    _formats[name] = RecordingFormat(name, layout, recognises, reader)


def recording_formats() -> Mapping[str, RecordingFormat]:
    """All layouts by name."""
    return MappingProxyType(_formats)


def read_recording(
    source: str | os.PathLike[str], request: Request | None = None, format: str | None = None
) -> Recording:
    """Reads a recording of any layout.

    Args:
      source: a file, a folder, or `minari:ID`.
      request: what the user says of its columns.
      format: a layout's name; the first one that recognises the source if None.

    Raises:
      GailfeError: no such file, no layout that fits, or damage; one line that names the file, the field and the layout.
    """
    name = os.fspath(source)
    if not os.path.exists(name) and not name.lower().startswith(minari.PREFIX) and format not in _own_names():
        raise GailfeError(f"{name}: no such file or folder")
    chosen = _find(name, format)
    try:
        recording = chosen.reader(name, request or Request())
    except GailfeError:
        raise
    except Exception as error:  # Whatever a library raises at damage.
        raise _damage(name, chosen, error) from error
    if not isinstance(recording, Recording):
        kind = type(recording).__name__
        raise GailfeError(f"{name}: the reader of format {chosen.name!r} returned {kind}, expected a Recording")
    return recording


def _own_names() -> list[str]:
    return [name for name in _formats if name not in {entry.name for entry in _BUILT_IN}]


def _find(name: str, format: str | None) -> RecordingFormat:
    if format is not None:
        if format not in _formats:
            raise GailfeError(f"format: got {format!r}; expected one of {', '.join(_formats)}")
        return _formats[format]
    others = [_formats[own_name] for own_name in _own_names()]
    for entry in (*others, *(_formats[entry.name] for entry in _BUILT_IN)):
        try:
            if entry.recognises(name):
                return entry
        except GailfeError:
            raise
        except Exception as error:
            raise _damage(name, entry, error) from error
    known = "; ".join(f"{entry.name}: {entry.layout}" for entry in _formats.values())
    raise GailfeError(f"{name}: of no known layout, expected one of {known}")


def _damage(name: str, entry: RecordingFormat, error: Exception) -> GailfeError:
    why = one_line(f"{type(error).__name__}: {error}")[:300]
    return GailfeError(f"{name}: not readable as {entry.name}, damaged or foreign ({why}); expected {entry.layout}")


def write_recording(to: str, path: str, demonstrations: Demonstrations, **options: Any) -> str:
    """Writes demonstrations in another layout.

    Args:
      to: the layout's name.
      path: where to.
      demonstrations: what to write.
      options: of the layout's writer, `fps` for lerobot.

    Returns:
      The flags that `gailfe demos import` needs to read the same back.

    Raises:
      GailfeError: a layout that is only read, or see its writer.
    """
    written = [entry.name for entry in _formats.values() if entry.writer]
    writer = _formats[to].writer if to in _formats else None
    if writer is None:
        raise GailfeError(f"to: got {to!r}; expected {', '.join(written)}")
    return writer(path, demonstrations, **options)
