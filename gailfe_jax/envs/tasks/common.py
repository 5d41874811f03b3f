"""Parts that several tasks share."""

from __future__ import annotations

import jax

from gailfe_jax.types import Array


def control_cost(xp, action, weight: float):
    """`weight * |action|^2`, `[...]`."""
    return weight * xp.sum(xp.square(action), axis=-1)


def forward_velocity(qpos_before, qpos, dt: float):
    """Metres per second along the first coordinate, `[...]`."""
    return (qpos[..., 0] - qpos_before[..., 0]) / dt


def observe_clipped(xp, qpos, qvel):
    """Position but for the first coordinate, and velocity within +-10."""
    return xp.concatenate([qpos[..., 1:], xp.clip(qvel, -10, 10)], axis=-1)


def uniform_noise(scale: float):
    """A `Task.reset_noise`: uniform in +-`scale` for every position and velocity."""

    def noise(key: Array, nq: int, nv: int) -> tuple[Array, Array]:
        draw = jax.random.uniform(key, (nq + nv,), minval=-scale, maxval=scale)
        return draw[:nq], draw[nq:]

    return noise


def legged_reward(healthy):
    """A `Task.reward` of the robots that fall; `healthy` is `(xp, qpos, qvel) -> bool [...]`."""

    def reward(xp, qpos_before, qpos, qvel, action, dt):
        # One healthy-step bonus of 1.0, forward velocity, control cost 1e-3.
        alive = healthy(xp, qpos, qvel) * 1.0
        return (forward_velocity(qpos_before, qpos, dt) + alive) - control_cost(xp, action, 1e-3)

    return reward


def legged_terminated(healthy):
    """A `Task.terminated`: no longer `healthy`."""

    def terminated(xp, qpos, qvel):
        return ~healthy(xp, qpos, qvel)

    return terminated
