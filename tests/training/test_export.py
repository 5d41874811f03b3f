"""A run's state as NumPy policies and discriminators."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.artifacts.confidence import Confidence
from gailfe_jax.artifacts.value import ValueEstimate
from gailfe_jax.errors import GailfeError
from gailfe_jax.nn.distributions import ActionUnits
from gailfe_jax.training.export import to_confidences, to_policies, to_values
from gailfe_jax.training.program import Trainer
from gailfe_jax.training.run_folder import load_policies
from tests.tiny import tiny
from tests.toy import Cliff
from tests.training.cliff import CHUNK, ENV, EVALUATIONS, SEEDS, restored

pytestmark = pytest.mark.usefixtures("quick_programs")


def test_saved_policies_act_in_numpy_as_the_learner_does(whole):
    policies = load_policies(whole.run_dir)
    assert [policy.metadata["seed"] for policy in policies] == ["3", "4"]
    assert policies[0].metadata["env"] == "cliff" and policies[0].metadata["steps"] == str(EVALUATIONS * CHUNK)
    assert (policies[0].metadata["algo"], policies[0].metadata["generator"]) == ("gailfe", "trpo")
    obs = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    _, learner, state = restored(whole.run_dir)
    for index, policy in enumerate(policies):
        agent = jax.tree.map(lambda x, i=index: x[i], state.agent)
        mode = np.clip(learner.policy.deterministic_action(agent, jnp.asarray(obs)), -1, 1)
        np.testing.assert_allclose(policy.act(obs), mode, atol=1e-5)
    assert policies[0].act(obs[0]).shape == (2,)


def test_saved_discriminators_judge_in_numpy_as_the_learner_does(whole):
    rng = np.random.default_rng(0)
    obs, action = (rng.normal(size=(5, 2)).astype(np.float32) for _ in range(2))
    steps, learner, state = restored(whole.run_dir)
    made = to_confidences(state, learner, "cliff", steps, np.array(SEEDS))
    assert [judge.metadata["seed"] for judge in made] == ["3", "4"]
    for index, judge in enumerate(made):
        saved = Confidence.load(whole.run_dir / "discriminators" / f"seed_{SEEDS[index]}.safetensors")
        np.testing.assert_array_equal(saved(obs, action), judge(obs, action))
        reward = jax.tree.map(lambda x, i=index: x[i], state.reward)
        logits = learner.reward.logit(reward, jnp.asarray(obs), jnp.asarray(action))
        np.testing.assert_allclose(judge.logit(obs, action), logits, atol=1e-5)


def test_saved_values_are_those_of_the_learner(whole):
    obs = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    steps, learner, state = restored(whole.run_dir)
    made = to_values(state, learner, "cliff", steps, np.array(SEEDS))
    assert [value.metadata["seed"] for value in made] == ["3", "4"]
    for index, value in enumerate(made):
        saved = ValueEstimate.load(whole.run_dir / "values" / f"seed_{SEEDS[index]}.safetensors")
        np.testing.assert_array_equal(saved(obs), value(obs))
        agent = jax.tree.map(lambda x, i=index: x[i], state.agent)
        np.testing.assert_allclose(saved(obs), learner.policy._values(agent, jnp.asarray(obs)), rtol=1e-4, atol=1e-4)
    with pytest.raises(GailfeError, match=r"obs: expected shape \[\.\.\., 2\], got \[3\]"):
        made[0](np.zeros(3))
    with pytest.raises(GailfeError, match="expected a file of 'gailfe_jax value 1'"):
        ValueEstimate.load(whole.run_dir / "discriminators" / f"seed_{SEEDS[0]}.safetensors")


def test_a_method_without_a_discriminator_leaves_none():
    assert to_values(None, tiny("sac").on(ENV), "cliff", 7, np.array(SEEDS)) == []
    learner = tiny("fem").on(ENV)
    assert to_confidences(None, learner, "cliff", 7, np.array(SEEDS)) == []


def test_a_policy_that_is_not_finite_is_none():
    learner = tiny("ppo").on(ENV)
    state = Trainer(learner, np.array(SEEDS), chunk=1, eval_episodes=1).template(None)
    state = jax.tree.map(lambda x: np.ones(x.shape), state.replace(key=None, env=None))
    state.agent.policy["params"]["log_std"][1] = np.nan
    first, second = to_policies(state, learner, "cliff", 7, np.array(SEEDS))
    assert first.metadata["seed"] == "3" and second is None


@pytest.mark.parametrize("mixture", [1, 3])
def test_actions_of_any_size_and_sign_are_exported_in_their_own_units(mixture):
    class Lopsided(Cliff):
        spec = dataclasses.replace(Cliff.spec, name="lopsided", action_low=(-300.0, -0.5), action_high=(100.0, -0.1))

    learner = tiny("ppo", mixture=mixture).on(Lopsided())
    trainer = Trainer(learner, np.array(SEEDS), chunk=1, eval_episodes=1)
    state = trainer.init(None)
    centre, half = np.array([-100.0, -0.3]), np.array([200.0, 0.2])
    obs = np.random.default_rng(0).normal(size=(400, 2)).astype(np.float32)
    for index, policy in enumerate(to_policies(state, learner, "lopsided", 7, np.array(SEEDS))):
        agent = jax.tree.map(lambda x, i=index: x[i], state.agent)
        mean = np.asarray(learner.policy.deterministic_action(agent, jnp.asarray(obs)))
        np.testing.assert_allclose(policy.act(obs), mean, rtol=1e-4, atol=1e-4)
        # A fresh policy explores around the middle of the bounds, with three fifths of half their distance.
        if mixture == 1:
            np.testing.assert_allclose((mean - centre) / half, 0.0, atol=0.1)
        draws = learner.policy.distribution(agent, jnp.asarray(obs)).sample(jax.random.key(1))
        spread = np.std((np.asarray(draws) - centre) / half, axis=0)
        assert (spread > 0.4).all() and (spread < 1.2).all()


def test_bounds_of_one_or_of_none_leave_the_network_as_it_is():
    assert ActionUnits.of((-1.0,), (1.0,), 3) is None
    assert ActionUnits.of((-1.0, -np.inf, -1e9), (1.0, np.inf, 1e9), 3) is None
    assert ActionUnits.of((-1.0, 0.0), (1.0, 4.0), 2) == ActionUnits((0.0, 2.0), (1.0, 2.0))
