"""MJX on NVIDIA GPUs through MuJoCo Warp: the same `Physics` as `mjx`, with the simulator step as CUDA kernels.

Differences from `mjx`:
- Warp keeps the contacts of all environments in one pool, which must be sized for all of them. So nested `vmap`s are
  flattened into one batch here, and the pool is sized when that batch is known: nothing for the caller to set, and
  the pool cannot overflow.
- A whole `mjx.Data` of this implementation must not be masked leaf by leaf (its pool has no environment axis); the
  small state carried between steps (`MjxState`) can be.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gailfe_jax.envs.physics import POST_CONSTRAINT, has_nvidia_gpu
from gailfe_jax.envs.physics.mjx import MjxBase, MjxState, carried_state, fields_of, fill_data, mjx, read_field
from gailfe_jax.envs.physics.model import check_fields
from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Array, Task


class Warp(MjxBase):
    """`Physics` on MuJoCo Warp (see `gailfe_jax.types.Physics`).

    Args:
      task: which task.
      options: as in `MjxBase`.
      nconmax: contacts per environment, None for twice what the model's geometry allows at once.
      njmax: constraint rows per environment, None for twice what the model can have at once.
      device: `gpu`, or `cpu` to run the same kernels on the processor (slow, for tests); JAX must then compute there.

    Raises:
      GailfeError: no NVIDIA GPU, `cpu` where JAX computes elsewhere, warp-lang is not installed, or an option is out of
        range.
    """

    name = "warp"

    def __init__(
        self,
        task: Task,
        *,
        nconmax: int | None = None,
        njmax: int | None = None,
        device: str = "gpu",
        **options: Any,
    ):
        if device not in ("gpu", "cpu"):
            raise GailfeError(f"device: got {device!r}; expected gpu or cpu")
        if device == "gpu" and not has_nvidia_gpu():
            raise GailfeError("engine warp: JAX sees no NVIDIA GPU here; expected one (use mujoco_c or mjx instead)")
        here = jax.devices()[0] if jax.config.jax_default_device is None else jax.config.jax_default_device
        if device == "cpu" and getattr(here, "platform", here) != "cpu":
            # The caller's program runs where JAX puts it, whatever the simulator's model is on.
            raise GailfeError(f"device: got cpu, and JAX computes on {here}; expected JAX_PLATFORMS=cpu")
        if importlib.util.find_spec("warp") is None:
            raise GailfeError("engine warp: package warp-lang is not installed; expected the extra gailfe-jax[warp]")
        for option, value in (("nconmax", nconmax), ("njmax", njmax)):
            if value is not None and value < 1:
                raise GailfeError(f"{option}: got {value}; expected a capacity per environment >= 1")
        super().__init__(task, **options)

        # Warp reports every kernel it loads on stdout, which would corrupt machine-read output.
        importlib.import_module("warp").config.quiet = True
        with jax.ensure_compile_time_eval(), contextlib.redirect_stdout(io.StringIO()):
            # By itself MJX takes a GPU wherever JAX sees one.
            self._device = jax.devices("cpu" if device == "cpu" else "cuda")[0]
            self._mjx_model = self._put_model("warp", device=self._device)
            # MJX's JAX implementation has a slot for every contact and constraint row the model can have. Warp may find
            # one more contact than it for a pair of parallel capsules, hence twice.
            slots: Any = mjx.make_data(self.model, impl="jax")._impl
            self._nconmax = int(nconmax or max(2 * slots.ncon, 1))
            self._njmax = int(njmax or max(2 * slots.nefc, 1))
        slots_taken = self._template(1)
        check_fields(task, self.name, set(fields_of(slots_taken)) - set(POST_CONSTRAINT))
        self._batch = _one_batch(self._advance_batch)
        self._fresh_batch = _one_batch(self._forward_batch)

    def _template(self, n: int) -> Any:
        """An `mjx.Data` whose pool of contacts is for `n` environments."""
        with jax.ensure_compile_time_eval():
            return mjx.make_data(
                self.model, impl="warp", device=self._device, naconmax=n * self._nconmax, njmax=self._njmax
            )

    def _advance_batch(self, phys: MjxState, ctrl: Array) -> tuple[MjxState, dict[str, Array]]:
        """`_advance` for exactly one leading axis `[n]` of environments."""
        template = self._template(ctrl.shape[0])

        def advance(state: MjxState, one_ctrl: Array) -> tuple[MjxState, dict[str, Array]]:
            data = fill_data(template, state, one_ctrl)
            for _ in range(self.task.frame_skip):
                data = mjx.step(self._mjx_model, data)
            return carried_state(data), {name: read_field(data, name) for name in self.task.fields}

        return jax.vmap(advance)(phys, ctrl)

    def _forward_batch(self, qpos: Array, qvel: Array) -> dict[str, Array]:
        template = self._template(qpos.shape[0])

        def forward(qpos: Array, qvel: Array) -> dict[str, Array]:
            data = mjx.forward(self._mjx_model, template.replace(qpos=qpos, qvel=qvel))
            return {name: read_field(data, name) for name in self.task.fields}

        return jax.vmap(forward)(qpos, qvel)

    def _advance(self, phys: MjxState, ctrl: Array) -> tuple[MjxState, dict[str, Array]]:
        return _as_one(self._batch, phys.replace(before=None), ctrl)

    def _forward(self, qpos: Array, qvel: Array) -> dict[str, Array]:
        return _as_one(self._fresh_batch, qpos, qvel)


def _as_one(batch: Callable[..., Any], *args: Any) -> Any:
    return jax.tree.map(lambda x: x[0], batch(*jax.tree.map(lambda x: x[None], args)))


def _one_batch(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of `[n, ...]` whose `vmap`s, however nested, become one call with a larger `n`."""

    @jax.custom_batching.custom_vmap
    def batch(*args: Any) -> Any:
        return function(*args)

    @batch.def_vmap
    def _(axis_size: int, in_batched: list[Any], *args: Any) -> tuple[Any, Any]:
        def flatten(x: Array, batched: bool) -> Array:
            x = x if batched else jnp.broadcast_to(x, (axis_size, *x.shape))
            return x.reshape(axis_size * x.shape[1], *x.shape[2:])

        out = batch(*jax.tree.map(flatten, args, tuple(in_batched)))
        out = jax.tree.map(lambda x: x.reshape(axis_size, x.shape[0] // axis_size, *x.shape[1:]), out)
        return out, jax.tree.map(lambda _: True, out)

    return batch
