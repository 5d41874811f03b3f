"""A task with every kind of shape, and episodes of it that nobody has simulated."""

from __future__ import annotations

import pathlib

import numpy as np

from gailfe_jax.envs import find_task
from gailfe_jax.types import Task
from gailfe_jax.viewer.page import Episode

MODEL = """<mujoco>
  <asset>
    <mesh name="wedge" vertex="0 0 0  0.4 0 0  0 0.4 0  0 0 0.6"/>
    <hfield name="hills" nrow="3" ncol="4" size="2 1 0.5 0.1" elevation="0 0 0 0  0 1 1 0  0 0 0 0"/>
    <texture name="stripes" type="2d" builtin="flat" rgb1="0.2 0.4 0.8" width="8" height="8"/>
    <material name="striped" texture="stripes" rgba="1 0.5 1 1"/>
  </asset>
  <worldbody>
    <light pos="0 0 3"/>
    <geom name="floor" type="plane" size="0 0 1"/>
    <geom name="ramp" type="hfield" hfield="hills" pos="0 4 0"/>
    <site name="goal" type="box" size="0.1 0.1 0.1" pos="1 1 0.1" rgba="1 0 0 0.5"/>
    <body name="base" pos="0 0 1"><freejoint/>
      <geom type="ellipsoid" size="0.3 0.2 0.1" material="striped"/>
      <geom type="box" size="0.1 0.1 0.1" pos="0 0 0.2"/>
      <geom type="sphere" size="0.05" group="4"/>
      <body name="arm" pos="0.3 0 0"><joint name="turn" axis="0 1 0" range="-3 3"/>
        <geom type="capsule" size="0.05" fromto="0 0 0 0.5 0 0"/>
        <geom type="cylinder" size="0.1 0.05" pos="0.5 0 0" euler="90 0 0"/>
        <geom type="mesh" mesh="wedge" pos="0.6 0 0" rgba="0 0.6 0.3 1"/>
        <geom type="sphere" size="0.08" pos="0.6 0 0" rgba="0 0 0 0"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="turn" ctrllimited="true" ctrlrange="-1 1"/></actuator>
</mujoco>"""
TASK = """
model = "robot.xml"
frame_skip = 5
max_episode_steps = 50
observe = ["qpos", "qvel"]
"""


ROPES = """<tendon>
    <spatial width="0.02" rgba="1 0 1 1"><site site="goal"/><site site="tip"/></spatial>
    <spatial><site site="goal"/><site site="tip"/><pulley divisor="2"/><site site="far"/><site site="goal"/></spatial>
    <spatial><site site="goal"/><geom geom="ball"/><site site="far"/></spatial>
    <spatial group="4"><site site="goal"/><site site="tip"/></spatial>
  </tendon>
  <actuator>"""


def write_task(folder: pathlib.Path, ropes: bool = False, textured: bool = False) -> str:
    """The task's file; with `ropes` the model has tendons, and `textured` lays yellow and purple fields on its mesh."""
    model = MODEL
    if ropes:
        ball = '<site name="far" pos="-1 1 0.1"/><geom name="ball" type="sphere" size="0.4" pos="0 1 0.1"/>'
        model = model.replace('<body name="base"', f'{ball}<body name="base"').replace("<actuator>", ROPES)
        model = model.replace('<body name="arm"', '<site name="tip" pos="0 0 1"/><body name="arm"')
    if textured:
        # Corners in the four fields of a chequered texture, two of them at its edges.
        laid = 'texcoord="0.25 0.25  0.75 0.25  0 1  1 1" face="0 2 1  0 1 3  0 3 2  1 2 3"'
        model = model.replace('<mesh name="wedge"', f'<mesh name="wedge" {laid}')
        fields = 'builtin="checker" rgb1="1 1 0" rgb2="1 0 1" width="64" height="64"'
        asset = f'<texture name="c" type="2d" {fields}/><material name="c" texture="c"/>'
        model = model.replace("<material", f"{asset}<material")
        model = model.replace('mesh="wedge" pos="0.6 0 0" rgba="0 0.6 0.3 1"', 'mesh="wedge" material="c"')
    (folder / "robot.xml").write_text(model)
    (folder / "robot.toml").write_text(TASK)
    return str(folder / "robot.toml")


def make_task(folder: pathlib.Path, ropes: bool = False, textured: bool = False) -> Task:
    return find_task(write_task(folder, ropes, textured))


def moving(steps: int = 30, end: float = 2.0) -> np.ndarray:
    """`[steps + 1, 8]` positions on the way to `x = end` with a turning arm."""
    share = np.linspace(0, 1, steps + 1)
    qpos = np.zeros((steps + 1, 8))
    qpos[:, 0], qpos[:, 2], qpos[:, 3], qpos[:, 7] = end * share, 1.0, 1.0, 2 * share
    return qpos


def episodes() -> list[Episode]:
    """Three, of which the last one is short."""
    one = {"reward": np.linspace(0, 1, 30), "belief": np.full(30, 0.25)}
    two = {"reward": np.ones(30), "belief": np.full(30, 0.5)}
    return [
        Episode("policy", "Policy", moving(), "30 steps", one),
        Episode("expert", "Expert", moving(end=-1.0), "30 steps", two),
        Episode("failure", "Failure", moving(10), "10 steps; the task ended it", {"reward": np.zeros(10)}, "Replayed."),
    ]
