"""One MuJoCo model, three engines. See `make_physics`."""

from __future__ import annotations

import importlib
import importlib.util

import jax

from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Physics, Task

# A name to the class of that engine. A module is imported when its engine is first asked for: MJX takes seconds. Each
# class says itself, when it is made, why it cannot run here.
_CLASSES = {
    "mujoco_c": "gailfe_jax.envs.physics.mujoco_c:MujocoC",
    "mjx": "gailfe_jax.envs.physics.mjx:Mjx",
    "warp": "gailfe_jax.envs.physics.warp:Warp",
}
ENGINES = tuple(_CLASSES)

FEW_WORLDS = 512
"""Environments, of all seeds together, below which `auto` keeps the C engine on machines with an accelerator too. An
accelerator takes about as long for one environment as for thousands; this many the C engine steps on a few cores in the
time of one such step."""


POST_CONSTRAINT = ("cacc", "cfrc_int", "cfrc_ext")
"""Fields that MuJoCo leaves out of a step unless a sensor asks for them, and Gymnasium computes after each of its
steps. `warp` has no function for them, and the forces of `mjx`'s own are not those of the C engine, so neither gives
them."""


def has_nvidia_gpu() -> bool:
    """Whether JAX can use an NVIDIA GPU here (an AMD one also counts as platform `gpu`)."""
    try:
        return bool(jax.devices("cuda"))
    except RuntimeError:
        return False


def resolve_engine(engine: str, task: Task | None = None, worlds: int | None = None) -> str:
    """Turns `auto` into an engine: CPU -> mujoco_c; NVIDIA -> warp if installed, else mjx; TPU -> mjx. Where the
    task reads what only the C engine gives, or where there are few environments, mujoco_c.

    Args:
      engine: `auto`, or an engine, which is returned as it is.
      task: the task, if it is known.
      worlds: environments of all seeds together, if that is known (see `FEW_WORLDS`).

    Raises:
      GailfeError: `engine` is no known engine.
    """
    if engine == "auto":
        platform = jax.default_backend()
        c_alone = task is not None and any(name in POST_CONSTRAINT for name in task.fields)
        few = worlds is not None and worlds < FEW_WORLDS
        if platform == "cpu" or c_alone or few:
            return "mujoco_c"
        if platform == "gpu" and has_nvidia_gpu() and importlib.util.find_spec("warp") is not None:
            return "warp"
        return "mjx"
    if engine not in ENGINES:
        raise GailfeError(f"engine: unknown engine {engine!r}; expected auto, {', '.join(ENGINES)}")
    return engine


def make_physics(task: Task, engine: str = "auto", **options) -> Physics:
    """The engine called `engine` on `task`; `options` go to its constructor.

    Raises:
      GailfeError: unknown engine, or one that cannot run here (the message says what is missing).
    """
    module, _, name = _CLASSES[resolve_engine(engine, task)].partition(":")
    return getattr(importlib.import_module(module), name)(task, **options)
