"""Loads MuJoCo model files for every engine: Gymnasium's own, or a user's, unchanged."""

# MuJoCo's names come from a compiled module without stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib.util
import pathlib
import sys
import warnings
from collections.abc import Collection, Sequence
from typing import Any

import mujoco
import mujoco.batch
import numpy as np

from gailfe_jax.envs.physics.model_files import model_stamp
from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Task

# Gymnasium's model files are loaded unchanged, so this notice is nothing our user can act on.
_EXPECTED_WARNING = "'settotalmass' is deprecated"
_UNSTABLE = "The simulation is unstable"
_OTHER_ROOT = "Unrecognized XML model type"


@contextlib.contextmanager
def without_expected_warning():
    """MuJoCo's other warnings still reach whoever listened before (stderr and MUJOCO_LOG.TXT by default)."""
    previous = mujoco.get_mju_user_warning()
    raised: list[str] = []
    mujoco.set_mju_user_warning(raised.append)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(previous)
    for message in raised:
        if _EXPECTED_WARNING not in message:
            warnings.warn(f"MuJoCo: {message}", stacklevel=3)


def leave_out_instability() -> None:
    """From now on MuJoCo's warnings of simulations that become unstable are left out in this process, also of its log
    file; others are shown as before. For engines whose unstable simulations are found and counted."""
    previous = mujoco.get_mju_user_warning()
    if getattr(previous, "leaves_out_instability", False):
        return

    def shown(message: str) -> None:
        if _UNSTABLE in message:
            return
        if previous is None:
            print(f"WARNING: {message}", file=sys.stderr)
        else:
            previous(message)

    setattr(shown, "leaves_out_instability", True)  # noqa: B010
    mujoco.set_mju_user_warning(shown)


@functools.lru_cache(maxsize=32)
def _read(path: pathlib.Path, changed: Any) -> mujoco.MjModel:
    """The model at `path`, read again after one of its files has `changed`."""
    del changed
    with without_expected_warning():
        return mujoco.MjModel.from_xml_path(str(path))


def load_model(task: Task) -> mujoco.MjModel:
    """The task's `MjModel`, shared by all that ask for it: not to be written to.

    Raises:
      GailfeError: Gymnasium or its model file is not installed, a user's model file is missing, or MuJoCo refuses it.
    """
    return read_model(_model_path(task), f"task {task.name!r}")


def read_model(path: pathlib.Path, where: str) -> mujoco.MjModel:
    """The model in an MJCF file, shared by all that ask for it; `where` opens an error's message.

    Raises:
      GailfeError: the file is missing, MuJoCo refuses it, or it describes nothing that moves.
    """
    if not path.is_file():
        raise GailfeError(f"{where}: model file {path} is missing; expected an MJCF file")
    try:
        model = _read(path, model_stamp(path))
    except ValueError as error:
        cause = " ".join(str(error).split())
        expected = "; expected <mujoco>, as in an MJCF file" if _OTHER_ROOT in cause else ""
        raise GailfeError(f"{where}: MuJoCo does not load model file {path} ({cause}){expected}") from error
    if not model.nq:
        # MuJoCo passes over what it does not know in URDF, and is left with nothing.
        raise GailfeError(
            f"{where}: model file {path} has no joints, so nothing moves; expected an MJCF file with some"
        )
    return model


def _model_path(task: Task) -> pathlib.Path:
    path = pathlib.Path(task.model_file)
    if path.is_absolute():
        return path
    spec = importlib.util.find_spec("gymnasium")
    if spec is None or spec.origin is None:
        raise GailfeError(f"task {task.name!r}: package gymnasium, which ships {task.model_file}, is not installed")
    path = pathlib.Path(spec.origin).parent / "envs" / "mujoco" / "assets" / task.model_file
    if not path.is_file():
        raise GailfeError(
            f"task {task.name!r}: model file {path} is missing; expected gymnasium >= 1.1, or an absolute path"
        )
    return path


def check_fields(task: Task, engine: str, given: Collection[str]) -> None:
    """Holds that an engine gives what the task reads.

    Raises:
      GailfeError: it does not give one of the task's `fields`, or `fields_before` names what is not among them.
    """
    for name in task.fields:
        if name not in given:
            near = difflib.get_close_matches(name, given, n=1)
            hint = f"did you mean {near[0]}?" if near else "expected another field, or engine mujoco_c"
            if engine != "mujoco_c" and name in mujoco.batch.DATA_FIELDS:
                hint = "expected engine mujoco_c"
            raise GailfeError(f"task {task.name!r}: engine {engine} gives no field {name!r}; {hint}")
    for name in task.fields_before:
        if name not in task.fields:
            raise GailfeError(f"task {task.name!r}: fields_before names {name!r}; expected one of {task.fields}")


def fresh_fields(task: Task, names: Sequence[str], n: int) -> dict[str, np.ndarray]:
    """`qpos`, `qvel` and the fields called `names`, `[n, ...]`, of the model in its initial state.

    Raises:
      GailfeError: MuJoCo's `mjData` has no such field.
    """
    model = load_model(task)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    known = [name for name in dir(data) if isinstance(getattr(data, name, None), np.ndarray)]
    check_fields(task, "mujoco_c", known)
    values = {name: np.asarray(getattr(data, name)) for name in ("qpos", "qvel", *names)}
    return {name: np.tile(value, (n, *(1,) * value.ndim)) for name, value in values.items()}


def action_bounds(task: Task) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """`(low, high)`, `a` numbers each: the control ranges of the model's actuators.

    Raises:
      GailfeError: the model has another number of actuators than the task has actions, or one without a range.
    """
    model = load_model(task)
    if model.nu != task.action_size:
        raise GailfeError(
            f"task {task.name!r}: action_size is {task.action_size}; expected {model.nu}, the actuators of "
            f"{task.model_file}"
        )
    for i in np.flatnonzero(model.actuator_ctrllimited == 0):
        raise GailfeError(
            f"task {task.name!r}: {_actuator(model, i)} of {task.model_file} has no control range; expected ctrlrange "
            "for each"
        )
    low, high = model.actuator_ctrlrange.T
    # As they are used, in single precision.
    with np.errstate(over="ignore"):
        bottom, top = low.astype(np.float32), high.astype(np.float32)
    bad = ~(bottom < top) | ~np.isfinite(bottom) | ~np.isfinite(top)
    for i in np.flatnonzero(bad):
        raise GailfeError(
            f"task {task.name!r}: {_actuator(model, i)} of {task.model_file} has control range {low[i]:g} to "
            f"{high[i]:g}; expected two finite numbers, the lower first"
        )
    if not 0 < model.opt.timestep <= 1:
        raise GailfeError(
            f"task {task.name!r}: timestep of {task.model_file} is {model.opt.timestep:g} s; "
            "expected more than 0 and at most 1"
        )
    return tuple(low.tolist()), tuple(high.tolist())


def _actuator(model: Any, i: Any) -> str:
    name = model.actuator(int(i)).name
    return f"actuator {i} ({name})" if name else f"actuator {i}"


def seconds_per_step(task: Task) -> float:
    """Simulated seconds per environment step, computed as Gymnasium does (timestep times frame skip)."""
    return load_model(task).opt.timestep * task.frame_skip
