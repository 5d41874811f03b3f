"""HalfCheetah, Hopper and Walker2d as Gymnasium v5 defines them, once for all engines.

Every function mirrors Gymnasium's arithmetic operation by operation (order and precision included), so that in NumPy
float64 the numbers are the same to the bit. Actions stay float32 there, as they do in Gymnasium.
"""

from __future__ import annotations

import jax

from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Array, Task


def _control_cost(xp, action, weight: float):
    return weight * xp.sum(xp.square(action), axis=-1)


def _forward_velocity(qpos_before, qpos, dt: float):
    return (qpos[..., 0] - qpos_before[..., 0]) / dt


def _observe_clipped(xp, qpos, qvel):
    return xp.concatenate([qpos[..., 1:], xp.clip(qvel, -10, 10)], axis=-1)


def _uniform_noise(scale: float):
    def noise(key: Array, nq: int, nv: int) -> tuple[Array, Array]:
        draw = jax.random.uniform(key, (nq + nv,), minval=-scale, maxval=scale)
        return draw[:nq], draw[nq:]

    return noise


def _cheetah_noise(key: Array, nq: int, nv: int) -> tuple[Array, Array]:
    key_pos, key_vel = jax.random.split(key)
    return (
        jax.random.uniform(key_pos, (nq,), minval=-0.1, maxval=0.1),
        0.1 * jax.random.normal(key_vel, (nv,)),
    )


def _cheetah_observe(xp, qpos, qvel):
    return xp.concatenate([qpos[..., 1:], qvel], axis=-1)


def _cheetah_reward(xp, qpos_before, qpos, qvel, action, dt):
    return _forward_velocity(qpos_before, qpos, dt) - _control_cost(xp, action, 0.1)


def _cheetah_terminated(xp, qpos, qvel):
    return xp.zeros(qpos.shape[:-1], bool)


def _hopper_healthy(xp, qpos, qvel):
    z, angle = qpos[..., 1], qpos[..., 2]
    # Comparisons written so that NaN counts as unhealthy, as in Gymnasium.
    bounded = xp.all((qpos[..., 2:] > -100.0) & (qpos[..., 2:] < 100.0), axis=-1)
    bounded &= xp.all((qvel > -100.0) & (qvel < 100.0), axis=-1)
    # Gymnasium's z range is (0.7, inf), both ends open.
    return bounded & (z > 0.7) & (z < float("inf")) & (angle > -0.2) & (angle < 0.2)


def _walker_healthy(xp, qpos, qvel):
    z, angle = qpos[..., 1], qpos[..., 2]
    return (z > 0.8) & (z < 2.0) & (angle > -1.0) & (angle < 1.0)


def _legged_reward(healthy):
    def reward(xp, qpos_before, qpos, qvel, action, dt):
        # One healthy-step bonus of 1.0, forward velocity, control cost 1e-3.
        alive = healthy(xp, qpos, qvel) * 1.0
        return (_forward_velocity(qpos_before, qpos, dt) + alive) - _control_cost(xp, action, 1e-3)

    return reward


def _legged_terminated(healthy):
    def terminated(xp, qpos, qvel):
        return ~healthy(xp, qpos, qvel)

    return terminated


HALFCHEETAH = Task(
    name="halfcheetah",
    gymnasium_id="HalfCheetah-v5",
    model_file="half_cheetah.xml",
    frame_skip=5,
    max_episode_steps=1000,
    obs_size=17,
    action_size=6,
    observe=_cheetah_observe,
    reward=_cheetah_reward,
    terminated=_cheetah_terminated,
    reset_noise=_cheetah_noise,
)

HOPPER = Task(
    name="hopper",
    gymnasium_id="Hopper-v5",
    model_file="hopper.xml",
    frame_skip=4,
    max_episode_steps=1000,
    obs_size=11,
    action_size=3,
    observe=_observe_clipped,
    reward=_legged_reward(_hopper_healthy),
    terminated=_legged_terminated(_hopper_healthy),
    reset_noise=_uniform_noise(5e-3),
)

WALKER2D = Task(
    name="walker2d",
    gymnasium_id="Walker2d-v5",
    model_file="walker2d_v5.xml",
    frame_skip=4,
    max_episode_steps=1000,
    obs_size=17,
    action_size=6,
    observe=_observe_clipped,
    reward=_legged_reward(_walker_healthy),
    terminated=_legged_terminated(_walker_healthy),
    reset_noise=_uniform_noise(5e-3),
)

TASKS: dict[str, Task] = {task.name: task for task in (HALFCHEETAH, HOPPER, WALKER2D)}


def find_task(name: str) -> Task:
    """The task called `name`: a short name or a Gymnasium id, in any case (`hopper`, `Hopper-v5`, `HalfCheetah`).

    Raises:
      GailfeError: no such task.
    """
    wanted = name.lower()
    for task in TASKS.values():
        if wanted in (task.name, task.gymnasium_id.lower()):
            return task
    known = ", ".join(sorted(TASKS))
    raise GailfeError(f"env: unknown task {name!r}; expected one of {known}, brax:<name>, or delayed<k>: before either")
