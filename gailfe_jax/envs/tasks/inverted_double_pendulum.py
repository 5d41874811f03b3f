"""InvertedDoublePendulum-v5: balance a pole on a pole on a cart; a tip that sinks ends the episode."""

from __future__ import annotations

from gailfe_jax.envs.tasks.common import squared, with_normal_noise
from gailfe_jax.types import Task


def _observe(xp, data):
    cart, angles = data.qpos[..., :1], data.qpos[..., 1:]
    constraint = xp.clip(data.qfrc_constraint, -10, 10)[..., :1]
    return xp.concatenate([cart, xp.sin(angles), xp.cos(angles), xp.clip(data.qvel, -10, 10), constraint], axis=-1)


def _tip(data):
    """`(x, z)` of the upper pole's end, `[...]` each."""
    return data.site_xpos[..., 0, 0], data.site_xpos[..., 0, 2]


def _terminated(xp, data):
    return _tip(data)[1] <= 1


def _reward(xp, before, data, action, dt):
    x, z = _tip(data)
    distance = 0.01 * squared(xp, x) + squared(xp, z - 2)
    velocity = 1e-3 * squared(xp, data.qvel[..., 1]) + 5e-3 * squared(xp, data.qvel[..., 2])
    return ~_terminated(xp, data) * 10.0 - distance - velocity


INVERTED_DOUBLE_PENDULUM = Task(
    name="inverted_double_pendulum",
    gymnasium_id="InvertedDoublePendulum-v5",
    model_file="inverted_double_pendulum.xml",
    frame_skip=5,
    max_episode_steps=1000,
    obs_size=9,
    action_size=1,
    observe=_observe,
    reward=_reward,
    terminated=_terminated,
    start=with_normal_noise(0.1, 0.1),
    fields=("qfrc_constraint", "site_xpos"),
)
