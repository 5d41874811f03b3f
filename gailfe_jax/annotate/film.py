"""What there is to see of the episodes of a demonstration file: pictures where it is a MuJoCo task's, and curves."""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np

from gailfe_jax.annotate.pictures import Pictures
from gailfe_jax.annotate.session import Session
from gailfe_jax.data.trajectories import Trajectories
from gailfe_jax.envs import base_name, known_env, make_env, task_of
from gailfe_jax.envs.meaning import Meaning, meaning_of, unknown_meaning
from gailfe_jax.envs.physics.recorded import RecordedStates, recorded_states
from gailfe_jax.errors import GailfeError

_FILMED = 8
"""Episodes whose states are kept."""


class Film:
    """Pictures and curves of a session's episodes.

    Args:
      session: the episodes.
      env: the environment that they are of; the one that the file names if None, where that is known here.
      size: of a picture in pixels, both ways.

    Attributes:
      problem: why there are no pictures; None where there are, or where the platform is still being looked for.
      meaning: names and units of the observations' numbers.

    Raises:
      GailfeError: `env` is given and is unknown.
    """

    def __init__(self, session: Session, env: str | None = None, size: int = 480):
        self._session = session
        self._lock = threading.Lock()
        self._physics: Any = None
        self._pictures: Pictures | None = None
        self._said: str | None = None
        shown = session.demonstrations.expert
        obs_size, action_size = shown.obs.shape[1], shown.action.shape[1]
        self.meaning = unknown_meaning(obs_size, action_size, discrete=False)
        made = make_env(env) if env is not None else known_env(session.demonstrations.env_id)
        # Frequent calls of one episode in turn: what is drawn next is near.
        self._states = functools.lru_cache(maxsize=_FILMED)(self._find_states)
        if made is None:
            self._said = f"{session.demonstrations.env_id} is not known here; --env names the environment"
            return
        if (made.spec.obs_size, made.spec.action_size) != (obs_size, action_size):
            self._said = f"observations and actions have other sizes than those of {made.spec.name}"
            return
        self.meaning = meaning_of(made)
        if task_of(made) is None:
            self._said = f"{made.spec.name} is no MuJoCo task"
            return
        # On the engine that every task has, and that needs no compilation.
        self._physics = getattr(make_env(base_name(made.spec.name), "mujoco_c"), "physics")  # noqa: B009
        states = self.states(0)
        self._pictures = Pictures(made.spec.name, (states.qpos[0], states.qvel[0]), size)

    @property
    def problem(self) -> str | None:
        return self._said if self._pictures is None else self._pictures.problem

    def states(self, number: int) -> RecordedStates:
        """Where the simulator was in an episode.

        Raises:
          GailfeError: it is no MuJoCo task's, or there is no such episode.
        """
        if self._physics is None:
            raise GailfeError(f"pictures: none, for {self._said}")
        with self._lock:
            return self._states(number)

    def picture(self, number: int, step: int) -> bytes:
        """A JPEG of the state before action `step`; of the last one, where `step` is the number of actions.

        Raises:
          GailfeError: nothing can be drawn, or there is no such step.
        """
        states = self.states(number)
        if not 0 <= step < len(states.qpos):
            raise GailfeError(f"step: got {step}; expected 0 to {len(states.qpos) - 1}")
        assert self._pictures is not None
        return self._pictures.draw((number, step), lambda: (states.qpos[step], states.qvel[step]))

    def about(self, number: int) -> dict[str, Any]:
        """How an episode's pictures come about, in words and whether they can be trusted."""
        if self.problem is not None or self._physics is None:
            return {"words": f"No pictures, for {self.problem}. The curves show what was observed.", "warns": False}
        states = self.states(number)
        return {"words": states.words, "warns": not (states.stored or states.faithful)}

    def close(self) -> None:
        """Ends the process that draws."""
        if self._pictures is not None:
            self._pictures.close()

    def _find_states(self, number: int) -> RecordedStates:
        episode = self._session.episode(number)
        return recorded_states(self._physics, observations(episode), episode.action, episode.simulator_state)


def observations(episode: Trajectories) -> np.ndarray:
    """`[T + 1, o]` float32 what an episode of `T` actions observed, with what its last action led to."""
    return np.concatenate([episode.obs, episode.next_obs[-1:]])


def describe(film: Film, session: Session) -> dict[str, Any]:
    """What a page is told at its start, in the types of JSON."""
    meaning: Meaning = film.meaning
    episodes = []
    for number, place in enumerate(session.places):
        episode = session.episode(number)
        episodes.append(
            {
                "part": place.part,
                "steps": episode.num_transitions,
                "return": None if episode.reward is None else float(episode.reward.sum(dtype=np.float64)),
                "end": "terminated" if episode.terminated[-1] else "truncated",
            }
        )
    return {
        "source": session.source,
        "out": session.out,
        "env": session.demonstrations.env_id,
        "names": [name if unit in ("unknown", "1") else f"{name} ({unit})" for name, unit in meaning.obs],
        "seconds_per_step": meaning.seconds_per_step,
        "rewarded": all(entry["return"] is not None for entry in episodes),
        "episodes": episodes,
    }
