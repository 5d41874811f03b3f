"""The example of a second classifier learns what failures look like, and goes wherever a built-in reward goes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.config.tree import set_values
from gailfe_jax.rewards.base import RewardBatch
from gailfe_jax.rewards.discriminator import Discriminator
from gailfe_jax.types import Problem, StateAction
from tests.examples.loading import FOLDER, load_example, own_registries, the_whole_way
from tests.toy import Drift

pytestmark = pytest.mark.usefixtures("compiled_in_haste")
PATH = FOLDER / "failure_classifier.py"
SMALL = {"hidden": (8,), "steps": 30, "minibatch": 16, "lr": 1e-2}


@pytest.fixture(scope="module")
def example():
    with own_registries():
        yield load_example("failure_classifier")


def pairs(*shape, at):
    rng = np.random.default_rng(0)
    obs = jnp.asarray(rng.normal(at, 0.3, (*shape, 2)), jnp.float32)
    return StateAction(obs, jnp.asarray(rng.normal(size=(*shape, 2)), jnp.float32))


def made(kind):
    reward = set_values(kind(), SMALL)
    return reward.replace(problem=Problem(Drift().spec, 4, 8))


def test_it_likes_less_what_looks_like_failures(example):
    reward, expert = made(example.SecondOpinion), pairs(40, at=1.0)
    batch = RewardBatch(
        pairs(30, 16, at=0.0), failures=pairs(30, 16, at=-1.0), has_failures=jnp.bool_(True), expert=expert
    )
    state = reward.init(jax.random.key(0), expert)
    fitted, metrics = jax.jit(reward.fit)(state, batch, jax.random.key(1))
    assert metrics["failure_accuracy"] > 0.9
    there = [jnp.mean(reward.score(fitted, *(lambda p: (p.obs, p.action))(pairs(20, at=x)))) for x in (-1.0, 1.0)]
    alone = [
        jnp.mean(made(Discriminator).score(fitted, *(lambda p: (p.obs, p.action))(pairs(20, at=x))))
        for x in (-1.0, 1.0)
    ]
    assert there[1] - there[0] > alone[1] - alone[0] + 0.5
    # Nothing is learned from failures that are not there.
    none, _ = jax.jit(reward.fit)(state, batch.replace(has_failures=jnp.bool_(False)), jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, none.failures, state.failures)
    jax.tree.map(np.testing.assert_array_equal, none.params, fitted.params)
    shown = pairs(5, at=0.5)
    gail = made(Discriminator).score(none, shown.obs, shown.action)
    np.testing.assert_array_equal(reward.score(none, shown.obs, shown.action), gail)
    assert jnp.abs(reward.score(fitted, shown.obs, shown.action) - gail).min() > 0.0


def test_without_weight_it_is_gail(example):
    reward = made(example.SecondOpinion).replace(failure_weight=0.0)
    state = reward.init(jax.random.key(0), pairs(40, at=1.0))
    shown = pairs(5, at=0.5)
    np.testing.assert_array_equal(
        reward.score(state, shown.obs, shown.action), made(Discriminator).score(state, shown.obs, shown.action)
    )


@pytest.mark.slow
def test_it_goes_the_whole_way_from_the_command_line(demos_file, tmp_path):
    words = f"second_opinion --env cliff --demos {demos_file} --import {PATH}".split()
    the_whole_way(tmp_path, words, "reward.failure_weight=1,4")
