from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from gailfe_jax.config.parts import as_arrays
from gailfe_jax.rewards.base import RewardBatch
from gailfe_jax.rewards.features import register_features
from gailfe_jax.rewards.linear import (
    FailureAware,
    FeatureMatching,
    GameTheoretic,
    worst_in_ball,
    worst_in_hull,
)
from gailfe_jax.types import EnvSpec, Problem, StateAction

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

SPEC = EnvSpec("toy", None, "none", 3, 2, (-1.0, -1.0), (1.0, 1.0), 100)
# Of `FailureAware`; the others have no traced settings.
IRLF = {"lr": 0.1, "slack": 1.5, "lambda_init": 4.0, "lambda_min": 0.5, "decay": 0.5}


def made(kind, num_envs=1, unroll_length=40, spec=SPEC, **settings):
    """A linear reward on the toy's sizes; traced settings are arrays, as in a program."""
    settings |= IRLF if kind is FailureAware else {}
    return as_arrays(kind(**settings).bind(Problem(spec, num_envs, unroll_length)))


def pairs(seed, shape, shift=0.0):
    rng = np.random.default_rng(seed)
    return StateAction(
        jnp.asarray(rng.normal(shift, 1.0, (*shape, 3)), jnp.float32),
        jnp.asarray(rng.uniform(-1, 1, (*shape, 2)), jnp.float32),
    )


DEMOS = pairs(0, (70,), -1.0)


def fit(reward, steps=1, has_failures=True, state=None):
    state = reward.init(jax.random.key(0), DEMOS) if state is None else state
    fn, metrics, batch = jax.jit(reward.fit), {}, None
    for i in range(steps):
        policy, failures = pairs(1 + i, (1, 40), 1.0), pairs(50 + i, (1, 40), 2.0)
        batch = RewardBatch(policy, failures, jnp.array(has_failures), expert=DEMOS)
        state, metrics = fn(state, batch, jax.random.key(i))
    return state, metrics, batch


def gap(reward, state, good, bad):
    """Difference of the mean features, in NumPy."""
    return np.mean(reward.features_at(state, good.obs, good.action), 0) - np.mean(
        reward.features_at(state, bad.obs[0], bad.action[0]), 0
    )


# --- a tabular task with known occupancy measures ---------------------------------------------------------------------

STATES, ACTIONS, GAMMA, ROWS = 3, 2, 0.9, 20_000
TABLE = EnvSpec("table", None, "none", STATES, ACTIONS, (0.0, 0.0), (1.0, 1.0), 100)
MOVES = np.random.default_rng(3).dirichlet(np.ones(STATES), size=(STATES, ACTIONS))
POLICIES = np.array([np.eye(ACTIONS)[list(choice)] for choice in itertools.product(range(ACTIONS), repeat=STATES)])


def occupancy(policy):
    """`[S * A]` discounted occupancy of `policy [S, A]`, which sums to 1: the only solution of Bellman's flow."""
    step = np.einsum("sa,sat->st", policy, MOVES)
    start = np.full(STATES, 1 / STATES)
    state = np.linalg.solve(np.eye(STATES) - GAMMA * step.T, (1 - GAMMA) * start)
    return (state[:, None] * policy).ravel()


