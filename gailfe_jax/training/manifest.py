"""What a checkpoint says of itself: its leaves, its configuration, and the seal that nothing in it has changed."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

from gailfe_jax.errors import GailfeError
from gailfe_jax.io.atomic import write_text_atomic
from gailfe_jax.io.digests import canonical_json, file_sha256, json_sha256
from gailfe_jax.io.json_text import parse_json, read_json
from gailfe_jax.types import PyTree, is_key

FORMAT = 1


class Damaged(Exception):
    """A step's data do not match its manifest."""


class Leaf(NamedTuple):
    """What is compared between a state, a template and a manifest. `key_impl` is empty unless the leaf holds keys."""

    shape: tuple[int, ...]
    dtype: str
    key_impl: str

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


def named_leaves(tree: PyTree) -> Iterator[tuple[str, Any]]:
    """Name and leaf of each leaf of a state.

    Raises:
      GailfeError: a leaf that is no array.
    """
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = jax.tree_util.keystr(path) or "(the whole state)"
        if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")) or leaf.dtype == object:
            raise GailfeError(f"state leaf {name}: expected an array, got {type(leaf).__name__}")
        yield name, leaf


def describe(leaf: Any) -> Leaf:
    """What a manifest says of an array, or of a `jax.ShapeDtypeStruct`."""
    impl = ""
    if is_key(leaf):
        # A ShapeDtypeStruct of keys has no public way to its implementation; its dtype (`key<fry>`) still names it.
        impl = str(jax.random.key_impl(leaf)) if isinstance(leaf, jax.Array) else ""
    return Leaf(tuple(leaf.shape), str(leaf.dtype), impl)


def check_leaves(path: Path, records: list[dict[str, Any]], wanted: list[tuple[str, Any]]) -> None:
    """Checks that the `records` of the checkpoint at `path` are of the `wanted` leaves, no more and no fewer.

    Raises:
      GailfeError: names the first leaf that is missing or has another shape or dtype.
    """
    saved = {record["name"]: Leaf(tuple(record["shape"]), record["dtype"], record["key_impl"]) for record in records}
    for name, leaf in wanted:
        expected = describe(leaf)
        if name not in saved:
            raise GailfeError(f"{path}: expected leaf {name} of {expected}, the checkpoint has none")
        # An abstract key has no implementation to compare; its dtype has been.
        same_impl = not (saved[name].key_impl and expected.key_impl) or saved[name].key_impl == expected.key_impl
        if saved[name][:2] != expected[:2] or not same_impl:
            raise GailfeError(f"{path}: leaf {name}: expected {expected}, the checkpoint has {saved[name]}")
    for name in saved:
        if name not in dict(wanted):
            raise GailfeError(f"{path}: the checkpoint has a leaf {name} of {saved[name]} that the state has not")


