from __future__ import annotations

import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.config.parts import as_arrays
from gailfe_jax.rewards.base import RewardBatch
from gailfe_jax.rewards.discriminator import (
    REWARDS,
    Discriminator,
    adversarial_loss,
    bernoulli_entropy,
    log_d,
    log_one_minus_d,
)
from gailfe_jax.types import EnvSpec, Problem, StateAction

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

SPEC = EnvSpec("toy", None, "none", 3, 2, (-1.0, -1.0), (1.0, 1.0), 100)
PROBLEM = Problem(SPEC, num_envs=8, unroll_length=128)
STEPS, SIZE = 4, 64


def pairs(seed, shape, shift=0.0):
    rng = np.random.default_rng(seed)
    return StateAction(
        jnp.asarray(rng.normal(shift, 1.0, (*shape, 3)), jnp.float32),
        jnp.asarray(rng.uniform(-1, 1, (*shape, 2)), jnp.float32),
    )


def made(**settings):
    """A discriminator on the toy's sizes; traced settings are arrays, as in a program."""
    usual = {"hidden": (16,), "gradient_penalty": False, "lr": 1e-2}
    return as_arrays(Discriminator(**(usual | settings)).bind(PROBLEM))


@pytest.fixture(scope="module")
def reward():
    return made()


@jax.jit
def fitted(reward, state, batch, key):
    return reward.fit(state, batch, key)


def fit(reward, failures=None, has=None, multiplier=0.0, steps=1, state=None, policy_shift=1.0):
    demos = pairs(0, (200,), -1.0)
    state = state or reward.init(jax.random.key(0), demos)
    for i in range(steps):
        policy = pairs(1 + i, (STEPS, SIZE), policy_shift)
        batch = RewardBatch(policy, failures, has, expert=demos, multiplier=jnp.float32(multiplier))
        state, metrics = fitted(reward, state, batch, jax.random.key(i))
    return state, metrics, demos


def test_logits_by_hand():
    logit = jnp.array([0.0, 2.0, -2.0])
    d = 1 / (1 + np.exp(-np.array([0.0, 2.0, -2.0])))
    np.testing.assert_allclose(log_d(logit), np.log(d), rtol=1e-6)
    np.testing.assert_allclose(log_one_minus_d(logit), np.log(1 - d), rtol=1e-5)
    np.testing.assert_allclose(bernoulli_entropy(logit), -d * np.log(d) - (1 - d) * np.log(1 - d), rtol=1e-5)
    # At D = 1/2 everywhere GAIL's objective is -2 log 2 and the entropy log 2.
    np.testing.assert_allclose(
        adversarial_loss(jnp.zeros(4), jnp.zeros(4), jnp.float32(0.5)), 2 * np.log(2) - 0.5 * np.log(2), rtol=1e-6
    )
    huge = jnp.array([1e4, -1e4])
    assert np.all(np.isfinite(log_d(huge))) and np.all(np.isfinite(bernoulli_entropy(huge)))


def test_d_is_the_probability_of_the_policy_and_the_reward_falls_with_it(reward):
    state, metrics, demos = fit(reward, steps=60)
    policy = pairs(99, (500,), 1.0)
    on_policy, on_expert = reward.logit(state, policy.obs, policy.action), reward.logit(state, demos.obs, demos.action)
    assert jnp.mean(on_policy > 0) > 0.85 and jnp.mean(on_expert < 0) > 0.85
    assert metrics["discriminator_accuracy"] > 0.85
    paid = reward.score(state, policy.obs, policy.action)
    assert jnp.all(paid >= 0)
    assert jnp.mean(reward.score(state, demos.obs, demos.action)) > jnp.mean(paid)
    np.testing.assert_allclose(paid, -jnp.log(jax.nn.sigmoid(on_policy)), rtol=1e-4, atol=1e-5)


def test_the_shapes_of_the_reward():
    logit = jnp.array([-3.0, 0.0, 2.0])
    d = 1 / (1 + np.exp(-np.array([-3.0, 0.0, 2.0])))
    demos = pairs(0, (50,))
    by_hand = {"-log_d": -np.log(d), "1-d": 1 - d, "log_1-d": np.log(1 - d), "logit": np.log(1 - d) - np.log(d)}
    assert by_hand.keys() == REWARDS.keys() == set(typing.get_args(typing.get_type_hints(Discriminator)["form"]))
    for name, expected in by_hand.items():
        np.testing.assert_allclose(REWARDS[name](logit), expected, rtol=1e-5, atol=1e-6)
        assert np.isfinite(REWARDS[name](jnp.array([1e4, -1e4]))).all()
        # Paid for survival, for ending, or either.
        assert np.all(expected > 0) == (name in ("-log_d", "1-d")) and np.all(expected < 0) == (name == "log_1-d")
        reward = made(hidden=(4,), form=name)
        state = reward.init(jax.random.key(0), demos)
        score = reward.score(state, demos.obs, demos.action)
        np.testing.assert_array_equal(score, REWARDS[name](reward.logit(state, demos.obs, demos.action)))


