"""MAIL from replay: its gradient against Jacobians written out, weights, targets, imagined steps, learned endings."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from gailfe_jax.config.tree import put
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.methods import find_method, with_policy
from gailfe_jax.policies.base import Objective
from gailfe_jax.policies.critics import Critics
from gailfe_jax.policies.forward_model import ForwardModel
from gailfe_jax.policies.svg import SVG
from gailfe_jax.types import EnvSpec, Problem, Transition
from tests.toy import Cliff

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

SPEC = EnvSpec("lopsided", None, "none", 2, 2, (-1.0, 0.0), (1.0, 4.0), 9)
MODEL = ForwardModel(hidden=(6,), ensemble=2)
ROWS = 4


def made(**settings) -> SVG:
    sizes = {"hidden": (5,), "critics": Critics(hidden=(4,)), "model": MODEL, "random_steps": 0, "minibatch": ROWS}
    return SVG(**(sizes | {"gamma": 0.9, "init_temperature": 1e-12} | settings)).bind(Problem(SPEC, 2, 4))


def score(obs, action, next_obs=None):
    return jnp.sum(jnp.sin(obs), axis=-1) * 0.5 + jnp.sum(jnp.cos(0.7 * action) * obs, axis=-1)


AIM = Objective(score=score)


def started(step: SVG, worthless: bool = True):
    """A state whose model has seen something, and whose critics value nothing."""
    state, rng = step.init(jax.random.key(1)), np.random.default_rng(2)
    seen = jnp.asarray(rng.normal(size=(4, 2, 2)), jnp.float32)
    flat = jnp.zeros((4, 2))
    state = step.observe(state, Transition(seen, seen, flat, seen * 1.3 + 0.1, flat, flat > 0, flat > 0))
    return state.replace(value=jax.tree.map(jnp.zeros_like, state.value)) if worthless else state


def windows(length: int, terminated=(), truncated=()) -> Transition:
    rng = np.random.default_rng(3)
    obs, following = (jnp.asarray(rng.normal(size=(ROWS, length, 2)) * 0.5, jnp.float32) for _ in range(2))
    # Steps that follow each other, none of them where the model thinks.
    obs = obs.at[:, 1:].set(following[:, :-1])
    action = jnp.asarray(rng.uniform(-0.9, 0.9, (ROWS, length, 2)) * [1, 2] + [0, 2], jnp.float32)
    flat = jnp.zeros((ROWS, length))
    ends = [(flat > 0).at[tuple(zip(*places))].set(True) if places else flat > 0 for places in (terminated, truncated)]
    return Transition(obs, action, flat - 0.5, following, flat, *ends)


def batch_of(step: SVG, state, steps: Transition):
    batches = step.minibatches(state, Objective(score=score, experience=jax.tree.map(lambda x: x[None], steps)))
    return jax.tree.map(lambda x: x[0], batches)


@pytest.mark.slow
def test_the_gradient_along_replayed_steps_is_the_chain_of_jacobians():
    step = made(rollouts="real", horizon=2, importance_limit=0.0)
    state = started(step)
    steps = windows(2, terminated=[(1, 0)], truncated=[(2, 0)])
    batch = batch_of(step, state, steps)
    theta, unravel = ravel_pytree(state.policy)

    def total(theta):
        return jnp.sum(step.gain(state, unravel(theta), batch, AIM, jax.random.key(0)).total)

    found = np.asarray(jax.grad(total)(theta))

    def act(theta, obs, noise):
        return step.policy(unravel(theta), state.obs_stats.normalise(obs)).retrace(noise)

    def model(obs, action):
        return step.model.predict(state.extra.model, obs, action)[0]

    expected = np.zeros_like(found)
    for row in range(ROWS):
        (s0, s1), (a0, a1) = steps.obs[row], steps.action[row]
        n0, n1 = (step.distribution(state, s).infer_noise(a) for s, a in ((s0, a0), (s1, a1)))
        into0 = jax.jacobian(act)(theta, s0, n0)
        expected += np.asarray(jax.grad(score, 1)(s0, a0) @ into0)
        if row in (1, 2):  # Its episode ends with the first step.
            continue
        state_slope, action_slope = jax.grad(score, (0, 1))(s1, a1)
        through = state_slope + action_slope @ jax.jacobian(act, 1)(theta, s1, n1)
        expected += 0.9 * np.asarray(through @ jax.jacobian(model, 1)(s0, a0) @ into0)
        expected += 0.9 * np.asarray(action_slope @ jax.jacobian(act)(theta, s1, n1))
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-5)


def test_what_follows_a_window_is_the_critics_business():
    step = made(rollouts="real", horizon=2, importance_limit=0.0)
    state = started(step, worthless=False)
    # All critics say 3, whatever is done.
    value = jax.tree.map(jnp.zeros_like, state.value)
    value["params"]["Dense_1"]["bias"] += 3.0
    state = state.replace(value=value)
    steps = windows(2, terminated=[(1, 0)], truncated=[(2, 0), (3, 1)])
    gain = step.gain(state, state.policy, batch_of(step, state, steps), AIM, jax.random.key(0))
    rewards = score(steps.obs, steps.action)
    whole = rewards[:, 0] + 0.9 * rewards[:, 1] + 0.81 * 3
    expected = jnp.array([whole[0], rewards[1, 0], rewards[2, 0] + 0.9 * 3, whole[3]])
    np.testing.assert_allclose(gain.total, expected, rtol=1e-3)


def test_windows_weigh_by_how_much_likelier_they_are_today():
    step = made(rollouts="real", horizon=2, importance_limit=2.0)
    state = started(step)
    steps = windows(3, truncated=[(1, 0)])
    today = step.distribution(state, steps.obs).log_prob(steps.action)
    ratio = np.array([1.5, 7.0, 0.25, 1.0])
    # All of the ratio comes with the first step; what stands behind an end, and behind the horizon, counts for nothing.
    taken = today.at[:, 0].add(-np.log(ratio)).at[1, 1].set(50.0).at[:, 2].set(-50.0)
    found = step._weights(state, steps.replace(log_prob=taken))
    expected = np.minimum(ratio, 2.0)
    np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-3)
    # Demonstrated actions, of a density that is not known, count as any other does.
    unknown = steps.replace(log_prob=jnp.full_like(taken, jnp.nan))
    np.testing.assert_allclose(step._weights(state, unknown), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(made(rollouts="real", importance_limit=0.0)._weights(state, steps), 1.0)


@pytest.fixture
def known_model(monkeypatch):
    """A model that is right, and that both members agree on where the first coordinate is positive."""

    def predict(self, state, obs, action):
        return 0.5 * obs + 0.1 * action, jnp.where(obs[..., 0] > 0, 0.0, 1.0)

    monkeypatch.setattr(ForwardModel, "predict", predict)


def test_rollouts_in_the_model_sum_discounted_rewards_and_end_where_tasks_end(known_model):
    step = made(rollouts="model", horizon=3)
    state = started(step)
    batch = batch_of(step, state, windows(1))
    monotone = jax.tree.map(jnp.zeros_like, state.extra.ends)
    monotone["params"]["Dense_2"]["bias"] += np.log(1 / 3)  # It ends with probability 1/4 in each step.
    state = state.replace(extra=state.extra.replace(ends=monotone))
    key = jax.random.key(4)
    gain = step.gain(state, state.policy, batch, AIM, key)
    obs, expected = batch.windows.obs[:, 0], 0.0
    for i in range(3):
        noise = jax.random.normal(jax.random.fold_in(key, i), (ROWS, 2))
        action = step.distribution(state, obs).from_noise(noise)
        expected = expected + (0.9 * 0.75) ** i * score(obs, action)
        obs = 0.5 * obs + 0.1 * action
    np.testing.assert_allclose(gain.total, expected, rtol=1e-4)


def test_value_expansion_averages_over_where_the_critics_take_over(known_model):
    step = made(value_expansion=1, termination=False)
    state = started(step)
    value = jax.tree.map(jnp.zeros_like, state.target)
    value["params"]["Dense_1"]["bias"] += 3.0
    state = state.replace(target=value)
    batch = batch_of(step, state, windows(1))
    key = jax.random.key(4)
    found = step.next_value(state, batch, AIM, key)
    obs = batch.windows.next_obs[:, 0]
    noise = jax.random.normal(jax.random.fold_in(key, 5), (ROWS, 2))
    reward = score(obs, step.distribution(state, obs).from_noise(noise))
    np.testing.assert_allclose(found, (3 + reward + 0.9 * 3) / 2, rtol=1e-4)
    plain = made(value_expansion=0, termination=False).next_value(state, batch, AIM, key)
    np.testing.assert_allclose(plain, 3.0, rtol=1e-5)


def test_imagined_steps_take_the_place_of_real_ones_where_the_models_agree(known_model):
    step = made(imagined=0.5, termination=False, reward_scale=2.0)
    state = started(step)
    steps = windows(1)
    steps = steps.replace(obs=steps.obs.at[2:, 0, 0].set(jnp.array([0.3, -0.3])))
    batch = batch_of(step, state, steps)
    found = step.imagine(state, batch, AIM, jax.random.key(5))
    obs = batch.windows.obs[:, 0]
    believed = (np.arange(ROWS) >= 2) & np.asarray(obs[:, 0] > 0)
    assert believed.any() and not believed[2:].all()
    action = step.from_units(found.action)
    np.testing.assert_array_equal(np.any(np.asarray(found.action != batch.action), axis=1), believed)
    np.testing.assert_allclose(found.reward[believed], 2 * score(obs, action)[believed], rtol=1e-5)
    following = state.obs_stats.normalise(0.5 * obs + 0.1 * action)
    np.testing.assert_allclose(found.next_x[believed], following[believed], rtol=1e-5)
    for name in ("reward", "next_x", "discount"):
        np.testing.assert_array_equal(getattr(found, name)[~believed], getattr(batch, name)[~believed])


def test_it_learns_where_moves_lead_and_where_the_task_ends():
    step = made(minibatch=64, model=ForwardModel(hidden=(32,), ensemble=2, lr=3e-3))
    state = step.init(jax.random.key(0))

    def draw(key):
        obs, action = jax.random.uniform(key, (2, 64, 1, 2), minval=-1)
        action = action * jnp.array([1.0, 2.0]) + jnp.array([0.0, 2.0])
        flat, following = jnp.zeros((64, 1)), obs + 0.3 * action
        ended = obs[..., 0] > 0.5
        return Transition(obs, action, flat, following, flat, ended, ended & False)

    @jax.jit
    def fit(state, key):
        steps = draw(key)
        state = step.observe(state, steps)
        return state.replace(extra=step.fit_model(state.extra, batch_of(step, state, steps), key)[0])

    for i in range(300):
        state = fit(state, jax.random.fold_in(jax.random.key(1), i))
    steps = jax.tree.map(lambda x: x[:, 0], draw(jax.random.key(2)))
    predicted, disagreement = step.model.predict(state.extra.model, steps.obs, steps.action)
    assert float(jnp.sqrt(jnp.mean(jnp.square(predicted - steps.next_obs)))) < 0.05
    assert float(jnp.mean(disagreement)) < 0.3
    going = step._going(state.extra, steps.obs, steps.action)
    clear = np.abs(np.asarray(steps.obs[:, 0]) - 0.5) > 0.1
    assert np.mean((np.asarray(going) < 0.5)[clear] == np.asarray(steps.terminated)[clear]) > 0.95
    members = jax.tree.leaves(state.extra.model.params)
    assert any(not np.array_equal(x[0], x[1]) for x in members)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"policy.rollouts": "real", "policy.horizon": 9}, "policy.horizon: got 9; expected at most rollout.unroll_l"),
        ({"policy.importance_limit": 3.0}, "policy.importance_limit: got 3.0; nothing reads it: rollouts is model"),
        ({"policy.disagreement_limit": 3.0}, "policy.disagreement_limit: got 3.0; nothing reads it: imagined is 0"),
        ({"policy.model.fit_steps": 3}, "policy.model.fit_steps: got 3; nothing reads it: the model learns from the"),
        ({"policy.model.hidden": ()}, "policy.model.hidden: got no layers; expected at least one"),
        ({"true_reward.add": True}, "true_reward.add: got True; nothing reads it: the true reward has no gradient"),
    ],
)
def test_what_does_not_go_together_is_named(values, message):
    method = with_policy(put(find_method("gail"), {"rollout.num_envs": 8, "rollout.unroll_length": 8}), "svg")
    with pytest.raises(GailfeError, match=f"^{message}"):
        put(method, values).on(Cliff())
