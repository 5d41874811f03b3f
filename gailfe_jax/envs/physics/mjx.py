"""MuJoCo in JAX (MJX): runs wherever JAX does, CPU, GPU and TPU.

Differences from MJX's own examples:
- Only what the simulator carries from step to step travels (position, velocity, activation, time, solver warm start);
  the rest of an `mjx.Data`, some hundred arrays, is rebuilt inside each step. Every step recomputes it from those
  anyway, so the numbers are the same, while a reset is five `where`s and vmapped states stay small.
- Solver and integrator are the model file's own (Gymnasium's); a cheaper setting is an option that the caller names.
- Matrix products are asked for in full float32, which accelerators otherwise round to fewer bits.
"""

# MuJoCo's names come from a compiled module without stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import abc
import contextlib
import copy
import dataclasses
import io
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct

from gailfe_jax.envs.physics import POST_CONSTRAINT
from gailfe_jax.envs.physics.failures import traced
from gailfe_jax.envs.physics.model import action_bounds, check_fields, load_model, seconds_per_step
from gailfe_jax.errors import GailfeError
from gailfe_jax.parallel.phases import at_most, phase
from gailfe_jax.types import LARGEST_STATE, Array, Fields, StepResult, Task

# Without warp-lang, MJX announces on stdout that it could not import it, which would corrupt machine-read output.
with contextlib.redirect_stdout(io.StringIO()):
    from mujoco import mjx


@struct.dataclass
class MjxState:
    """State of MJX, one environment; all float32.

    Attributes:
      qpos, qvel: `[nq]`, `[nv]`.
      act: `[na]` actuator activations (empty for motors).
      time: `[]` simulated seconds since the reset.
      warmstart: `[nv]` acceleration the constraint solver starts from.
      before: the task's `fields_before` by name, as the next step finds them; None where it has none.
    """

    qpos: Array
    qvel: Array
    act: Array
    time: Array
    warmstart: Array
    before: dict[str, Array] | None = None


@dataclasses.dataclass(frozen=True)
class SolverOptions:
    """Settings of the simulator that trade fidelity for speed; None keeps the model's own.

    Attributes:
      solver: `newton` or `cg`.
      iterations: of the constraint solver, at most.
      ls_iterations: of its line search, at most.
      tolerance: improvement below which it stops.
      integrator: `euler`, `implicitfast` or `rk4`.
      euler_damping: whether the Euler integrator treats joint damping implicitly.
    """

    solver: str | None = None
    iterations: int | None = None
    ls_iterations: int | None = None
    tolerance: float | None = None
    integrator: str | None = None
    euler_damping: bool | None = None

    def apply(self, model: mujoco.MjModel) -> None:
        """Sets them in `model`.

        Raises:
          GailfeError: an option is out of range.
        """
        for option in ("iterations", "ls_iterations", "tolerance"):
            value = getattr(self, option)
            if value is not None:
                if value < (0 if option == "tolerance" else 1):
                    raise GailfeError(f"{option}: got {value}; expected a tolerance >= 0, or a number of steps >= 1")
                setattr(model.opt, option, value)
        for option, names in (("solver", _SOLVERS), ("integrator", _INTEGRATORS)):
            value = getattr(self, option)
            if value is not None:
                if value not in names:
                    raise GailfeError(f"{option}: got {value!r}; expected one of {', '.join(names)}")
                setattr(model.opt, option, names[value])
        if self.euler_damping is not None:
            off = int(mujoco.mjtDisableBit.mjDSBL_EULERDAMP)
            flags = model.opt.disableflags
            model.opt.disableflags = flags & ~off if self.euler_damping else flags | off


_SOLVERS = {"newton": mujoco.mjtSolver.mjSOL_NEWTON, "cg": mujoco.mjtSolver.mjSOL_CG}
_INTEGRATORS = {
    "euler": mujoco.mjtIntegrator.mjINT_EULER,
    "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
    "rk4": mujoco.mjtIntegrator.mjINT_RK4,
}