def plain_config(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration as it is read back: a tuple becomes a list.

    Raises:
      GailfeError: JSON cannot hold it.
    """
    try:
        return json.loads(canonical_json(config))
    except (TypeError, ValueError) as error:
        raise GailfeError(f"configuration: expected values that JSON can hold ({error})") from None


def check_config(saved: dict[str, Any], current: dict[str, Any], *, ignore: Collection[str] = ()) -> None:
    """Refuses to resume under another configuration.

    Both are compared as JSON (a tuple equals a list). `ignore` names fields by dotted path that may differ, such as the
    total number of steps or the output folder; a name also covers everything below it.

    Raises:
      GailfeError: names the first field that differs and both values, or the first that only one of them has.
    """
    saved, current = plain_config(saved), plain_config(current)
    found = [
        difference
        for difference in _differences(saved, current)
        if not any(difference.field == name or difference.field.startswith(name + ".") for name in ignore)
    ]
    if found:
        # What only one of them has may be there because another value is read now: that one is the cause.
        first = min(found, key=lambda difference: difference.one_sided)
        raise GailfeError(f"configuration field {first.field} {first.said}; a run resumes under its own configuration")


class _Difference(NamedTuple):
    """A field in which two configurations differ.

    Attributes:
      field: dotted path.
      said: how, in words.
      one_sided: whether only one of them has it.
    """

    field: str
    said: str
    one_sided: bool


def _differences(saved: Any, current: Any, path: str = "") -> Iterator[_Difference]:
    if isinstance(saved, dict) and isinstance(current, dict):
        for name in sorted(saved.keys() | current.keys()):
            field = f"{path}.{name}" if path else name
            if name not in saved:
                yield _Difference(field, f"is not in the checkpoint and {current[name]!r} now", True)
            elif name not in current:
                yield _Difference(field, f"is {saved[name]!r} in the checkpoint and absent now", True)
            else:
                yield from _differences(saved[name], current[name], field)
    elif canonical_json(saved) != canonical_json(current):
        yield _Difference(path, f"is {saved!r} in the checkpoint and {current!r} now", False)


def write_config(folder: Path, config: dict[str, Any]) -> str:
    """Writes config.json; returns its SHA-256, for the manifest."""
    _write_json(folder / "config.json", config)
    return json_sha256(config)


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration in config.json.

    Raises:
      Damaged: it is unreadable, or another than the manifest knows.
    """
    manifest = read_manifest(folder)
    try:
        config = read_json(folder / "config.json", nonfinite=True)
    except GailfeError:
        raise Damaged("config.json is unreadable") from None
    if manifest is None or not isinstance(config, dict) or json_sha256(config) != manifest.get("config_sha256"):
        raise Damaged("config.json does not match the manifest")
    return config


def digest_files(folder: Path) -> dict[str, str]:
    """SHA-256 of each of orbax's files in a step, by its path from `folder`."""
    found = sorted(path for path in folder.glob("part_*/**/*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in found}


def forget_place(folder: Path) -> None:
    """Orbax writes down where a checkpoint was committed, which tells of the machine and its user."""
    for mark in folder.glob("part_*/commit_success.txt"):
        mark.write_text("committed\n", encoding="utf-8")


def check_files(folder: Path, manifest: dict[str, Any]) -> None:
    """Holds that orbax's files are those that were written, all of them and no others, before orbax reads them: of a
    damaged one it complains at length, and long after.

    Releases up to 0.1 wrote neither notes nor digests of files; there the leaves' own digests are all there is.

    Raises:
      Damaged: one is missing, another or none of the checkpoint's.
    """
    if "files" not in manifest and "notes" not in manifest:
        return
    files = dict(manifest.get("files", {}))
    found = digest_files(folder)
    for name in sorted(files.keys() | found.keys()):
        if name not in files:
            raise Damaged(f"{name} is none of its files")
        if name not in found or found[name] != files[name]:
            raise Damaged(f"{name} is missing or does not match its SHA-256")


def checked_notes(notes: Any) -> dict[str, Any]:
    """What a step knows besides its state, where it is of the types that are written.

    Raises:
      TypeError: it is not.
    """

    def hold(good: bool) -> None:
        if not good:
            raise TypeError("notes")

    hold(isinstance(notes, dict))
    metrics, diverged = notes.get("metrics"), notes.get("diverged", [])
    if metrics is not None:
        hold(isinstance(metrics, dict) and type(metrics.get("lines")) is int and metrics["lines"] >= 0)
        hold(isinstance(metrics.get("sha256"), str) and isinstance(metrics.get("lost", ""), str))
    hold(isinstance(diverged, list))
    for record in diverged:
        hold(isinstance(record, dict) and type(record.get("seed")) is int and type(record.get("step")) is int)
        hold(isinstance(record.get("quantity"), str) and isinstance(record.get("also"), list))
    return notes


def why_unfinished(folder: Path) -> str:
    """Why a folder with a step's name is none, in words."""
    return "its manifest is damaged" if (folder / "manifest.json").exists() else "it has no manifest"


def write_manifest(folder: Path, body: dict[str, Any]) -> None:
    """Seals a step: manifest.json holds `body` and its SHA-256."""
    body = json.loads(canonical_json(body))
    _write_json(folder / "manifest.json", {"body": body, "sha256": json_sha256(body)})


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest's body, or None where it is missing or damaged: such a step was never finished."""
    try:
        sealed = parse_json((folder / "manifest.json").read_bytes(), nonfinite=True)
        body = sealed["body"]
        intact = sealed["sha256"] == json_sha256(body)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, KeyError, TypeError, RecursionError):
        # Other errors of the file system are raised: a step that cannot be read just now is not one to clean up.
        return None
    return body if intact and isinstance(body, dict) else None


def _write_json(path: Path, value: Any) -> None:
    # Not `write_json_atomic`, which changes what is not finite: the digest is of the very values.
    write_text_atomic(path, json.dumps(value, indent=1))
