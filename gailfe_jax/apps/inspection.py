"""Looks at demonstrations, or at a recording as it would be imported, beside the environment that they are for."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from gailfe_jax.data.episodes import build
from gailfe_jax.data.inspection import Finding, advise, inspect_part
from gailfe_jax.data.recordings import read_recording
from gailfe_jax.data.recordings.fields import Request
from gailfe_jax.data.trajectories import Trajectories
from gailfe_jax.envs import known_env, make_env
from gailfe_jax.envs.meaning import meaning_of
from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Env, EnvSpec

_REPLAYED = 256  # pairs in one call of the engine
_NAMED = 24  # numbers of an observation whose names are listed
_SAME = 1e-4
"""How far a replayed observation may be off, as a share of how large such numbers are."""


@dataclasses.dataclass(frozen=True, eq=False)
class Inspection:
    """What was found.

    Attributes:
      name: of the file.
      format: its layout.
      env_id: the environment that it names, or None.
      spec: of the environment that it was looked at beside; None where there is none.
      parts: `expert` and, where there are some, `failures`.
      findings: of each part.
      notes: what reading it derived, cast and left out.
      advice: which methods it allows.
    """

    name: str
    format: str
    env_id: str | None
    spec: EnvSpec | None
    parts: dict[str, Trajectories]
    findings: dict[str, list[Finding]]
    notes: list[str]
    advice: list[str]

    def record(self) -> dict[str, Any]:
        """All of it in the types of JSON."""
        return {
            "file": self.name,
            "format": self.format,
            "env_id": self.env_id,
            "env": None if self.spec is None else self.spec.name,
            "notes": self.notes,
            **{part: {f.name: f.value for f in found} for part, found in self.findings.items()},
            "mend": [f.name for found in self.findings.values() for f in found if f.warns],
            "advice": self.advice,
        }


def inspect_demonstrations(
    source: str | os.PathLike[str],
    *,
    env: str | Env | None = None,
    format: str | None = None,
    mapping: Sequence[str] = (),
) -> Inspection:
    """What is in a file, whether it fits its environment, and which methods it allows.

    Nothing is refused that can be looked at: NaN, actions out of bounds and other sizes are findings. Where simulator
    states are stored and the environment is a MuJoCo task, every pair is replayed from its state.

    Args:
      source: a demonstration file, or any recording that can be imported.
      env: the environment; the one that the file names if None, where that is known here.
      format, mapping: see `import_demonstrations`.

    Raises:
      GailfeError: see `read_recording` and `build`.
    """
    name = os.fspath(source)
    made = make_env(env) if isinstance(env, str) else env
    spec = None if made is None else made.spec
    limit = None if spec is None else spec.max_episode_steps
    request = Request.of_words(mapping, time_limit=limit, actions="optional")
    recording = read_recording(name, request, format)
    notes = list(recording.notes)
    if made is None and recording.env_id:
        made = known_env(recording.env_id)
        spec = None if made is None else made.spec
        if made is None:
            notes.append(
                f"env_id: {recording.env_id} is not known here, so nothing was checked against it; --env names one"
            )
    built = build(name, recording.episodes, spec=spec, ends="truncated")
    told = [note for note in built.notes if not note.endswith("as --episodes-end-by says")]
    if built.declared:
        told.append(f"terminated: nothing says how {built.declared} episodes end; import asks --episodes-end-by for it")
    failed = built.failed == 1
    parts = {"expert": built.trajectories.select(~failed)}
    if failed.any():
        parts["failures"] = built.trajectories.select(failed)
    if not parts["expert"].num_trajectories:
        raise GailfeError(f"{name}: all {len(failed)} episodes are failures, expected demonstrations")
    findings = {
        part: [*inspect_part(held, spec), *([] if made is None else replay(held, made))] for part, held in parts.items()
    }
    mends = [f.name for found in findings.values() for f in found if f.warns]
    if made is not None:
        findings["expert"] += _observed(made)
    advice = advise(parts["expert"], int(failed.sum()), spec, mends)
    return Inspection(
        name, recording.format, recording.env_id, spec, parts, findings, [*notes, *told], advice
    )  # fmt: skip


def _observed(env: Env) -> list[Finding]:
    """What the numbers of an observation are called, where that is known."""
    names = [name for name, unit in meaning_of(env).obs if not name.startswith("obs[")]
    if not names:
        return []
    shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    return [Finding("observed", names, f"observed, by the names that --reward.features takes: {shown}")]


def replay(trajectories: Trajectories, env: Env) -> list[Finding]:
    """Whether the environment leads from each stored state to the observation that was recorded.

    The simulator's C engine takes one step from each of them under the recorded action.

    Args:
      trajectories: with `simulator_state`; nothing is said without.
      env: a MuJoCo task; nothing is said of another.
    """
    state, physics = trajectories.simulator_state, getattr(env, "physics", None)
    sizes = (trajectories.obs.shape[1], trajectories.action.shape[1])
    if state is None or physics is None or sizes != (env.spec.obs_size, env.spec.action_size):
        return []
    if not hasattr(physics, "host_step"):  # Another engine steps the task.
        physics = getattr(make_env(env.spec.name, "mujoco_c"), "physics", None)
        if physics is None:
            return []
    nq, nv = physics.model.nq, physics.model.nv
    if state.shape[1] > physics.nrow or state.shape[1] < 1 + nq + nv:
        words = f"stored simulator states have {state.shape[1]} numbers, not those of {env.spec.name}: nothing replayed"
        return [Finding("replay", None, words, True)]
    fresh = np.zeros(len(state), bool)
    # As a reset leaves it: no time has passed, and nothing is stored behind position and velocity.
    fresh[trajectories.offsets[:-1]] = True
    fresh &= (state[:, 0] == 0) & (state[:, 1 + nq + nv :] == 0).all(axis=1)
    rows = np.zeros((len(state), physics.nrow))
    rows[:, : state.shape[1]] = state
    seen = np.zeros_like(trajectories.next_obs)
    for start in range(0, len(state), _REPLAYED):
        at = slice(start, min(start + _REPLAYED, len(state)))
        # One size for all calls: the engine keeps a pool for each.
        pick = np.resize(np.arange(at.start, at.stop), _REPLAYED)
        qpos, qvel = state[pick, 1 : 1 + nq], state[pick, 1 + nq : 1 + nq + nv]
        _, obs, _, _ = physics.host_step(rows[pick], fresh[pick], qpos, qvel, trajectories.action[pick])
        seen[at] = obs[: at.stop - at.start]
    off = np.abs(seen - trajectories.next_obs)
    scale = np.maximum(np.abs(trajectories.next_obs).max(axis=0), 1e-6)
    largest = float(off.max())
    row, column = (int(i) for i in np.unravel_index(int(np.argmax(off)), off.shape))
    fits = bool((off <= _SAME * scale).all())
    words = f"replayed all {len(state):,} pairs from their simulator states: largest difference {largest:.3g}"
    if not fits:
        words += f" (obs[{column}] at step {row}): recorded on another model, frame skip or simulator"
    return [Finding("replay", largest, words, not fits)]
