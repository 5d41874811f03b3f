"""Which files a user's task is made of: their digests, and a copy to keep beside what was made on it."""

from __future__ import annotations

import os
import pathlib
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gailfe_jax.envs.physics.model_files import model_files
from gailfe_jax.envs.task_file import task_parts
from gailfe_jax.errors import GailfeError, GailfeWarning
from gailfe_jax.io.atomic import write_bytes_atomic
from gailfe_jax.io.digests import file_sha256, json_sha256, text_sha256
from gailfe_jax.io.json_text import parse_json
from gailfe_jax.types import Env, Task

FOLDER = "task"
"""Where a run folder keeps its copy."""


class _Files(NamedTuple):
    """The files of a task by name; the names are the same on every machine.

    Attributes:
      task: the TOML file, or None.
      model: the MJCF file.
      states: the start states that the TOML file names, or None.
      carried: what goes with a copy: the model's files that it names relative to itself.
      fixed: those that it names by an absolute path.
    """

    task: pathlib.Path | None
    model: str
    states: pathlib.Path | None
    carried: dict[str, pathlib.Path]
    fixed: dict[str, pathlib.Path]


def task_of(env: Env) -> Task | None:
    """The MuJoCo task that an environment is about, wrapped or not; None where it is about none."""
    task, inner = getattr(env, "task", None), getattr(env, "env", None)
    if isinstance(task, Task):
        return task
    return None if inner is None else task_of(inner)


def task_record(env: Env | Task) -> dict[str, Any] | None:
    """What records say of the files that a task is made of; None for one that Gymnasium's own files make.

    Returns:
      `name`; `files`, the SHA-256 of each by name; `sha256` of those; `file`, the task file's name where there is one.
      The digests are of the content: a comment, an indent or a line ending of TOML and MJCF changes none.
    """
    task = env if isinstance(env, Task) else task_of(env)
    if task is None or not os.path.isabs(task.model_file):
        return None
    found = _files(task)
    digests = {name: _digest(path) for name, path in (found.carried | found.fixed).items()}
    if found.task is not None:
        digests[found.task.name] = _digest(found.task)
    if found.states is not None:
        digests[found.states.name] = _digest(found.states)
    record = {"name": task.name, "sha256": json_sha256(digests), "files": digests}
    return record if found.task is None else record | {"file": found.task.name}


def changed_files(before: Any, now: Any) -> list[str]:
    """The files that differ between two records of a task, by name; none where either is missing."""
    old, new = (record.get("files") if isinstance(record, Mapping) else None for record in (before, now))
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return []
    differ = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    # Names go by the folder that holds all files: another mesh may lengthen those of files that are as they were.
    gone = {_called(name, old): name for name in differ if name not in new}
    come = {_called(name, new): name for name in differ if name not in old}
    moved = {name for found in (gone, come) for called, name in found.items() if called in gone and called in come}
    return [name for name in differ if name not in moved] or differ


def _called(name: str, files: Mapping[str, Any]) -> tuple[str, str]:
    """A file's own name and its digest."""
    return pathlib.PurePosixPath(name).name, str(files[name])


def warn_if_changed(what: str, before: Any, env: Env) -> None:
    """Warns in one line where files of the task have changed since `what` was made; `before` is its record of them.

    A file that somebody else wrote may hold anything in the record's place: that tells of no change.
    """
    changed = changed_files(before, task_record(env))
    if changed:
        warnings.warn(f"{what}: {said_of(changed)} since it was made", GailfeWarning, stacklevel=2)


def policy_record(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """What a policy file says of the files of its task, as in `task_record`; None where it says nothing."""
    try:
        return {"files": parse_json(metadata["task_files"])}
    except (KeyError, ValueError):
        return None


def said_of(changed: Sequence[str]) -> str:
    """That these files have changed, in words."""
    return f"{', '.join(changed)} {'has' if len(changed) == 1 else 'have'} changed"


def copy_task(env: Env, folder: pathlib.Path) -> None:
    """Copies a task's files to where `load_task` finds all of them; nothing where it is not from a file.

    Raises:
      OSError: a file cannot be written.
    """
    task = task_of(env)
    if task is None or task.source is None:
        return
    found = _files(task)
    assert found.task is not None
    for name, path in found.carried.items():
        write_bytes_atomic(folder / name, path.read_bytes())
    record = task_parts(found.task).record
    named = (record["model"], record.get("start", {}).get("states"))
    if found.states is not None:
        write_bytes_atomic(folder / found.states.name, found.states.read_bytes())
    if named == (found.model, found.states and found.states.name):
        write_bytes_atomic(folder / found.task.name, found.task.read_bytes())
        return
    import tomli_w

    record["model"] = found.model
    if found.states is not None:
        record["start"]["states"] = found.states.name
    write_bytes_atomic(folder / found.task.name, tomli_w.dumps(record).encode())


def _files(task: Task) -> _Files:
    model, states = pathlib.Path(task.model_file), None
    source = None if task.source is None else pathlib.Path(task.source)
    if source is not None:
        model, states, _ = task_parts(source)
    files = model_files(model)
    relative = [path for path, is_relative in files.items() if is_relative]
    root = os.path.commonpath([path.parent for path in relative])
    carried = {pathlib.Path(os.path.relpath(path, root)).as_posix(): path for path in relative}
    fixed: dict[str, pathlib.Path] = {}
    for path in (path for path, is_relative in files.items() if not is_relative):
        name = path.name
        while name in fixed or name in carried:
            name += "'"
        fixed[name] = path
    return _Files(source, pathlib.Path(os.path.relpath(model, root)).as_posix(), states, carried, fixed)


def _digest(path: pathlib.Path) -> str:
    """SHA-256 of what a file says."""
    try:
        if path.suffix == ".toml":
            record = dict(task_parts(path).record)
            # Where the other files lie is not what they are.
            record["start"] = {name: value for name, value in record.get("start", {}).items() if name != "states"}
            del record["model"]
            return json_sha256(record)
        if path.suffix == ".xml":
            return text_sha256(ElementTree.canonicalize(from_file=str(path), strip_text=True))
    except (GailfeError, ElementTree.ParseError, ValueError):
        pass
    return file_sha256(path)
