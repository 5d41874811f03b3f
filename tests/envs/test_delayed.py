from __future__ import annotations

import dataclasses
import itertools

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.apps.collection import collect_demonstrations
from gailfe_jax.artifacts.policy import load_expert
from gailfe_jax.envs import DelayedReward, base_name, canonical_name, make_env
from gailfe_jax.envs.gymnasium import DelayedRewardWrapper
from gailfe_jax.envs.rollout import unroll
from gailfe_jax.errors import GailfeError
from tests.toy import Cliff


def roll(env, steps, scale, num_envs=3):
    """Random actions in some environments side by side: `steps` stacked `[steps, num_envs]`."""
    low, high = np.asarray(env.spec.action_low), np.asarray(env.spec.action_high)

    @jax.jit
    def run(key):
        state = jax.vmap(env.reset)(jax.random.split(key, num_envs))

        def body(state, key):
            action = scale * jax.random.uniform(key, (num_envs, len(low)), minval=low, maxval=high)
            return jax.vmap(env.step)(state, action)

        return jax.lax.scan(body, state, jax.random.split(key, steps))

    return run(jax.random.key(0))


@pytest.mark.parametrize(
    ("every", "name", "steps", "scale"),
    [
        (7, "hopper", 100, 1.0),
        *(pytest.param(every, "hopper", 300, 1.0, marks=pytest.mark.slow) for every in (1, 7, 20)),
        *(pytest.param(every, "halfcheetah", 1010, 0.3, marks=pytest.mark.slow) for every in (1, 7, 20)),
    ],
)
def test_the_delayed_rewards_of_an_episode_sum_to_its_own(every, name, steps, scale):
    env = make_env(name, "mujoco_c")
    _, plain = roll(env, steps, scale)
    state, delayed = roll(make_env(f"delayed{every}:{name}", "mujoco_c"), steps, scale)
    for field in ("obs", "next_obs", "terminated", "truncated"):
        np.testing.assert_array_equal(getattr(plain, field), getattr(delayed, field))
    done = np.asarray(plain.terminated | plain.truncated)
    assert done.sum() >= 3
    for b in range(done.shape[1]):
        start = 0
        for end in np.flatnonzero(done[:, b]) + 1:
            paid = np.asarray(delayed.reward[start:end, b])
            np.testing.assert_allclose(paid.sum(), np.sum(plain.reward[start:end, b]), rtol=1e-5, atol=1e-4)
            due = (np.arange(1, end - start + 1) % every == 0) | (np.arange(1, end - start + 1) == end - start)
            assert not paid[~due].any()
            # Every payment is what was earned since the last one.
            bounds = np.concatenate([[0], np.flatnonzero(due) + 1])
            earned = [np.sum(plain.reward[start + i : start + j, b]) for i, j in itertools.pairwise(bounds)]
            np.testing.assert_allclose(paid[due], earned, rtol=1e-5, atol=1e-5)
            start = end
        unpaid = np.sum(plain.reward[start:, b]) - np.sum(delayed.reward[start:, b])
        np.testing.assert_allclose(state.phys.pending[b], unpaid, rtol=1e-4, atol=1e-4)


def test_it_is_the_same_in_gymnasium():
    every, task = 20, "Hopper-v5"
    plain, late = gymnasium.make(task), DelayedRewardWrapper(gymnasium.make(task), every)
    rng = np.random.default_rng(0)
    plain.reset(seed=0), late.reset(seed=0)
    earned, paid, episodes = 0.0, 0.0, 0
    for _ in range(200):
        action = rng.uniform(-1, 1, 3).astype(np.float32)
        one, two = plain.step(action), late.step(action)
        np.testing.assert_array_equal(one[0], two[0])
        assert one[2:4] == two[2:4]
        earned, paid = earned + one[1], paid + two[1]
        if one[2] or one[3]:
            assert paid == pytest.approx(earned)
            plain.reset(), late.reset()
            # Gymnasium's own generator goes on from where it was, in both alike.
            earned, paid, episodes = 0.0, 0.0, episodes + 1
    assert episodes >= 3


class Clock(Cliff):
    """Pays 1 in each of ten steps."""

    spec = dataclasses.replace(Cliff.spec, max_episode_steps=10)

    def reward(self, obs):
        return jnp.float32(1.0)

    def fell(self, obs):
        return jnp.array(False)


@pytest.mark.parametrize("every", [1, 3, 4, 20])
def test_the_return_of_an_episode_in_training_is_what_it_was_paid(every):
    act = lambda agent, obs, key: (jnp.zeros((len(obs), 2)), jnp.zeros(len(obs)))  # noqa: E731
    env = DelayedReward(Clock(), every)
    state = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 2))
    state, _, totals = jax.jit(lambda state: unroll(env, act, None, state, jax.random.key(1), 25))(state)
    assert totals.count == 4 and totals.returns == 40
    # Half an episode: five steps, of which whole multiples of `every` are paid.
    assert state.episode_return.tolist() == [5 - 5 % every] * 2
    assert state.phys.pending.tolist() == [5 % every] * 2


def test_names():
    assert canonical_name("delayed:Hopper-v5") == "delayed20:hopper"
    assert canonical_name("delayed5:walker2d") == "delayed5:walker2d"
    assert base_name("delayed5:Walker2d-v5") == "walker2d"
    assert base_name("hopper") == "hopper"
    env = make_env("delayed5:hopper", "mujoco_c")
    assert isinstance(env, DelayedReward)
    assert (env.every, env.spec) == (5, make_env("hopper", "mujoco_c").spec)
    for name, message in (
        ("delayed0:hopper", r"^env: got 'delayed0:hopper'; expected delayed<k>:<task> with 1 to 1000000000 steps"),
        ("delayed20:hoper", r"^env: unknown task 'hoper'"),
    ):
        with pytest.raises(GailfeError, match=message):
            make_env(name)
    with pytest.raises(GailfeError, match=r"^every: got 0; expected at least 1"):
        DelayedReward(env, 0)
    with pytest.raises(GailfeError, match=r"^every: got 0; expected at least 1"):
        DelayedRewardWrapper(gymnasium.make("Hopper-v5"), 0)


@pytest.mark.exact
@pytest.mark.slow
def test_demonstrations_have_the_same_returns(tmp_path):
    names = ("hopper", "delayed20:hopper")
    returns = [
        collect_demonstrations(
            make_env(name, "mujoco_c"), load_expert("hopper"), trajectories=2, seed=3, keep_failed=True
        ).expert.returns
        for name in names
    ]
    np.testing.assert_allclose(*returns, rtol=1e-5)
    assert jnp.all(jnp.asarray(returns[0]) > 1000)
