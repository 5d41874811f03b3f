"""Poses and meshes in few bytes: quantised to 16 bits, compressed, and as text."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

_LEVELS = 65535
_HALF = 32767


def packed(values: np.ndarray) -> str:
    """Whole numbers `[n, k]` from 0 to 65535 as text.

    Each column's differences from row to row, modulo 65536, column after column: first all their low bytes and then all
    the high ones, compressed as zlib does, in base 64.
    """
    values = values.astype(np.uint16)
    change = np.diff(values, axis=0, prepend=np.zeros((1, values.shape[1]), np.uint16)).T.ravel()
    planes = np.stack([change & 255, change >> 8]).astype(np.uint8)
    return base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode()


def scaled(values: np.ndarray) -> tuple[np.ndarray, dict[str, list[float]]]:
    """Numbers `[..., k]` as whole ones from 0 to 65535, and for each column what 0 stands for and a step's size."""
    flat = values.reshape(-1, values.shape[-1])
    low, high = flat.min(axis=0), flat.max(axis=0)
    step = np.where(high > low, (high - low) / _LEVELS, 1.0)
    return np.rint((values - low) / step).astype(np.uint16), {"low": low.tolist(), "step": step.tolist()}


def pack_poses(pos: np.ndarray, quat: np.ndarray, every: int) -> dict[str, Any]:
    """Poses of `b` bodies at `T + 1` states, of every so manieth state and the last one.

    Args:
      pos: `[T + 1, b, 3]` in metres.
      quat: `[T + 1, b, 4]`, `w` first.
      every: keep one in so many.

    Returns:
      In the types of JSON: the states that are kept (`at`), and positions and quaternions for the page's script.
    """
    at = np.unique(np.append(np.arange(0, len(pos), every), len(pos) - 1))
    rows, bodies = len(at), pos.shape[1]
    place, scale = scaled(pos[at])
    turn = (np.rint(quat[at] * _HALF).astype(np.int64) + _HALF).astype(np.uint16)
    numbers = np.concatenate([place.reshape(rows, -1), turn.reshape(rows, -1)], axis=1)
    return {"every": every, "rows": rows, "bodies": bodies, "scale": scale, "numbers": packed(numbers)}


def thinning(lengths: Sequence[int], bodies: int, most: int) -> int:
    """How many states one is kept of, so that poses of all episodes have at most about `most` numbers."""
    return max(1, math.ceil(7 * bodies * sum(length + 1 for length in lengths) / most))


def pack_mesh(vertices: np.ndarray, faces: np.ndarray) -> dict[str, Any]:
    """Vertices `[n, 3]`, or `[n, 6]` with colours from 0 to 1 behind them, and faces `[m, 3]` for the page's script; of
    less than 65536 vertices."""
    place, scale = scaled(vertices[:, :3])
    found = {"vertices": len(vertices), "faces": len(faces), "scale": scale}
    if vertices.shape[1] > 3:
        # As many levels as a texture has: fewer bytes differ.
        found["colours"] = packed(np.rint(np.clip(vertices[:, 3:], 0, 1) * 255))
    return found | {"places": packed(place), "corners": packed(faces)}


def simplified(vertices: np.ndarray, faces: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """A mesh of at most `most` faces: its vertices in one cell of a grid become one, and what then has no area goes.

    What stands behind the three coordinates of a vertex goes along.

    The finest such grid of a few is taken; a mesh that is small enough stays as it is, but for vertices of one place.
    """
    span = max(float(np.ptp(vertices[:, :3], axis=0).max()), 1e-12)
    cells = 2**14
    while True:
        found = _clustered(vertices, faces, span / cells)
        if (len(found[1]) <= most and len(found[0]) < _LEVELS) or cells <= 2:
            return found
        # A surface in a grid has about as many faces as cells squared.
        cells = max(2, int(cells * min(0.8, math.sqrt(most / max(len(found[1]), 1)))))


def _clustered(vertices: np.ndarray, faces: np.ndarray, cell: float) -> tuple[np.ndarray, np.ndarray]:
    _, member, count = np.unique(
        np.floor((vertices - vertices.min(axis=0))[:, :3] / cell).astype(np.int64), axis=0, return_inverse=True,
        return_counts=True,
    )  # fmt: skip
    member = member.reshape(-1)
    centres = np.zeros((len(count), vertices.shape[1]))
    np.add.at(centres, member, vertices)
    corners = member[faces]
    whole = (corners[:, 0] != corners[:, 1]) & (corners[:, 1] != corners[:, 2]) & (corners[:, 2] != corners[:, 0])
    # Vertices that no face is left of go, too.
    used, corners = np.unique(corners[whole], return_inverse=True)
    return (centres / count[:, None])[used], corners.reshape(-1, 3)
