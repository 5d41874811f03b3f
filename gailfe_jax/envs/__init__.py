"""Environments: the three MuJoCo tasks on any engine, and adapters to brax and Gymnasium. See `make_env`."""

from __future__ import annotations

import functools

from gailfe_jax.envs.base import MujocoEnv
from gailfe_jax.envs.tasks import TASKS, find_task
from gailfe_jax.physics import make_physics, resolve_engine
from gailfe_jax.types import Env

__all__ = ["TASKS", "MujocoEnv", "canonical_name", "find_task", "make_env"]


def canonical_name(name: str) -> str:
    """The one spelling of a task's name that files and run folders hold: `Hopper-v5` -> `hopper`.

    Raises:
      GailfeError: unknown task.
    """
    return name if name.startswith("brax:") else find_task(name).name


@functools.cache
def _make(name: str, engine: str) -> Env:
    if name.startswith("brax:"):
        from gailfe_jax.envs.brax import make_brax_env

        return make_brax_env(name.removeprefix("brax:"))
    task = find_task(name)
    return MujocoEnv(task, make_physics(task, engine))


def make_env(name: str, engine: str = "auto") -> Env:
    """The environment called `name` on `engine`.

    Args:
      name: `hopper`, `halfcheetah`, `walker2d`, a Gymnasium id of theirs, or `brax:<name>` for one of brax's.
      engine: `auto`, `mujoco_c`, `mjx` or `warp`; ignored for brax, which brings its own.

    Raises:
      GailfeError: unknown task or engine, or the engine cannot run here.
    """
    name = canonical_name(name)
    return _make(name, "brax" if name.startswith("brax:") else resolve_engine(engine))
