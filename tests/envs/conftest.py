"""A MuJoCo task that Gymnasium does not have."""

from __future__ import annotations

import dataclasses
import os
import time

import jax
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
            observe=lambda xp, data: xp.concatenate([data.qpos, data.qvel], axis=-1),
            reward=lambda xp, before, data, action, dt: (data.qpos[..., 0] - before.qpos[..., 0]) / dt,
            terminated=lambda xp, data: data.qpos[..., 0] > 1.0,
            start=lambda key, qpos, qvel: (qpos + 0.1 * jax.random.normal(key, qpos.shape), qvel),
            annotator="return_below:0.5",
        )
        return dataclasses.replace(task, **fields)

    return make
