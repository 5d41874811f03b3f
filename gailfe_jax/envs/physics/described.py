"""What each number in the arrays of a model's `mjData` is called, and what it is measured in.

Names are those of task files (`joint:hip.qpos`, `site:tip.xpos.x`). Units are SI, as MuJoCo's are where nothing else is
meant; what does not follow from the model has none.
"""

# MuJoCo's names come from a compiled module without stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from gailfe_jax.envs.quantities import (
    ACCELERATION,
    FORCE,
    METRE,
    ONE,
    RADIAN,
    SECOND,
    SPEED,
    SPIN,
    TORQUE,
    Exponents,
    Quantity,
)

_KILOGRAM: Exponents = {"kg": 1}
_TURN: Exponents = {"rad": 1, "s": -2}
_PLACES = {"xpos": METRE, "xipos": METRE, "subtree_com": METRE, "xquat": ONE, "xmat": ONE, "ximat": ONE}
_TWISTS: dict[str, list[Exponents]] = {
    "cvel": [SPIN] * 3 + [SPEED] * 3,
    "cacc": [_TURN] * 3 + [ACCELERATION] * 3,
    "cfrc_int": [TORQUE] * 3 + [FORCE] * 3,
    "cfrc_ext": [TORQUE] * 3 + [FORCE] * 3,
    "cinert": [{"kg": 1, "m": 2}] * 6 + [{"kg": 1, "m": 1}] * 3 + [_KILOGRAM],
}
_SITES = {
    "site_xpos": ("site", METRE),
    "site_xmat": ("site", ONE),
    "geom_xpos": ("geom", METRE),
    "geom_xmat": ("geom", ONE),
    "cam_xpos": ("camera", METRE),
    "cam_xmat": ("camera", ONE),
    "xanchor": ("joint", METRE),
    "xaxis": ("joint", ONE),
}
_SENSORS: dict[str, Exponents] = {
    "TOUCH": FORCE, "ACCELEROMETER": ACCELERATION, "VELOCIMETER": SPEED, "GYRO": SPIN, "FORCE": FORCE, "TORQUE": TORQUE,
    "RANGEFINDER": METRE, "BALLQUAT": ONE, "BALLANGVEL": SPIN, "FRAMEPOS": METRE, "FRAMEQUAT": ONE, "FRAMEXAXIS": ONE,
    "FRAMEYAXIS": ONE, "FRAMEZAXIS": ONE, "FRAMELINVEL": SPEED, "FRAMEANGVEL": SPIN, "FRAMELINACC": ACCELERATION,
    "FRAMEANGACC": _TURN, "SUBTREECOM": METRE, "SUBTREELINVEL": SPEED, "CLOCK": SECOND,
}  # fmt: skip
_KINDS = {
    "body": mujoco.mjtObj.mjOBJ_BODY,
    "site": mujoco.mjtObj.mjOBJ_SITE,
    "geom": mujoco.mjtObj.mjOBJ_GEOM,
    "camera": mujoco.mjtObj.mjOBJ_CAMERA,
    "joint": mujoco.mjtObj.mjOBJ_JOINT,
    "sensor": mujoco.mjtObj.mjOBJ_SENSOR,
    "actuator": mujoco.mjtObj.mjOBJ_ACTUATOR,
    "tendon": mujoco.mjtObj.mjOBJ_TENDON,
}
_AXES = "xyz"


def described(model: mujoco.MjModel, field: str, shape: tuple[int, ...]) -> np.ndarray:
    """The `Quantity` of every number in an array of `mjData`, an object array of the array's `shape`."""
    found = np.empty(shape, object)
    for index in np.ndindex(*shape):
        found[index] = Quantity(f"{field}[{', '.join(map(str, index))}]", None)
    if field == "qpos":
        _joints(model, found, model.jnt_qposadr, field, _position_units)
    elif field == "qvel":
        _joints(model, found, model.jnt_dofadr, field, lambda kind: _per_second(_dof_units(kind)))
    elif field == "qacc":
        _joints(model, found, model.jnt_dofadr, field, lambda kind: _per_second(_per_second(_dof_units(kind))))
    elif field.startswith("qfrc_"):
        _joints(model, found, model.jnt_dofadr, field, _force_units)
    elif field in _PLACES or field in _TWISTS:
        for i in range(shape[0]):
            units = _TWISTS.get(field) or [_PLACES[field]] * shape[1]
            _row(model, found[i], "body", i, field, units)
    elif field in _SITES:
        kind, unit = _SITES[field]
        for i in range(shape[0]):
            _row(model, found[i], kind, i, field.rpartition("_")[2], [unit] * shape[1])
    elif field == "sensordata":
        _sensors(model, found)
    elif field in ("ten_length", "ten_velocity"):
        for i in range(shape[0]):
            found[i] = Quantity(f"{_part(model, 'tendon', i)}.{field[4:]}", None)
    elif field in ("ctrl", "actuator_force", "actuator_length", "actuator_velocity"):
        for i in range(shape[0]):
            found[i] = _of_actuator(model, i, field)
    return found


