"""InvertedPendulum-v5: balance a pole on a cart; a pole that leans ends the episode."""

from __future__ import annotations

from gailfe_jax.envs.tasks.common import with_uniform_noise
from gailfe_jax.types import Task


def _observe(xp, data):
    return xp.concatenate([data.qpos, data.qvel], axis=-1)


def _terminated(xp, data):
    obs = _observe(xp, data)
    return ~xp.isfinite(obs).all(axis=-1) | (xp.abs(obs[..., 1]) > 0.2)


def _reward(xp, before, data, action, dt):
    return ~_terminated(xp, data) * 1.0


INVERTED_PENDULUM = Task(
    name="inverted_pendulum",
    gymnasium_id="InvertedPendulum-v5",
    model_file="inverted_pendulum.xml",
    frame_skip=2,
    max_episode_steps=1000,
    obs_size=4,
    action_size=1,
    observe=_observe,
    reward=_reward,
    terminated=_terminated,
    start=with_uniform_noise(0.01),
)
