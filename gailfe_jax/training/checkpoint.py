"""Checkpoints that a kill cannot break and a flipped bit cannot fool.

Orbax writes the arrays; this layer adds what a resumed run has to rely on. A step is a directory

    step_000000000042/
      part_0000/ ...   orbax checkpoints, each holding at most `PART_BYTES` of the state
      config.json      the run's configuration
      manifest.json    shape, dtype and SHA-256 of every leaf, hash of the configuration, versions

that is written under a temporary name, synced to disk, sealed by its manifest (the last file written) and renamed into
place. A step without an intact manifest does not exist for anybody; one whose data no longer match it is passed over
on restore, with a warning. Reading never changes the directory; only `save` tidies it, so evaluating a run that is
still training is safe. One process may save into a directory at a time, and restores what it saved by itself: the
processes of a distributed run have to bring the state together, and part it again (see
`gailfe_jax.training.program.Trainer`).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import platform
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

from gailfe_jax.errors import GailfeError
from gailfe_jax.io.atomic import sync_file, sync_folder
from gailfe_jax.io.provenance import package_versions
from gailfe_jax.training.manifest import (
    FORMAT,
    Damaged,
    check_files,
    check_leaves,
    checked_notes,
    describe,
    digest_files,
    forget_place,
    named_leaves,
    plain_config,
    read_config,
    read_manifest,
    why_unfinished,
    write_config,
    write_manifest,
)
from gailfe_jax.training.orbax_calls import alone, in_words, without_noise
from gailfe_jax.types import PyTree, is_key

PART_BYTES = 256 * 2**20
"""Most bytes handed to orbax at once: it copies what it saves and loads, so this bounds the extra host memory."""

_LOG = logging.getLogger(__name__)
_STEP_NAME = re.compile(r"step_(\d{12})(?:_(\d+))?")
_TEMPORARY = ".tmp-"
_TRASH = ".trash-"
_NONE_YET = "none_yet"
"""A file that lies where no checkpoint has been saved yet: who finds neither it nor a checkpoint has lost something."""


class _Candidate(NamedTuple):
    """One step directory. A step saved again gets the next generation, so the old one stays until that is whole."""

    step: int
    generation: int
    path: Path


def _to_host(leaf: Any) -> np.ndarray:
    if is_key(leaf):
        leaf = jax.random.key_data(leaf)
    if isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) == 1:
        # An array keeps the host copy it was asked for; a throw-away handle on the same buffer drops it again.
        leaf = leaf.addressable_data(0)
    return np.asarray(leaf)


def _from_host(data: np.ndarray, like: Any, key_impl: str) -> Any:
    if isinstance(like, np.ndarray | np.generic):
        return data
    placed = isinstance(like, jax.ShapeDtypeStruct) or (isinstance(like, jax.Array) and like.committed)
    placement = like.sharding if placed else None
    if is_key(like):
        keys = jax.random.wrap_key_data(jnp.array(data), impl=key_impl)
        return keys if placement is None else jax.device_put(keys, placement)
    # Never an alias of NumPy's memory: the training loop donates its state.
    return jax.device_put(data, placement, may_alias=False)


def _sync_tree(root: Path) -> None:
    for folder, _, files in os.walk(root, topdown=False):
        for file in files:
            sync_file(Path(folder, file))
        sync_folder(folder)


class _PartWriter:
    """Cuts a stream of flat arrays into orbax checkpoints of at most `PART_BYTES`, and keeps account of the pieces."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._pending: dict[str, np.ndarray] = {}
        self._bytes = 0
        self.parts: list[dict[str, list[int]]] = []
        self._pieces: dict[str, list[int]] = {}

    def add(self, leaf: int, data: np.ndarray) -> str:
        """Write one flat leaf; returns its SHA-256."""
        sha = hashlib.sha256()
        start = 0
        while start < data.size:
            room = max(1, (PART_BYTES - self._bytes) // data.itemsize)
            stop = min(data.size, start + room)
            piece = data[start:stop]
            sha.update(piece.view(np.uint8).data)
            name = f"{leaf:05d}_{start:015d}"
            self._pending[name] = piece
            self._pieces[name] = [leaf, start, stop]
            self._bytes += piece.nbytes
            start = stop
            if self._bytes >= PART_BYTES:
                self.flush()
        return sha.hexdigest()

    def flush(self) -> None:
        if self._pending:
            # Blocks until everything is written, so an error of orbax's background threads is raised here.
            try:
                with alone(), without_noise():
                    ocp.save(str(self._folder / f"part_{len(self.parts):04d}"), self._pending)
            except (OSError, MemoryError, GailfeError):
                raise
            except Exception as error:  # Orbax and tensorstore report what the file system says as many types.
                raise GailfeError(
                    f"{self._folder.parent}: a checkpoint cannot be written ({in_words(error)})"
                ) from error
            self.parts.append(self._pieces)
        self._pending, self._pieces, self._bytes = {}, {}, 0


class CheckpointManager:
    """The checkpoints of one run in one directory.

    Attributes:
      directory: where the steps are.
      keep: how many of the newest steps `save` leaves.
      notes: after a `restore`, those of the step; empty where an older release saved it.
      check_place: raises where the directory is no longer where it was; `save` then leaves nothing there.
      skipped: after a `restore`, the steps it passed over and why, newest first; empty where the newest was good.
    """

    def __init__(self, directory: str | os.PathLike[str], *, keep: int = 3):
        """Nothing is read or written yet.

        Raises:
          GailfeError: `keep` below 1, or `directory` is a file.
        """
        if keep < 1:
            raise GailfeError(f"keep: expected at least 1 checkpoint, got {keep}")
        self.directory = Path(directory).absolute()
        if self.directory.exists() and not self.directory.is_dir():
            raise GailfeError(f"{self.directory}: expected a directory of checkpoints, found a file")
        self.keep = keep
        self.check_place: Callable[[], None] = lambda: None
        self.notes: dict[str, Any] = {}
        self.skipped: dict[int, str] = {}
        self._damaged: set[Path] = set()

    def save(self, step: int, state: PyTree, config: dict[str, Any], notes: Mapping[str, Any] | None = None) -> Path:
        """Write `state` as `step` and remove what retention no longer keeps; returns the step's directory.

        Blocks until the step is on disk: on return it survives a kill and a power cut. Needs about `PART_BYTES` of host
        memory beside the state (on an accelerator also the largest leaf). Saving a step again replaces it.

        Args:
          step: any count that grows with training.
          state: pytree of JAX or NumPy arrays of any shape and dtype, typed keys included; `None` is no leaf.
          config: what `gailfe_jax.training.manifest.check_config` compares on resume; must be JSON.
          notes: what else the step is to know, under its seal; must be JSON.

        Raises:
          GailfeError: a negative step, a leaf that is no array, a configuration that JSON cannot hold.
          Exception: whatever the file system or orbax reports; earlier steps are untouched then.
        """
        if step < 0:
            raise GailfeError(f"step: expected a count from 0, got {step}")
        config = plain_config(config)
        leaves = list(named_leaves(state))
        self.check_place()
        self.directory.mkdir(parents=True, exist_ok=True)
        self._clean()

        temporary = self.directory / f"{_TEMPORARY}{uuid.uuid4().hex}"
        temporary.mkdir()
        try:
            writer = _PartWriter(temporary)
            records = []
            for index, (name, leaf) in enumerate(leaves):
                data = _to_host(leaf)
                stored = {"name": name, "data_shape": data.shape, "data_dtype": str(data.dtype)}
                digest = writer.add(index, np.ascontiguousarray(data).reshape(-1))
                records.append(describe(leaf)._asdict() | stored | {"sha256": digest})
                del data
            writer.flush()
            forget_place(temporary)
            config_sha256 = write_config(temporary, config)
            files = digest_files(temporary)
            _sync_tree(temporary)
            body = {
                "format": FORMAT,
                "step": int(step),
                "leaves": records,
                "parts": writer.parts,
                "files": files,
                "config_sha256": config_sha256,
                "versions": {"python": platform.python_version()} | package_versions(),
                "notes": dict(notes or {}),
            }
            write_manifest(temporary, body)
            self.check_place()
            final = self._free_name(step)
            os.rename(temporary, final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            self._check_and_unmake()
            raise
        sync_folder(self.directory)
        (self.directory / _NONE_YET).unlink(missing_ok=True)
        self._retain(final)
        return final

    def restore(
        self,
        template: PyTree,
        step: int | None = None,
        *,
        rename: Callable[[str], str] | None = None,
        refuses: Callable[[dict[str, Any]], str] | None = None,
    ) -> tuple[int, PyTree]:
        """The newest step that verifies, or `step`, as `(step, state)` with the template's structure and placement.

        Every leaf is read, hashed and compared. Where a step is damaged the next older one is tried; each one passed
        over is logged as a warning and kept in `skipped`. An explicitly named step is never replaced by another.

        Args:
          template: a state as it should come out, of arrays or `jax.ShapeDtypeStruct`s (`jax.eval_shape`). Where it
            holds NumPy arrays, NumPy arrays are returned; elsewhere JAX arrays, on the template's devices if it is
            committed to them, sharded as it is.
          step: take exactly this step.
          rename: today's name of a leaf, for checkpoints of older releases.
          refuses: why a step with such a configuration is none of this run's, which is then passed over too; empty
            for one that is.

        Raises:
          GailfeError: no checkpoint, none that verifies, or one whose leaves differ from the template's in name, shape
            or dtype (the message names the leaf).
        """
        self.skipped = {}
        candidates = self._candidates()
        if step is not None:
            candidates = [candidate for candidate in candidates if candidate.step == step]
        if not candidates:
            raise self._missing(step)
        for candidate in candidates:
            try:
                state = self._load_checked(candidate, template, rename, refuses)
            except Damaged as damage:
                self.skipped[candidate.step] = str(damage)
                self._damaged.add(candidate.path)
                _LOG.warning("checkpoint %s is damaged (%s); trying an older one", candidate.path, damage)
                continue
            if self.skipped:
                _LOG.warning("resuming from step %d, newer steps are damaged: %s", candidate.step, list(self.skipped))
            return candidate.step, state
        reasons = "; ".join(f"step {bad}: {why}" for bad, why in self.skipped.items())
        raise GailfeError(
            f"{self.directory}: expected a checkpoint that verifies, all are damaged ({reasons}); --restart moves the "
            "run aside and starts it anew"
        )

    def begin(self) -> None:
        """Makes the directory, of a run that has not saved yet; of one that a kill left half made the rest."""
        if not self._listing():
            self.directory.mkdir(parents=True, exist_ok=True)
            (self.directory / _NONE_YET).touch()
            sync_folder(self.directory)
            sync_folder(self.directory.parent)

    @property
    def awaits_first(self) -> bool:
        """Whether no checkpoint has been saved here yet."""
        return (self.directory / _NONE_YET).exists()

    def unusable(self) -> dict[str, str]:
        """Directories with a step's name that are none, and why."""
        finished = {candidate.path for candidate in self._candidates()}
        lost = [candidate.path for candidate in self._listing() if candidate.path not in finished]
        return {path.name: why_unfinished(path) for path in lost}

    def configs(self) -> list[dict[str, Any]]:
        """The configurations of the steps of which it can be read, newest first."""
        found = []
        for candidate in self._candidates():
            with contextlib.suppress(Damaged):
                found.append(read_config(candidate.path))
        return found

    def steps(self) -> list[int]:
        """The finished steps, oldest first. Their data are verified by `restore` only."""
        return sorted({candidate.step for candidate in self._candidates()})

    def latest(self) -> int | None:
        """The newest finished step, or None where there is none."""
        return max(self.steps(), default=None)

    def config(self, step: int | None = None) -> dict[str, Any]:
        """The configuration `step` (by default the newest) was saved with.

        Raises:
          GailfeError: no such step, or its configuration is damaged.
        """
        for candidate in self._candidates():
            if step is None or candidate.step == step:
                try:
                    return read_config(candidate.path)
                except Damaged as damage:
                    raise GailfeError(f"{candidate.path / 'config.json'}: {damage}") from None
        raise self._missing(step)

    def _missing(self, step: int | None) -> GailfeError:
        wanted = "a checkpoint" if step is None else f"a checkpoint of step {step}"
        return GailfeError(f"{self.directory}: expected {wanted}, found {self.steps() or 'none'}")

    def _listing(self) -> list[_Candidate]:
        """Every directory with a step's name, finished or not, newest first."""
        found = []
        if self.directory.is_dir():
            for path in self.directory.iterdir():
                match = _STEP_NAME.fullmatch(path.name)
                if match and path.is_dir():
                    found.append(_Candidate(int(match[1]), int(match[2] or 0), path))
        return sorted(found, reverse=True)

    def _candidates(self) -> list[_Candidate]:
        def finished(candidate: _Candidate) -> bool:
            manifest = read_manifest(candidate.path)
            return manifest is not None and manifest.get("step") == candidate.step

        return [candidate for candidate in self._listing() if finished(candidate)]

    def _free_name(self, step: int) -> Path:
        taken = [candidate.generation for candidate in self._listing() if candidate.step == step]
        return self.directory / (f"step_{step:012d}_{max(taken) + 1}" if taken else f"step_{step:012d}")

    def _load_checked(
        self,
        candidate: _Candidate,
        template: PyTree,
        rename: Callable[[str], str] | None,
        refuses: Callable[[dict[str, Any]], str] | None,
    ) -> PyTree:
        why = "" if refuses is None else refuses(read_config(candidate.path))
        if why:
            raise Damaged(why)
        try:
            return self._load(candidate, template, rename)
        except GailfeError:
            raise
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
            # A seal says who wrote a manifest, not that it makes sense.
            raise Damaged(f"its manifest says what cannot be ({type(error).__name__})") from error

    def _load(self, candidate: _Candidate, template: PyTree, rename: Callable[[str], str] | None) -> PyTree:
        manifest = read_manifest(candidate.path)
        if manifest is None:
            raise Damaged("its manifest is gone")
        if manifest.get("format") != FORMAT:
            raise GailfeError(f"{candidate.path}: expected checkpoint format {FORMAT}, found {manifest.get('format')}")
        self.notes = checked_notes(manifest.get("notes", {}))
        wanted = list(named_leaves(template))
        if rename is not None:
            renamed = [record | {"name": rename(record["name"])} for record in manifest["leaves"]]
            manifest = manifest | {"leaves": renamed}
        check_leaves(candidate.path, manifest["leaves"], wanted)
        read_config(candidate.path)
        check_files(candidate.path, manifest)
        like = [leaf for _, leaf in wanted]
        # Leaves keep the order of the saved state, which the template shares unless a dict's keys sort differently.
        position = {name: index for index, (name, _) in enumerate(wanted)}
        order = [position[record["name"]] for record in manifest["leaves"]]
        restored: list[Any] = [None] * len(like)
        for index, data in _read_leaves(candidate.path, manifest):
            target = order[index]
            restored[target] = _from_host(data, like[target], manifest["leaves"][index]["key_impl"])
        return jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(template), restored)

    def _check_and_unmake(self) -> None:
        """Where the directory was taken away during a save, removes what orbax has made anew of it, and says so."""
        try:
            self.check_place()
        except GailfeError:
            for made in (self.directory, self.directory.parent):
                with contextlib.suppress(OSError):
                    made.rmdir()
            raise

    def _remove(self, path: Path) -> None:
        """Take a step away so that a kill half-way leaves no half-deleted step: it loses its name first."""
        trash = self.directory / f"{_TRASH}{uuid.uuid4().hex}"
        os.rename(path, trash)
        sync_folder(self.directory)
        shutil.rmtree(trash, ignore_errors=True)

    def _clean(self) -> None:
        """Remove what killed saves and deletions left behind."""
        for path in list(self.directory.iterdir()):
            if path.name.startswith((_TEMPORARY, _TRASH)):
                shutil.rmtree(path, ignore_errors=True)
        finished = {candidate.path for candidate in self._candidates()}
        for candidate in self._listing():
            if candidate.path not in finished:
                _LOG.warning("removing the unfinished checkpoint %s", candidate.path)
                self._remove(candidate.path)

    def _retain(self, saved: Path) -> None:
        """Keep the newest `keep` steps. The one just saved is known to be good and stays, whatever its number."""
        kept: set[int] = set()
        for candidate in self._candidates():
            superseded = candidate.step in kept
            if candidate.path != saved and (superseded or candidate.path in self._damaged or len(kept) >= self.keep):
                self._remove(candidate.path)
            else:
                kept.add(candidate.step)
        self._damaged.clear()


def _read_leaves(path: Path, manifest: dict[str, Any]) -> Iterator[tuple[int, np.ndarray]]:
    """Each leaf as soon as its last piece is read and its hash agrees, so that only one is held twice."""
    records = manifest["leaves"]

    def verified(index: int, flat: np.ndarray) -> tuple[int, np.ndarray]:
        record = records[index]
        if _digest_array(flat) != record["sha256"]:
            raise Damaged(f"leaf {record['name']} does not match its SHA-256")
        return index, flat.reshape(record["data_shape"])

    sizes = [0] * len(records)
    for part in manifest["parts"]:
        for leaf, start, stop in part.values():
            # Each piece begins where the one before it ended: nothing is left as memory was found.
            if leaf < 0 or start != sizes[leaf] or stop <= start:
                raise Damaged(f"leaf {records[leaf]['name']} is not in one piece")
            sizes[leaf] = stop
    for index, record in enumerate(records):
        if sizes[index] != math.prod(record["data_shape"]) or any(size < 0 for size in record["data_shape"]):
            raise Damaged(f"leaf {record['name']} is not of the size that the manifest says")
    for index, record in enumerate(records):
        if sizes[index] == 0:
            yield index, np.empty(record["data_shape"], jnp.dtype(record["data_dtype"]))
    flats: dict[int, np.ndarray] = {}
    for number, part in enumerate(manifest["parts"]):
        try:
            with alone(), without_noise():
                arrays = ocp.load(str(path / f"part_{number:04d}"))
        except MemoryError:
            raise
        except Exception as error:  # orbax and tensorstore report damage as many types
            raise Damaged(f"part {number} is unreadable: {type(error).__name__}") from error
        for name, (leaf, start, stop) in part.items():
            piece = arrays.pop(name, None)
            dtype = jnp.dtype(records[leaf]["data_dtype"])
            if piece is None or piece.dtype != dtype or piece.shape != (stop - start,):
                raise Damaged(f"leaf {records[leaf]['name']} is missing or of another type")
            if start == 0:
                flats[leaf] = piece if stop == sizes[leaf] else np.empty(sizes[leaf], dtype)
            if flats[leaf] is not piece:
                flats[leaf][start:stop] = piece
            del piece
            if stop == sizes[leaf]:
                yield verified(leaf, flats.pop(leaf))


def _digest_array(flat: np.ndarray) -> str:
    return hashlib.sha256(flat.view(np.uint8).data).hexdigest()
