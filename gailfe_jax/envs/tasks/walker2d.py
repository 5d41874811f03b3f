"""Walker2d-v5: walk forwards on two legs; a fall ends the episode."""

from __future__ import annotations

from gailfe_jax.envs.tasks.common import legged_reward, legged_terminated, observe_clipped, with_uniform_noise
from gailfe_jax.types import Task


def _healthy(xp, data):
    qpos = data.qpos
    z, angle = qpos[..., 1], qpos[..., 2]
    return (z > 0.8) & (z < 2.0) & (angle > -1.0) & (angle < 1.0)


WALKER2D = Task(
    name="walker2d",
    gymnasium_id="Walker2d-v5",
    model_file="walker2d_v5.xml",
    frame_skip=4,
    max_episode_steps=1000,
    obs_size=17,
    action_size=6,
    observe=observe_clipped,
    reward=legged_reward(_healthy),
    terminated=legged_terminated(_healthy),
    start=with_uniform_noise(5e-3),
)
