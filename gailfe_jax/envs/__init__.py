"""Environments: the three MuJoCo tasks on any engine, and adapters to brax and Gymnasium. See `make_env`."""

from __future__ import annotations

import functools

from gailfe_jax.envs.base import MujocoEnv
from gailfe_jax.envs.tasks import TASKS, find_task
from gailfe_jax.physics import make_physics, resolve_engine
from gailfe_jax.types import Env

__all__ = ["TASKS", "MujocoEnv", "find_task", "make_env"]


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
      name: `hopper`, `halfcheetah`, `walker2d`, a Gymnasium id of theirs, or `brax:<name>` for an environment of brax's.
      engine: `auto`, `mujoco_c`, `mjx` or `warp`; ignored for brax, which brings its own.

    Raises:
      GailfeError: unknown task or engine, or the engine cannot run here.
    """
    if name.startswith("brax:"):
        return _make(name, "brax")
    return _make(find_task(name).name, resolve_engine(engine))
