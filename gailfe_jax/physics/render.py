"""Pictures of a task's robot, without a display: EGL (on the GPU or in software), else OSMesa (software).

Differences from `mujoco.Renderer`: the OpenGL library is chosen here, when a picture is asked for, not by an
environment variable that must be set before mujoco is first imported; and any picture size works, not just up to the
model's 640 x 480.
"""

# MuJoCo's names come from a compiled module without stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import mujoco
import numpy as np

from gailfe_jax.physics.model import load_model
from gailfe_jax.types import GailfeError, Task

_MISSING = "expected a working EGL or OSMesa library (on Debian or Ubuntu: apt install libegl1 libgl1-mesa-dri)"


_PROBE = """
import mujoco
context = mujoco.GLContext(8, 8)
context.make_current()
mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), 150).free()
context.free()
"""


def _works(backend: str) -> bool:
    """Tries `backend` in another process: one that does not work may crash, and leaves PyOpenGL set to it."""
    env = {name: value for name, value in os.environ.items() if name != "PYOPENGL_PLATFORM"} | {"MUJOCO_GL": backend}
    with contextlib.suppress(subprocess.TimeoutExpired):
        return subprocess.run([sys.executable, "-c", _PROBE], env=env, capture_output=True, timeout=60).returncode == 0
    return False


@functools.cache
def choose_backend() -> str:
    """What `MUJOCO_GL` says, where it is set; else `egl` or `osmesa`, whichever works (on Linux).

    Returns:
      A value for `MUJOCO_GL`; empty for the system's own OpenGL.

    Raises:
      GailfeError: nothing of this works.
    """
    wanted = os.environ.get("MUJOCO_GL", "").strip().lower()
    candidates = ("egl", "osmesa") if platform.system() == "Linux" and not wanted else (wanted,)
    for backend in candidates:
        if _works(backend):
            return backend
    what = f"MUJOCO_GL={wanted} does not render here" if wanted else "nothing here renders without a display"
    raise GailfeError(f"video: {what}; {_MISSING}")


def _make_context(width: int, height: int) -> Any:
    backend = choose_backend()
    try:
        module = importlib.import_module(f"mujoco.{backend}") if backend in ("egl", "osmesa", "glfw") else mujoco
        context = module.GLContext(width, height)
        context.make_current()
    # PyOpenGL reports its troubles as almost anything, AttributeError included.
    except Exception as error:
        raise GailfeError(f"video: OpenGL does not start here ({error}); {_MISSING}") from error
    return context


def iterate_frames(
    task: Task, qpos: np.ndarray, *, width: int = 640, height: int = 480, camera: str = "track"
) -> Iterator[np.ndarray]:
    """As `render_frames`, one `uint8 [height, width, 3]` picture at a time; a long video fits no memory."""
    model = copy.deepcopy(load_model(task))
    qpos = np.asarray(qpos, np.float64)
    if qpos.ndim != 2 or qpos.shape[1] != model.nq:
        raise GailfeError(f"qpos: got shape {qpos.shape}; expected (frames, {model.nq}) for task {task.name!r}")
    if width < 1 or height < 1:
        raise GailfeError(f"width, height: got {width} x {height}; expected at least 1 x 1")
    camera_id = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, camera)
    if camera_id < 0:
        known = ", ".join(model.camera(i).name for i in range(model.ncam))
        raise GailfeError(f"camera: task {task.name!r} has no camera {camera!r}; expected one of {known}")
    return _draw(model, qpos, width, height, camera_id)


def _draw(model: Any, qpos: np.ndarray, width: int, height: int, camera_id: int) -> Iterator[np.ndarray]:
    model.vis.global_.offwidth, model.vis.global_.offheight = width, height
    data, options, perturb = mujoco.MjData(model), mujoco.MjvOption(), mujoco.MjvPerturb()
    scene = mujoco.MjvScene(model, maxgeom=1000)
    camera = mujoco.MjvCamera()
    camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, camera_id
    rectangle = mujoco.MjrRect(0, 0, width, height)
    context = _make_context(width, height)
    drawing = None
    try:
        drawing = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, drawing)
        for row in qpos:
            data.qpos[:] = row
            mujoco.mj_forward(model, data)
            mujoco.mjv_updateScene(model, data, options, perturb, camera, mujoco.mjtCatBit.mjCAT_ALL.value, scene)
            frame = np.empty((height, width, 3), np.uint8)
            # The caller of a generator may draw with another context between two of our frames.
            context.make_current()
            mujoco.mjr_render(rectangle, scene, drawing)
            mujoco.mjr_readPixels(frame, None, rectangle, drawing)
            # OpenGL's first row is the lowest.
            yield frame[::-1]
    finally:
        if drawing is not None:
            drawing.free()
        context.free()


def render_frames(
    task: Task, qpos: np.ndarray, *, width: int = 640, height: int = 480, camera: str = "track"
) -> np.ndarray:
    """Pictures of the robot at each of `qpos`.

    Args:
      task: which task.
      qpos: `[n, nq]` positions.
      width, height: picture size in pixels.
      camera: a camera of the model; `track` follows the robot.

    Returns:
      `uint8 [n, height, width, 3]`, RGB.

    Raises:
      GailfeError: no OpenGL library works here, no such camera, or `qpos` has the wrong shape.
    """
    frames = list(iterate_frames(task, qpos, width=width, height=height, camera=camera))
    return np.stack(frames) if frames else np.empty((0, height, width, 3), np.uint8)
