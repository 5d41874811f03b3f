"""Loads Gymnasium's own MuJoCo model files, unchanged, for every engine."""

# MuJoCo's names come from a compiled module without stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import contextlib
import functools
import importlib.util
import pathlib
import warnings

import mujoco

from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Task

# Gymnasium's model files are loaded unchanged, so this notice is nothing our user can act on.
_EXPECTED_WARNING = "'settotalmass' is deprecated"


@contextlib.contextmanager
def without_expected_warning():
    """MuJoCo's other warnings still reach whoever listened before (stderr and MUJOCO_LOG.TXT by default)."""
    previous = mujoco.get_mju_user_warning()
    raised: list[str] = []
    mujoco.set_mju_user_warning(raised.append)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(previous)
    for message in raised:
        if _EXPECTED_WARNING not in message:
            warnings.warn(f"MuJoCo: {message}", stacklevel=3)


@functools.cache
def load_model(task: Task) -> mujoco.MjModel:
    """The task's `MjModel`.

    Raises:
      GailfeError: Gymnasium or its model file is not installed.
    """
    spec = importlib.util.find_spec("gymnasium")
    if spec is None or spec.origin is None:
        raise GailfeError(f"task {task.name!r}: package gymnasium, which ships {task.model_file}, is not installed")
    path = pathlib.Path(spec.origin).parent / "envs" / "mujoco" / "assets" / task.model_file
    if not path.is_file():
        raise GailfeError(f"task {task.name!r}: model file {path} is missing; expected gymnasium >= 1.1")
    with without_expected_warning():
        return mujoco.MjModel.from_xml_path(str(path))


def seconds_per_step(task: Task) -> float:
    """Simulated seconds per environment step, computed as Gymnasium does (timestep times frame skip)."""
    return load_model(task).opt.timestep * task.frame_skip
