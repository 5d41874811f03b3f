"""Humanoid-v5: walk forwards on two legs; a fall ends the episode."""

from __future__ import annotations

import functools

import numpy as np

from gailfe_jax.envs.tasks.common import flat, with_uniform_noise
from gailfe_jax.types import Task

FIELDS = ("ctrl", "cinert", "cvel", "qfrc_actuator", "cfrc_ext")


def observe(xp, data):
    """Position but for the first two coordinates, velocity, inertia, velocity, actuator and contact force of bodies."""
    batch = data.qpos.shape[:-1]
    # The rows of the world and of the free joint are left out.
    return xp.concatenate(
        [
            data.qpos[..., 2:],
            data.qvel,
            flat(data.cinert[..., 1:, :], batch),
            flat(data.cvel[..., 1:, :], batch),
            data.qfrc_actuator[..., 6:],
            flat(data.cfrc_ext[..., 1:, :], batch),
        ],
        axis=-1,
    )


def effort(xp, data):
    """`[...]`, a tenth of the squared controls."""
    return 0.1 * xp.sum(xp.square(data.ctrl), axis=-1)


def impact(xp, data, weight: float):
    """`[...]`, the squared contact forces times `weight`, at most 10."""
    force = flat(data.cfrc_ext, data.qpos.shape[:-1])
    return xp.clip(weight * xp.sum(xp.square(force), axis=-1), -float("inf"), 10.0)


@functools.cache
def _masses() -> np.ndarray:
    from gailfe_jax.envs.physics.model import load_model

    return load_model(HUMANOID).body_mass.copy()


def _centre(data):
    """`[...]`, the first coordinate of the centre of mass."""
    masses = _masses()
    # One body after the other, as in Gymnasium: the order of a sum is part of its bits.
    total = 0.0 * data.xipos[..., 0, 0]
    for i, mass in enumerate(masses):
        total = total + mass * data.xipos[..., i, 0]
    return total / masses.sum()


def _healthy(data):
    z = data.qpos[..., 2]
    return (z > 1.0) & (z < 2.0)


def _reward(xp, before, data, action, dt):
    forward = 1.25 * ((_centre(data) - _centre(before)) / dt)
    return (forward + _healthy(data) * 5.0) - (effort(xp, data) + impact(xp, data, 5e-7))


def _terminated(xp, data):
    return ~_healthy(data)


HUMANOID = Task(
    name="humanoid",
    gymnasium_id="Humanoid-v5",
    model_file="humanoid.xml",
    frame_skip=5,
    max_episode_steps=1000,
    obs_size=348,
    action_size=17,
    observe=observe,
    reward=_reward,
    terminated=_terminated,
    start=with_uniform_noise(1e-2),
    fields=(*FIELDS, "xipos"),
    fields_before=("xipos",),
)
