"""Exports a trained policy, and checks what was exported."""

from __future__ import annotations

import pathlib
import tempfile
import warnings
from typing import NamedTuple

from gailfe_jax.apps.evaluate_run import policies_of
from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.envs.meaning import Meaning, meaning_of, unknown_meaning
from gailfe_jax.errors import GailfeError, GailfeWarning
from gailfe_jax.export.contract import contract
from gailfe_jax.export.registry import TARGETS, find_target
from gailfe_jax.io.atomic import write_bytes_atomic
from gailfe_jax.io.digests import file_sha256
from gailfe_jax.training.chosen import Chosen, choose_policy

_SOURCE = ("env", "task", "algo", "generator", "seed", "steps", "expert_return")


class Exported(NamedTuple):
    """What was exported, where to, and what its check said.

    Attributes:
      folder: of the export.
      files: names in it.
      chosen: the policy, and why it.
      said: the line that its check printed.
      check: the command that checks it again, in its folder.
    """

    folder: pathlib.Path
    files: list[str]
    chosen: Chosen
    said: str
    check: str


def export_path(
    path: str | pathlib.Path,
    to: str,
    *,
    out: str | pathlib.Path | None = None,
    seed: int | None = None,
    env: str | None = None,
    overwrite: bool = False,
) -> Exported:
    """Writes a policy for a place where this package is not installed.

    What is written is run in a process of its own and compared with `Policy.act`, before it is put in its place.

    Args:
      path: run folder or policy file.
      to: one of `gailfe_jax.export.registry.TARGETS`.
      out: folder to write; by default `export/<to>` in the run folder, or `<name>_<to>` beside the file.
      seed: which of a run's; by default the best (see `choose_policy`).
      env: task whose names and units are written; the policy's own by default. Where that is not to be had, names and
        units are unknown, which a warning says.
      overwrite: replace files of an earlier export.

    Raises:
      GailfeError: an unknown target, a package that it needs is missing, `out` is taken, there is no such policy, it
        does not fit `env`, or the export does something else than the policy.
    """
    if to not in TARGETS:
        raise GailfeError(f"to: got {to!r}; expected one of {', '.join(TARGETS)}")
    path = pathlib.Path(path)
    folder = pathlib.Path(out) if out is not None else _default_folder(path, to)
    check_free(folder, overwrite)
    target = find_target(to)
    target.require()
    chosen = choose_policy(path, seed)
    meaning = meaning_or_unknown(path, chosen.policy, env)
    source = {name: chosen.policy.metadata[name] for name in _SOURCE if name in chosen.policy.metadata}
    source["sha256"] = file_sha256(chosen.file)
    record = contract(chosen.policy, meaning.obs, meaning.action, meaning.seconds_per_step, source)
    files = target.files(chosen.policy, record)
    with tempfile.TemporaryDirectory() as place:
        for name, content in files.items():
            (pathlib.Path(place) / name).write_bytes(content)
        said = target.check(pathlib.Path(place))
    for name, content in files.items():
        write_bytes_atomic(folder / name, content)
    return Exported(folder, list(files), chosen, said, target.CHECK)


def check_free(folder: pathlib.Path, overwrite: bool) -> None:
    """Raises GailfeError where something is in the way of a folder, or something in it may not be overwritten."""
    place = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not place.is_dir():
        raise GailfeError(f"out: {place} is a file; expected a folder to write")
    if not overwrite and folder.is_dir() and any(folder.iterdir()):
        raise GailfeError(f"out: {folder} exists and is not empty; expected another --out, or --overwrite")


def _default_folder(path: pathlib.Path, to: str) -> pathlib.Path:
    return path / "export" / to if path.is_dir() else path.with_name(f"{path.stem}_{to}")


def meaning_or_unknown(path: pathlib.Path, policy: Policy, env: str | None = None) -> Meaning:
    """Names and units of what a policy sees and does.

    Args:
      path: run folder or policy file.
      policy: in it.
      env: task; the policy's own by default. Where that is not to be had a warning says so, and nothing is known.

    Raises:
      GailfeError: `env` is given, and is unknown or does not fit.
    """
    try:
        return meaning_of(policies_of(path, env).env)
    except GailfeError as error:
        if env is not None:
            raise
        warnings.warn(f"{error}; so names and units are unknown", GailfeWarning, stacklevel=3)
    return unknown_meaning(policy.obs_size, policy.action_size, discrete=policy.discrete)