def actuators(model: mujoco.MjModel) -> list[Quantity]:
    """Name and unit of each control: what a control of 1 commands."""
    return [_of_actuator(model, i, "ctrl") for i in range(model.nu)]


def _part(model: Any, kind: str, i: int) -> str:
    return f"{kind}:{mujoco.mj_id2name(model, _KINDS[kind], i) or f'#{i}'}"


def _row(model: Any, row: np.ndarray, kind: str, i: int, attribute: str, units: list[Exponents]) -> None:
    name = f"{_part(model, kind, i)}.{attribute}"
    for k, unit in enumerate(units):
        place = f".{_AXES[k]}" if len(units) == 3 else f"[{k}]"
        row[k] = Quantity(name + place, unit)


def _joints(model: Any, found: np.ndarray, starts: Any, field: str, units_of: Any) -> None:
    for i in range(model.njnt):
        units = units_of(int(model.jnt_type[i]))
        for k, unit in enumerate(units):
            place = "" if len(units) == 1 else f"[{k}]"
            found[starts[i] + k] = Quantity(f"{_part(model, 'joint', i)}.{field}{place}", unit)


_FREE, _BALL, _SLIDE = (int(getattr(mujoco.mjtJoint, f"mjJNT_{name}")) for name in ("FREE", "BALL", "SLIDE"))


def _position_units(kind: int) -> list[Exponents]:
    if kind == _FREE:
        return [METRE] * 3 + [ONE] * 4
    return [ONE] * 4 if kind == _BALL else _dof_units(kind)


def _dof_units(kind: int) -> list[Exponents]:
    if kind == _FREE:
        return [METRE] * 3 + [RADIAN] * 3
    return [RADIAN] * 3 if kind == _BALL else [METRE] if kind == _SLIDE else [RADIAN]


def _force_units(kind: int) -> list[Exponents]:
    return [FORCE if unit == METRE else TORQUE for unit in _dof_units(kind)]


def _per_second(units: list[Exponents]) -> list[Exponents]:
    return [unit | {"s": unit.get("s", 0) - 1} for unit in units]


def _sensors(model: Any, found: np.ndarray) -> None:
    names = {int(value): name.removeprefix("mjSENS_") for name, value in mujoco.mjtSensor.__members__.items()}
    for i in range(model.nsensor):
        start, size = int(model.sensor_adr[i]), int(model.sensor_dim[i])
        kind = names.get(int(model.sensor_type[i]), "")
        unit = _SENSORS.get(kind)
        if kind in ("JOINTPOS", "JOINTVEL"):
            (unit,) = _dof_units(int(model.jnt_type[model.sensor_objid[i]]))
            unit = unit if kind == "JOINTPOS" else _per_second([unit])[0]
        for k in range(size):
            place = "" if size == 1 else f".{_AXES[k]}" if size == 3 else f"[{k}]"
            found[start + k] = Quantity(_part(model, "sensor", i) + place, unit)


def _of_actuator(model: Any, i: int, field: str) -> Quantity:
    name = _part(model, "actuator", i)
    if "#" in name and int(model.actuator_trntype[i]) == int(mujoco.mjtTrn.mjTRN_JOINT):
        name += f" at {_part(model, 'joint', int(model.actuator_trnid[i, 0]))}"
    if field == "ctrl":
        return Quantity(name, _control_unit(model, i))
    return Quantity(f"{name}.{field.removeprefix('actuator_')}", None)


def _control_unit(model: Any, i: int) -> str | None:
    """What a control of 1 commands, of the motors and servos at a joint; None of other actuators."""
    at_joint = int(model.actuator_trntype[i]) == int(mujoco.mjtTrn.mjTRN_JOINT)
    plain = int(model.actuator_gaintype[i]) == int(mujoco.mjtGain.mjGAIN_FIXED) and not model.actuator_dyntype[i]
    if not at_joint or not plain:
        return None
    kind = int(model.jnt_type[model.actuator_trnid[i, 0]])
    gear, gain, bias = float(model.actuator_gear[i, 0]), float(model.actuator_gainprm[i, 0]), model.actuator_biasprm[i]
    if kind in (_FREE, _BALL) or not gear or not gain:
        return None
    position, force = ("m", "N") if kind == _SLIDE else ("rad", "N m")
    affine = int(model.actuator_biastype[i]) == int(mujoco.mjtBias.mjBIAS_AFFINE)
    if not affine:
        return _scaled(gain * gear, force)
    if bias[0] == 0 and bias[1] == -gain:
        return _scaled(1 / gear, position)
    if bias[0] == 0 and bias[1] == 0 and bias[2] == -gain:
        return _scaled(1 / gear, f"{position}/s")
    return None


def _scaled(factor: float, unit: str) -> str:
    return unit if factor == 1 else f"{factor:g} {unit}"
