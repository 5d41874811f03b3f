"""What is packed comes back, to the last step of the quantisation, as the page's script reads it."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest

from gailfe_jax.viewer.packing import pack_mesh, pack_poses, packed, simplified, thinning


def unpacked(text, rows, columns):
    """`[rows, columns]`, by the steps of `unpack.js`."""
    low, high = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(2, columns, rows).astype(int)
    return ((low + 256 * high).cumsum(axis=1) % 65536).T


def sphere(n=40):
    """Vertices and faces of a ball of radius 1, with vertices of one place at its seam and poles."""
    up, around = np.meshgrid(np.linspace(0, np.pi, n), np.linspace(0, 2 * np.pi, n), indexing="ij")
    vertices = np.stack([np.sin(up) * np.cos(around), np.sin(up) * np.sin(around), np.cos(up)], axis=-1).reshape(-1, 3)
    corner = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    faces = [
        np.stack([corner, corner + 1, corner + n + 1], axis=1),
        np.stack([corner, corner + n + 1, corner + n], axis=1),
    ]
    return vertices, np.concatenate(faces)


def test_whole_numbers_come_back():
    values = np.array([[0, 65535, 7], [65535, 0, 300], [1, 65534, 299]])
    np.testing.assert_array_equal(unpacked(packed(values), 3, 3), values)


@pytest.mark.parametrize("every", [1, 3, 4])
def test_poses_come_back(every):
    rng = np.random.default_rng(0)
    pos = np.cumsum(rng.normal(0, 0.01, (14, 2, 3)), axis=0) + np.array([5.0, 0.0, 1.0])
    quat = rng.normal(size=(14, 2, 4))
    quat /= np.linalg.norm(quat, axis=-1, keepdims=True)
    found = pack_poses(pos, quat, every)
    at = sorted({*range(0, 14, every), 13})
    assert (found["rows"], found["bodies"], found["every"]) == (len(at), 2, every)
    numbers = unpacked(found["numbers"], len(at), 14)
    places = np.array(found["scale"]["low"]) + np.array(found["scale"]["step"]) * numbers[:, :6].reshape(-1, 2, 3)
    turns = (numbers[:, 6:].reshape(-1, 2, 4) - 32767) / 32767
    span = np.ptp(pos[at].reshape(-1, 3), axis=0)
    assert (np.abs(places - pos[at]).reshape(-1, 3).max(axis=0) <= 0.51 * span / 65535).all()
    np.testing.assert_allclose(turns, quat[at], atol=1 / 32767)


def test_long_episodes_are_thinned():
    assert thinning([1000, 1000, 1000], 13, 300_000) == 1
    assert thinning([9999], 10, 350_000) == 2
    assert thinning([5], 0, 1) == 1


def test_a_small_mesh_stays_and_a_large_one_keeps_its_shape():
    cube = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    faces = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]])
    vertices, kept = simplified(cube, faces, 12)
    np.testing.assert_allclose(vertices[kept], cube[faces])
    vertices, faces = sphere()
    fewer, kept = simplified(vertices, faces, 600)
    assert 150 < len(kept) <= 600 and len(fewer) < 400
    assert np.abs(np.linalg.norm(fewer, axis=1) - 1).max() < 0.05
    # Still closed: each edge has two faces.
    edges = np.sort(kept[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    assert np.unique(edges, axis=0, return_counts=True)[1].min() >= 2
    packed_mesh = pack_mesh(fewer, kept)
    np.testing.assert_array_equal(unpacked(packed_mesh["corners"], len(kept), 3), kept)


def test_colours_go_along_with_vertices():
    vertices, faces = sphere()
    coloured = np.concatenate([vertices, (vertices > 0).astype(float)], axis=1)
    fewer, kept = simplified(coloured, faces, 600)
    plain, same = simplified(vertices, faces, 600)
    np.testing.assert_array_equal(kept, same)
    np.testing.assert_array_equal(fewer[:, :3], plain)
    clear = np.abs(plain) > 0.2
    np.testing.assert_array_equal(fewer[:, 3:][clear], (plain > 0)[clear])
    made = pack_mesh(fewer, kept)
    np.testing.assert_allclose(unpacked(made["colours"], len(fewer), 3) / 255, fewer[:, 3:], atol=1 / 255)
    assert "colours" not in pack_mesh(plain, same)


def test_a_mesh_of_one_place_does_no_harm():
    vertices, faces = simplified(np.zeros((4, 3)), np.array([[0, 1, 2], [1, 2, 3]]), 10)
    assert faces.shape == (0, 3)
    assert pack_mesh(np.zeros((1, 3)), faces)["faces"] == 0 and len(vertices) == 0
