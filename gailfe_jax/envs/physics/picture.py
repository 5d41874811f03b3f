"""Pictures of a MuJoCo model without a viewer."""

# MuJoCo's names come from a compiled module without stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import copy

import mujoco
import numpy as np

from gailfe_jax.envs.physics.model import load_model
from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Task


class Picture:
    """Draws a task's model at given states.

    The camera is the one of this name, where the model has it. Else it looks at the model's centre from where the model
    wants to be seen (`statistic` and `visual` in MJCF), and goes along with the first body that moves freely.

    Args:
      task: which task.
      width, height: in pixels.
      camera: name of a camera of the model.
      plain: draw without shadows, reflections and smooth edges, which is several times as fast without a GPU.

    Raises:
      GailfeError: no pixel.
    """

    def __init__(self, task: Task, width: int, height: int, camera: str | None = None, plain: bool = False):
        if min(width, height) < 1:
            raise GailfeError(f"width, height: got {width}, {height}; expected at least 1")
        # Of its own: the size of the picture is written to it.
        self._model = copy.copy(load_model(task))
        room = self._model.vis.global_
        room.offwidth, room.offheight = max(room.offwidth, width), max(room.offheight, height)
        self._data = mujoco.MjData(self._model)
        self._size, self._plain = (height, width), plain
        if plain:
            self._model.vis.quality.offsamples = 0
        self.camera = _camera(self._model, camera)
        self._renderer: mujoco.Renderer | None = None

    def draw(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """`[height, width, 3]` uint8 of the state `(qpos [nq], qvel [nv])`.

        Raises:
          Exception: whatever MuJoCo and OpenGL raise where nothing can be drawn here.
        """
        if self._renderer is None:
            self._renderer = mujoco.Renderer(self._model, *self._size)
            if self._plain:
                for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
                    self._renderer.scene.flags[flag] = 0
        self._data.qpos[:], self._data.qvel[:] = qpos, qvel
        mujoco.mj_forward(self._model, self._data)
        self._renderer.update_scene(self._data, self.camera)
        return self._renderer.render()

    def close(self) -> None:
        """Gives the OpenGL context back."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def _camera(model: mujoco.MjModel, name: str | None) -> mujoco.MjvCamera:
    camera = mujoco.MjvCamera()
    found = -1 if name is None else mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, name)
    if found >= 0:
        camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, found
        return camera
    mujoco.mjv_defaultFreeCamera(model, camera)
    free = np.flatnonzero(model.jnt_type == mujoco.mjtJoint.mjJNT_FREE)
    if free.size:
        camera.type, camera.trackbodyid = mujoco.mjtCamera.mjCAMERA_TRACKING, int(model.jnt_bodyid[free[0]])
    return camera