def drawn(measure):
    """`[ROWS]` pairs whose frequencies are `measure [S * A]` to within 1 / ROWS, in one-hot coding."""
    edges = np.round(np.cumsum(measure) * ROWS).astype(int)
    cell = np.searchsorted(edges, np.arange(ROWS), side="right").clip(0, STATES * ACTIONS - 1)
    return StateAction(
        *(jnp.asarray(x, jnp.float32) for x in (np.eye(STATES)[cell // ACTIONS], np.eye(ACTIONS)[cell % 2]))
    )


def table_features(x):
    """One-hot in state and action, so that mean features are the occupancy; standardising keeps what is hot above 0."""
    hot = (x > 0).astype(x.dtype)
    return (hot[..., :STATES, None] * hot[..., None, STATES:]).reshape(*x.shape[:-1], -1)


@pytest.fixture
def table():
    register_features("table", table_features)

    def make(kind):
        reward = made(kind, 1, ROWS, TABLE, features="table", offset="none")
        expert = occupancy(np.array([[0.8, 0.2], [0.3, 0.7], [0.5, 0.5]]))
        demos = drawn(expert)

        @jax.jit
        def fitted(state, shown):
            batch = RewardBatch(jax.tree.map(lambda x: x[None], shown), expert=demos)
            return reward.fit(state, batch, jax.random.key(0))[0]

        state = reward.init(jax.random.key(0), demos)
        return expert, lambda measure: np.asarray(fitted(state, drawn(measure)).weights, np.float64)

    return make


VERTICES = np.array([occupancy(policy) for policy in POLICIES])
"""Occupancies of all deterministic policies, one of which is a best response to any reward."""


def test_fem_with_exact_best_responses_finds_the_experts_occupancy(table):
    """The projection method of Abbeel & Ng 2004: the mixture moves to the point nearest to the expert on a segment."""
    expert, weights = table(FeatureMatching)
    np.testing.assert_allclose(VERTICES.sum(1), 1)
    mixture = VERTICES[0]
    first = expert - mixture
    np.testing.assert_allclose(weights(mixture), first / np.linalg.norm(first), atol=2e-3)
    for _ in range(60):
        # Against the mixture the worst cost is the direction to the expert; the best response is exact.
        response = VERTICES[np.argmax(VERTICES @ weights(mixture))] - mixture
        mixture = mixture + np.clip((expert - mixture) @ response / (response @ response + 1e-12), 0, 1) * response
    assert np.abs(mixture - expert).max() < 1e-3


def test_gtal_by_double_oracle_finds_the_experts_occupancy(table):
    """The zero-sum game of Syed & Schapire 2007, solved exactly from both sides' best responses (McMahan et al. 2003).

    A mixture of the policies so far is chosen against the costs so far, by linear programming; then the worst cost
    for it and the best policy against the costs' mixture join them.
    """
    expert, weights = table(GameTheoretic)
    policies, costs, mixture = [VERTICES[0]], [], VERTICES[0]
    first, worst = weights(mixture), np.argmax(np.abs(expert - mixture))
    np.testing.assert_array_equal(first, np.sign(expert - mixture) * (np.arange(len(expert)) == worst))
    for _ in range(25):
        costs.append(weights(mixture))
        mean, gain = np.array(costs), np.array(costs) @ np.array(policies).T
        # Over (mixture, t): the least t with cost . (expert - mixture) <= t for every cost.
        solved = scipy.optimize.linprog(
            np.r_[np.zeros(len(policies)), 1.0], np.c_[-gain, -np.ones(len(costs))], -mean @ expert,
            np.r_[np.ones(len(policies)), 0.0][None], [1.0], [(0, None)] * len(policies) + [(None, None)],
        )  # fmt: skip
        mixture = solved.x[:-1] @ np.array(policies)
        policies.append(VERTICES[np.argmax(VERTICES @ (-solved.ineqlin.marginals @ mean))])
    assert np.abs(mixture - expert).max() < 1e-3


# --- closed forms -----------------------------------------------------------------------------------------------------


def test_the_worst_cost_is_the_worst():
    rng = np.random.default_rng(0)
    for difference in rng.normal(size=(5, 7)):
        for worst, norm in ((worst_in_ball, 2), (worst_in_hull, 1)):
            ours = np.asarray(worst(jnp.asarray(difference, jnp.float32)))
            assert np.linalg.norm(ours, norm) == pytest.approx(1, rel=1e-5)
            others = rng.normal(size=(1000, 7))
            others /= np.linalg.norm(others, norm, axis=1, keepdims=True)
            assert ours @ difference >= (others @ difference).max()
    for worst in (worst_in_ball, worst_in_hull):
        np.testing.assert_array_equal(worst(jnp.zeros(4)), np.zeros(4))


@pytest.mark.parametrize(
    ("kind", "offset"),
    [(FeatureMatching, "none"), (FeatureMatching, "policy"), (GameTheoretic, "negative"), (FailureAware, "positive")],
)
def test_the_reward_is_linear_in_the_features_and_of_the_sign_that_is_asked_for(kind, offset):
    reward = made(kind, features="moments", offset=offset)
    state, metrics, data = fit(reward, steps=2)
    policy, expert = (reward.score(state, x.obs, x.action) for x in (data.policy, DEMOS))
    phi = np.asarray(reward.features_at(state, DEMOS.obs, DEMOS.action))
    x = (np.concatenate([DEMOS.obs, DEMOS.action], -1) - state.stats.mean) / state.stats.std
    np.testing.assert_allclose(phi, np.concatenate([x, np.square(x), np.ones((70, 1))], -1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(expert, phi @ np.asarray(state.weights) - state.offset, rtol=1e-3, atol=1e-4)
    assert jnp.mean(expert) > jnp.mean(policy)
    np.testing.assert_allclose(metrics["linear_reward_expert"], jnp.mean(expert), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(metrics["linear_reward_policy"], jnp.mean(policy), rtol=1e-4, atol=1e-5)
    if offset == "none":
        assert state.offset == 0 and jnp.any(policy < 0) and jnp.any(expert > 0)
    elif offset == "policy":
        assert jnp.mean(policy) == pytest.approx(0, abs=1e-5)
    else:
        sign = 1 if offset == "positive" else -1
        assert jnp.min(sign * policy) > -1e-5 and sign * state.offset <= 0


def test_all_demonstrations_and_the_whole_batch_enter_the_means():
    assert made(FeatureMatching, 4, 10).draws == (1, 2048)
    reward = made(FeatureMatching, 4, 10, minibatch=39)
    assert reward.draws == (1, 40)
    state, metrics, data = fit(reward)
    difference = gap(reward, state, DEMOS, data.policy)
    np.testing.assert_allclose(state.weights, difference / np.linalg.norm(difference), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics["feature_distance"], np.linalg.norm(difference), rtol=1e-5)
    np.testing.assert_allclose(metrics["feature_distance_max"], np.abs(difference).max(), rtol=1e-5)


@pytest.mark.parametrize("kind", [FeatureMatching, GameTheoretic, FailureAware])
def test_delayed_weights_are_those_fitted_to_the_iteration_before_and_the_first_are_random(kind):
    reward, at_once = made(kind, delayed=True), made(kind)
    first = reward.init(jax.random.key(0), DEMOS)
    assert jnp.any(first.next_weights != reward.init(jax.random.key(1), DEMOS).next_weights)
    assert jnp.linalg.norm(first.next_weights) == pytest.approx(1, rel=1e-5)
    late, fresh = first, at_once.init(jax.random.key(0), DEMOS)
    for i in range(3):
        paid = late.next_weights
        batch = RewardBatch(pairs(i, (1, 40), 1.0), pairs(50 + i, (1, 40), 2.0), jnp.array(True), expert=DEMOS)
        late, metrics = reward.fit(late, batch, jax.random.key(i))
        fresh, _ = at_once.fit(fresh, batch, jax.random.key(i))
        np.testing.assert_array_equal(late.weights, paid)
        np.testing.assert_allclose(late.next_weights, fresh.weights, rtol=1e-6)
        # Counted from the mean over the batch by the weights that are paid, not by the newest.
        assert metrics["linear_reward_policy"] == pytest.approx(0, abs=1e-5)
    assert fresh.next_weights == ()


def test_the_normaliser_is_the_demonstrations_alone_where_that_is_asked_for():
    reward = made(FeatureMatching, normaliser="demonstrations")
    state, _, data = fit(reward, steps=3)
    shown = np.concatenate([DEMOS.obs, DEMOS.action], axis=-1)
    np.testing.assert_allclose(state.stats.mean, shown.mean(0), rtol=1e-4, atol=1e-5)
    x = (np.concatenate([data.policy.obs, data.policy.action], axis=-1) - shown.mean(0)) / shown.std(0)
    seen = reward.features_at(state, data.policy.obs, data.policy.action)
    np.testing.assert_allclose(seen[..., :5], x, rtol=2e-3, atol=2e-3)
    moved, _, _ = fit(made(FeatureMatching), steps=3)
    assert np.abs(moved.stats.mean - shown.mean(0)).max() > 0.1


# --- IRLF -------------------------------------------------------------------------------------------------------------


def test_irlfs_steps_are_those_of_its_lagrangian():
    """By finite differences of the function in `FailureAware`'s docstring, less the entropy: `w_D` descends it, `w_F`
    is where it is greatest, and its slope in the policy's features is the reward's weights."""
    reward = made(FailureAware, features="linear", offset="none")
    before, _, _ = fit(reward)
    state, metrics, data = fit(reward, state=before)
    mean = lambda x: np.mean(np.asarray(reward.features_at(state, x.obs, x.action), np.float64).reshape(-1, 6), 0)  # noqa: E731
    policy, expert, failed = mean(data.policy), mean(DEMOS), mean(data.failures)
    penalty = 4.0 * 0.5
    assert metrics["irlf_lambda"] == penalty

    def lagrangian(w_d, w_f, policy):
        demos = w_d @ (policy - expert) + 1.5 / 2 * (w_d @ w_d)
        return demos + w_f @ (policy - failed) - penalty / 2 * (w_f @ w_f)

    def slope(f, x, h=1e-4):
        return np.array([(f(x + h * e) - f(x - h * e)) / (2 * h) for e in np.eye(len(x))])

    old, new = (np.asarray(s.demo_weights, np.float64) for s in (before, state))
    w_f = np.asarray(state.weights, np.float64) - new
    step = -0.1 * slope(lambda w_d: lagrangian(w_d, w_f, policy), old)
    np.testing.assert_allclose(new - old, step, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(slope(lambda w_f: lagrangian(new, w_f, policy), w_f), np.zeros(6), atol=1e-5)
    np.testing.assert_allclose(slope(lambda mu: lagrangian(new, w_f, mu), policy), state.weights, rtol=1e-3, atol=1e-5)
    # Away from failures: they earn less from w_F than the policy does.
    assert w_f @ failed < w_f @ policy


def test_irlf_without_failures_has_no_such_term_and_lambda_comes_down_to_its_least():
    reward = made(FailureAware)
    state, metrics, _ = fit(reward, has_failures=False)
    np.testing.assert_array_equal(state.weights, state.demo_weights)
    assert metrics["irlf_lambda"] == 4 and np.isnan(metrics["failure_feature_distance"])
    state, metrics, _ = fit(reward, steps=5)
    assert metrics["irlf_lambda"] == 0.5
    norm = np.linalg.norm(state.weights - state.demo_weights)
    np.testing.assert_allclose(norm, metrics["failure_weights_norm"], rtol=1e-4)
