from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.artifacts.oracle import Oracle
from gailfe_jax.learners.dagger import expert_share
from gailfe_jax.learners.sources import Demos
from tests.learners.likelihood import run, small
from tests.states import at_seed

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


@pytest.mark.parametrize(("p", "expected"), [(0.0, [1, 0, 0, 0]), (0.5, [1, 0.5, 0.25, 0.125]), (1.0, [1, 1, 1, 1])])
def test_how_often_the_expert_acts(p, expected):
    np.testing.assert_allclose(expert_share(p, jnp.arange(4)), expected)


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_dagger_labels_what_the_mixture_visits(p, drift_env, linear_expert):
    method = small("dagger", aggregate_capacity=300, beta=p, policy__lr=1e-2)
    demos = Demos(None, oracle=Oracle.of(linear_expert))
    learner, states, rows = run(method, drift_env, demos, 3)
    assert [row["aggregate"][0] for row in rows] == [128, 256, 300]
    acted = []
    for i in range(2):
        kept = states[i + 1].sources.policy_replay.rows
        obs, label = (x[0, 128 * i : 128 * (i + 1)].reshape(16, 8, 2) for x in (kept.obs, kept.action))
        np.testing.assert_allclose(label, linear_expert.act(obs), atol=1e-5)
        # An episode has six steps: elsewhere the next observation tells which action was taken.
        inside = (np.arange(16 * i, 16 * i + 15) + 1) % 6 != 0
        taken = ((obs[1:] - 0.9 * obs[:-1]) / 0.5)[inside]
        agent = at_seed(states[i].agent, 0)
        own = np.clip(learner.policy.deterministic_action(agent, obs), -1, 1)[:-1][inside]
        by_expert = np.abs(taken - label[:-1][inside]).max(-1) < 1e-4
        by_policy = np.abs(taken - own).max(-1) < 1e-4
        assert (by_expert | by_policy).all() and (by_expert & by_policy).mean() < 0.1
        acted.append(by_expert.mean())
    assert acted[0] == 1 and (acted[1] < 0.1 if p == 0 else 0.3 < acted[1] < 0.7)
    assert rows[-1]["expert_distance"] < rows[0]["expert_distance"]
