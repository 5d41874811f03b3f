"""Many simulations on the host's cores, in NumPy: what `mujoco_c` steps inside its callback."""

# MuJoCo's names come from a compiled module without stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import concurrent.futures
import os
import queue
import threading
from typing import Protocol

import mujoco
import mujoco.batch
import numpy as np

from gailfe_jax.envs.physics import POST_CONSTRAINT

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
_CHUNK = 4


def prefix_size(model: mujoco.MjModel) -> int:
    """Length of the state prefix that ends with the warm start: time, qpos, qvel, act, history, qacc_warmstart."""
    bits = mujoco.mjtState
    spec = bits.mjSTATE_PHYSICS | bits.mjSTATE_TIME | bits.mjSTATE_HISTORY | bits.mjSTATE_WARMSTART
    return mujoco.mj_stateSize(model, int(spec))


class Pool(Protocol):
    """`n` simulations of one model. Used by one thread at a time, which holds `lock`.

    Attributes:
      lock: two XLA programs may call back at once.
      rows: `[n, prefix_size]` float64, the part of the state that changes from step to step; read and written.
      ctrl: `[n, nu]` float64, written.
    """

    lock: threading.Lock
    rows: np.ndarray
    ctrl: np.ndarray

    def field(self, name: str) -> np.ndarray:
        """`[n, ...]`, an array of `mjData` as the last `start` or `step` left it; changes with the next."""
        ...

    def start(self, ids: np.ndarray, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Puts the simulations `ids` at `(qpos [n, nq], qvel [n, nv])`, as Gymnasium's reset does."""
        ...

    def step(self, nstep: int) -> None:
        """`nstep` simulator steps of all, as Gymnasium makes them."""
        ...


def make_pool(model: mujoco.MjModel, n: int, nthread: int, fields: tuple[str, ...]) -> Pool:
    """The faster pool that gives the `fields` of `mjData`."""
    kind = ThreadPool if any(name in POST_CONSTRAINT for name in fields) else BatchPool
    return kind(model, n, nthread, fields)


class BatchPool:
    """A `Pool` on `mujoco.batch.Batch`."""

    def __init__(self, model: mujoco.MjModel, n: int, nthread: int, fields: tuple[str, ...]):
        self.lock = threading.Lock()
        self._batch = mujoco.batch.Batch(model, n, nthread)
        self._template = self._batch.state[0].copy()
        # The rest of the state (applied forces, mocap, equality flags) stays as the model has it.
        self.rows = self._batch.state[:, : prefix_size(model)]
        self._fields = {name: self._batch.bind(name) for name in {"qpos", "qvel", "ctrl", *fields}}
        self.ctrl = self._fields["ctrl"]

    def field(self, name: str) -> np.ndarray:
        return self._fields[name]

    def start(self, ids: np.ndarray, qpos: np.ndarray, qvel: np.ndarray) -> None:
        self._batch.state[ids] = self._template
        self._fields["qpos"][ids] = qpos[ids]
        self._fields["qvel"][ids] = qvel[ids]
        # Gymnasium's set_state ends with mj_forward, which leaves a warm start behind.
        self._batch.forward(ids.astype(np.int32))

    def step(self, nstep: int) -> None:
        self._batch.step(nstep=nstep)


class ThreadPool:
    """A `Pool` of threads that step one `MjData` each, for fields that `mujoco.batch.Batch` does not compute."""

    def __init__(self, model: mujoco.MjModel, n: int, nthread: int, fields: tuple[str, ...]):
        self.lock = threading.Lock()
        self._model, self._n = model, n
        count = nthread or os.cpu_count() or 1
        self._executor = concurrent.futures.ThreadPoolExecutor(count) if count > 1 and n > 1 else None
        # Not the threads' own: an XLA thread is new to Python at every call, and what it holds would be freed with it.
        self._free: queue.SimpleQueue[mujoco.MjData] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(mujoco.MjData(model))
        data = mujoco.MjData(model)
        self._state = np.empty((n, mujoco.mj_stateSize(model, int(_STATE))))
        mujoco.mj_getState(model, data, self._state[0], int(_STATE))
        self._state[:] = self._state[0]
        self.rows = self._state[:, : prefix_size(model)]
        self.ctrl = np.zeros((n, model.nu))
        self._fields = {}
        for name in {"qpos", "qvel", *fields} - {"ctrl"}:
            value = np.asarray(getattr(data, name))
            self._fields[name] = np.tile(value, (n, *(1,) * value.ndim))

    def field(self, name: str) -> np.ndarray:
        return self.ctrl if name == "ctrl" else self._fields[name]

    def start(self, ids: np.ndarray, qpos: np.ndarray, qvel: np.ndarray) -> None:
        self.ctrl[ids] = 0.0

        def run(i: int, data: mujoco.MjData) -> None:
            # What a step before this one left behind is no part of the state, and would be seen in `fields`.
            mujoco.mj_resetData(self._model, data)
            data.qpos[:], data.qvel[:] = qpos[i], qvel[i]
            mujoco.mj_forward(self._model, data)

        self._each(ids, run)

    def step(self, nstep: int) -> None:
        def run(i: int, data: mujoco.MjData) -> None:
            mujoco.mj_setState(self._model, data, self._state[i], int(_STATE))
            data.ctrl[:] = self.ctrl[i]
            mujoco.mj_step(self._model, data, nstep)
            mujoco.mj_rnePostConstraint(self._model, data)

        self._each(np.arange(self._n), run)

    def _each(self, ids: np.ndarray, run) -> None:
        def work(chunk: np.ndarray) -> None:
            data = self._free.get()
            try:
                for i in chunk.tolist():
                    run(i, data)
                    mujoco.mj_getState(self._model, data, self._state[i], int(_STATE))
                    for name, values in self._fields.items():
                        values[i] = getattr(data, name)
            finally:
                self._free.put(data)

        if self._executor is None:
            work(ids)
            return
        # Few at a time: one that touches much takes several times as long as one in the air.
        chunks = np.array_split(ids, max(1, -(-len(ids) // _CHUNK)))
        list(self._executor.map(work, chunks))
