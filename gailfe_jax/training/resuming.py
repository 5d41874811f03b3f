"""What has to hold before a run goes on: its record is its own and whole, or somebody is told what is missing."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from gailfe_jax.envs import differ_by_file
from gailfe_jax.envs.physics.solver import settled
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.atomic import plain, sync_folder
from gailfe_jax.io.digests import json_sha256
from gailfe_jax.io.json_text import read_json
from gailfe_jax.io.lock import holds_nothing
from gailfe_jax.learners.record import part_record
from gailfe_jax.training.checkpoint import CheckpointManager
from gailfe_jax.training.logger import read_metrics
from gailfe_jax.training.manifest import check_config
from gailfe_jax.training.run_folder import FREE_ON_RESUME, SEAL, VERSION, identity, load_run, read_record

_LEFT_BEHIND = ("summary.json", "policies", "snapshots")
"""What a run has only once it has trained."""
RESTART = "--restart moves the run aside and starts it anew"


def check_seal(run_dir: pathlib.Path) -> None:
    """Holds that config.json says what was written there; older releases wrote no seal.

    Raises:
      GailfeError: it was changed.
    """
    path = run_dir / "config.json"
    record = read_json(path)
    sealed = record.pop(SEAL, None)
    if sealed is not None and sealed != json_sha256(record):
        raise GailfeError(
            f"{path}: was changed after it was written (field {SEAL!r}); expected it as the run left it, or flags for "
            f"what may change; {RESTART}"
        )


def foreign_to(run_dir: pathlib.Path) -> Callable[[dict[str, Any]], str]:
    """A function that says why a checkpoint's configuration is not that of config.json; empty where it is."""
    ours = _typed(load_run(run_dir))

    def why(saved: dict[str, Any]) -> str:
        if saved.get("version") != VERSION:
            return ""  # An older release's.
        try:
            theirs = _typed(saved)
            envs = [record["environment"].get("env", "") for record in (theirs, ours)]
            if differ_by_file(*envs):
                theirs["environment"]["env"] = ours["environment"]["env"]
            check_config(theirs, ours, ignore=FREE_ON_RESUME)
        except GailfeError as error:
            return str(error)
        except (AttributeError, LookupError, TypeError) as error:
            return f"its configuration cannot be read ({type(error).__name__})"
        return ""

    return why


def check_against(run_dir: pathlib.Path, checkpoints: CheckpointManager) -> None:
    """Holds that config.json and one of the checkpoints that can be read are of one configuration.

    Raises:
      GailfeError: names the first field in which the newest one differs.
    """
    why = foreign_to(run_dir)
    found = [why(config) for config in checkpoints.configs()]
    if found and all(found):
        raise GailfeError(f"{run_dir / 'config.json'}: {found[0]}; {RESTART}")


def _typed(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration says, read as this release reads it, so that one of an older release is the same."""
    held = read_record(record)
    engine = record["engine"] if isinstance(record.get("engine"), str) else held.place.engine
    place = part_record(settled(held.place, engine))
    found = identity(held.method, place, held.run, dict(record["demos"]), engine, held.imports)
    # Where it lies on this machine is free, and what it is made of is compared by itself.
    return plain(found | {"seeds": record["seeds"]} if "seeds" in record else found)


def check_nothing_lost(run_dir: pathlib.Path, checkpoints: CheckpointManager) -> None:
    """Holds, where a run has no checkpoint to go on from, that it never had one.

    Raises:
      GailfeError: says what was found.
    """
    damaged = checkpoints.unusable()
    if damaged:
        listed = "; ".join(f"{name}: {why}" for name, why in damaged.items())
        raise GailfeError(
            f"{checkpoints.directory}: none of {len(damaged)} checkpoint(s) can be used ({listed}); expected one that "
            f"verifies; {RESTART}"
        )
    if checkpoints.awaits_first:
        return
    records = check_metrics(run_dir)
    found = f"has measured up to step {max(record['step'] for record in records):,}" if records else ""
    for name in () if records else _LEFT_BEHIND:
        if (run_dir / name).exists():
            found = found or f"holds {name} of a run"
    if found:
        raise GailfeError(
            f"{run_dir}: {found} and holds no checkpoint; expected {checkpoints.directory} as the run left it; "
            f"{RESTART}"
        )


def check_metrics(run_dir: pathlib.Path) -> list[dict[str, Any]]:
    """What metrics.jsonl holds, which may be nothing.

    Raises:
      GailfeError: it is no file, or a line is no record.
    """
    path = run_dir / "metrics.jsonl"
    if path.is_dir():
        raise GailfeError(f"{path}: is a folder; expected the metrics of a run")
    try:
        return read_metrics(path) if path.exists() else []
    except GailfeError as error:
        raise GailfeError(f"{error}; without its damaged lines the run goes on, with a warning") from None


def set_aside(run_dir: str | os.PathLike[str]) -> pathlib.Path | None:
    """Renames a run's folder to `<name>.1`, or the first such name that is free; None where there is nothing.

    Raises:
      GailfeError: it holds something else than a run.
      OSError: it cannot be renamed.
    """
    run_dir = pathlib.Path(run_dir)
    if not run_dir.exists() or (run_dir.is_dir() and holds_nothing(run_dir)):
        return None
    if not (run_dir / "config.json").is_file():
        raise GailfeError(f"{run_dir}: exists and holds no run; expected the folder of a run to restart")
    whole = run_dir.resolve()
    number = 1
    while (aside := whole.with_name(f"{whole.name}.{number}")).exists():
        number += 1
    os.rename(whole, aside)
    sync_folder(aside.parent)
    return aside