class MjxBase(abc.ABC):
    """`Physics` on MJX (see `gailfe_jax.types.Physics`), all but the simulator call.

    Args:
      task: which task.
      options: fields of `SolverOptions`.

    Raises:
      GailfeError: an option is unknown or out of range, or the model file does not load or does not fit the task.
    """

    name: str

    def __init__(self, task: Task, **options: Any):
        self.task = task
        self.model = copy.deepcopy(load_model(task))
        self.dt = seconds_per_step(task)
        known = [field.name for field in dataclasses.fields(SolverOptions)]
        for option in options:
            if option not in known:
                raise GailfeError(f"engine {self.name}: takes no option {option}; expected {', '.join(known)}")
        SolverOptions(**options).apply(self.model)
        data = mujoco.MjData(self.model)
        self.init_qpos = data.qpos.astype(np.float32)
        self.init_qvel = data.qvel.astype(np.float32)
        self.action_low, self.action_high = action_bounds(task)

    def _put_model(self, implementation: str, **placement: Any) -> Any:
        try:
            return mjx.put_model(self.model, impl=implementation, **placement)
        except NotImplementedError as error:
            # PGS is the one such setting that has an option.
            pgs = self.model.opt.solver == mujoco.mjtSolver.mjSOL_PGS
            hint = "expected --mjx.solver newton, or engine mujoco_c" if pgs else "expected engine mujoco_c"
            where = f"task {self.task.name!r}: engine {self.name}"
            raise GailfeError(f"{where} lacks what {self.task.model_file} asks for ({error}); {hint}") from error

    @abc.abstractmethod
    def _advance(self, phys: MjxState, ctrl: Array) -> tuple[MjxState, dict[str, Array]]:
        """`frame_skip` simulator steps under `ctrl [a]`; and the task's `fields` after the last."""

    @abc.abstractmethod
    def _forward(self, qpos: Array, qvel: Array) -> dict[str, Array]:
        """The task's `fields` in a state that was set, as Gymnasium's reset leaves them."""

    def init(self, qpos: Array, qvel: Array) -> MjxState:
        # Gymnasium's set_state ends with mj_forward. MuJoCo saves the warm start when it steps, not there, so a fresh
        # state has none.
        qpos, qvel = jnp.asarray(qpos, jnp.float32), jnp.asarray(qvel, jnp.float32)
        return MjxState(
            qpos=qpos,
            qvel=qvel,
            act=jnp.zeros(self.model.na, jnp.float32),
            time=jnp.float32(0.0),
            warmstart=jnp.zeros(self.model.nv, jnp.float32),
            before=self._remembered(self._forward(qpos, qvel)) if self.task.fields_before else None,
        )

    def _remembered(self, fields: dict[str, Array]) -> dict[str, Array] | None:
        return {name: fields[name] for name in self.task.fields_before} or None

    def reset(self, phys: MjxState, done: Array, qpos: Array, qvel: Array) -> MjxState:
        return jax.tree.map(lambda new, old: jnp.where(done, new, old), self.init(qpos, qvel), phys)

    def step(self, phys: MjxState, action: Array) -> tuple[MjxState, StepResult]:
        after, fields = self._advance(phys, jnp.asarray(action, jnp.float32))
        before = Fields(qpos=phys.qpos, qvel=phys.qvel, **(phys.before or {}))
        data = Fields(qpos=after.qpos, qvel=after.qvel, **fields)
        task, dt = self.task, self.dt
        return after.replace(before=self._remembered(fields)), StepResult(
            obs=traced(task, "observe", "a step", lambda: task.observe(jnp, data)),
            reward=traced(task, "reward", "a step", lambda: task.reward(jnp, before, data, action, dt)),
            terminated=traced(task, "terminated", "a step", lambda: task.terminated(jnp, data)),
        )

    def observe_fresh(self, done: Array, qpos: Array, qvel: Array) -> Array:
        data = Fields(qpos=qpos, qvel=qvel, **self._forward(qpos, qvel))
        return traced(self.task, "observe", "a start", lambda: self.task.observe(jnp, data))

    def view(self, phys: MjxState) -> tuple[Array, Array]:
        return phys.qpos, phys.qvel

    def is_finite(self, phys: MjxState) -> Array:
        # False for what is no number.
        return (jnp.abs(phys.qpos) <= LARGEST_STATE).all() & (jnp.abs(phys.qvel) <= LARGEST_STATE).all()


def fill_data(template: Any, phys: MjxState, ctrl: Array) -> Any:
    """The `mjx.Data` at `phys` under `ctrl`; everything else as in `template`."""
    return template.replace(
        qpos=phys.qpos, qvel=phys.qvel, act=phys.act, time=phys.time, qacc_warmstart=phys.warmstart, ctrl=ctrl
    )


def carried_state(data: Any) -> MjxState:
    """The part of an `mjx.Data` that the next step depends on."""
    return MjxState(data.qpos, data.qvel, data.act, data.time, data.qacc_warmstart)


class Mjx(MjxBase):
    """`Physics` on MJX's own JAX implementation (see `MjxBase` for arguments and errors)."""

    name = "mjx"

    def __init__(self, task: Task, **options: Any):
        super().__init__(task, **options)
        # An engine may be made while some function is being traced, and outlives that trace.
        with jax.ensure_compile_time_eval():
            self._mjx_model = self._put_model("jax")
            self._template = mjx.make_data(self.model, impl="jax")

        check_fields(task, self.name, set(fields_of(self._template)) - set(POST_CONSTRAINT))

    def _advance(self, phys: MjxState, ctrl: Array) -> tuple[MjxState, dict[str, Array]]:
        def substep(state: MjxState, _: None) -> tuple[MjxState, dict[str, Array]]:
            data = mjx.step(self._mjx_model, fill_data(self._template, state, ctrl))
            return carried_state(data), {name: read_field(data, name) for name in self.task.fields}

        with jax.default_matmul_precision("highest"), phase("engine"), at_most(self._solver_steps):
            # A scan, not an unrolled loop: the simulator step is by far the largest thing XLA compiles here.
            after, fields = jax.lax.scan(substep, phys.replace(before=None), length=self.task.frame_skip)
        return after, jax.tree.map(lambda x: x[-1], fields)

    @property
    def _solver_steps(self) -> int:
        """Most iterations of the constraint solver, the one loop of MJX whose length the data decide."""
        return int(self.model.opt.iterations)

    def _forward(self, qpos: Array, qvel: Array) -> dict[str, Array]:
        with jax.default_matmul_precision("highest"), phase("engine"), at_most(self._solver_steps):
            # What `fields` do not hang on, the compiler leaves out.
            data = mjx.forward(self._mjx_model, self._template.replace(qpos=qpos, qvel=qvel))
        return {name: read_field(data, name) for name in self.task.fields}


def read_field(data: Any, name: str) -> Array:
    """An array of an `mjx.Data`, some of which stand in a part that differs between implementations."""
    return getattr(data if name in data.__dataclass_fields__ else data._impl, name)


def fields_of(data: Any) -> list[str]:
    """The names of an `mjx.Data`'s arrays."""
    names = {field.name for part in (data, data._impl) for field in dataclasses.fields(part)}
    return sorted(name for name in names if isinstance(read_field(data, name), jax.Array))
