"""HumanoidStandup-v5: get up from the floor; nothing ends an episode but the time limit."""

from __future__ import annotations

import functools

from gailfe_jax.envs.tasks.common import never, with_uniform_noise
from gailfe_jax.envs.tasks.humanoid import FIELDS, effort, impact, observe
from gailfe_jax.types import Task


@functools.cache
def _timestep() -> float:
    from gailfe_jax.envs.physics.model import load_model

    return load_model(HUMANOIDSTANDUP).opt.timestep


def _reward(xp, before, data, action, dt):
    # The height itself is paid, although Gymnasium divides it as if it were a velocity.
    return data.qpos[..., 2] / _timestep() - effort(xp, data) - impact(xp, data, 5e-7) + 1


HUMANOIDSTANDUP = Task(
    name="humanoidstandup",
    gymnasium_id="HumanoidStandup-v5",
    model_file="humanoidstandup.xml",
    frame_skip=5,
    max_episode_steps=1000,
    obs_size=348,
    action_size=17,
    observe=observe,
    reward=_reward,
    terminated=never,
    start=with_uniform_noise(1e-2),
    fields=FIELDS,
    annotator="return_below:0.5",
)