def test_a_zero_multiplier_or_an_empty_buffer_is_gail_to_the_bit(reward, fully_optimised):
    failures = pairs(7, (STEPS, SIZE), 3.0)
    plain, _, _ = fit(reward, steps=5)
    zero, _, _ = fit(reward, failures=failures, has=jnp.array(True), multiplier=0.0, steps=5)
    empty, _, _ = fit(reward, failures=failures, has=jnp.array(False), multiplier=3.0, steps=5)
    for other in (zero, empty):
        for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_positive_multiplier_raises_d_on_failures(reward):
    # Failures beside the expert's data, so that the two terms pull against one another.
    failures = pairs(7, (STEPS, SIZE), -1.0)
    _, without, _ = fit(reward, failures=failures, has=jnp.array(True), multiplier=0.0, steps=40)
    _, with_, _ = fit(reward, failures=failures, has=jnp.array(True), multiplier=2.0, steps=40)
    assert with_["failure_log_d"] > without["failure_log_d"] + 0.3


def test_the_failure_gradient_is_the_lagrangians(reward):
    """One plain-gradient comparison: d/dw of E_F[log D], weighted by lambda, is what fit adds."""
    demos = pairs(0, (200,), -1.0)
    state = reward.init(jax.random.key(0), demos)
    failures, policy = pairs(7, (1, SIZE), 2.0), pairs(1, (1, SIZE), 1.0)

    def run(lam):
        batch = RewardBatch(policy, failures, jnp.array(True), expert=demos, multiplier=jnp.float32(lam))
        return reward.replace(lr=jnp.float32(1e-3)).fit(state, batch, jax.random.key(0))[0]

    # Adam's first moment after one step is (1 - b1) times the gradient: the difference isolates the failure term.
    moment = lambda s: s.opt.mu  # noqa: E731
    base, with_ = run(0.0), run(2.0)
    added = jax.tree.map(lambda a, b: (b - a) / 0.1, moment(base), moment(with_))
    stats = base.stats

    def gain(params):
        x = stats.normalise(jnp.concatenate([failures.obs[0], failures.action[0]], -1))
        return jnp.mean(log_d(reward._net.apply(params, x)[..., 0]))

    expected = jax.tree.map(lambda g: -2.0 * g, jax.grad(gain)(state.params))
    for a, b in zip(jax.tree.leaves(added), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5)


def test_training_and_scoring_use_one_normaliser(reward):
    state, _, demos = fit(reward, steps=3)
    x = jnp.concatenate([demos.obs, demos.action], -1)
    by_hand = reward._net.apply(state.params, jnp.clip((x - state.stats.mean) / state.stats.std, -10, 10))[..., 0]
    np.testing.assert_array_equal(reward.logit(state, demos.obs, demos.action), by_hand)


def test_gradient_penalty_flattens_the_logit():
    plain, penalised = made(), made(gradient_penalty=True, gradient_penalty_weight=10.0)
    a, _, _ = fit(plain, steps=80, policy_shift=3.0)
    b, _, _ = fit(penalised, steps=80, policy_shift=3.0)
    between = pairs(5, (100,), 1.0)
    slope = lambda reward, s: jnp.mean(  # noqa: E731
        jax.vmap(lambda o, u: jnp.linalg.norm(jax.grad(lambda o: reward.logit(s, o, u))(o)))(
            between.obs, between.action
        )
    )
    # Slopes are in raw units; with the normaliser's std the penalty's target of 1 means about 1/std here.
    assert slope(penalised, b) < slope(plain, a)


def test_expert_noise_hides_the_expert(reward):
    _, sharp, _ = fit(reward, steps=40)
    _, blunt, _ = fit(made(expert_noise=5.0), steps=40)
    assert blunt["discriminator_accuracy"] < sharp["discriminator_accuracy"]


def test_under_a_spectral_limit_no_slope_is_steeper_and_it_still_learns():
    limit = {"hidden": (16, 16), "spectral_norm": True, "spectral_limit": 1.2}
    state, metrics, demos = fit(made(**limit), steps=40)
    free, _, _ = fit(made(hidden=(16, 16)), steps=40)

    def greatest(state):
        return [np.linalg.svd(layer["kernel"])[1][0] for layer in state.params["params"].values()]

    assert max(greatest(free)) > 1.5 and 1.1 < max(greatest(state)) < 1.2 * 1.02
    assert free.stretched == () and len(state.stretched) == 3
    reward = made(**limit)
    points = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), demos, pairs(5, (200,), 1.0))
    x = state.stats.normalise(jnp.concatenate([points.obs, points.action], axis=-1))
    slope = jax.vmap(jax.grad(lambda x: reward._apply(state.params, x)))(x)
    assert np.linalg.norm(slope, axis=-1).max() < (1.2 * 1.02) ** 3
    assert metrics["discriminator_accuracy"] > 0.85
