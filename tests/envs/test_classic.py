"""The classic control tasks against Gymnasium's own, from the same states."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.envs import CLASSIC, brings_engine, canonical_name, find_task, make_env, takes_choices
from gailfe_jax.envs.classic.acrobot import wrapped
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.setup import build_setup
from gailfe_jax.types import EnvSpec, EnvState

# What float32 makes of a whole episode.
CLOSE = {"cartpole": 1e-5, "mountain_car": 1e-5, "acrobot": 1e-3}


@dataclasses.dataclass
class Pair:
    """Ours, compiled, and Gymnasium's."""

    spec: EnvSpec
    reset: Any
    roll: Any
    each: Any
    theirs: gymnasium.Env

    def begin(self, seed: int) -> Any:
        """Our fresh state, and Gymnasium's environment set to it."""
        state = self.reset(jax.random.key(seed))
        self.theirs.reset(seed=0)
        self.theirs.unwrapped.state = np.asarray(state.phys, np.float64)
        return state


@pytest.fixture(scope="module", params=sorted(CLASSIC))
def pair(request):
    env = make_env(request.param)
    assert env.spec.gymnasium_id is not None
    with gymnasium.make(env.spec.gymnasium_id) as theirs:
        roll = jax.jit(lambda state, rows: jax.lax.scan(env.step, state, rows)[1])
        axes = EnvState(phys=0, obs=None, step_count=0, episode=None, episode_return=None, key=None)
        each = jax.jit(lambda states, rows: jax.vmap(env.step, (axes, 0))(states, rows)[1])
        yield Pair(env.spec, jax.jit(env.reset), roll, each, theirs)


def swing(obs: np.ndarray) -> int:
    """A policy that ends MountainCar and Acrobot early: push the way that it moves."""
    return 2 if obs[-1] > 0 else 0


# Choices at random, the same one always, and what leads to a goal.
POLICIES = {
    "random": lambda rng, n, obs: int(rng.integers(n)),
    "first": lambda rng, n, obs: 0,
    "last": lambda rng, n, obs: n - 1,
    "upright": lambda rng, n, obs: int(obs[2] + 0.3 * obs[3] > 0) if n == 2 else swing(obs),
}


@pytest.mark.exact
@pytest.mark.parametrize("policy", POLICIES)
def test_whole_episodes_are_gymnasiums(pair, policy):
    limit, spec = pair.spec.max_episode_steps, pair.spec
    assert limit == gymnasium.spec(spec.gymnasium_id).max_episode_steps
    for seed in range(3):
        rng, start = np.random.default_rng(seed), pair.begin(seed)
        obs, over, choices, states, theirs = np.asarray(start.obs), False, [], [], []
        while not over:
            choices.append(POLICIES[policy](rng, spec.action_size, obs))
            states.append(np.array(pair.theirs.unwrapped.state, np.float32))
            obs, reward, terminated, truncated, _ = pair.theirs.step(choices[-1])
            # Gymnasium reports both where a fall is the last step's; we keep the two apart.
            theirs.append((obs, reward, terminated, truncated and not terminated))
            over = terminated or truncated
        count = len(choices)
        idle = [0] * (limit - count)
        rows = np.eye(spec.action_size, dtype=np.float32)[choices + idle]
        expected = [np.array(column) for column in zip(*theirs)]
        # From Gymnasium's state before each step, and for as long as rounding does not grow without bound alone, too:
        # a pole that is held up is unstable, and so is a fast double pendulum.
        forced = start.replace(phys=np.stack(states + [states[0]] * len(idle)), step_count=np.arange(limit))
        for ours in [pair.each(forced, rows)] + ([pair.roll(start, rows)] if policy != "upright" else []):
            np.testing.assert_allclose(ours.next_obs[:count], expected[0], atol=CLOSE[spec.name])
            for mine, column in zip((ours.reward, ours.terminated, ours.truncated), expected[1:], strict=True):
                np.testing.assert_array_equal(mine[:count], column)
        if policy == "upright":
            assert count == limit if spec.name == "cartpole" else count < limit
        if policy == "first":
            assert count < 15 if spec.name == "cartpole" else count == limit


