"""The built-in MuJoCo tasks, as Gymnasium v5 defines them, once for all engines: a file each, listed here.

Every function mirrors Gymnasium's arithmetic operation by operation (order and precision included), so that in NumPy
float64 the numbers are the same to the bit. Actions stay float32 there, as they do in Gymnasium.
"""

from __future__ import annotations

from gailfe_jax.envs.tasks.ant import ANT
from gailfe_jax.envs.tasks.halfcheetah import HALFCHEETAH
from gailfe_jax.envs.tasks.hopper import HOPPER
from gailfe_jax.envs.tasks.humanoid import HUMANOID
from gailfe_jax.envs.tasks.humanoidstandup import HUMANOIDSTANDUP
from gailfe_jax.envs.tasks.inverted_double_pendulum import INVERTED_DOUBLE_PENDULUM
from gailfe_jax.envs.tasks.inverted_pendulum import INVERTED_PENDULUM
from gailfe_jax.envs.tasks.pusher import PUSHER
from gailfe_jax.envs.tasks.reacher import REACHER
from gailfe_jax.envs.tasks.swimmer import SWIMMER
from gailfe_jax.envs.tasks.walker2d import WALKER2D
from gailfe_jax.types import Task

TASKS: dict[str, Task] = {task.name: task for task in (
    HALFCHEETAH, HOPPER, WALKER2D, ANT, HUMANOID, HUMANOIDSTANDUP, SWIMMER, REACHER, PUSHER, INVERTED_PENDULUM,
    INVERTED_DOUBLE_PENDULUM,
)}  # fmt: skip
