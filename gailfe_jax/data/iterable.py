"""Episodes that Python code hands over, and what becomes of built ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gailfe_jax.data.episodes import Built, Episode, build, refuse_idle_ends
from gailfe_jax.data.recordings.fields import Columns, Request, as_flags
from gailfe_jax.data.recordings.split import one_episode
from gailfe_jax.data.trajectories import Demonstrations, Trajectories, make_provenance
from gailfe_jax.errors import GailfeError

if TYPE_CHECKING:
    from gailfe_jax.types import EnvSpec


def as_episode(name: str, given: Any) -> Episode:
    """An `Episode` of what a caller hands over; see `Demonstrations.from_episodes`.

    Raises:
      GailfeError: it is none, and no mapping with observations and actions.
    """
    if isinstance(given, Episode):
        return given
    if not isinstance(given, Mapping):
        raise GailfeError(f"{name}: got {type(given).__name__}; expected an Episode, or a mapping with obs and action")
    # No actions are said, and not left out.
    asked = Request(actions="none" if "action" in given and given["action"] is None else "required")
    arrays = {str(key): value for key, value in given.items() if value is not None}
    failed = arrays.pop("failed", None)
    columns = Columns(name, list(arrays), lambda key: np.asarray(arrays[key]))
    notes: list[str] = []
    episode = one_episode(columns, asked, notes, name)
    if failed is None:
        return episode
    fields: dict[str, Any] = {**vars(episode), "failed": bool(as_flags(name, "failed", np.asarray(failed)).any())}
    return Episode(**fields)


def demonstrations_of(
    name: str,
    episodes: Iterable[Any],
    failures: Iterable[Any],
    *,
    env_id: str,
    spec: EnvSpec | None,
    ends: str | None,
    clip: bool,
) -> Demonstrations:
    """See `Demonstrations.from_episodes`; not validated yet."""
    shown = [as_episode(f"{name}: episode {i}", episode) for i, episode in enumerate(episodes)]
    shown_failed = [as_episode(f"{name}: failure {i}", episode) for i, episode in enumerate(failures)]
    built = [build(name, shown, spec=spec, ends=ends, clip=clip)]
    if shown_failed:
        built.append(build(f"{name}: failures", shown_failed, spec=spec, ends=ends, clip=clip))
    refuse_idle_ends(name, ends, built)
    failed = built[0].failed == 1
    expert, others = sort(built[0], failed, built[1:])
    provenance = make_provenance(
        env_id=env_id,
        expert=name,
        failure_source="recorded" if others.num_trajectories else "none",
        notes=[note for one in built for note in one.notes],
    )
    return Demonstrations(env_id, expert, others, provenance)


def sort(built: Built, failed: np.ndarray, others: Sequence[Built]) -> tuple[Trajectories, Trajectories]:
    """`(expert, failures)`: the episodes that did not fail, and those that did with all of the others.

    Args:
      built: the episodes.
      failed: `[k]` bool.
      others: whose episodes all failed.
    """
    parts = [built.trajectories.select(failed), *(other.trajectories for other in others)]
    return built.trajectories.select(~failed), Trajectories.concatenate(parts)
