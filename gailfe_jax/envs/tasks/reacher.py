"""Reacher-v5: bring the tip of a planar arm of two links to a target, which is drawn anew for every episode."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gailfe_jax.envs.tasks.common import control_cost, never, norm
from gailfe_jax.types import Array, Task

_FINGERTIP, _TARGET = 3, 4


def _start(key: Array, qpos: Array, qvel: Array) -> tuple[Array, Array]:
    key_pos, key_vel, key_radius, key_angle = jax.random.split(key, 4)
    joints = qpos[:-2] + jax.random.uniform(key_pos, (len(qpos) - 2,), minval=-0.1, maxval=0.1)
    # Uniform in a disc of 0.2 m, which Gymnasium draws from a square until a point falls into it.
    radius = 0.2 * jnp.sqrt(jax.random.uniform(key_radius))
    angle = jax.random.uniform(key_angle, maxval=2 * jnp.pi)
    target = radius * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
    velocity = qvel + jax.random.uniform(key_vel, (len(qvel),), minval=-0.005, maxval=0.005)
    return jnp.concatenate([joints, target]), velocity.at[-2:].set(0.0)


def _to_target(data):
    return data.xpos[..., _FINGERTIP, :] - data.xpos[..., _TARGET, :]


def _observe(xp, data):
    angles = data.qpos[..., :2]
    return xp.concatenate(
        [xp.cos(angles), xp.sin(angles), data.qpos[..., 2:], data.qvel[..., :2], _to_target(data)[..., :2]], axis=-1
    )


def _reward(xp, before, data, action, dt):
    return -norm(xp, _to_target(data)) - control_cost(xp, action, 1)


REACHER = Task(
    name="reacher",
    gymnasium_id="Reacher-v5",
    model_file="reacher.xml",
    frame_skip=2,
    max_episode_steps=50,
    obs_size=10,
    action_size=2,
    observe=_observe,
    reward=_reward,
    terminated=never,
    start=_start,
    fields=("xpos",),
    annotator="bottom_quantile:0.2",
)
