"""Where a MuJoCo simulator was in a recorded episode: its stored states, or a replay of what was seen and done."""

from __future__ import annotations

import dataclasses

import numpy as np

from gailfe_jax.envs.physics.mujoco_c import MujocoC

_BASES = 3
"""Random states at which an observed number is compared with each coordinate."""
_SAME = 1e-4
"""How far a replayed observation may be off, as a share of how large such numbers are."""
_FIT_STEPS, _NUDGE, _FITS, _TELLS = 30, 1e-6, 1e-12, 1e-6
_FREE, _BALL = 0, 1  # mjtJoint: those whose position holds a quaternion


@dataclasses.dataclass(frozen=True, eq=False)
class RecordedStates:
    """States of an episode of `T` actions.

    Attributes:
      qpos: `[T + 1, nq]` float64, before each action and after the last one.
      qvel: `[T + 1, nv]` float64.
      stored: whether they are the simulator's own, as it was recorded; else they are replayed.
      guessed: how many positions an observation tells of without showing them, such as an angle by its cosine; they
        are replayed from a start that was fitted. 0 where states are stored.
      apart: the largest difference between a replayed observation and the recorded one, as a share of how large such
        numbers are; 0 where they are stored.
    """

    qpos: np.ndarray
    qvel: np.ndarray
    stored: bool
    guessed: int = 0
    apart: float = 0.0

    @property
    def faithful(self) -> bool:
        """Whether the positions are those of the recording, but for what no observation tells of."""
        return self.apart <= _SAME or not self.guessed

    @property
    def words(self) -> str:
        """How they came about."""
        if self.stored:
            return "Drawn from the simulator states in the file."
        said = (
            "Replayed from observations and actions, for the file has no simulator states. What the replay observes "
            f"differs from the recording by up to {self.apart:.1%}."
        )
        if not self.faithful:
            said += f" {self.guessed} positions are not among the observations: they may not be what they were."
        return said


def recorded_states(
    physics: MujocoC, obs: np.ndarray, action: np.ndarray, simulator_state: np.ndarray | None = None
) -> RecordedStates:
    """Where the simulator was, step by step.

    Stored states of the task's size are taken as they are. Otherwise the episode is replayed on the C engine: it starts
    from the state near the model's initial one whose observation is the first that was recorded, and takes the
    recorded actions. Where the engine comes to see something else than was recorded, the positions and velocities that
    the observation shows are set again; so a replay does not drift away, and only what is not observed (how far it has
    run, say) is its own.

    Args:
      physics: the C engine on the task.
      obs: `[T + 1, o]` float32, with the observation after the last action.
      action: `[T, a]` float32.
      simulator_state: `[T, s]` float64 before each action, or None.
    """
    nq, nv = physics.model.nq, physics.model.nv
    if simulator_state is not None and 1 + nq + nv <= simulator_state.shape[1] <= physics.nrow:
        return _stored(physics, action, simulator_state)
    return _replayed(physics, obs, action)


def _stored(physics: MujocoC, action: np.ndarray, state: np.ndarray) -> RecordedStates:
    nq, nv = physics.model.nq, physics.model.nv
    row = np.zeros((1, physics.nrow))
    row[0, : state.shape[1]] = state[-1]
    # As a reset leaves it: no time has passed, and nothing is stored behind position and velocity.
    fresh = np.array([state[-1, 0] == 0 and not state[-1, 1 + nq + nv :].any()])
    qpos, qvel = state[:, 1 : 1 + nq], state[:, 1 + nq : 1 + nq + nv]
    after, *_ = physics.host_step(row, fresh, qpos[-1:], qvel[-1:], action[-1:])
    return RecordedStates(
        np.concatenate([qpos, after[:, 1 : 1 + nq]]), np.concatenate([qvel, after[:, 1 + nq : 1 + nq + nv]]), True
    )


