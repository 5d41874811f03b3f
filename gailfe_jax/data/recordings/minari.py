"""Minari's dataset folders, read without Minari: HDF5, or Arrow and Parquet."""

from __future__ import annotations

import contextlib
import importlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from gailfe_jax.data.episodes import Recording
from gailfe_jax.data.recordings import arrow
from gailfe_jax.data.recordings.fields import Columns, Request, natural
from gailfe_jax.data.recordings.split import one_episode
from gailfe_jax.data.recordings.tree import has_magic, open_tree
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.errors import GailfeError, one_line
from gailfe_jax.io.json_text import parse_json, read_json

LAYOUT = "minari:ID of a local dataset, or its folder: data/main_data.hdf5 (or data/0/*.arrow) and data/metadata.json"
PREFIX = "minari:"
FAILED = "infos/failed"
"""Where `write` marks failures."""
_LARGEST_METADATA = 16 * 2**20


def find_folder(source: str) -> pathlib.Path:
    """The folder of a dataset: of `minari:ID` where Minari keeps its datasets, else the source itself."""
    if not source.lower().startswith(PREFIX):
        return pathlib.Path(source)
    home = pathlib.Path.home() / ".minari" / "datasets"
    return pathlib.Path(os.environ.get("MINARI_DATASETS_PATH") or home) / source[len(PREFIX) :]


def recognises(source: str) -> bool:
    """Whether this names a Minari dataset, is its folder, or its HDF5 file."""
    if source.lower().startswith(PREFIX):
        return True
    folder = pathlib.Path(source)
    if folder.is_dir():
        return (folder / "data" / "metadata.json").is_file()
    if not has_magic(source):
        return False
    with open_tree(source) as tree:
        return any(name.startswith("episode_") for name in tree.groups)


def read(source: str, request: Request) -> Recording:
    """The episodes of a local dataset, in the order of their numbers.

    Raises:
      GailfeError: no such dataset, see `one_episode` and `Tree`, or pyarrow is missing for one in Arrow or Parquet.
    """
    folder = find_folder(source)
    if not folder.exists():
        raise GailfeError(f"{source}: no such dataset on this machine, expected {LAYOUT}")
    notes: list[str] = []
    episodes = []
    for name, columns in _episodes(source, folder):
        told: list[str] = []
        episodes.append(one_episode(columns, request, told, name))
        notes = notes or told
    if not episodes:
        raise GailfeError(f"{source}: no episodes, expected {LAYOUT}")
    return Recording(source, "minari", episodes, env_id=_env_id(source, folder), notes=notes)


def _episodes(source: str, folder: pathlib.Path) -> Iterator[tuple[str, Columns]]:
    file = folder if folder.is_file() else folder / "data" / "main_data.hdf5"
    if file.is_file():
        with open_tree(str(file)) as tree:
            for name in natural(name for name in tree.groups if name.startswith("episode_") and "/" not in name):
                yield name, tree.columns(f"{name}/")
        return
    for part in natural(path.name for path in (folder / "data").iterdir() if path.is_dir() and path.name.isdigit()):
        files = [p for p in sorted((folder / "data" / part).iterdir()) if p.suffix in (".arrow", ".parquet")]
        if len(files) != 1:
            raise GailfeError(f"{source}: data/{part}: {len(files)} files of arrays, expected one")
        columns = arrow.open_table(str(files[0]))
        # Minari fills up what there is one less of than of observations.
        short = ("actions", "rewards", "terminations", "truncations")
        yield f"episode_{part}", _shortened(columns, short)


def _shortened(columns: Columns, names: tuple[str, ...]) -> Columns:
    def read(name: str) -> np.ndarray:
        return columns.read(name)[:-1] if name.split("/")[0] in names else columns.read(name)

    return Columns(columns.where, columns.names, read, columns.readable)


def _env_id(source: str, folder: pathlib.Path) -> str | None:
    file = folder / "data" / "metadata.json"
    if folder.is_file() or not file.is_file() or file.stat().st_size > _LARGEST_METADATA:
        return None
    # The environment is a text of JSON inside it. Nothing of it is imported or made.
    with contextlib.suppress(ValueError, AttributeError):
        spec = read_json(file, most=_LARGEST_METADATA, nonfinite=True).get("env_spec")
        spec = parse_json(spec, nonfinite=True) if isinstance(spec, str) else spec
        name = spec.get("id") if isinstance(spec, dict) else None
        if isinstance(name, str) and name:
            return name
    return None


def write(path: str, demonstrations: Demonstrations, **options: Any) -> str:
    """Makes a Minari dataset by Minari, failures marked in `infos/failed`.

    Args:
      path: its id, `name/task-v0`; `minari:` may stand before it.
      demonstrations: with rewards, which Minari wants.
      options: none are read.

    Returns:
      What else `gailfe demos import` needs to read the same back.

    Raises:
      GailfeError: Minari is not installed or refuses, or there are no rewards.
    """
    del options
    name = path[len(PREFIX) :] if path.lower().startswith(PREFIX) else path
    parts = [part for part in (demonstrations.expert, demonstrations.failures) if part.num_trajectories]
    if not demonstrations.expert.acted:
        raise GailfeError("action: missing, and a Minari dataset has to have it; expected --to d4rl or lerobot")
    if any(part.reward is None for part in parts):
        raise GailfeError("reward: missing, and a Minari dataset has to have it; expected --to d4rl or lerobot")
    try:
        minari = importlib.import_module("minari")
    except ImportError:
        raise GailfeError("to: minari needs its package; expected pip install 'gailfe-jax[minari]'") from None
    spaces = importlib.import_module("gymnasium").spaces
    failures = demonstrations.failures.num_trajectories
    buffers = []
    for part in parts:
        for i in range(part.num_trajectories):
            one = part.trajectory(i)
            # Minari has a row of them for each observation.
            infos = {"failed": np.full(one.num_transitions + 1, part is demonstrations.failures)} if failures else {}
            if all(part.simulator_state is not None for part in parts):
                state = one.simulator_state
                infos["simulator_state"] = np.concatenate([state, state[-1:]])  # type: ignore[index]
            buffers.append(
                minari.data_collector.EpisodeBuffer(
                    observations=np.concatenate([one.obs, one.next_obs[-1:]]),
                    actions=one.action,
                    rewards=one.reward,
                    terminations=one.terminated,
                    truncations=one.truncated,
                    infos=infos,
                )
            )
    obs, action = demonstrations.expert.obs.shape[1], demonstrations.expert.action.shape[1]
    try:
        minari.create_dataset_from_buffers(
            name,
            buffers,
            env=_registered(demonstrations.env_id),
            observation_space=spaces.Box(-np.inf, np.inf, (obs,), np.float32),
            action_space=spaces.Box(-np.inf, np.inf, (action,), np.float32),
        )
    except Exception as error:  # Minari documents no error type of its own.
        raise GailfeError(f"out: {name}: Minari refuses it ({one_line(error)})") from None
    return f"--failures {FAILED}" if failures else ""


def _registered(env_id: str) -> str | None:
    """The id, where Gymnasium knows it here; Minari takes no other."""
    registry = importlib.import_module("gymnasium").registry
    return env_id if env_id in registry else None
