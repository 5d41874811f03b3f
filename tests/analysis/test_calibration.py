from __future__ import annotations

import numpy as np
import pytest

from gailfe_jax.analysis.calibration import platt_scaling, reliability
from gailfe_jax.artifacts.confidence import sigmoid


def test_platt_scaling_finds_the_logistic_it_was_drawn_from():
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 3, 40_000)
    positive = rng.random(40_000) < sigmoid(0.4 * logit - 0.7)
    slope, offset = platt_scaling(logit, positive)
    assert slope == pytest.approx(0.4, abs=0.02) and offset == pytest.approx(-0.7, abs=0.05)
    raw, scaled = reliability(sigmoid(logit), positive), reliability(sigmoid(slope * logit + offset), positive)
    assert scaled["calibration_error"] < 0.02 < 0.1 < raw["calibration_error"]
    assert scaled["log_loss"] < raw["log_loss"] and scaled["brier_score"] < raw["brier_score"]
    assert sum(row["count"] for row in scaled["bins"]) == 40_000


def test_separable_data_have_a_finite_scale():
    slope, offset = platt_scaling(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([False, False, True, True]))
    assert np.isfinite([slope, offset]).all() and slope > 0
