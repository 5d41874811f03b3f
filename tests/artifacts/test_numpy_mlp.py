from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.artifacts.numpy_mlp import ACTIVATIONS, forward, layer_tensors, mlp_weights, normalise, pop_layers
from gailfe_jax.errors import GailfeError
from gailfe_jax.nn import mlp, normaliser

LAYERS = [
    (np.array([[1.0, -1.0], [-0.05, 0.0]]), np.array([0.0, 0.5])),
    (np.array([[0.5], [7.0]]), np.array([0.1])),
]


def test_hand_computed_forward_pass():
    # relu(1 * 1 + 10 * -0.05, -1 * 1 + 0.5) = (0.5, 0); the last layer has no activation.
    for x in (np.array([1.0, 10.0]), np.array([[[1.0, 10.0]]])):
        np.testing.assert_allclose(forward(LAYERS, x, ACTIVATIONS["relu"]), np.full((*x.shape[:-1], 1), 0.35))
    np.testing.assert_allclose(forward(LAYERS[1:], np.array([-2.0, 0.0]), ACTIVATIONS["relu"]), [-0.9])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_it_is_the_flax_network(activation):
    net = mlp.MLP((8, 5), 2, activation)
    x = jax.random.normal(jax.random.key(0), (7, 3))
    params = net.init(jax.random.key(1), x)["params"]
    layers = mlp_weights(params)
    np.testing.assert_allclose(
        forward(layers, np.asarray(x), ACTIVATIONS[activation]), net.apply({"params": params}, x), rtol=1e-4, atol=1e-5
    )
    in_jax = forward(layers, x, mlp.ACTIVATIONS[activation])
    assert isinstance(in_jax, jax.Array)
    np.testing.assert_allclose(in_jax, net.apply({"params": params}, x), rtol=1e-4, atol=1e-5)


@pytest.mark.exact
def test_inputs_are_clipped_to_the_bit_as_in_training():
    x, mean, std = np.float32([[-1e9, 3.0, 1e9]]), np.float32([0.5, 1.0, -2.0]), np.float32([3.0, 0.7, 0.1])
    found = normalise(x, mean, std)
    assert found.tolist() == normaliser.normalise(jnp.array(x), jnp.array(mean), jnp.array(std)).tolist()
    assert found[0, [0, 2]].tolist() == [-10.0, 10.0]


def test_mlp_weights_are_in_layer_order():
    params = {f"Dense_{i}": {"kernel": np.full((1, 1), i), "bias": np.full(1, -i)} for i in (10, *range(10))}
    assert [int(kernel[0, 0]) for kernel, _ in mlp_weights(params)] == list(range(11))
    with pytest.raises(GailfeError, match="Dense_0"):
        mlp_weights({"LayerNorm_0": {}})


def test_layers_come_out_of_tensors_as_they_went_in():
    tensors = layer_tensors(LAYERS) | {"mean": np.zeros(2)}
    assert all(a is b for x, y in zip(LAYERS, pop_layers(tensors), strict=True) for a, b in zip(x, y, strict=True))
    assert list(tensors) == ["mean"]
    with pytest.raises(GailfeError, match="bias_0: missing"):
        pop_layers({"kernel_0": np.zeros((1, 1))})
