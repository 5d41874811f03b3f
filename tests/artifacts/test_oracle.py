from __future__ import annotations

import jax
import numpy as np
import pytest

from gailfe_jax.artifacts.oracle import Oracle
from gailfe_jax.artifacts.policy import Policy


@pytest.mark.parametrize(("activation", "components"), [("tanh", 1), ("relu", 1), ("tanh", 3)])
def test_on_the_device_a_policy_acts_as_its_file_does(activation, components):
    rng = np.random.default_rng(0)
    outputs = 2 if components == 1 else 3 * components
    policy = Policy(
        weights=[(rng.normal(size=(4, 8)), rng.normal(size=8)), (rng.normal(size=(8, outputs)), np.zeros(outputs))],
        activation=activation, obs_mean=rng.normal(size=4), obs_std=rng.uniform(0.5, 2, 4),
        log_std=np.zeros(2) if components == 1 else np.zeros((components, 2)), action_low=-2, action_high=[1.0, 3.0],
    )  # fmt: skip
    # Some so far out that they are clipped.
    obs = (rng.normal(size=(5, 40, 4)) * np.array([1, 50])[rng.integers(2, size=(5, 40, 1))]).astype(np.float32)
    action = np.asarray(jax.jit(Oracle.act)(Oracle.of(policy), obs))
    expected = policy.act(obs)
    np.testing.assert_allclose(action, expected, atol=1e-5)
    assert 0 < np.mean(expected == -2) < 0.5 and np.ptp(expected) == 5


def test_on_the_device_a_choice_is_a_row():
    rng = np.random.default_rng(0)
    layers = [(rng.normal(size=(4, 8)), rng.normal(size=8)), (rng.normal(size=(8, 3)), np.zeros(3))]
    policy = Policy(layers, "tanh", np.zeros(4), np.ones(4), None, 0, 1)
    obs = rng.normal(size=(5, 40, 4)).astype(np.float32)
    rows = np.asarray(jax.jit(Oracle.act)(Oracle.of(policy), obs))
    np.testing.assert_array_equal(rows, policy.act_rows(obs))
    np.testing.assert_array_equal(rows.argmax(axis=-1), policy.act(obs))
    assert len(np.unique(policy.act(obs))) == 3
