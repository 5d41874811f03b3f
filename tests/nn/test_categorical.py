"""The distribution over choices against enumeration, which is exact for it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from gailfe_jax.nn.categorical import Categorical, CategoricalPolicy

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

KEY = jax.random.key(0)
# Weights 0.5, 0.3 and 0.2.
DIST = Categorical(jnp.log(jnp.array([0.5, 0.3, 0.2])) + 7.0)
ROWS = jnp.eye(3)
COUNT = 20_000


def many(dist):
    """The same distribution at `COUNT` observations."""
    return Categorical(jnp.broadcast_to(dist.logits, (COUNT, 3)))


def test_hand_computed_numbers():
    weights = np.array([0.5, 0.3, 0.2])
    np.testing.assert_allclose(DIST.weights, weights, rtol=1e-5)
    np.testing.assert_allclose(DIST.log_prob(ROWS), np.log(weights), rtol=1e-5)
    np.testing.assert_allclose(DIST.entropy(), -np.sum(weights * np.log(weights)), rtol=1e-5)
    other = Categorical(jnp.zeros(3))
    np.testing.assert_allclose(DIST.kl(other), np.sum(weights * np.log(3 * weights)), rtol=1e-4)
    np.testing.assert_allclose(DIST.kl(DIST), 0.0, atol=1e-6)
    np.testing.assert_array_equal(DIST.mode, [1, 0, 0])
    np.testing.assert_array_equal(Categorical(jnp.array([[0.0, 2.0], [3.0, 2.0]])).mode, [[0, 1], [1, 0]])


def test_samples_are_rows_that_follow_the_weights():
    noise = many(DIST).draw_noise(KEY)
    rows = np.asarray(many(DIST).from_noise(noise))
    np.testing.assert_array_equal(rows, many(DIST).sample(KEY))
    assert set(np.unique(rows)) == {0.0, 1.0}
    np.testing.assert_array_equal(rows.sum(axis=1), 1.0)
    np.testing.assert_allclose(rows.mean(axis=0), [0.5, 0.3, 0.2], atol=0.015)


def test_the_fisher_product_is_the_hessian_of_the_mean_kl():
    dist = Categorical(jax.random.normal(KEY, (2, 4)))
    flat, unravel = ravel_pytree(dist)
    hessian = jax.jit(jax.hessian(lambda x: jnp.mean(dist.kl(unravel(x)))))(flat)
    ours = jax.jit(jax.vmap(lambda v: ravel_pytree(dist.fisher(unravel(v)))[0]))(jnp.eye(flat.size))
    np.testing.assert_allclose(ours, hessian, atol=1e-5)


SLOPE = jnp.array([0.7, -0.4, 1.1])


def expected_score(dist, score):
    """The mean over all choices."""
    return jnp.sum(dist.weights * jax.vmap(score)(ROWS))


@pytest.mark.parametrize("bend", [0.0, 0.6])
def test_the_straight_through_estimator(bend):
    """Exact in the mean for a score that is linear in the row, biased for one that is not, but on the right side."""
    score = lambda row: row @ SLOPE + bend * jnp.square(row @ SLOPE)  # noqa: E731
    rows = many(DIST).sample(KEY)
    noise = many(DIST).infer_noise(rows)
    # What was drawn stays what was drawn, to the bit.
    np.testing.assert_array_equal(many(DIST).retrace(noise), rows)

    def through_rows(dist):
        return jnp.mean(jax.vmap(score)(many(dist).retrace(noise)))

    ours = jax.jit(jax.grad(through_rows))(DIST).logits
    exact = jax.grad(lambda dist: expected_score(dist, score))(DIST).logits
    if not bend:
        np.testing.assert_allclose(ours, exact, atol=1e-5)
    else:
        assert np.abs(ours - exact).max() > 0.01
    assert jnp.vdot(ours, exact) > 0.9 * jnp.linalg.norm(ours) * jnp.linalg.norm(exact)


def test_fresh_draws_have_the_softmaxs_derivative():
    noise = many(DIST).draw_noise(KEY)

    def through_rows(dist):
        return jnp.mean(many(dist).from_noise(noise) @ SLOPE)

    ours = jax.jit(jax.grad(through_rows))(DIST).logits
    exact = jax.grad(lambda dist: expected_score(dist, lambda row: row @ SLOPE))(DIST).logits
    assert jnp.vdot(ours, exact) > 0.95 * jnp.linalg.norm(ours) * jnp.linalg.norm(exact)


def test_a_moved_distribution_moves_what_was_drawn():
    noise = DIST.infer_noise(ROWS[1])
    moved = Categorical(jnp.log(jnp.array([0.4, 0.5, 0.1])))
    np.testing.assert_allclose(moved.retrace(noise), [-0.1, 1.2, -0.1], atol=1e-6)


def test_a_fresh_policy_takes_all_choices_about_alike():
    net = CategoricalPolicy((16,), 3)
    obs = jax.random.normal(KEY, (50, 5))
    params = net.init(jax.random.key(2), obs)
    np.testing.assert_allclose(net.apply(params, obs).weights, 1 / 3, atol=0.02)
    assert set(params["params"]) == {"logits"}
