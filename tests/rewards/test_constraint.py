from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.rewards.constraint import update_dual, violation

Z_F = float(np.log(0.5))


def move(dual, log_d, active=True, eta=0.1):
    return float(
        update_dual(jnp.float32(dual), jnp.float32(log_d), jnp.float32(Z_F), jnp.float32(eta), jnp.array(active))
    )


def test_a_violated_constraint_raises_the_multiplier_by_eta_times_the_violation():
    assert move(1.0, -2.0) == pytest.approx(1.0 + 0.1 * (Z_F + 2.0))
    assert violation(jnp.float32(-2.0), Z_F) > 0


def test_slack_lowers_it_and_never_below_zero():
    assert move(1.0, -0.08) == pytest.approx(1.0 - 0.1 * (-0.08 - Z_F))
    assert move(0.01, -0.08) == 0.0
    assert violation(jnp.float32(-0.08), Z_F) < 0


def test_without_failures_it_stays():
    assert move(1.0, -2.0, active=False) == 1.0
    assert move(1.0, -0.08, active=False) == 1.0
