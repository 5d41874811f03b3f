"""HalfCheetah-v5: run forwards on two legs; nothing ends an episode but the time limit."""

from __future__ import annotations

import jax

from gailfe_jax.envs.tasks.common import control_cost, forward_velocity
from gailfe_jax.types import Array, Task


def _noise(key: Array, nq: int, nv: int) -> tuple[Array, Array]:
    key_pos, key_vel = jax.random.split(key)
    return (
        jax.random.uniform(key_pos, (nq,), minval=-0.1, maxval=0.1),
        0.1 * jax.random.normal(key_vel, (nv,)),
    )


def _observe(xp, qpos, qvel):
    return xp.concatenate([qpos[..., 1:], qvel], axis=-1)


def _reward(xp, qpos_before, qpos, qvel, action, dt):
    return forward_velocity(qpos_before, qpos, dt) - control_cost(xp, action, 0.1)


def _terminated(xp, qpos, qvel):
    return xp.zeros(qpos.shape[:-1], bool)


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
    terminated=_terminated,
    reset_noise=_noise,
    # Nothing terminates, and most failures are cheetahs that stand, shuffle or crawl, not overturned ones: `flipped`
    # would leave the buffer all but empty. So the default is an annotator that reads the return.
    annotator="return_below:0.5",
)
