"""The greatest singular value of each layer, against NumPy's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from gailfe_jax.nn.mlp import MLP
from gailfe_jax.nn.spectral import directions, limited


def test_kernels_are_scaled_to_the_limit_and_biases_and_smaller_ones_stay():
    rng = np.random.default_rng(0)
    large, small = (rng.normal(size=(6, 4)).astype(np.float32) * scale for scale in (3.0, 0.01))
    params = {"a": {"kernel": jnp.asarray(large), "bias": jnp.full(4, 9.0)}, "b": {"kernel": jnp.asarray(small)}}
    looked = directions(params, jax.random.key(0))
    assert [x.shape for x in looked] == [(4,), (4,)]
    np.testing.assert_allclose([np.linalg.norm(x) for x in looked], 1.0, rtol=1e-6)
    for _ in range(60):
        # As training does: it looks once, and from where it looked last.
        found, looked = limited(params, looked, 2.0)
    np.testing.assert_allclose(found["a"]["kernel"], large * 2 / np.linalg.svd(large)[1][0], rtol=1e-4)
    np.testing.assert_array_equal(found["a"]["bias"], 9.0)
    np.testing.assert_array_equal(found["b"]["kernel"], small)
    np.testing.assert_allclose(np.abs(looked[0] @ np.linalg.svd(large)[2][0]), 1.0, rtol=1e-4)


def test_orthogonal_kernels_are_exact_at_once():
    net = MLP((16, 8), 1)
    params = net.init(jax.random.key(1), jnp.zeros((1, 5)))
    assert np.linalg.svd(params["params"]["Dense_0"]["kernel"])[1][0] > 1.4
    found, _ = limited(params, directions(params, jax.random.key(0)), 1.0)
    for layer in found["params"].values():
        np.testing.assert_allclose(np.linalg.svd(layer["kernel"])[1], 1.0, rtol=1e-5)
