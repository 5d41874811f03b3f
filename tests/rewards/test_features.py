from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gailfe_jax
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.setup import build_setup
from gailfe_jax.rewards.base import RewardBatch
from gailfe_jax.rewards.features import find_features, register_features
from gailfe_jax.rewards.linear import FeatureMatching, GameTheoretic
from gailfe_jax.types import EnvSpec, Problem, StateAction

PROBLEM = Problem(EnvSpec("toy", None, "none", 3, 2, (-1.0, -1.0), (1.0, 1.0), 100), 1, 40)


def shown(seed, shape):
    rng = np.random.default_rng(seed)
    return StateAction(*(jnp.asarray(rng.normal(size=(*shape, size)), jnp.float32) for size in (3, 2)))


def test_features_by_hand():
    x = jnp.array([2.0, -3.0])
    for name, expected in (
        ("linear", [2, -3, 1]),
        ("quadratic", [2, -3, 4e-4, 9e-4, 1]),
        ("moments", [2, -3, 4, 9, 1]),
    ):
        np.testing.assert_allclose(find_features(name)(x), expected, rtol=1e-6)


def test_a_users_features():
    gailfe_jax.register_features("first", lambda x: x[..., :1])
    gailfe_jax.register_features("first", lambda x: x[..., :2])
    reward = GameTheoretic(features="first").bind(PROBLEM)
    batch = RewardBatch(shown(1, (1, 40)), expert=shown(0, (70,)))
    state, _ = reward.fit(reward.init(jax.random.key(0), batch.expert), batch, jax.random.key(0))
    assert state.weights.shape == (2,) and np.abs(state.weights).sum() == 1


def test_bad_features_are_one_line():
    with pytest.raises(GailfeError, match=r"^features: unknown features 'cubic'; expected one of linear, quadr"):
        find_features("cubic")
    for name in ("linear", "", "two words"):
        with pytest.raises(GailfeError, match=r"^features: got the name .*; expected one word other than linear, "):
            register_features(name, lambda x: x)
    for name, fn in (("scalar", lambda x: x[..., 0]), ("pair", lambda x: (x, x)), ("whole", lambda x: x > 0)):
        register_features(name, fn)
        with pytest.raises(GailfeError, match=rf"^features: '{name}' makes .*; expected \[2, k\] real") as error:
            FeatureMatching(features=name).bind(PROBLEM).init(jax.random.key(0), shown(0, (70,)))
        assert "\n" not in str(error.value)


def test_an_unknown_name_is_refused_before_anything_is_trained():
    method = build_setup({"algo": "fem", "reward.features": "cubic"}).method
    with pytest.raises(GailfeError, match=r"^features: unknown features 'cubic'; expected one of linear, quadr"):
        method.verify()
