"""Ant-v5: run forwards on four legs; an ant that jumps too high or lies on its back ends the episode."""

from __future__ import annotations

from gailfe_jax.envs.tasks.common import control_cost, flat, with_normal_noise
from gailfe_jax.types import Task

_TORSO = 1


def _healthy(xp, data):
    z = data.qpos[..., 2]
    finite = xp.isfinite(data.qpos).all(axis=-1) & xp.isfinite(data.qvel).all(axis=-1)
    return finite & (z >= 0.2) & (z <= 1.0)


def _contact_forces(xp, data):
    return flat(xp.clip(data.cfrc_ext, -1.0, 1.0), data.qpos.shape[:-1])


def _observe(xp, data):
    # The world's own row comes first.
    return xp.concatenate([data.qpos[..., 2:], data.qvel, _contact_forces(xp, data)[..., 6:]], axis=-1)


def _reward(xp, before, data, action, dt):
    velocity = (data.xpos[..., _TORSO, 0] - before.xpos[..., _TORSO, 0]) / dt
    contact_cost = 5e-4 * xp.sum(xp.square(_contact_forces(xp, data)), axis=-1)
    return (velocity + _healthy(xp, data) * 1.0) - (control_cost(xp, action, 0.5) + contact_cost)


def _terminated(xp, data):
    return ~_healthy(xp, data)


ANT = Task(
    name="ant",
    gymnasium_id="Ant-v5",
    model_file="ant.xml",
    frame_skip=5,
    max_episode_steps=1000,
    obs_size=105,
    action_size=8,
    observe=_observe,
    reward=_reward,
    terminated=_terminated,
    start=with_normal_noise(0.1, 0.1),
    fields=("xpos", "cfrc_ext"),
    fields_before=("xpos",),
)
