"""Hopper-v5: hop forwards on one leg; a fall ends the episode."""

from __future__ import annotations

from gailfe_jax.envs.tasks.common import legged_reward, legged_terminated, observe_clipped, with_uniform_noise
from gailfe_jax.types import Task


def _healthy(xp, data):
    qpos, qvel = data.qpos, data.qvel
    z, angle = qpos[..., 1], qpos[..., 2]
    # Comparisons written so that NaN counts as unhealthy, as in Gymnasium.
    bounded = xp.all((qpos[..., 2:] > -100.0) & (qpos[..., 2:] < 100.0), axis=-1)
    bounded &= xp.all((qvel > -100.0) & (qvel < 100.0), axis=-1)
    # Gymnasium's z range is (0.7, inf), both ends open.
    return bounded & (z > 0.7) & (z < float("inf")) & (angle > -0.2) & (angle < 0.2)


HOPPER = Task(
    name="hopper",
    gymnasium_id="Hopper-v5",
    model_file="hopper.xml",
    frame_skip=4,
    max_episode_steps=1000,
    obs_size=11,
    action_size=3,
    observe=observe_clipped,
    reward=legged_reward(_healthy),
    terminated=legged_terminated(_healthy),
    start=with_uniform_noise(5e-3),
)
