"""The absorbing state: what the discriminator learns of it, and what it does to values, on-policy and from replay."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.config.parts import as_arrays
from gailfe_jax.config.tree import put
from gailfe_jax.learners.methods import find_method, with_policy
from gailfe_jax.policies.advantage import generalised_advantage
from gailfe_jax.policies.base import Objective
from gailfe_jax.policies.critics import Critics
from gailfe_jax.policies.ppo import PPO
from gailfe_jax.policies.td3 import TD3
from gailfe_jax.rewards.base import RewardBatch
from gailfe_jax.rewards.discriminator import REWARDS, Discriminator
from gailfe_jax.types import EnvSpec, Problem, StateAction, Transition
from tests.states import Runner
from tests.tiny import tiny
from tests.toy import Cliff, cliff_expert

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

SPEC = EnvSpec("chain", None, "none", 3, 1, (-1.0,), (1.0,), 5)
PROBLEM = Problem(SPEC, num_envs=4, unroll_length=8)


def fitted(policy_ends: float, expert_ends: float, steps: int = 60, **settings):
    """A discriminator of pairs that nothing tells apart but how often the task ends with them."""
    usual = {"hidden": (8,), "absorbing": True, "lr": 1e-2, "form": "logit"}
    reward = as_arrays(Discriminator(**(usual | settings)).bind(PROBLEM))
    rng = np.random.default_rng(0)
    draw = lambda *shape: StateAction(*(jnp.asarray(rng.normal(size=(*shape, n)), jnp.float32) for n in (3, 1)))  # noqa: E731
    demos, ended = draw(200), jnp.asarray(rng.random(200) < expert_ends)
    state, fit = reward.init(jax.random.key(0), demos), jax.jit(reward.fit)
    for i in range(steps):
        marks = jnp.asarray(rng.random((4, 64)) < policy_ends)
        batch = RewardBatch(draw(4, 64), expert=demos, policy_ended=marks, expert_ended=ended)
        state, metrics = fit(state, batch, jax.random.key(i))
    assert np.isfinite([float(x) for x in metrics.values()]).all()
    return reward, state


def test_it_is_the_side_s_whose_episodes_end():
    reward, state = fitted(policy_ends=0.3, expert_ends=0.0)
    assert float(reward.after_end(state)) < -0.5
    reward, state = fitted(policy_ends=0.0, expert_ends=0.3)
    assert float(reward.after_end(state)) > 0.5
    reward, state = fitted(policy_ends=0.3, expert_ends=0.3)
    assert abs(float(reward.after_end(state))) < 0.45
    # Pairs themselves are judged as without it: nothing tells them apart.
    assert float(jnp.mean(jnp.abs(reward.score(state, jnp.zeros((1, 3)), jnp.zeros((1, 1)))))) < 0.5


@pytest.mark.parametrize("form", REWARDS)
def test_it_is_rewarded_by_the_form_that_pairs_are(form):
    reward, state = fitted(policy_ends=0.3, expert_ends=0.0, steps=2, form=form)
    row = jnp.zeros(5).at[4].set(1.0)
    np.testing.assert_allclose(reward.after_end(state), REWARDS[form](reward._apply(state.params, row)))


def test_without_it_nothing_is_asked_and_nothing_said():
    reward = Discriminator(hidden=(8,)).bind(PROBLEM)
    assert not reward.asks_ends
    assert reward.after_end(reward.init(jax.random.key(0), None)) is None


def chain(gamma: float, after_end: float) -> np.ndarray:
    """Values of three states, each leading to the next for a reward of its number, the last to the task's end."""
    value = np.zeros(4)
    value[3] = after_end / (1 - gamma)
    for state in (2, 1, 0):
        value[state] = state + gamma * value[state + 1]
    return value[:3]


def steps_of_the_chain(count: int) -> Transition:
    state = jnp.arange(count) % 3
    obs, following = jnp.eye(3)[state], jnp.eye(3)[(state + 1) % 3]
    number, ended = state.astype(jnp.float32), state == 2
    action = jax.random.uniform(jax.random.key(0), (count, 1), minval=-1)
    return Transition(obs, action, 0 * number, following, 0 * number, ended, ended & False)


def score(obs, action, next_obs=None):
    return obs @ jnp.arange(3.0)


