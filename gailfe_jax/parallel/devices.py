"""How the work of one seed is shared by devices.

The devices of a seed lie along the mesh axis `ENVS`, inside `jax.shard_map`. All of them hold the seed's whole state
but for its environments, and take the same steps; what is a mean over rows is computed by each on its share of them
and then averaged. Outside of `shard_map`, and with one device along the axis, every function here is the identity.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from gailfe_jax.types import Array, EnvSpec, PyTree

SEEDS, ENVS = "seeds", "envs"
"""Mesh axes: seeds are independent, environments share a seed."""


def computes_on_cpu() -> bool:
    """Whether what is traced now runs on the CPU: of a machine without an accelerator, or by `jax.default_device`."""
    device = jax.config.jax_default_device
    return (jax.default_backend() if device is None else getattr(device, "platform", device)) == "cpu"


def cpu() -> Any:
    """The host's CPU, which is there beside an accelerator too."""
    return jax.local_devices(backend="cpu")[0]


_LEVEL = "xla_backend_optimization_level"
# Around a step that the host takes are many small operations: to wake a thread for one takes longer than the operation,
# and LLVM's first level of optimisation makes them as fast as its third, which compiles for longer.
_AROUND_HOST: dict[str, Any] = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED", _LEVEL: 1}
# XLA's threads wait for work by turning in circles, beside the one that steps the environments.
_ON_ONE_THREAD: dict[str, Any] = _AROUND_HOST | {"xla_cpu_multi_thread_eigen": False}
_AROUND: dict[str, dict[str, Any]] = {"mujoco_c": _AROUND_HOST, "gymnasium": _ON_ONE_THREAD}


# What runs once is compiled for longer than it runs.
_ONCE: dict[str, Any] = {_LEVEL: 0}


def compiler_options(spec: EnvSpec, *, once: bool = False) -> dict[str, Any]:
    """What `jax.jit` takes as `compiler_options` for programs around an environment.

    A level of optimisation that `XLA_FLAGS` names stays, but for what runs once.

    Args:
      spec: of the environment.
      once: whether the program runs a single time, so that compiling should be quick.
    """
    if not computes_on_cpu():
        return {}
    asked = f"--{_LEVEL}=" in os.environ.get("XLA_FLAGS", "")
    around = {name: value for name, value in _AROUND.get(spec.engine, {}).items() if not (asked and name == _LEVEL)}
    return _known_options(tuple((around | (_ONCE if once else {})).items()))


@functools.cache
def _known_options(options: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """Those of `options` that this release of XLA knows: they are no part of JAX's interface."""

    def known(name: str, value: Any) -> bool:
        try:
            jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
        except Exception:  # Of XLA, by release.
            return False
        return True

    return {name: value for name, value in options if known(name, value)}


def env_shards() -> int:
    """How many devices share the seed that is being traced."""
    try:
        return jax.lax.axis_size(ENVS)
    except NameError:
        return 1


def local_rows(tree: PyTree, axis: int = 0) -> PyTree:
    """This device's share of the rows along `axis` of every leaf; all of them where the devices do not divide them.

    Means over shares are equally weighted means over devices either way: see `mean_over_devices`.
    """
    shards = env_shards()

    def cut(x: Array) -> Array:
        if shards == 1 or x.shape[axis] % shards:
            return x
        size = x.shape[axis] // shards
        return jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index(ENVS) * size, size, axis)

    return jax.tree.map(cut, tree)


def draw_rows(draw: Callable[[Array], PyTree], rows: Array) -> PyTree:
    """Noise for this device's `rows [n, ...]`, the same for any number of devices: drawn for all and cut.

    Args:
      draw: `rows -> noise` with as many rows, which depends on their number only.
      rows: `[n, ...]`.
    """
    shards = env_shards()
    if shards == 1:
        return draw(rows)
    return local_rows(draw(jnp.zeros((shards * rows.shape[0], *rows.shape[1:]), rows.dtype)))


def gather_rows(tree: PyTree, axis: int = 0) -> PyTree:
    """All devices' rows, in the order from which `local_rows` would cut them."""
    if env_shards() == 1:
        return tree
    return jax.tree.map(lambda x: jax.lax.all_gather(x, ENVS, axis=axis, tiled=True), tree)


def sum_over_devices(tree: PyTree) -> PyTree:
    """Sums of the devices' leaves."""
    return tree if env_shards() == 1 else jax.lax.psum(tree, ENVS)


def mean_over_devices(tree: PyTree) -> PyTree:
    """Means of the devices' float leaves, the same bits on all of them.

    To be taken of gradients, not inside what is differentiated.
    """
    if env_shards() == 1:
        return tree
    # What a small all-reduce costs is its latency, so all leaves travel together.
    flat, unravel = ravel_pytree(tree)
    return unravel(jax.lax.pmean(flat, ENVS))
