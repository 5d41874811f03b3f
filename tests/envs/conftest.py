"""A MuJoCo task that Gymnasium does not have."""

from __future__ import annotations

import dataclasses
import os
import time

import jax
import jax.numpy as jnp
import pytest

from gailfe_jax.types import Task

MODEL = """<mujoco>
<worldbody><body><joint name="slide" type="slide" axis="1 0 0"/><geom size="0.1"/></body></worldbody>
<actuator><motor joint="slide" {range}/></actuator>
</mujoco>"""


@pytest.fixture
def slider(tmp_path):
    """`slider(**fields) -> Task`: a ball of 0.1 m is pushed along a line and falls off it behind 1 m.

    Its model file is its own, with `range` for its actuator.
    """

    def make(range='ctrllimited="true" ctrlrange="-0.5 2"', **fields):
        path = tmp_path / "slider.xml"
        path.write_text(MODEL.format(range=range))
        # File systems note times coarsely.
        os.utime(path, ns=(time.time_ns(), time.time_ns()))
        task = Task(
            name="slider",
            gymnasium_id=None,
            model_file=str(path),
            frame_skip=10,
            max_episode_steps=50,
            obs_size=2,
            action_size=1,
            observe=lambda xp, qpos, qvel: xp.concatenate([qpos, qvel], axis=-1),
            reward=lambda xp, qpos_before, qpos, qvel, action, dt: (qpos[..., 0] - qpos_before[..., 0]) / dt,
            terminated=lambda xp, qpos, qvel: qpos[..., 0] > 1.0,
            reset_noise=lambda key, nq, nv: (0.1 * jax.random.normal(key, (nq,)), jnp.zeros(nv)),
            annotator="return_below:0.5",
        )
        return dataclasses.replace(task, **fields)

    return make
