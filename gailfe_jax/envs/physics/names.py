"""What a MuJoCo model calls its parts, and where they stand in the arrays of `mjData`."""

# MuJoCo's names come from a compiled module without stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import difflib
import functools
from typing import Any

import mujoco
import mujoco.batch
import numpy as np

from gailfe_jax.errors import GailfeError

_KINDS = {
    "body": mujoco.mjtObj.mjOBJ_BODY,
    "site": mujoco.mjtObj.mjOBJ_SITE,
    "geom": mujoco.mjtObj.mjOBJ_GEOM,
    "joint": mujoco.mjtObj.mjOBJ_JOINT,
    "sensor": mujoco.mjtObj.mjOBJ_SENSOR,
    "actuator": mujoco.mjtObj.mjOBJ_ACTUATOR,
    "tendon": mujoco.mjtObj.mjOBJ_TENDON,
    "camera": mujoco.mjtObj.mjOBJ_CAMERA,
}
KINDS = tuple(_KINDS)
"""The kinds of parts that have names."""
_COUNTS = {"body": "nbody", "joint": "njnt", "actuator": "nu", "camera": "ncam"}
_AXES = {"x": 0, "y": 1, "z": 2}
_ATTRIBUTES = {
    "body": {
        name: name
        for name in (
            *("xpos", "xquat", "xmat", "xipos", "ximat", "cvel", "cinert", "cacc", "cfrc_int", "cfrc_ext"),
            "subtree_com",
        )
    },
    "site": {"xpos": "site_xpos", "xmat": "site_xmat"},
    "geom": {"xpos": "geom_xpos", "xmat": "geom_xmat"},
    "joint": {
        "qpos": "qpos",
        "axis": "xaxis",
        "anchor": "xanchor",
        **{name: name for name in ("qvel", "qacc", "qfrc_actuator", "qfrc_passive", "qfrc_constraint", "qfrc_bias")},
    },
    "sensor": {},
    "actuator": {
        "ctrl": "ctrl",
        "force": "actuator_force",
        "length": "actuator_length",
        "velocity": "actuator_velocity",
        "act": "act",
    },
    "tendon": {"length": "ten_length", "velocity": "ten_velocity"},
    "camera": {"xpos": "cam_xpos", "xmat": "cam_xmat"},
}
_QPOS_SIZE = {0: 7, 1: 4, 2: 1, 3: 1}
_QVEL_SIZE = {0: 6, 1: 3, 2: 1, 3: 1}


class Names:
    """The names of one model.

    Attributes:
      ranks: the arrays of `mjData` that tasks may read, each with the number of its axes.
      shapes: their shapes.
    """

    def __init__(self, model: mujoco.MjModel):
        self._model = model
        data = mujoco.MjData(model)
        self.shapes = {name: np.shape(getattr(data, name)) for name in sorted(mujoco.batch.DATA_FIELDS)}
        self.ranks = {name: len(shape) for name, shape in self.shapes.items() if len(shape)}

    @functools.cached_property
    def parts(self) -> dict[str, list[str]]:
        """The names of the model's parts by kind, in their order."""
        found: dict[str, list[str]] = {}
        for kind, kind_id in _KINDS.items():
            count = getattr(self._model, _COUNTS.get(kind, f"n{kind}"))
            names = (mujoco.mj_id2name(self._model, kind_id, i) for i in range(count))
            found[kind] = [name for name in names if name]
        return found

    def find(self, kind: str, name: str, attribute: str | None, where: str) -> tuple[str, tuple[Any, ...], int]:
        """`(field of mjData, index behind the batch, axes of what is left)` of `kind:name.attribute`.

        Raises:
          GailfeError: the model has no such part, or the part no such attribute.
        """
        i = mujoco.mj_name2id(self._model, _KINDS[kind], name)
        if i < 0:
            known = self.parts[kind]
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known) or '(none)'}"
            raise GailfeError(f"{where}: the model has no {kind} {name!r}; {hint}")
        attributes = _ATTRIBUTES[kind]
        if kind == "sensor" and attribute is None:
            start = self._model.sensor_adr[i]
            return "sensordata", (slice(start, start + self._model.sensor_dim[i]),), 1
        if kind == "actuator" and attribute is None:
            attribute = "ctrl"
        if attribute in _AXES and "xpos" in attributes:
            return attributes["xpos"], (i, _AXES[attribute]), 0
        if attribute not in attributes:
            known = [*attributes, *(_AXES if "xpos" in attributes else ())]
            near = difflib.get_close_matches(attribute or "", known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known) or 'none'}"
            raise GailfeError(f"{where}: {kind}:{name} has no {attribute or 'value'!r}; {hint}")
        field = attributes[attribute]
        if kind == "joint" and field not in ("xaxis", "xanchor"):
            sizes, starts = (_QPOS_SIZE, "jnt_qposadr") if field == "qpos" else (_QVEL_SIZE, "jnt_dofadr")
            start = getattr(self._model, starts)[i]
            return field, (slice(start, start + sizes[int(self._model.jnt_type[i])]),), 1
        if field == "act":
            start, size = self._model.actuator_actadr[i], self._model.actuator_actnum[i]
            if size < 1:
                raise GailfeError(f"{where}: {kind}:{name} has no activation; expected one with a dynamics of its own")
            return field, (slice(start, start + size),), 1
        whole = (slice(None),) * (self.ranks[field] - 1)
        return field, (i, *whole), self.ranks[field] - 1
