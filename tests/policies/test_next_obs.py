"""Rewards of where actions led: policy steps hand over the real outcome, or the model's with its derivative."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.policies.base import Objective
from gailfe_jax.policies.ppo import PPO
from gailfe_jax.policies.td3 import TD3
from gailfe_jax.types import Transition
from tests.policies import test_svg
from tests.policies.mail_task import MAIL_STEP, SPEC, bound, policy_and_state, random_windows

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


def outcome(obs, action, next_obs=None):
    """What a reward of transitions may be: of a state and how it changed."""
    return jnp.sum(jnp.sin(next_obs - 0.5 * obs), axis=-1)


def test_along_real_steps_a_reward_of_transitions_is_that_of_the_real_ones_with_the_model_s_derivative():
    mail, state = policy_and_state(MAIL_STEP)
    windows = random_windows(jax.random.key(5), 8, 6)
    predicted, _ = mail.model.predict(state.model, windows.obs, windows.action)
    error = windows.next_obs - predicted

    def through_pairs(obs, action, next_obs=None):
        # The same reward as a function of pairs: the outcome by way of the model, whose error is made up for.
        return outcome(obs, action, mail.model.predict(state.model, obs, action)[0] + next_obs_error(obs))

    def next_obs_error(obs):
        # Windows are in the order of their states, which tell them apart.
        near = jnp.argmin(jnp.sum(jnp.square(obs[:, None] - flat_obs[None]), axis=-1), axis=1)
        return flat_error[near]

    flat_obs, flat_error = windows.obs.reshape(-1, 3), error.reshape(-1, 3)
    both = [
        jax.jit(jax.value_and_grad(mail.real_rollout(state, state.policy, windows, score)))(state.policy)
        for score in (outcome, through_pairs)
    ]
    real = jnp.sum(outcome(windows.obs, None, windows.next_obs) * 0.9 ** jnp.arange(8.0)[:, None], 0)
    np.testing.assert_allclose(both[0][0], jnp.mean(real) / 8, rtol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), *both)
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(both[0][1])) > 1e-3


def test_in_the_model_a_reward_of_transitions_is_that_of_its_own_outcomes():
    mail, state = policy_and_state(MAIL_STEP)
    windows = random_windows(jax.random.key(5), 8, 6)

    def through_pairs(obs, action, next_obs=None):
        return outcome(obs, action, mail.model.predict(state.model, obs, action)[0])

    key = jax.random.key(3)
    both = [
        jax.jit(jax.value_and_grad(mail.free_rollout(state, windows, score, key)))(state.policy)
        for score in (outcome, through_pairs)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *both)


@pytest.mark.parametrize("rollouts", ["model", pytest.param("real", marks=pytest.mark.slow)])
def test_from_replay_gains_are_those_of_outcomes(rollouts, monkeypatch):
    step = test_svg.made(rollouts=rollouts, horizon=2, termination=False, importance_limit=0.0)
    monkeypatch.setattr(
        type(step.model), "predict", lambda self, state, obs, action: (0.5 * obs + 0.1 * action, obs[:, 0])
    )
    state = test_svg.started(step)
    steps = test_svg.windows(2)
    batch = test_svg.batch_of(step, state, steps)
    found = step.gain(state, state.policy, batch, Objective(score=outcome), jax.random.key(4)).total
    if rollouts == "real":
        expected = outcome(steps.obs, None, steps.next_obs) @ jnp.array([1.0, 0.9])
    else:
        obs, expected = steps.obs[:, 0], 0.0
        for i in range(2):
            noise = jax.random.normal(jax.random.fold_in(jax.random.key(4), i), (test_svg.ROWS, 2))
            after = 0.5 * obs + 0.1 * step.distribution(state, obs).from_noise(noise)
            expected, obs = expected + 0.9**i * outcome(obs, None, after), after
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("kind", [PPO, TD3])
def test_real_steps_are_paid_by_where_they_led(kind):
    step = bound(kind(), SPEC)
    rng = np.random.default_rng(0)
    obs, following = (jnp.asarray(rng.normal(size=(5, 3)), jnp.float32) for _ in range(2))
    flat = jnp.zeros(5)
    steps = Transition(obs, jnp.zeros((5, 2)), flat, following, flat, flat > 0, flat > 0)
    np.testing.assert_allclose(step.scored(steps, outcome), outcome(obs, None, following), rtol=1e-6)
