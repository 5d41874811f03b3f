from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.policies.self_imitation import (
    clipped_advantage,
    self_imitation_policy_loss,
    self_imitation_value_loss,
)

# The value is below, above and equal to the return, and below again.
RETURNS = jnp.array([5.0, 1.0, 2.0, 0.0])
VALUE = jnp.array([3.0, 4.0, 2.0, -1.0])
LOG_PROB = jnp.array([-0.5, -2.0, -1.0, 3.0])
WEIGHT = jnp.array([1.0, 0.5, 0.25, 0.5])


def test_values_on_numbers_by_hand():
    np.testing.assert_array_equal(clipped_advantage(RETURNS, VALUE), [2.0, 0.0, 0.0, 1.0])
    # (1 * 0.5 * 2 + 0.5 * -3 * 1) / 4 and (1 * 4 / 2 + 0.5 * 1 / 2) / 4
    np.testing.assert_allclose(self_imitation_policy_loss(LOG_PROB, RETURNS, VALUE, WEIGHT), -0.125)
    np.testing.assert_allclose(self_imitation_value_loss(RETURNS, VALUE, WEIGHT), 0.5625)


def test_the_policy_learns_only_from_returns_above_the_value():
    by_log_prob, by_value = jax.grad(self_imitation_policy_loss, (0, 2))(LOG_PROB, RETURNS, VALUE, WEIGHT)
    np.testing.assert_allclose(by_log_prob, [-0.5, 0.0, 0.0, -0.125])
    np.testing.assert_array_equal(by_value, 0.0)


def test_the_value_is_only_pulled_upward():
    gradient = jax.grad(self_imitation_value_loss, 1)(RETURNS, VALUE, WEIGHT)
    np.testing.assert_allclose(gradient, [-0.5, 0.0, 0.0, -0.125])
    # Down the gradient it meets the return and never passes it.
    value = VALUE
    for _ in range(200):
        value = value - jax.grad(self_imitation_value_loss, 1)(RETURNS, value, jnp.ones(4))
    np.testing.assert_allclose(value, jnp.maximum(RETURNS, VALUE), atol=1e-4)


def test_draws_without_weight_teach_nothing():
    none = jnp.zeros(4)
    assert self_imitation_policy_loss(LOG_PROB, RETURNS, VALUE, none) == 0
    assert self_imitation_value_loss(RETURNS, VALUE, none) == 0


def test_shapes_are_checked():
    with pytest.raises(AssertionError):
        self_imitation_value_loss(RETURNS, VALUE[:, None], WEIGHT)
    with pytest.raises(AssertionError):
        self_imitation_policy_loss(LOG_PROB[:1], RETURNS, VALUE, WEIGHT)