def _replayed(physics: MujocoC, obs: np.ndarray, action: np.ndarray) -> RecordedStates:
    nq, nv = physics.model.nq, physics.model.nv
    place, column = observed_coordinates(physics)
    size = np.maximum(np.abs(obs).max(axis=0).astype(np.float64), 1e-6)
    coordinates = np.concatenate([physics.init_qpos, physics.init_qvel]).astype(np.float64)[None]
    coordinates[0, place] = obs[0, column]
    free = np.setdiff1d(np.arange(nq + nv), place)
    told = free[_fit(physics, coordinates, free, obs[0], size)]
    states = [coordinates[0].copy()]
    rows, fresh, apart = np.zeros((1, physics.nrow)), np.array([True]), 0.0
    for t in range(len(action)):
        start = coordinates[:, :nq], coordinates[:, nq:]
        rows, seen, *_ = physics.host_step(rows, fresh, *start, action[t : t + 1])
        fresh = np.array([False])
        off = np.abs(seen[0] - obs[t + 1]) / size
        apart = max(apart, float(np.nan_to_num(off, nan=np.inf).max()))
        # A number that agrees may have been clipped where it was observed: the engine knows it better.
        wrong = ~(off[column] <= _SAME)
        rows[0, 1 + place[wrong]] = obs[t + 1, column[wrong]]
        states.append(rows[0, 1 : 1 + nq + nv].copy())
    held = np.stack(states)
    return RecordedStates(held[:, :nq], held[:, nq:], False, guessed=int((told < nq).sum()), apart=apart)


def observed_coordinates(physics: MujocoC) -> tuple[np.ndarray, np.ndarray]:
    """Which positions and velocities a task's observation shows as they are.

    Returns:
      `(place [k], column [k])`: number `column` of an observation is number `place` of `(qpos, qvel)`, found by
      observing random states near the initial one.
    """
    model, rng = physics.model, np.random.default_rng(0)
    qpos = physics.init_qpos + rng.uniform(-0.1, 0.1, (_BASES, model.nq))
    qvel = rng.uniform(-1.0, 1.0, (_BASES, model.nv))
    for joint, start in zip(model.jnt_type, model.jnt_qposadr):
        if joint in (_FREE, _BALL):
            quaternion = slice(start + 3, start + 7) if joint == _FREE else slice(start, start + 4)
            qpos[:, quaternion] /= np.linalg.norm(qpos[:, quaternion], axis=1, keepdims=True)
    coordinates = np.concatenate([qpos, qvel], axis=1)
    seen = _observe(physics, coordinates)
    off = np.abs(seen[:, None, :] - coordinates[:, :, None])
    same: np.ndarray = np.all(off <= 1e-6 * (1 + np.abs(seen[:, None, :])), axis=0)
    places = [place for place in range(same.shape[0]) if same[place].any()]
    return np.array(places, int), np.array([int(np.argmax(same[place])) for place in places], int)


def _observe(physics: MujocoC, coordinates: np.ndarray) -> np.ndarray:
    """`[n, o]` what fresh states at `(qpos, qvel) [n, nq + nv]` show."""
    nq = physics.model.nq
    return np.asarray(
        physics.task.observe(np, physics.host_start(coordinates[:, :nq], coordinates[:, nq:])), np.float64
    )


def _fit(physics: MujocoC, coordinates: np.ndarray, free: np.ndarray, obs: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Moves the `free` ones of `coordinates [1, nq + nv]` to where they are observed as `obs [o]`.

    Damped least squares: cosines and sines, or a distance to a target, tell of a coordinate as well as its own number.
    What no observed number depends on stays.

    Returns:
      bool for each of `free`, whether some observed number depends on it.
    """
    damping, best = 1e-4, np.inf
    slope, wanted = np.zeros((len(free), len(obs))), np.zeros(len(obs))
    at = coordinates.copy()
    for _ in range(_FIT_STEPS):
        around = np.repeat(at, 1 + len(free), axis=0)
        around[1 + np.arange(len(free)), free] += _NUDGE
        seen = _observe(physics, around) / size
        off = obs / size - seen[0]
        if (left := float(off @ off)) < best:
            coordinates[:], best, damping = at, left, damping / 4
            slope, wanted = (seen[1:] - seen[0]) / _NUDGE, off
        else:
            damping *= 16
        if not len(free) or not np.isfinite(best) or best < _FITS:
            break
        step = np.linalg.solve(slope @ slope.T + damping * np.eye(len(free)), slope @ wanted)
        if not np.isfinite(step).all():
            break
        at = coordinates.copy()
        at[0, free] += step
    return np.abs(slope).max(axis=1, initial=0.0) > _TELLS
