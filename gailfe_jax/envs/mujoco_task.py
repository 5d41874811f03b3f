"""A MuJoCo task out of a model file and a few functions."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Array, Fields, Task


def mujoco_task(
    model: str | os.PathLike[str],
    *,
    observe: Callable[[Any, Fields], Any],
    terminated: Callable[[Any, Fields], Any] | None = None,
    reward: Callable[[Any, Fields, Fields, Any, float], Any] | None = None,
    start: Callable[[Array, Array, Array], tuple[Array, Array]] | None = None,
    frame_skip: int = 1,
    max_episode_steps: int = 1000,
    name: str | None = None,
    fields: Sequence[str] = (),
    annotator: str | None = None,
) -> Task:
    """A task on a MuJoCo model of your own, for `register_task`; it then runs on every engine.

    The functions take the array module first and work on any leading batch shape (see `gailfe_jax.types.Task`). Which
    arrays of the simulator they read is found by calling them once.

    Args:
      model: MJCF file. Its actuators' control ranges are the action bounds.
      observe: `(xp, data) -> obs [..., o]`.
      terminated: `(xp, data) -> bool [...]`; nothing ends an episode but the time limit if None.
      reward: `(xp, before, data, action [..., a], dt) -> [...]`, for evaluation. Imitation needs none: if None, no
        return is shown, and what would go by returns says so.
      start: `(key, qpos [nq], qvel [nv]) -> (qpos, qvel)`; the model's initial state if None.
      frame_skip: simulator steps per environment step.
      max_episode_steps: the time limit.
      name: the file's name without its ending if None.
      fields: arrays of `mjData` that a function reads only now and then, so that one call does not show them.
      annotator: which episodes are failures; those that terminate by default, or the worst fifth by their return where
        none does and there is a reward.

    Raises:
      GailfeError: the model does not load, has no actuators or an actuator without a range, or a function fails.
    """
    from gailfe_jax.envs.physics.failures import named_failure
    from gailfe_jax.envs.physics.model import action_bounds, check_fields, fresh_fields, load_model
    from gailfe_jax.envs.physics.names import Names

    path = pathlib.Path(os.path.expanduser(model)).absolute()
    if annotator is None:
        annotator = "terminated" if reward is None or terminated is not None else "bottom_quantile:0.2"
    task = Task(
        name=path.stem if name is None else name,
        gymnasium_id=None,
        model_file=str(path),
        frame_skip=frame_skip,
        max_episode_steps=max_episode_steps,
        obs_size=1,
        action_size=1,
        observe=observe,
        reward=reward or _nothing,
        terminated=terminated or never_ends,
        start=start or _as_it_is,
        annotator=annotator,
        has_reward=reward is not None,
    )
    loaded = load_model(task)
    where = f"task {task.name!r}"
    if not loaded.nu:
        raise GailfeError(f"{where}: {path.name} has no actuators; expected at least one")
    task = dataclasses.replace(task, action_size=loaded.nu)
    action_bounds(task)
    known = Names(loaded).ranks
    check_fields(dataclasses.replace(task, fields=tuple(fields)), "mujoco_c", known)
    arrays = fresh_fields(task, tuple(known), 1)
    data, before = _Recording(arrays), _Recording(arrays)
    with named_failure(task, "observe", "the initial state"):
        obs = np.asarray(task.observe(np, data))
    with named_failure(task, "terminated", "the initial state"):
        task.terminated(np, data)
    with named_failure(task, "reward", "the initial state"):
        task.reward(np, before, data, np.zeros((1, loaded.nu), np.float32), 1.0)
    if obs.ndim != 2 or obs.shape[0] != 1 or not obs.size:
        raise GailfeError(f"{where}: observe gives {list(obs.shape)} for one state; expected [1, o]")
    read = (data.read | before.read | set(fields)) - {"qpos", "qvel"}
    return dataclasses.replace(
        task,
        obs_size=obs.shape[1],
        fields=tuple(sorted(read)),
        fields_before=tuple(sorted(before.read - {"qpos", "qvel"})),
    )


class _Recording(Fields):
    """Fields that note which of them are read."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        super().__init__(_arrays=arrays, read=set())

    def __getattr__(self, name: str) -> Any:
        arrays = self.__dict__["_arrays"]
        if name not in arrays:
            raise AttributeError(f"mjData has no array {name!r}")
        self.__dict__["read"].add(name)
        return arrays[name]


def _nothing(xp: Any, before: Fields, data: Fields, action: Any, dt: float) -> Any:
    return xp.zeros_like(data.qpos[..., 0])


def never_ends(xp: Any, data: Fields) -> Any:
    """A `Task.terminated` of what nothing ends but the time limit."""
    return xp.zeros(data.qpos.shape[:-1], bool)


def _as_it_is(key: Array, qpos: Array, qvel: Array) -> tuple[Array, Array]:
    return qpos, qvel
