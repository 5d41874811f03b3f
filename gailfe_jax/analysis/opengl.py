"""Which OpenGL platforms to try for pictures, and how a process that draws them is started.

A platform is chosen once per process, when MuJoCo is first imported, and a driver that does not work may take the
process down. So a child process draws; if one platform fails, the next one gets a fresh child.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

HINT = "install libegl1 or libosmesa6, or set MUJOCO_GL to one that works"
"""What to do where no platform renders."""


def platforms() -> list[str]:
    """What to try in this order: MUJOCO_GL alone where it is set, else EGL and OSMesa, and GLFW where there is a
    display; GLFW on systems other than Linux."""
    wanted = os.environ.get("MUJOCO_GL", "").strip().lower()
    if wanted:
        return [wanted]
    if not sys.platform.startswith("linux"):
        return ["glfw"]
    return ["egl", "osmesa", *(["glfw"] if os.environ.get("DISPLAY") else [])]


def child_environment(platform: str) -> dict[str, str]:
    """Environment variables of a process that draws on this platform."""
    environment = os.environ | {
        "MUJOCO_GL": platform,
        # The child must find the same packages, wherever this process got them from.
        "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path),
        "JAX_PLATFORMS": "cpu",
    }
    # Left there by whichever platform this process itself has loaded.
    environment.pop("PYOPENGL_PLATFORM", None)
    return environment


def child_command(module: str) -> Sequence[str]:
    """The command that runs a module of this package as such a process."""
    # -P: a user's logging.py in the working directory is not the standard library's.
    return [sys.executable, "-P", "-m", module]
