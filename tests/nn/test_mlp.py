from __future__ import annotations

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.errors import GailfeError
from gailfe_jax.nn.mlp import ACTIVATIONS, MLP, GatedForward
from tests.tiny import noise_demos, tiny

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_hand_computed_output(activation):
    net = MLP((2,), 1, activation)
    params = {
        "Dense_0": {"kernel": jnp.array([[1.0, -1.0]]), "bias": jnp.array([0.5, 0.0])},
        "Dense_1": {"kernel": jnp.array([[2.0], [3.0]]), "bias": jnp.array([0.25])},
    }
    hidden = {"tanh": (np.tanh(1.5), np.tanh(-1.0)), "relu": (1.5, 0.0)}[activation]
    found = net.apply({"params": params}, jnp.array([[1.0]]))
    np.testing.assert_allclose(found, [[2 * hidden[0] + 3 * hidden[1] + 0.25]], rtol=1e-5)


def test_weights_start_orthogonal_and_biases_at_zero():
    params = MLP((6,), 3, out_scale=0.01).init(jax.random.key(0), jnp.zeros((1, 6)))["params"]
    first, last = params["Dense_0"]["kernel"], params["Dense_1"]["kernel"]
    np.testing.assert_allclose(first.T @ first, 2.0 * np.eye(6), atol=1e-5)
    np.testing.assert_allclose(last.T @ last, 1e-4 * np.eye(3), atol=1e-8)
    assert not params["Dense_0"]["bias"].any() and not params["Dense_1"]["bias"].any()


def factorisations(jaxpr):
    """How many matrices each QR factorisation of a program takes at once."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "qr":
            yield math.prod(eqn.invars[0].aval.shape[:-2])
        for inner in jax.core.jaxprs_in_params(eqn.params):
            yield from factorisations(inner)


@pytest.mark.parametrize(("name", "policy"), [("mail", None), ("gail", "sac"), ("gail", "td3")])
def test_seeds_and_ensembles_start_one_matrix_after_the_other(name, policy, drift_env):
    """A batch of them seldom, but for ever, hangs in JAX before 0.11.2."""
    method, demos = tiny(name, policy).on(drift_env), noise_demos(drift_env)
    start = jax.vmap(lambda seed: method.init(jax.random.key(seed), demos))
    found = list(factorisations(jax.make_jaxpr(start)(jnp.arange(4)).jaxpr))
    assert len(found) > 3 and set(found) == {1}


def test_many_networks_start_as_each_alone():
    net, keys = MLP((6, 5), 3), jax.random.split(jax.random.key(0), 3)
    start = lambda key: net.init(key, jnp.zeros((1, 4)))  # noqa: E731
    together = jax.jit(jax.vmap(start))(keys)
    for i, key in enumerate(keys):
        chex.assert_trees_all_equal(jax.tree.map(lambda x, i=i: x[i], together), jax.jit(start)(key))


def test_an_unknown_activation_is_refused():
    with pytest.raises(GailfeError, match=r"^activation: 'gelu'; expected one of tanh, relu"):
        MLP((2,), 1, "gelu").init(jax.random.key(0), jnp.zeros((1, 1)))


def test_the_gate_chooses_between_the_state_and_the_candidate():
    net = GatedForward(1, (1,), 1)
    x = jnp.array([2.0, 0.5])  # the observation and the action
    params = net.init(jax.random.key(0), x)["params"]

    def output(gate_bias):
        values = {
            "state": {"kernel": jnp.array([[1.5]]), "bias": jnp.zeros(1)},
            "gate": {"kernel": jnp.zeros((2, 1)), "bias": jnp.array([gate_bias])},
            "candidate": {"kernel": jnp.array([[0.1], [0.2]]), "bias": jnp.zeros(1)},
            "head": {"Dense_0": {"kernel": jnp.ones((1, 1)), "bias": jnp.zeros(1)}},
        }
        assert jax.tree.structure(values) == jax.tree.structure(params)
        return float(net.apply({"params": values}, x)[0])

    state, candidate = 1.5 * 2.0, np.tanh(0.1 * 3.0 + 0.2 * 0.5)
    assert output(50.0) == pytest.approx(state, rel=1e-5)
    assert output(-50.0) == pytest.approx(candidate, rel=1e-5)
    assert output(0.0) == pytest.approx((state + candidate) / 2, rel=1e-5)
