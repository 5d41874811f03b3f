"""What of a MuJoCo model is seen, and where its bodies are: shapes and poses for a viewer of another kind."""

# MuJoCo's names come from a compiled module without stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import dataclasses
from typing import Any

import mujoco
import numpy as np

from gailfe_jax.envs.physics.model import load_model
from gailfe_jax.types import Task

_GROUPS = 3
"""Groups of geoms and sites that MuJoCo's own viewer shows at first."""
_SHAPES = {
    mujoco.mjtGeom.mjGEOM_PLANE: "plane",
    mujoco.mjtGeom.mjGEOM_HFIELD: "surface",
    mujoco.mjtGeom.mjGEOM_SPHERE: "sphere",
    mujoco.mjtGeom.mjGEOM_CAPSULE: "capsule",
    mujoco.mjtGeom.mjGEOM_ELLIPSOID: "ellipsoid",
    mujoco.mjtGeom.mjGEOM_CYLINDER: "cylinder",
    mujoco.mjtGeom.mjGEOM_BOX: "box",
    mujoco.mjtGeom.mjGEOM_MESH: "mesh",
    mujoco.mjtGeom.mjGEOM_SDF: "mesh",
}
_UNDRAWN = {"nskin": "skins", "nflex": "flexible parts"}
_Surfaces = dict[tuple[str, int, int], tuple[np.ndarray, np.ndarray]]
"""By kind, number, and number of the texture that colours it or -1."""
_PULLEY = -2
"""Where MuJoCo says that a tendon's path is broken."""
_MOST_GRID = 128
"""Points of a height field, each way."""


@dataclasses.dataclass(frozen=True, eq=False)
class Shape:
    """Something that is seen.

    Attributes:
      kind: `plane`, `sphere`, `capsule`, `ellipsoid`, `cylinder`, `box` or `mesh`.
      body: number of the body that it is fixed to.
      size: `[3]` MuJoCo's half sizes, in metres; of an infinite plane 0.
      pos, quat: `[3]`, `[4]` its frame in the body's, `w` first.
      rgba: `[4]` from 0 to 1.
      surface: of a mesh, `(vertices [n, 3], faces [m, 3])` in its frame; shapes of one mesh share it. Of one with a
        texture `[n, 6]`: behind each vertex the texture's colour there, from 0 to 1, which multiplies `rgba`.
    """

    kind: str
    body: int
    size: tuple[float, ...]
    pos: tuple[float, ...]
    quat: tuple[float, ...]
    rgba: tuple[float, ...]
    surface: tuple[np.ndarray, np.ndarray] | None = None


@dataclasses.dataclass(frozen=True)
class Tendon:
    """A tendon that leads through space.

    Attributes:
      number: of the tendon in the model.
      segments: straight pieces that it has at most, see `tendon_ends`.
      width: its radius, in metres.
      rgba: `[4]` from 0 to 1.
    """

    number: int
    segments: int
    width: float
    rgba: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class View:
    """From where a model is seen.

    Attributes:
      body: number of the body that the camera goes along with; None where it stands.
      target: `[3]` what it looks at, beside the body's origin; in the world where it stands.
      direction: `[3]` from the target to the camera, of length 1.
      distance: between them, in metres.
      fovy: the angle of the picture's height, in degrees.
    """

    body: int | None
    target: tuple[float, ...]
    direction: tuple[float, ...]
    distance: float
    fovy: float


@dataclasses.dataclass(frozen=True, eq=False)
class SceneModel:
    """A model to be drawn.

    Attributes:
      shapes: what is seen, but for tendons.
      tendons: those that are seen.
      moving: numbers of the bodies that move and are seen, or that the camera follows.
      rest: `(pos [nbody, 3], quat [nbody, 4])` of all bodies in the initial state.
      extent: how large it is, in metres.
      view: from where.
      undrawn: what the model has that these shapes leave out, in words.
    """

    shapes: tuple[Shape, ...]
    tendons: tuple[Tendon, ...]
    moving: tuple[int, ...]
    rest: tuple[np.ndarray, np.ndarray]
    extent: float
    view: View
    undrawn: tuple[str, ...]


