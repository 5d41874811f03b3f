"""Swimmer-v5: swim forwards; nothing ends an episode but the time limit."""

from __future__ import annotations

from gailfe_jax.envs.tasks.common import control_cost, forward_velocity, never, with_uniform_noise
from gailfe_jax.types import Task


def _observe(xp, data):
    return xp.concatenate([data.qpos[..., 2:], data.qvel], axis=-1)


def _reward(xp, before, data, action, dt):
    return forward_velocity(before, data, dt) - control_cost(xp, action, 1e-4)


SWIMMER = Task(
    name="swimmer",
    gymnasium_id="Swimmer-v5",
    model_file="swimmer.xml",
    frame_skip=4,
    max_episode_steps=1000,
    obs_size=8,
    action_size=2,
    observe=_observe,
    reward=_reward,
    terminated=never,
    start=with_uniform_noise(0.1),
    annotator="return_below:0.5",
)
