"""Whether a task can end an episode before its time limit, as far as that is known beforehand."""

from __future__ import annotations

from gailfe_jax.envs.classic import CLASSIC
from gailfe_jax.envs.mujoco_task import never_ends
from gailfe_jax.envs.task_record import task_of
from gailfe_jax.envs.tasks.common import never
from gailfe_jax.types import Env


def known_to_end(env: Env) -> bool:
    """Whether the task is known to end some episodes early, as by a fall: MuJoCo tasks say it, and the classic ones do.

    Of other environments nothing is known before they are stepped.
    """
    task = task_of(env)
    if task is not None:
        return task.terminated not in (never, never_ends)
    return env.spec.name.rpartition(":")[2] in CLASSIC
