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

from gailfe_jax.envs.physics.model import action_bounds, load_model, seconds_per_step
from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Array, StepResult, Task

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
    """

    qpos: Array
    qvel: Array
    act: Array
    time: Array
    warmstart: Array


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


class MjxBase:
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

    def _advance(self, phys: MjxState, ctrl: Array) -> MjxState:
        """`frame_skip` simulator steps under `ctrl [a]`."""
        raise AssertionError("MjxBase is abstract")

    def init(self, qpos: Array, qvel: Array) -> MjxState:
        # Gymnasium's set_state ends with mj_forward. MuJoCo saves the warm start when it steps, not there, so a fresh
        # state has none.
        return MjxState(
            qpos=jnp.asarray(qpos, jnp.float32),
            qvel=jnp.asarray(qvel, jnp.float32),
            act=jnp.zeros(self.model.na, jnp.float32),
            time=jnp.float32(0.0),
            warmstart=jnp.zeros(self.model.nv, jnp.float32),
        )

    def reset(self, phys: MjxState, done: Array, qpos: Array, qvel: Array) -> MjxState:
        return jax.tree.map(lambda new, old: jnp.where(done, new, old), self.init(qpos, qvel), phys)

    def step(self, phys: MjxState, action: Array) -> tuple[MjxState, StepResult]:
        after = self._advance(phys, jnp.asarray(action, jnp.float32))
        return after, StepResult(
            obs=self.task.observe(jnp, after.qpos, after.qvel),
            reward=self.task.reward(jnp, phys.qpos, after.qpos, after.qvel, action, self.dt),
            terminated=self.task.terminated(jnp, after.qpos, after.qvel),
        )

    def view(self, phys: MjxState) -> tuple[Array, Array]:
        return phys.qpos, phys.qvel


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
            self._mjx_model = mjx.put_model(self.model, impl="jax")
            self._template = mjx.make_data(self.model, impl="jax")

    def _advance(self, phys: MjxState, ctrl: Array) -> MjxState:
        def substep(state: MjxState, _: None) -> tuple[MjxState, None]:
            return carried_state(mjx.step(self._mjx_model, fill_data(self._template, state, ctrl))), None

        with jax.default_matmul_precision("highest"):
            # A scan, not an unrolled loop: the simulator step is by far the largest thing XLA compiles here.
            return jax.lax.scan(substep, phys, length=self.task.frame_skip)[0]