def scene_of(task: Task, camera: str = "track") -> SceneModel:
    """The shapes of a task's model.

    Args:
      task: which task.
      camera: name of the camera that is taken, where the model has it; see `gailfe_jax.envs.physics.picture`.

    Raises:
      GailfeError: the model does not load.
    """
    model = load_model(task)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    surfaces: _Surfaces = {}
    shapes = [*_geoms(model, surfaces), *_sites(model)]
    view = _view(model, data, camera)
    seen = {shape.body for shape in shapes} | ({view.body} if view.body is not None else set())
    moving = tuple(sorted(body for body in seen if model.body_weldid[body] != 0))
    undrawn = tuple(words for count, words in _UNDRAWN.items() if getattr(model, count))
    rest = data.xpos.copy(), data.xquat.copy()
    return SceneModel(tuple(shapes), _tendons(model), moving, rest, float(model.stat.extent), view, undrawn)


def body_poses(task: Task, qpos: np.ndarray, bodies: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Where bodies are at `qpos [T, nq]`: `(pos [T, b, 3], quat [T, b, 4])`, float64, `w` first.

    Quaternions go on without a change of sign from step to step.
    """
    model = load_model(task)
    data = mujoco.MjData(model)
    chosen = np.array(bodies, int)
    pos, quat = np.zeros((len(qpos), len(chosen), 3)), np.zeros((len(qpos), len(chosen), 4))
    for t, row in enumerate(qpos):
        data.qpos[:] = row
        mujoco.mj_kinematics(model, data)
        pos[t], quat[t] = data.xpos[chosen], data.xquat[chosen]
    turned = np.sum(quat[1:] * quat[:-1], axis=-1) < 0
    signs = np.where(np.cumsum(turned, axis=0) % 2, -1.0, 1.0)
    quat[1:] *= signs[..., None]
    return pos, quat


def tendon_ends(task: Task, qpos: np.ndarray, tendons: tuple[Tendon, ...]) -> np.ndarray:
    """`[T, 2 n, 3]` where the `n` segments of tendons begin and end at `qpos [T, nq]`, one tendon after the other.

    A tendon that wraps around less, at the moment, has segments of no length at the end.
    """
    model = load_model(task)
    data = mujoco.MjData(model)
    ends = np.zeros((len(qpos), 2 * sum(tendon.segments for tendon in tendons), 3))
    for t, row in enumerate(qpos if tendons else ()):
        data.qpos[:] = row
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_tendon(model, data)
        points, marks = np.reshape(data.wrap_xpos, (-1, 3)), np.ravel(data.wrap_obj)
        place = 0
        for tendon in tendons:
            first, count = int(data.ten_wrapadr[tendon.number]), int(data.ten_wrapnum[tendon.number])
            found = [
                points[i + end]
                for i in range(first, first + count - 1)
                if marks[i] != _PULLEY and marks[i + 1] != _PULLEY
                for end in (0, 1)
            ]
            last = place + 2 * tendon.segments
            ends[t, place : place + len(found)] = found
            ends[t, place + len(found) : last] = points[first + count - 1]
            place = last
    return ends


def _geoms(model: Any, surfaces: _Surfaces) -> list[Shape]:
    shapes = []
    for i in range(model.ngeom):
        kind = _SHAPES.get(mujoco.mjtGeom(model.geom_type[i]))
        textured = _texture_of_mesh(model, i) if kind == "mesh" else -1
        rgba = _colour(model, i, kind if textured < 0 else None)
        if kind is None or model.geom_group[i] >= _GROUPS or rgba[3] <= 0:
            continue
        surface, number = None, int(model.geom_dataid[i])
        if kind in ("mesh", "surface"):
            if number < 0:
                continue
            key = kind, number, textured
            if key not in surfaces:
                surfaces[key] = _mesh(model, number, textured) if kind == "mesh" else _height_field(model, number)
            surface, kind = surfaces[key], "mesh"
        shapes.append(
            Shape(
                kind, int(model.geom_bodyid[i]), _floats(model.geom_size[i]), _floats(model.geom_pos[i]),
                _floats(model.geom_quat[i]), rgba, surface,
            )
        )  # fmt: skip
    return shapes


def _sites(model: Any) -> list[Shape]:
    shapes = []
    for i in range(model.nsite):
        rgba = _material(model, int(model.site_matid[i]), model.site_rgba[i])
        if model.site_group[i] < _GROUPS and rgba[3] > 0:
            kind, body = _SHAPES[mujoco.mjtGeom(model.site_type[i])], int(model.site_bodyid[i])
            frame = _floats(model.site_pos[i]), _floats(model.site_quat[i])
            shapes.append(Shape(kind, body, _floats(model.site_size[i]), *frame, rgba))
    return shapes


def _colour(model: Any, geom: int, kind: str | None) -> tuple[float, ...]:
    material = int(model.geom_matid[geom])
    rgba = _material(model, material, model.geom_rgba[geom])
    # A ground's pattern is the viewer's own, and a mesh may have its texture's colours.
    if material < 0 or kind in ("plane", None):
        return rgba
    mean = _texture_mean(model, material)
    return rgba if mean is None else (*(a * b for a, b in zip(rgba[:3], mean)), rgba[3])


def _material(model: Any, material: int, own: np.ndarray) -> tuple[float, ...]:
    # MuJoCo lets a colour of the geom's own win over its material's.
    default = np.array([0.5, 0.5, 0.5, 1.0], np.float32)
    return _floats(model.mat_rgba[material] if material >= 0 and np.array_equal(own, default) else own)


def _texture(model: Any, material: int) -> int:
    """The number of the texture that colours a material; -1 without one."""
    texture = int(np.ravel(model.mat_texid[material])[mujoco.mjtTextureRole.mjTEXROLE_RGB]) if material >= 0 else -1
    return texture if texture >= 0 and int(model.tex_nchannel[texture]) >= 3 else -1


def _pixels(model: Any, texture: int) -> np.ndarray:
    """`[height, width, 3]` from 0 to 1."""
    shape = tuple(int(size[texture]) for size in (model.tex_height, model.tex_width, model.tex_nchannel))
    start = int(model.tex_adr[texture])
    return np.asarray(model.tex_data[start : start + int(np.prod(shape))]).reshape(shape)[..., :3] / 255


def _texture_mean(model: Any, material: int) -> tuple[float, ...] | None:
    """The mean colour of a material's texture, which is what is drawn of it but on meshes; None where it has none."""
    texture = _texture(model, material)
    return None if texture < 0 else _floats(_pixels(model, texture).mean(axis=(0, 1)))


def _texture_of_mesh(model: Any, geom: int) -> int:
    """The flat texture that a mesh says where to lay on it; -1 where there is none."""
    texture, number = _texture(model, int(model.geom_matid[geom])), int(model.geom_dataid[geom])
    flat = texture >= 0 and model.tex_type[texture] == mujoco.mjtTexture.mjTEXTURE_2D
    return texture if flat and number >= 0 and int(model.mesh_texcoordnum[number]) else -1


def _mesh(model: Any, number: int, texture: int) -> tuple[np.ndarray, np.ndarray]:
    vertex, face = int(model.mesh_vertadr[number]), int(model.mesh_faceadr[number])
    vertices = model.mesh_vert[vertex : vertex + int(model.mesh_vertnum[number])].astype(np.float64)
    held = slice(face, face + int(model.mesh_facenum[number]))
    faces = model.mesh_face[held].astype(np.int64)
    if texture < 0:
        return vertices, faces
    # Where a vertex lies at several places of the texture, their mean.
    pixels, first = _pixels(model, texture), int(model.mesh_texcoordadr[number])
    u, v = model.mesh_texcoord[first + model.mesh_facetexcoord[held].reshape(-1)].T
    # At its last edge it is not the first pixel of the next repetition.
    rows, columns = (np.ceil(x * n - 1).astype(np.int64) % n for x, n in ((v, pixels.shape[0]), (u, pixels.shape[1])))
    rows, columns = np.where(v == 0, 0, rows), np.where(u == 0, 0, columns)
    colours, count = np.zeros_like(vertices), np.zeros((len(vertices), 1))
    np.add.at(colours, faces.reshape(-1), pixels[rows, columns])
    np.add.at(count, faces.reshape(-1), 1)
    return np.concatenate([vertices, colours / np.maximum(count, 1)], axis=1), faces


def _height_field(model: Any, number: int) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = int(model.hfield_nrow[number]), int(model.hfield_ncol[number])
    start = int(model.hfield_adr[number])
    heights = np.asarray(model.hfield_data[start : start + rows * columns]).reshape(rows, columns)
    heights = heights[_spread(rows)][:, _spread(columns)]
    wide, deep, high, _ = model.hfield_size[number]
    x, y = np.meshgrid(np.linspace(-wide, wide, heights.shape[1]), np.linspace(-deep, deep, heights.shape[0]))
    return np.stack([x, y, heights * high], axis=-1).reshape(-1, 3), _grid_faces(*heights.shape)


def _spread(count: int) -> np.ndarray:
    return np.linspace(0, count - 1, min(count, _MOST_GRID)).round().astype(int)


def _grid_faces(rows: int, columns: int) -> np.ndarray:
    """Two triangles of each cell, seen from above."""
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    right, up = corner + 1, corner + columns
    return np.concatenate([np.stack([corner, right, up + 1], axis=1), np.stack([corner, up + 1, up], axis=1)])


def _tendons(model: Any) -> tuple[Tendon, ...]:
    found = []
    for i in range(model.ntendon):
        first = int(model.tendon_adr[i])
        path = model.wrap_type[first : first + int(model.tendon_num[i])]
        rgba = _material(model, int(model.tendon_matid[i]), model.tendon_rgba[i])
        # A joint's tendon is nothing to see.
        if path[0] == mujoco.mjtWrap.mjWRAP_JOINT or model.tendon_group[i] >= _GROUPS or rgba[3] <= 0:
            continue
        # It touches what it wraps around at two points, at most.
        round_geoms = np.isin(path, [int(mujoco.mjtWrap.mjWRAP_SPHERE), int(mujoco.mjtWrap.mjWRAP_CYLINDER)]).sum()
        found.append(Tendon(i, int(len(path) + round_geoms - 1), float(model.tendon_width[i]), rgba))
    return tuple(found)


def _view(model: Any, data: Any, name: str) -> View:
    found = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, name)
    free = np.flatnonzero(model.jnt_type == mujoco.mjtJoint.mjJNT_FREE)
    body = int(model.jnt_bodyid[free[0]]) if free.size else None
    if found < 0:
        around, up = np.radians([model.vis.global_.azimuth, model.vis.global_.elevation])
        forward = np.array([np.cos(around) * np.cos(up), np.sin(around) * np.cos(up), np.sin(up)])
        # What is followed is in the middle, else zooming in would lose it.
        target = np.asarray(model.stat.center, np.float64) if body is None else data.xpos[body]
        distance = 1.5 * float(model.stat.extent)
        fovy = float(model.vis.global_.fovy)
    else:
        # A camera that stands in the world follows nothing.
        follows = model.cam_mode[found] != mujoco.mjtCamLight.mjCAMLIGHT_FIXED or model.cam_bodyid[found] != 0
        body = int(model.cam_bodyid[found]) if follows else None
        place, forward = data.cam_xpos[found], -data.cam_xmat[found].reshape(3, 3)[:, 2]
        looked = model.stat.center if body is None else data.xpos[body]
        distance = max(float((looked - place) @ forward), 0.25 * float(model.stat.extent))
        target, fovy = place + distance * forward, float(model.cam_fovy[found])
    if body is not None:
        target = target - data.xpos[body]
    return View(body, _floats(target), _floats(-forward), distance, fovy)


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
