from __future__ import annotations

import jax
import numpy as np
import pytest

from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.smile import smile, smile_weights
from tests.learners.stages import SETTINGS, expert_returns

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


@pytest.mark.parametrize("alpha", [0.1, 0.7])
def test_the_weights_of_smile(alpha):
    for trained in range(5):
        share, weights = smile_weights(alpha, trained, 4)
        np.testing.assert_allclose(share, (1 - alpha) ** trained, rtol=1e-5)
        expected = [alpha * (1 - alpha) ** (j - 1) if j <= trained else 0.0 for j in range(1, 5)]
        np.testing.assert_allclose(weights, expected, rtol=1e-5)
        np.testing.assert_allclose(share + np.sum(weights), 1.0, rtol=1e-5)


@pytest.mark.slow
def test_smile_replaces_the_expert(drift_env, linear_expert, key):
    result = smile(drift_env, linear_expert, SETTINGS, iterations=3, alpha=0.4, seeds=(0, 1))
    np.testing.assert_allclose(result.metrics["expert_share"], [[1.0, 0.6, 0.36]] * 2, rtol=1e-5)
    kept = np.array([0.4, 0.24, 0.144])
    np.testing.assert_allclose(result.weights, kept / kept.sum(), rtol=1e-5)
    assert (result.metrics["expert_distance"] < 0.02).all()
    episodes = result.evaluate(key, 20)
    assert episodes.returns.shape == (2, 20) and (episodes.lengths == 6).all()
    np.testing.assert_allclose(episodes.returns, [expert_returns(drift_env, linear_expert, key, 20)] * 2, atol=0.1)

    # Seeds differ, and do not know of each other.
    alone = smile(drift_env, linear_expert, SETTINGS, iterations=3, alpha=0.4, seeds=(1,))
    one, two = (jax.tree.map(lambda x, i=i: np.asarray(x[i]), result.policies.policy) for i in range(2))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b[0], atol=1e-4), two, alone.policies.policy)
    assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True))

    # Policies that are told apart by what they do are drawn by their weights, anew for every row.
    params = jax.tree.map(np.zeros_like, result.policies.policy)
    params["params"]["mean"]["Dense_0"]["bias"] = np.broadcast_to(np.array([[[-0.5], [0.0], [0.5]]]), (2, 3, 2))
    told_apart = result.replace(policies=result.policies.replace(policy=params))
    action = np.asarray(told_apart.act(np.zeros((4000, 2), np.float32), key, seed=1))[:, 0]
    np.testing.assert_allclose([np.mean(action == x) for x in (-0.5, 0.0, 0.5)], result.weights, atol=0.03)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(iterations=0), r"^iterations: got 0; expected at least 1"),
        (dict(alpha=1.0), r"^alpha: got 1.0; expected a share in \(0, 1\)"),
        (dict(seeds=()), r"^seeds: got none"),
    ],
)
def test_smile_refuses(change, message, drift_env, linear_expert):
    with pytest.raises(GailfeError, match=message):
        smile(drift_env, linear_expert, SETTINGS, **change)
