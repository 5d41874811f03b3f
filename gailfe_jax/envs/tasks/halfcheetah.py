"""HalfCheetah-v5: run forwards on two legs; nothing ends an episode but the time limit."""

from __future__ import annotations

from gailfe_jax.envs.tasks.common import control_cost, forward_velocity, never, with_normal_noise
from gailfe_jax.types import Task


def _observe(xp, data):
    return xp.concatenate([data.qpos[..., 1:], data.qvel], axis=-1)


def _reward(xp, before, data, action, dt):
    return forward_velocity(before, data, dt) - control_cost(xp, action, 0.1)


HALFCHEETAH = Task(
    name="halfcheetah",
    gymnasium_id="HalfCheetah-v5",
    model_file="half_cheetah.xml",
    frame_skip=5,
    max_episode_steps=1000,
    obs_size=17,
    action_size=6,
    observe=_observe,
    reward=_reward,
    terminated=never,
    start=with_normal_noise(0.1, 0.1),
    # Nothing terminates, and most failures are cheetahs that stand, shuffle or crawl, not overturned ones: `flipped`
    # would leave the buffer all but empty. So the default is an annotator that reads the return.
    annotator="return_below:0.5",
)
