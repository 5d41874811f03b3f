"""Many simulations on the host's cores, in NumPy: what `mujoco_c` steps inside its callback."""

# MuJoCo's names come from a compiled module without stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import concurrent.futures
import os
import queue
import threading
from collections.abc import Callable
from typing import Protocol

import mujoco
import mujoco.batch
import numpy as np

from gailfe_jax.envs.physics import POST_CONSTRAINT

_CHUNK = 4
# Behind the time, in their order.
_PREFIX = ("qpos", "qvel", "act", "history", "qacc_warmstart")


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
    """A `Pool` of threads that step one `MjData` each, for fields that `mujoco.batch.Batch` does not compute.

    Calls into MuJoCo let other threads run Python, and waiting for that to end is what costs here: states are therefore
    copied in NumPy, and each thread takes its simulations off one list.
    """

    def __init__(self, model: mujoco.MjModel, n: int, nthread: int, fields: tuple[str, ...]):
        self.lock = threading.Lock()
        self._model, self._n = model, n
        count = nthread or os.cpu_count() or 1
        self._count = min(count, n)
        self._executor = concurrent.futures.ThreadPoolExecutor(self._count) if self._count > 1 else None
        data = mujoco.MjData(model)
        self.rows, self.ctrl = np.zeros((n, prefix_size(model))), np.zeros((n, model.nu))
        columns, at = {}, 1
        for name in _PREFIX:
            size = getattr(data, name).size
            columns[name] = self.rows[:, at : at + size]
            at += size
        assert at == self.rows.shape[1], "the state's prefix has other parts than _PREFIX"
        self._fields = {"qpos": columns["qpos"], "qvel": columns["qvel"], "ctrl": self.ctrl}
        for name in set(fields) - set(self._fields):
            value = np.asarray(getattr(data, name))
            self._fields[name] = np.tile(value, (n, *(1,) * value.ndim))
        read = {name: values for name, values in self._fields.items() if name not in ("qpos", "qvel", "ctrl")}
        # Not the threads' own: an XLA thread is new to Python at every call, and what it holds would be freed with it.
        self._free: queue.SimpleQueue[_Simulation] = queue.SimpleQueue()
        for _ in range(self._count):
            self._free.put(_Simulation(mujoco.MjData(model), self.rows[:, 0], columns, read, self.ctrl))

    def field(self, name: str) -> np.ndarray:
        return self._fields[name]

    def start(self, ids: np.ndarray, qpos: np.ndarray, qvel: np.ndarray) -> None:
        self.ctrl[ids] = 0.0

        def run(i: int, simulation: _Simulation) -> None:
            data = simulation.data
            # What a step before this one left behind is no part of the state, and would be seen in `fields`.
            mujoco.mj_resetData(self._model, data)
            data.qpos[:], data.qvel[:] = qpos[i], qvel[i]
            mujoco.mj_forward(self._model, data)

        self._each(ids, run)

    def step(self, nstep: int) -> None:
        def run(i: int, simulation: _Simulation) -> None:
            simulation.load(i)
            mujoco.mj_step(self._model, simulation.data, nstep)
            mujoco.mj_rnePostConstraint(self._model, simulation.data)

        self._each(np.arange(self._n), run)

    def _each(self, ids: np.ndarray, run: Callable[[int, _Simulation], None]) -> None:
        # Few at a time: one that touches much takes several times as long as one in the air.
        chunks = iter([ids[at : at + _CHUNK].tolist() for at in range(0, len(ids), _CHUNK)])
        next_chunk = threading.Lock()

        def work(_: int) -> None:
            simulation = self._free.get()
            try:
                while True:
                    with next_chunk:
                        chunk = next(chunks, None)
                    if chunk is None:
                        return
                    for i in chunk:
                        run(i, simulation)
                        simulation.save(i)
            finally:
                self._free.put(simulation)

        if self._executor is None:
            work(0)
        else:
            list(self._executor.map(work, range(self._count)))


class _Simulation:
    """An `MjData`, and where the parts of its state and the fields that are read stand among those of all.

    The rest of the state (applied forces, mocap, equality flags) stays as the model has it.
    """

    def __init__(
        self,
        data: mujoco.MjData,
        time: np.ndarray,
        columns: dict[str, np.ndarray],
        read: dict[str, np.ndarray],
        ctrl: np.ndarray,
    ):
        self.data = data
        self._time, self._ctrl = time, ctrl
        # Views of memory that stays where it is: to ask for them costs as much as to copy them.
        self._own_ctrl = data.ctrl
        self._state = [(getattr(data, name), values) for name, values in columns.items() if values.shape[1]]
        arrays = [name for name in read if np.ndim(getattr(data, name))]
        self._read = [(getattr(data, name), read[name]) for name in arrays]
        self._numbers = [(name, values) for name, values in read.items() if name not in arrays]

    def load(self, i: int) -> None:
        """Takes the state of simulation `i`."""
        self.data.time = self._time[i]
        for own, values in self._state:
            own[:] = values[i]
        self._own_ctrl[:] = self._ctrl[i]

    def save(self, i: int) -> None:
        """Gives simulation `i` the state, and what is read."""
        self._time[i] = self.data.time
        for own, values in self._state:
            values[i] = own
        for own, values in self._read:
            values[i] = own
        for name, values in self._numbers:
            values[i] = getattr(self.data, name)
