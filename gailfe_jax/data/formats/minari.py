"""Demonstrations out of Minari datasets: the expert's trajectories only, read and never written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gailfe_jax.data.episodes import CUT, Episode, build
from gailfe_jax.data.trajectories import Demonstrations, Trajectories, make_provenance
from gailfe_jax.errors import GailfeError


def read(dataset_id: str) -> Demonstrations:
    """The dataset with this id, which must be stored on this machine; it is read without Minari.

    Raises:
      GailfeError: there is no such dataset, or it is damaged or holds no flat vectors.
    """
    # The layouts of others stand on these formats.
    from gailfe_jax.data.recordings import read_recording

    recording = read_recording(f"minari:{dataset_id}", format="minari")
    return _demonstrations(recording.name, recording.env_id or "", recording.episodes)


def convert(dataset: Any) -> Demonstrations:
    """The episodes of a `minari.MinariDataset`, without failures or simulator states; values are not validated yet.

    An episode that its collector cut off, so that its last step is neither terminated nor truncated, counts as
    truncated there. Observations and actions are rounded to float32.

    Raises:
      GailfeError: no episodes, or observations or actions that are not flat vectors.
    """
    name = f"minari:{dataset.spec.dataset_id}"
    env_spec = dataset.spec.env_spec
    env_id = "" if env_spec is None else str(env_spec.id)
    episodes = [_from_episode(episode, name) for episode in dataset.iterate_episodes()]
    if not episodes:
        raise GailfeError(f"{name}: no episodes, expected one or more")
    return _demonstrations(name, env_id, episodes)


def _demonstrations(name: str, env_id: str, episodes: Sequence[Episode]) -> Demonstrations:
    built = build(name, episodes)
    expert = built.trajectories
    return Demonstrations(
        env_id=env_id,
        expert=expert,
        failures=Trajectories.empty(expert.obs.shape[1], expert.action.shape[1]),
        provenance=make_provenance(env_id=env_id, expert=name, failure_source="none", notes=built.notes),
    )


def _from_episode(episode: Any, name: str) -> Episode:
    where = f"{name}: episode {episode.id}"
    for field in ("observations", "actions"):
        array = getattr(episode, field)
        if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "f":
            raise GailfeError(f"{where}: field '{field}': expected one vector of floats per step")
    length = len(episode.rewards)
    if length == 0 or len(episode.observations) != length + 1:
        raise GailfeError(
            f"{where}: field 'observations': {len(episode.observations)}, expected {length} steps and one"
        )
    ends = {"terminated": episode.terminations, "truncated": episode.truncations}
    end = next((end for end, marks in ends.items() if marks[-1]), CUT)
    for field, marks in ends.items():
        if np.asarray(marks[:-1]).any():
            raise GailfeError(f"{where}: field '{field}': the episode ends inside it")
    return Episode(episode.observations, episode.actions, reward=episode.rewards, end=end, name=f"episode {episode.id}")
