"""What a discriminator of observations alone judges: states, transitions, and chosen numbers of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.config.parts import as_arrays
from gailfe_jax.envs import make_env
from gailfe_jax.envs.meaning import observed_names
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.methods import find_method
from gailfe_jax.rewards.base import RewardBatch
from gailfe_jax.rewards.discriminator import Discriminator
from gailfe_jax.rewards.observed import find_observed
from gailfe_jax.types import EnvSpec, Problem, StateAction
from tests.toy import Cliff

SPEC = EnvSpec("point", None, "none", 4, 2, (-1.0,), (1.0,), 5)
PROBLEM = Problem(SPEC, num_envs=4, unroll_length=8)
NAMES = {"joint:hip.qpos": (0,), "joint:knee.qpos": (1,), "clip(joint:hip.qvel, -10, 10)": (2,), "qpos[:2]": (0, 1)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2", (2,)),
        ("-1,0", (0, 3)),
        ("1:3", (1, 2)),
        (":2, 3", (0, 1, 3)),
        ("-2:", (2, 3)),
        ("0,0:2,joint:HIP.qpos", (0, 1)),
        ("joint:*.qpos", (0, 1)),
        ("clip(joint:hip.qvel, -10, 10), 3", (2, 3)),
        ("qpos[:2],3", (0, 1, 3)),
    ],
)
def test_numbers_are_chosen_by_index_slice_and_name(text, expected):
    assert find_observed(text, 4, NAMES) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4", r"got 4; expected an index below 4, the numbers observed$"),
        ("3:3", r"got 3:3, which holds none of the 4 numbers observed$"),
        ("joint:nee.qpos", r"no number observed is called 'joint:nee.qpos'; did you mean 'joint:knee.qpos'\?$"),
        ("zzz", r"no number observed is called 'zzz'; expected such as 'joint:hip.qpos'$"),
        (" , ", r"got ' , '; expected all, or indices, slices and names$"),
    ],
)
def test_what_is_not_there_is_refused(text, message):
    with pytest.raises(GailfeError, match=rf"^reward\.features: {message}"):
        find_observed(text, 4, NAMES)


def made(**settings) -> Discriminator:
    return as_arrays(Discriminator(hidden=(8,), **settings).bind(PROBLEM))


def pairs(seed: int, *shape: int) -> StateAction:
    rng = np.random.default_rng(seed)
    return StateAction(*(jnp.asarray(rng.normal(size=(*shape, size)), jnp.float32) for size in (4, 2, 4)))


@pytest.mark.parametrize(
    ("settings", "row"),
    [
        ({}, lambda x: (x.obs, x.action)),
        ({"features": "0,3"}, lambda x: (x.obs[..., [0, 3]], x.action)),
        ({"inputs": "states"}, lambda x: (x.obs,)),
        ({"inputs": "states", "features": "1:3"}, lambda x: (x.obs[..., 1:3],)),
        ({"inputs": "transitions"}, lambda x: (x.obs, x.next_obs - x.obs)),
        ({"inputs": "transitions", "features": "2"}, lambda x: (x.obs[..., 2:3], (x.next_obs - x.obs)[..., 2:3])),
    ],
)
def test_what_is_judged(settings, row):
    reward, shown = made(**settings), pairs(0, 3, 5)
    expected = np.concatenate(row(shown), axis=-1)
    np.testing.assert_allclose(reward.judged(shown), expected, rtol=1e-6)
    assert reward.judged_size == expected.shape[-1]
    assert (reward.asks_actions, reward.asks_next) == ("inputs" not in settings, "transitions" in settings.values())
    state = reward.init(jax.random.key(0), shown)
    paid = reward.scorer(state)(shown.obs, shown.action, shown.next_obs)
    np.testing.assert_allclose(paid, reward.score(state, *vars(shown).values()), rtol=1e-6)
    if not reward.asks_actions:
        # Nobody has to know the actions.
        nothing = shown.replace(action=jnp.zeros((3, 5, 0)))
        np.testing.assert_array_equal(reward.scorer(state)(*vars(nothing).values()), paid)


def test_states_and_where_they_led_are_told_apart_where_states_alone_are_not():
    """The expert's moves differ from the policy's, and its states do not."""
    demos = pairs(0, 300)
    demos = demos.replace(next_obs=demos.obs + 0.1, action=jnp.zeros((300, 0)))
    policy = pairs(1, 8, 64)
    policy = policy.replace(next_obs=policy.obs - 0.1)
    gaps = {}
    for inputs in ("states", "transitions"):
        reward = made(inputs=inputs, lr=jnp.float32(1e-2))
        state, fit = reward.init(jax.random.key(0), demos), jax.jit(reward.fit)
        for i in range(5):
            state, metrics = fit(state, RewardBatch(policy, expert=demos), jax.random.key(i))
        assert np.isfinite([float(x) for x in metrics.values()]).all()
        gaps[inputs] = float(metrics["discriminator_accuracy"])
    assert gaps["transitions"] > 0.99 and gaps["states"] < 0.7


def test_transitions_are_not_judged_without_where_they_led():
    reward = made(inputs="transitions")
    state = reward.init(jax.random.key(0), None)
    with pytest.raises(GailfeError, match=r"^reward\.inputs: transitions are judged, and nobody says where"):
        reward.scorer(state)(jnp.zeros(4), jnp.zeros(2))


def test_an_environment_s_names_choose():
    assert observed_names(make_env("cartpole"))["pole angle"] == (2,)
    arm = make_env("examples/arm/arm.toml")
    names = observed_names(arm)
    assert (
        names["joint:elbow.qpos"] == (1,) and names["qvel[:2]"] == (2, 3) and names["site:tip.x - body:goal.x"] == (4,)
    )
    method = find_method("gail").replace(reward=Discriminator(features="qpos[:2],*goal*"))
    assert method.on(arm).reward.columns == (0, 1, 4, 5)
    with pytest.raises(
        GailfeError, match=r"^reward\.features: no number observed is called 'joint:elbo.qpos'; did you"
    ):
        method.replace(reward=Discriminator(features="joint:elbo.qpos")).on(arm)
    # What has no names is called by its places.
    assert method.replace(reward=Discriminator(features="obs[1]")).on(Cliff()).reward.columns == (1,)