@pytest.mark.exact
def test_single_steps_from_anywhere_are_gymnasiums(pair):
    """Bounds, walls and whole turns included, which few episodes meet."""
    reach = {"cartpole": [2.5, 3, 0.22, 3], "mountain_car": [1.3, 0.07], "acrobot": [3.14, 3.14, 12.5, 28]}
    rng = np.random.default_rng(0)
    states = rng.uniform(-1, 1, (400, len(reach[pair.spec.name]))) * reach[pair.spec.name]
    if pair.spec.name == "mountain_car":
        states[:, 0] = rng.choice([-1.19, -0.5, 0.49, 0.59], 400)
    states = states.astype(np.float32)
    choices = rng.integers(pair.spec.action_size, size=400)
    start = pair.begin(0)
    many = jax.vmap(lambda x: start.replace(phys=x))(states)
    _, ours = jax.jit(jax.vmap(make_env(pair.spec.name).step))(many, jnp.eye(pair.spec.action_size)[choices])
    ended = []
    for i, (state, choice) in enumerate(zip(states, choices, strict=True)):
        pair.theirs.reset(seed=0)
        pair.theirs.unwrapped.state = state.astype(np.float64)
        obs, reward, terminated, _, _ = pair.theirs.step(int(choice))
        np.testing.assert_allclose(ours.next_obs[i], obs, rtol=1e-5, atol=1e-4)
        assert (float(ours.reward[i]), bool(ours.terminated[i])) == (reward, terminated)
        ended.append(terminated)
    # Of either kind enough.
    assert 0.02 < np.mean(ended) < 0.98


def test_episodes_start_where_gymnasiums_do(pair):
    keys = jax.random.split(jax.random.key(0), 4000)
    ours = np.asarray(jax.vmap(pair.reset)(keys).phys)
    theirs = []
    for seed in range(400):
        pair.theirs.reset(seed=seed)
        theirs.append(np.array(pair.theirs.unwrapped.state))
    low, high = {"cartpole": (-0.05, 0.05), "mountain_car": (-0.6, -0.4), "acrobot": (-0.1, 0.1)}[pair.spec.name]
    for drawn in (ours, np.stack(theirs)):
        moving = drawn[:, :1] if pair.spec.name == "mountain_car" else drawn
        assert low <= moving.min() < low + 0.02 * (high - low) and high - 0.02 * (high - low) < moving.max() <= high
        np.testing.assert_allclose(moving.mean(axis=0), (low + high) / 2, atol=0.06 * (high - low))
    if pair.spec.name == "mountain_car":
        assert not ours[:, 1].any()


def test_angles_are_wrapped_as_by_whole_turns():
    angle = np.array([0.0, 3.0, 3.5, -3.5, np.pi, -np.pi, 9.0, -9.0, 10.0, 30.0], np.float32)
    expected = np.array([0.0, 3.0, 3.5 - 2 * np.pi, 2 * np.pi - 3.5, np.pi, -np.pi, 9 - 2 * np.pi, 2 * np.pi - 9,
                         10 - 4 * np.pi, 30 - 10 * np.pi])  # fmt: skip
    np.testing.assert_allclose(wrapped(jnp.asarray(angle)), expected, atol=1e-5)


@pytest.mark.parametrize("name", CLASSIC)
def test_they_are_known_by_name_and_bring_their_engine(name):
    spec = make_env(name).spec
    assert canonical_name(str(spec.gymnasium_id).upper()) == name
    assert make_env(str(spec.gymnasium_id)) is make_env(name, "mjx")
    assert brings_engine(name) and takes_choices(name) and takes_choices(f"delayed20:{name}")
    assert not takes_choices("hopper")
    with pytest.raises(GailfeError, match=f"^env: {name} is no MuJoCo task; expected one, such as halfcheetah"):
        find_task(name)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"engine": "mjx"}, "engine: nothing reads it: cartpole brings its own engine"),
        ({"policy.mixture": 3}, "policy.mixture: nothing reads it: actions are choices, whose policy is no Gaussian"),
        ({"init_log_std": -1.0}, "policy.init_log_std: nothing reads it: actions are choices"),
    ],
)
def test_settings_that_mean_nothing_there_are_refused(values, message):
    with pytest.raises(GailfeError, match=f"^{message}"):
        build_setup({"algo": "gail", "env": "cartpole"} | values)
    record = build_setup({"algo": "gail", "env": "cartpole"}).record()
    assert "mixture" not in record["method"]["policy"] and "engine" not in record["environment"]
