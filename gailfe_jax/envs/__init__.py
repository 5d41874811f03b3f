"""Environments: MuJoCo tasks on any engine, classic control and others in JAX, with rewards paid at once or late, and
adapters to brax and Gymnasium. See `make_env` and `register_task`."""

from __future__ import annotations

from gailfe_jax.envs.base import EpisodicEnv, GuardedEnv, MujocoEnv, resets_nonfinite
from gailfe_jax.envs.check import check_env
from gailfe_jax.envs.classic import CLASSIC
from gailfe_jax.envs.delayed import DelayedReward
from gailfe_jax.envs.registry import (
    also_called,
    as_env,
    asked_for_as,
    base_name,
    brings_engine,
    canonical_name,
    differ_by_file,
    engine_of,
    find_task,
    is_own_task,
    known_env,
    make_env,
    on_c_engine,
    on_file,
    register_task,
    takes_choices,
    task_file,
    task_names,
)
from gailfe_jax.envs.task_record import (
    changed_files,
    copy_task,
    policy_record,
    said_of,
    task_of,
    task_record,
    warn_if_changed,
)
from gailfe_jax.envs.tasks import TASKS

__all__ = [
    "CLASSIC",
    "TASKS",
    "DelayedReward",
    "EpisodicEnv",
    "GuardedEnv",
    "MujocoEnv",
    "also_called",
    "as_env",
    "asked_for_as",
    "base_name",
    "brings_engine",
    "canonical_name",
    "changed_files",
    "check_env",
    "copy_task",
    "differ_by_file",
    "engine_of",
    "find_task",
    "is_own_task",
    "known_env",
    "make_env",
    "on_c_engine",
    "on_file",
    "policy_record",
    "register_task",
    "resets_nonfinite",
    "said_of",
    "task_file",
    "takes_choices",
    "task_names",
    "task_of",
    "task_record",
    "warn_if_changed",
]