@pytest.mark.parametrize("after_end", [pytest.param(0.0, marks=pytest.mark.slow), -2.0])
def test_critics_from_replay_find_the_values_of_a_chain(after_end):
    step = TD3(
        hidden=(8,), critics=Critics(hidden=(32,), lr=3e-3, tau=0.1), gamma=0.8, minibatch=32, random_steps=0,
        obs_normaliser="demonstrations", update_ratio=1.0,
    ).bind(PROBLEM)  # fmt: skip
    state, steps = step.init(jax.random.key(1)), steps_of_the_chain(32 * 40)
    windows = jax.tree.map(lambda x: x.reshape(40, 32, 1, *x.shape[1:]), steps)
    unroll = jax.tree.map(lambda x: x[:8, :4, 0], windows)
    aim = Objective(score=score, experience=windows, after_end=jnp.float32(after_end))
    update = jax.jit(lambda state, key: step.update(state, unroll, aim, key)[0])
    for i in range(15):
        state = update(state, jax.random.key(i))
    found = step.critics.values(state.value, jnp.eye(3), jnp.zeros((3, 1)))
    expected = chain(0.8, after_end)
    np.testing.assert_allclose(found, np.stack([expected] * 2), atol=0.1 + 0.05 * np.abs(expected).max())


@pytest.mark.parametrize("after_end", [0.5, -2.0])
def test_n_step_targets_end_with_it(after_end):
    step = TD3(n_step=3, gamma=0.8, reward_scale=2.0, minibatch=1, random_steps=0).bind(PROBLEM)
    state, steps = step.init(jax.random.key(1)), steps_of_the_chain(3)
    windows = jax.tree.map(lambda x: x[None, None], steps)
    made = step.minibatches(state, Objective(score=score, experience=windows, after_end=jnp.float32(after_end)))
    np.testing.assert_allclose(made.reward[0, 0], 2 * chain(0.8, after_end)[0], rtol=1e-5)
    assert float(made.discount[0, 0]) == 0.0


@pytest.mark.parametrize("after_end", [0.5, -2.0])
def test_advantages_see_its_value(after_end):
    """One episode of the chain: with lambda 1 the returns are the chain's values whatever the critic thinks."""
    policy = PPO(hidden=(8,), gamma=0.8, gae_lambda=1.0, minibatches=1).bind(Problem(SPEC, 1, 3))
    state, steps = policy.init(jax.random.key(0)), steps_of_the_chain(3)
    unroll = jax.tree.map(lambda x: x[:, None], steps)
    aim = Objective(score=score, after_end=jnp.float32(after_end))
    after, batch, _ = policy.make_batch(state, unroll, aim)
    mean, std = after.return_scale.moments
    np.testing.assert_allclose(mean + std * batch.target, chain(0.8, after_end), rtol=1e-4, atol=1e-5)
    # As the plain estimator has it with the end's value in the place of the next state's.
    plain = generalised_advantage(
        *(jnp.arange(3.0)[:, None], jnp.zeros((3, 1)), jnp.array([[0.0], [0.0], [after_end / 0.2]])),
        jnp.zeros((3, 1), bool), unroll.done, gamma=0.8, gae_lambda=1.0,
    )  # fmt: skip
    np.testing.assert_allclose(plain[:, 0], chain(0.8, after_end), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "policy"), [("gail", "trpo"), ("gailfe", "td3"), ("gail", "mail"), ("gail", "svg")])
def test_methods_train_with_it(name, policy):
    learner = put(tiny(name, policy), {"reward.absorbing": True, "reward.form": "logit"})
    runner = Runner(learner, Cliff(), expert=cliff_expert())
    states, _ = runner.run([0])
    assert np.isfinite(np.concatenate([np.ravel(x) for x in jax.tree.leaves(states[-1].agent.policy)])).all()
    kernel = states[-1].reward.params["params"]["Dense_0"]["kernel"]
    assert kernel.shape[-2] == 5
    mark = [np.asarray(state.reward.params["params"]["Dense_0"]["kernel"])[..., -1, :] for state in states]
    assert not np.array_equal(mark[0], mark[-1])


def test_every_method_with_a_discriminator_takes_it():
    for name in ("gail", "gailfe", "mail", "gasil"):
        put(find_method(name), {"reward.absorbing": True}).verify()
    with_policy(put(find_method("gail"), {"reward.absorbing": True}), "sac").verify()
