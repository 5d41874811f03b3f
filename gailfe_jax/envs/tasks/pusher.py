"""Pusher-v5: push a cylinder to a goal with an arm of seven joints; it starts elsewhere in every episode."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gailfe_jax.envs.tasks.common import never, norm
from gailfe_jax.types import Array, Task

_TIPS_ARM, _OBJECT, _GOAL = 10, 11, 12
_TRIES = 64


def _start(key: Array, qpos: Array, qvel: Array) -> tuple[Array, Array]:
    key_pos, key_vel = jax.random.split(key)
    # Gymnasium draws until the cylinder is further than 0.17 m from the goal, as 4 of 5 points are: so the first of
    # many that is.
    low, high = jnp.array([-0.3, -0.2]), jnp.array([0.0, 0.2])
    points = jax.random.uniform(key_pos, (_TRIES, 2), minval=low, maxval=high)
    cylinder = points[jnp.argmax(norm(jnp, points) > 0.17)]
    velocity = qvel + jax.random.uniform(key_vel, (len(qvel),), minval=-0.005, maxval=0.005)
    return jnp.concatenate([qpos[:-4], cylinder, jnp.zeros(2)]), velocity.at[-4:].set(0.0)


def _observe(xp, data):
    bodies = [data.xpos[..., body, :] for body in (_TIPS_ARM, _OBJECT, _GOAL)]
    return xp.concatenate([data.qpos[..., :7], data.qvel[..., :7], *bodies], axis=-1)


def _reward(xp, before, data, action, dt):
    cylinder = data.xpos[..., _OBJECT, :]
    near = -norm(xp, cylinder - data.xpos[..., _TIPS_ARM, :]) * 0.5
    distance = -norm(xp, cylinder - data.xpos[..., _GOAL, :])
    control = -xp.sum(xp.square(action), axis=-1) * 0.1
    return distance + control + near


PUSHER = Task(
    name="pusher",
    gymnasium_id="Pusher-v5",
    model_file="pusher_v5.xml",
    frame_skip=5,
    max_episode_steps=100,
    obs_size=23,
    action_size=7,
    observe=_observe,
    reward=_reward,
    terminated=never,
    start=_start,
    fields=("xpos",),
    annotator="bottom_quantile:0.2",
)
