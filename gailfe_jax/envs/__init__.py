"""Environments: the three MuJoCo tasks on any engine, with rewards paid at once or late, and adapters to brax and
Gymnasium. See `make_env`."""

from __future__ import annotations

import functools
from typing import Any

from gailfe_jax.envs.base import MujocoEnv
from gailfe_jax.envs.delayed import DelayedReward, split_name
from gailfe_jax.envs.physics import make_physics, resolve_engine
from gailfe_jax.envs.tasks import TASKS, find_task
from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Env

__all__ = ["TASKS", "DelayedReward", "MujocoEnv", "base_name", "canonical_name", "find_task", "make_env"]


def canonical_name(name: str) -> str:
    """The one spelling of a task's name that files and run folders hold: `Hopper-v5` -> `hopper`, `delayed:Hopper-v5`
    -> `delayed20:hopper`.

    Raises:
      GailfeError: unknown task.
    """
    delayed = split_name(name)
    if delayed is not None:
        return f"delayed{delayed[0]}:{canonical_name(delayed[1])}"
    return name if name.startswith("brax:") else find_task(name).name


def base_name(name: str) -> str:
    """The canonical name of the task whose rewards are paid at once: `delayed20:hopper` -> `hopper`.

    Raises:
      GailfeError: unknown task.
    """
    delayed = split_name(name)
    return canonical_name(name) if delayed is None else base_name(delayed[1])


@functools.cache
def _make(name: str, engine: str, **options: Any) -> Env:
    delayed = split_name(name)
    if delayed is not None:
        return DelayedReward(_make(delayed[1], engine, **options), delayed[0])
    if name.startswith("brax:"):
        for option in options:
            raise GailfeError(f"env: {name} brings its own engine and takes no option {option}")
        from gailfe_jax.envs.brax import make_brax_env

        return make_brax_env(name.removeprefix("brax:"))
    task = find_task(name)
    return MujocoEnv(task, make_physics(task, engine, **options))


def make_env(name: str, engine: str = "auto", **options: Any) -> Env:
    """The environment called `name` on `engine`.

    Args:
      name: `hopper`, `halfcheetah`, `walker2d`, a Gymnasium id of theirs, or `brax:<name>` for one of brax's; behind
        `delayed<k>:` with its rewards summed and paid every k steps (20 where k is left out).
      engine: `auto`, `mujoco_c`, `mjx` or `warp`; ignored for brax, which brings its own.
      **options: of the engine, such as `Config.engine_options`; the model's own settings by default.

    Raises:
      GailfeError: unknown task or engine, an option it does not take, or the engine cannot run here.
    """
    name = canonical_name(name)
    return _make(name, "brax" if base_name(name).startswith("brax:") else resolve_engine(engine), **options)
