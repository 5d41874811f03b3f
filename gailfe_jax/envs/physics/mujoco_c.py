"""The C engine: `mujoco.batch.Batch` behind a host callback, bit-identical to Gymnasium.

Differences from a plain MuJoCo loop:
- On the CPU the callback reads and writes XLA's buffers in place (`buffer_callback`): `jax.pure_callback` first makes
  JAX arrays of its arguments, at every step.
- The float64 simulator state travels through JAX as `uint32` pairs, so no x64 mode is needed and no bit is lost.
- The task's observation, reward and termination are evaluated here, in NumPy float64, on the exact state; only their
  results are rounded to float32.
- A reset is lazy: it marks the environment as fresh and stores the float32 `(qpos, qvel)`; the next step builds the row
  inside the same engine call. No second callback and no `cond`.
"""

from __future__ import annotations

import copy
import math
import sys
import threading
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import mujoco.batch
import numpy as np
from flax import struct
from jax.experimental.buffer_callback import buffer_callback

from gailfe_jax.envs.physics.failures import named_failure
from gailfe_jax.envs.physics.model import (
    action_bounds,
    check_fields,
    leave_out_instability,
    load_model,
    seconds_per_step,
)
from gailfe_jax.envs.physics.pools import Pool, make_pool, prefix_size
from gailfe_jax.errors import GailfeError
from gailfe_jax.parallel.devices import computes_on_cpu
from gailfe_jax.parallel.seeds import computed_where
from gailfe_jax.types import LARGEST_STATE, Array, Fields, StepResult, Task

# Of a float64 as two uint32: which of them holds the exponent, and what it is at most.
_UPPER = int(sys.byteorder == "little")
_LARGEST_BITS = int(np.array([LARGEST_STATE]).view(np.uint32)[_UPPER])


@struct.dataclass
class CState:
    """State of the C engine, one environment.

    Attributes:
      row: `[2 * nrow]` uint32, bits of the float64 simulator row (time, qpos, qvel, act, warm start), and behind it of
        the task's `fields_before`.
      fresh: `[]` bool, the row is stale and the next step starts from `(qpos, qvel)`.
      qpos, qvel: `[nq]`, `[nv]` float32, the fresh state; meaningless where not `fresh`.
    """

    row: Array
    fresh: Array
    qpos: Array
    qvel: Array


