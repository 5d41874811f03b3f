"""Parts that several tasks share."""

from __future__ import annotations

import jax
import numpy as np

from gailfe_jax.types import Array


def control_cost(xp, action, weight: float):
    """`weight * |action|^2`, `[...]`."""
    return weight * xp.sum(xp.square(action), axis=-1)


def forward_velocity(before, data, dt: float):
    """Metres per second along the first coordinate, `[...]`."""
    return (data.qpos[..., 0] - before.qpos[..., 0]) / dt


def observe_clipped(xp, data):
    """Position but for the first coordinate, and velocity within +-10."""
    return xp.concatenate([data.qpos[..., 1:], xp.clip(data.qvel, -10, 10)], axis=-1)


def never(xp, data):
    """A `Task.terminated` of what nothing ends but the time limit."""
    return xp.zeros(data.qpos.shape[:-1], bool)


def flat(x, batch: tuple[int, ...]):
    """An array `[*batch, ...]` as `[*batch, k]`."""
    return x.reshape(*batch, -1)


def squared(xp, x):
    """`x * x`, in NumPy as Python's power rounds it for one number."""
    return np.float_power(x, 2) if xp is np else x * x


def norm(xp, vector):
    """Euclidean length along the last axis, in NumPy as `numpy.linalg.norm` rounds it for one vector."""
    if xp is np:
        # That takes the product of BLAS, as `matmul` does, and not the sum of squares.
        return np.sqrt((vector[..., None, :] @ vector[..., :, None])[..., 0, 0])
    return xp.sqrt(xp.sum(xp.square(vector), axis=-1))


def with_uniform_noise(scale: float):
    """A `Task.start`: uniform noise in +-`scale` on every position and velocity."""

    def start(key: Array, qpos: Array, qvel: Array) -> tuple[Array, Array]:
        draw = jax.random.uniform(key, (len(qpos) + len(qvel),), minval=-scale, maxval=scale)
        return qpos + draw[: len(qpos)], qvel + draw[len(qpos) :]

    return start


def with_normal_noise(position: float, velocity: float):
    """A `Task.start`: uniform noise in +-`position` on every position, normal of deviation `velocity` on the others."""

    def start(key: Array, qpos: Array, qvel: Array) -> tuple[Array, Array]:
        key_pos, key_vel = jax.random.split(key)
        return (
            qpos + jax.random.uniform(key_pos, (len(qpos),), minval=-position, maxval=position),
            qvel + velocity * jax.random.normal(key_vel, (len(qvel),)),
        )

    return start


def legged_reward(healthy):
    """A `Task.reward` of the robots that fall; `healthy` is `(xp, data) -> bool [...]`."""

    def reward(xp, before, data, action, dt):
        # One healthy-step bonus of 1.0, forward velocity, control cost 1e-3.
        alive = healthy(xp, data) * 1.0
        return (forward_velocity(before, data, dt) + alive) - control_cost(xp, action, 1e-3)

    return reward


def legged_terminated(healthy):
    """A `Task.terminated`: no longer `healthy`."""

    def terminated(xp, data):
        return ~healthy(xp, data)

    return terminated
