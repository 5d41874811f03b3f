"""Where a discriminator tells a policy from an expert, on pairs that it tells apart by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gailfe_jax.analysis import state_space as module
from gailfe_jax.analysis.state_space import state_space
from gailfe_jax.artifacts.confidence import Confidence
from gailfe_jax.errors import GailfeError

NAMES = ("position", "still", "speed")


@pytest.fixture
def judge() -> Confidence:
    """Takes what has a positive position for the policy's: its logit is ten times the position."""
    weights = np.array([[10.0], [0.0], [0.0], [0.0]])
    return Confidence([(weights, np.zeros(1))], "tanh", np.zeros(4), np.ones(4), obs_size=3)


def pairs(rng, count, place):
    obs = np.stack([rng.normal(place, 0.1, count), np.full(count, 7.0), rng.normal(0, 0.1, count)], axis=1)
    return obs.astype(np.float32), np.zeros((count, 1), np.float32)


def test_the_direction_in_which_they_differ_comes_first(judge):
    rng = np.random.default_rng(0)
    found = state_space(judge, pairs(rng, 200, -1.0), pairs(rng, 100, 1.0), NAMES, "mine")
    assert found.axes[0].parts[0][0] == "position" and found.axes[0].share > 0.9
    assert found.axes[0].parts[0][1] == pytest.approx(1.0, abs=0.05)
    assert found.axes[1].parts[0][0] == "speed"
    assert (found.expert_found, found.policy_found, found.about) == (1.0, 1.0, "mine")
    assert found.is_policy.sum() == 100 and len(found.points) == 300
    # A component's sign is that of its largest weight: the policy lies on the right.
    assert found.points[found.is_policy, 0].min() > found.points[~found.is_policy, 0].max()
    assert found.expert_probability[found.is_policy].max() < 0.01
    assert found.expert_probability[~found.is_policy].min() > 0.99


def test_what_cannot_be_told_apart_is_chance(judge):
    rng = np.random.default_rng(0)
    found = state_space(judge, pairs(rng, 400, 0.0), pairs(rng, 400, 0.0), NAMES, "mine")
    assert found.expert_found == pytest.approx(0.5, abs=0.1) and found.policy_found == pytest.approx(0.5, abs=0.1)


def test_many_pairs_are_drawn_from_and_all_are_counted(judge, monkeypatch):
    monkeypatch.setattr(module, "MOST_POINTS", 10)
    rng = np.random.default_rng(0)
    expert, policy = pairs(rng, 50, -1.0), pairs(rng, 50, -1.0)
    policy[0][0, 0] = 5.0  # The one that is the policy's.
    found = state_space(judge, expert, policy, NAMES, "mine")
    assert len(found.points) == 20 and found.policy_found == 0.02
    again = state_space(judge, expert, policy, NAMES, "mine")
    np.testing.assert_array_equal(found.points, again.points)


def test_too_little_is_refused(judge):
    rng = np.random.default_rng(0)
    expert = pairs(rng, 20, 0.0)
    with pytest.raises(GailfeError, match="fewer than two pairs"):
        state_space(judge, expert, pairs(rng, 1, 0.0), NAMES, "mine")
    still = np.tile(expert[0][:1], (20, 1)), expert[1]
    with pytest.raises(GailfeError, match="fewer than two observations change"):
        state_space(judge, still, expert, NAMES, "mine")
    with pytest.raises(GailfeError, match=r"obs: expected shape \[..., 3\]"):
        state_space(judge, (expert[0][:, [0, 2]], expert[1]), (expert[0][:, [0, 2]], expert[1]), NAMES, "mine")