class MujocoC:
    """`Physics` on the CPU through MuJoCo's C engine (see `gailfe_jax.types.Physics`).

    Args:
      task: which task.
      nthread: threads of the pool, 0 for all cores.
      autoreset: whether MuJoCo puts a simulation whose state is bad into the model's initial state, as in Gymnasium.
      options: none; those of other engines are refused.

    Raises:
      GailfeError: an option is given, or the model file does not load or does not fit the task.
    """

    name = "mujoco_c"

    def __init__(self, task: Task, nthread: int = 0, *, autoreset: bool = True, **options: Any):
        for option in options:
            raise GailfeError(
                f"engine mujoco_c: takes no option {option}, being Gymnasium's physics bit for bit; expected mjx, warp"
            )
        self.task = task
        self.model = load_model(task)
        if not autoreset:
            leave_out_instability()
            self.model = copy.deepcopy(self.model)
            self.model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
        self.dt = seconds_per_step(task)
        data = mujoco.MjData(self.model)
        self.init_qpos = data.qpos.astype(np.float32)
        self.init_qvel = data.qvel.astype(np.float32)
        self.action_low, self.action_high = action_bounds(task)
        check_fields(task, self.name, mujoco.batch.DATA_FIELDS)
        self._prefix = prefix_size(self.model)
        self._shapes = {name: np.shape(getattr(data, name)) for name in task.fields_before}
        self.nrow = self._prefix + sum(math.prod(shape) for shape in self._shapes.values())
        self._nthread = nthread
        self._pools: dict[int, Pool] = {}
        self._pools_lock = threading.Lock()
        self._observe_where = computed_where(self._call_observe)

    def init(self, qpos: Array, qvel: Array) -> CState:
        return CState(
            row=jnp.zeros(2 * self.nrow, jnp.uint32),
            fresh=jnp.array(True),
            qpos=jnp.asarray(qpos, jnp.float32),
            qvel=jnp.asarray(qvel, jnp.float32),
        )

    def reset(self, phys: CState, done: Array, qpos: Array, qvel: Array) -> CState:
        return phys.replace(
            fresh=phys.fresh | done,
            qpos=jnp.where(done, qpos, phys.qpos),
            qvel=jnp.where(done, qvel, phys.qvel),
        )

    def step(self, phys: CState, action: Array) -> tuple[CState, StepResult]:
        out_type = (
            jax.ShapeDtypeStruct((2 * self.nrow,), jnp.uint32),
            jax.ShapeDtypeStruct((self.task.obs_size,), jnp.float32),
            jax.ShapeDtypeStruct((), jnp.float32),
            jax.ShapeDtypeStruct((), jnp.bool_),
        )
        args = (phys.row, phys.fresh, phys.qpos, phys.qvel, action)
        if computes_on_cpu():
            call = buffer_callback(self._step_buffers, out_type, vmap_method="broadcast_all")
            row, obs, reward, terminated = call(*args)
        else:
            row, obs, reward, terminated = jax.pure_callback(
                self._step_arrays, out_type, *args, vmap_method="broadcast_all"
            )
        return phys.replace(row=row, fresh=jnp.zeros_like(phys.fresh)), StepResult(obs, reward, terminated)

    def observe_fresh(self, done: Array, qpos: Array, qvel: Array) -> Array:
        return self._observe_where(done, done, qpos, qvel)

    def view(self, phys: CState) -> tuple[Array, Array]:
        nq, nv = self.model.nq, self.model.nv
        out_type = (jax.ShapeDtypeStruct((nq,), jnp.float32), jax.ShapeDtypeStruct((nv,), jnp.float32))

        def read(row, fresh, qpos, qvel):
            state = np.ascontiguousarray(row).view(np.float64)
            fresh = np.asarray(fresh)[..., None]
            return (
                np.where(fresh, qpos, state[..., 1 : 1 + nq]).astype(np.float32),
                np.where(fresh, qvel, state[..., 1 + nq : 1 + nq + nv]).astype(np.float32),
            )

        return jax.pure_callback(
            read, out_type, phys.row, phys.fresh, phys.qpos, phys.qvel, vmap_method="broadcast_all"
        )

    def is_finite(self, phys: CState) -> Array:
        # By sign, exponent and the upper bits of the mantissa: there is no float64 here.
        words = phys.row.reshape(self.nrow, 2)[1 : 1 + self.model.nq + self.model.nv, _UPPER]
        return ((words & jnp.uint32(0x7FFFFFFF)) <= jnp.uint32(_LARGEST_BITS)).all()

    def simulator_state(self, phys: CState) -> np.ndarray:
        """Host only: the float64 rows `[..., s]` (time, qpos, qvel, act, warm start) of a concrete `phys`."""
        rows = np.ascontiguousarray(np.asarray(phys.row)).view(np.float64)[..., : self._prefix].copy()
        fresh, nq, nv = np.asarray(phys.fresh), self.model.nq, self.model.nv
        rows[fresh] = 0.0
        rows[..., 1 : 1 + nq][fresh] = np.asarray(phys.qpos)[fresh]
        rows[..., 1 + nq : 1 + nq + nv][fresh] = np.asarray(phys.qvel)[fresh]
        return rows

    def host_step(
        self,
        rows: np.ndarray,
        fresh: np.ndarray,
        qpos: np.ndarray,
        qvel: np.ndarray,
        action: np.ndarray,
        out: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The engine call itself, in NumPy.

        Args:
          rows: `[n, nrow]` float64 simulator rows, with the task's `fields_before` behind them.
          fresh: `[n]` bool, where the row is to be built from `(qpos, qvel)` first.
          qpos, qvel: `[n, nq]`, `[n, nv]`.
          action: `[n, a]`, passed to the simulator as it is (MuJoCo clamps to the control range itself).
          out: `[n, nrow]` float64, takes the new rows; a new array by default.

        Returns:
          `(rows [n, nrow], obs [n, o], reward [n], terminated [n])`, float64, as Gymnasium computes them.
        """
        pool = self._pool(len(rows))
        with pool.lock:
            np.copyto(pool.rows, rows[:, : self._prefix])
            ids = np.flatnonzero(fresh)
            if ids.size:
                pool.start(ids, qpos, qvel)
            before = Fields(
                qpos=pool.field("qpos").copy(), qvel=pool.field("qvel").copy(), **self._carried(rows, pool, ids)
            )
            np.copyto(pool.ctrl, action)
            pool.step(self.task.frame_skip)
            data = self._data(pool)
            with named_failure(self.task, "observe"):
                obs = self.task.observe(np, data)
            with named_failure(self.task, "reward"):
                reward = self.task.reward(np, before, data, action, self.dt)
            with named_failure(self.task, "terminated"):
                terminated = self.task.terminated(np, data)
            out = np.empty((len(rows), self.nrow)) if out is None else out
            np.copyto(out[:, : self._prefix], pool.rows)
            at = self._prefix
            for name, shape in self._shapes.items():
                out[:, at : at + math.prod(shape)] = pool.field(name).reshape(len(rows), -1)
                at += math.prod(shape)
            return out, obs, reward, terminated

    def _data(self, pool: Pool) -> Fields:
        return Fields(**{name: pool.field(name) for name in ("qpos", "qvel", *self.task.fields)})

    def _carried(self, rows: np.ndarray, pool: Pool, started: np.ndarray) -> dict[str, np.ndarray]:
        """`fields_before` out of `rows [n, nrow]`, or of the simulations that have just `started`."""
        found, at = {}, self._prefix
        for name, shape in self._shapes.items():
            value = rows[:, at : at + math.prod(shape)].reshape(-1, *shape).copy()
            value[started] = pool.field(name)[started]
            found[name] = value
            at += math.prod(shape)
        return found

    def _call_observe(self, done: Array, qpos: Array, qvel: Array) -> Array:
        out_type, args = jax.ShapeDtypeStruct((self.task.obs_size,), jnp.float32), (done, qpos, qvel)
        if computes_on_cpu():
            return buffer_callback(self._observe_buffers, out_type, vmap_method="broadcast_all")(*args)
        return jax.pure_callback(self._observe_arrays, out_type, *args, vmap_method="broadcast_all")

    def _observe_buffers(self, _context, out, *args):
        obs, (done, qpos, qvel) = np.asarray(out), (np.asarray(x) for x in args)
        n = done.size
        pool = self._pool(n)
        with pool.lock:
            pool.start(np.flatnonzero(done), *(x.reshape(n, -1) for x in (qpos, qvel)))
            with named_failure(self.task, "observe", "a start"):
                obs[...] = self.task.observe(np, self._data(pool)).reshape(obs.shape)

    def _observe_arrays(self, *args):
        out = np.empty((*np.shape(args[0]), self.task.obs_size), np.float32)
        self._observe_buffers(None, out, *args)
        return out

    def host_start(self, qpos: np.ndarray, qvel: np.ndarray) -> Fields:
        """What the task reads of fresh states at `qpos [n, nq]`, `qvel [n, nv]`, `[n, ...]` each, in NumPy."""
        pool = self._pool(len(qpos))
        with pool.lock:
            pool.start(np.arange(len(qpos)), qpos, qvel)
            return Fields(**{name: pool.field(name).copy() for name in ("qpos", "qvel", *self.task.fields)})

    def bare_batch(self, nsim: int) -> mujoco.batch.Batch:
        """A `Batch` of its own with the same model and threads, reset: the limit that benchmarks compare with."""
        batch = mujoco.batch.Batch(self.model, nsim, self._nthread)
        batch.reset()
        return batch

    def _pool(self, nsim: int) -> Pool:
        with self._pools_lock:
            if nsim not in self._pools:
                self._pools[nsim] = make_pool(self.model, nsim, self._nthread, self.task.fields)
            return self._pools[nsim]

    def _step_buffers(self, _context, out, *args):
        # NumPy only: JAX operations inside a host callback can wait for the very device they run on.
        row, obs, reward, terminated = (np.asarray(x) for x in out)
        old_row, fresh, qpos, qvel, action = (np.asarray(x) for x in args)
        n = fresh.size
        _, new_obs, new_reward, new_terminated = self.host_step(
            old_row.reshape(n, -1).view(np.float64),
            fresh.reshape(n),
            *(x.reshape(n, -1) for x in (qpos, qvel, action)),
            out=row.reshape(n, -1).view(np.float64),
        )
        obs[...] = new_obs.reshape(obs.shape)
        reward[...] = new_reward.reshape(reward.shape)
        terminated[...] = new_terminated.reshape(terminated.shape)

    def _step_arrays(self, *args):
        shape = np.shape(args[1])
        out = (
            np.empty((*shape, 2 * self.nrow), np.uint32),
            np.empty((*shape, self.task.obs_size), np.float32),
            np.empty(shape, np.float32),
            np.empty(shape, np.bool_),
        )
        self._step_buffers(None, out, *args)
        return out
