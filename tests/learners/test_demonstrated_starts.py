"""Episodes that start where demonstrations were: the simulator's states, which of them, and who has none."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.apps.collection import collect_demonstrations
from gailfe_jax.config.run import DemoSettings
from gailfe_jax.config.tree import put
from gailfe_jax.envs import make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.methods import METHODS
from gailfe_jax.training.inputs import prepare_inputs
from gailfe_jax.types import Starts
from tests.runs import policy
from tests.tiny import noise_demos, tiny
from tests.toy import Cliff

pytestmark = pytest.mark.usefixtures("compiled_in_haste")
SHARE = "rollout.demonstrated_starts"


@pytest.fixture(scope="module")
def hopper():
    return make_env("hopper", "mujoco_c")


@pytest.fixture(scope="module")
def shown(hopper):
    """Episodes of a policy that soon falls, with the simulator's states."""
    return collect_demonstrations(hopper, policy(0), trajectories=3, keep_failed=True)


def nearest(expert, obs):
    """`(row, distance)` of the demonstrated observation that is nearest to each of `obs [n, o]`."""
    distance = np.abs(expert.obs[None] - np.asarray(obs)[:, None]).max(axis=-1)
    return distance.argmin(axis=1), distance.min(axis=1)


def starts_and_goes_on(env, expert, tolerance):
    starts = env.starts_of(expert.simulator_state, expert.obs)
    assert starts.qpos.shape == (len(expert.obs), 6) and starts.qvel.shape == (len(expert.obs), 6)

    @jax.jit
    def run(starts, keys, actions):
        there = env.starting_from(starts, 1.0)
        state = jax.vmap(there.reset)(keys)
        rows = jnp.argmin(jnp.max(jnp.abs(jnp.asarray(expert.obs)[None] - state.obs[:, None]), axis=-1), axis=1)
        state, step = jax.vmap(there.step)(state, jnp.asarray(expert.action)[rows])
        return rows, step, jax.lax.scan(lambda s, a: jax.vmap(there.step)(s, a), state, actions)[1]

    keys = jax.random.split(jax.random.key(7), 8)
    rows, step, later = run(starts, keys, jnp.ones((30, 8, 3)))
    assert len(set(rows.tolist())) > 3
    np.testing.assert_allclose(step.next_obs, expert.next_obs[rows], atol=tolerance)
    done = np.asarray(later.terminated)
    assert done.sum() > 3
    assert (nearest(expert, np.asarray(later.obs)[done])[1] < 1e-5).all()
    # What is evaluated is another environment, whose episodes start as the task's do.
    state = jax.jit(jax.vmap(env.reset))(keys)
    assert nearest(expert, state.obs)[1].min() > 1e-5


def test_episodes_start_where_demonstrations_were_and_go_on_as_these_did(hopper, shown):
    starts_and_goes_on(hopper, shown.expert, 2e-3)


@pytest.mark.slow
def test_other_engines_start_there_too(shown):
    starts_and_goes_on(make_env("hopper", "mjx"), shown.expert, 2e-2)


def test_a_share_of_the_episodes_starts_there_the_same_ones_side_by_side_or_alone(hopper, shown):
    starts = hopper.starts_of(shown.expert.simulator_state, shown.expert.obs)
    delayed = make_env("delayed5:hopper", "mujoco_c")
    keys = jax.random.split(jax.random.key(1), 400)
    found = [
        jax.jit(lambda starts, keys, env=env: jax.vmap(env.starting_from(starts, 0.25).reset)(keys))(starts, keys)
        for env in (hopper, delayed)
    ]
    for state in found:
        there = nearest(shown.expert, state.obs)[1] < 1e-5
        assert abs(there.sum() - 100) < 5 * np.sqrt(400 * 0.25 * 0.75)
    alone = jax.jit(lambda starts, key: hopper.starting_from(starts, 0.25).reset(key))
    for i in range(5):
        np.testing.assert_array_equal(alone(starts, keys[i]).obs, found[0].obs[i])


def test_training_starts_there_by_an_argument_and_only_where_it_is_asked_for():
    learner = tiny("gail", "td3", rollout__demonstrated_starts=0.5).on(Cliff())
    corner = noise_demos(Cliff()).replace(starts=Starts(jnp.full((3, 2), 0.9), jnp.zeros((3, 0))))
    other = corner.replace(starts=Starts(jnp.full((3, 2), -0.8), jnp.zeros((3, 0))))

    @jax.jit
    def seen(demos):
        state = learner.init(jax.random.key(0), demos)
        return learner.collect(state, jax.random.key(1), demos)[1].obs

    for demos, place in ((corner, 0.9), (other, -0.8)):
        there = np.all(np.asarray(seen(demos)) == np.float32(place), axis=-1)
        assert 0 < there[0].sum() < 4 and there[1:].sum() > 0
    assert seen._cache_size() == 1
    plain = tiny("gail", "td3").on(Cliff())
    state = plain.init(jax.random.key(0), corner)
    assert not (np.asarray(plain.collect(state, jax.random.key(1), corner)[1].obs) == np.float32(0.9)).any()


def test_only_the_states_of_the_pairs_that_are_shown_are_starts(hopper, shown):
    method = put(tiny("gail"), {SHARE: 0.5})
    inputs = prepare_inputs(method, hopper, DemoSettings(subsample=5, demo_seed=1), shown)
    starts = inputs.demos.starts
    assert len(starts.qpos) == len(inputs.demos.expert.obs) < len(shown.expert.obs) / 4
    # Height and angles are observed as they are.
    np.testing.assert_allclose(starts.qpos[:, 1:], inputs.demos.expert.obs[:, :5], rtol=1e-6)
    plain = prepare_inputs(tiny("gail"), hopper, DemoSettings(subsample=5, demo_seed=1), shown)
    assert plain.demos.starts is None and plain.record["content_sha256"] != inputs.record["content_sha256"]


def test_what_has_no_states_is_refused_in_one_line(hopper, shown):
    method, expert = put(tiny("gail"), {SHARE: 0.5}), shown.expert
    field = "demos: field 'expert/simulator_state': "
    for states, message in (
        (None, f"{SHARE}: demos holds no simulator states; expected a file of gailfe demos"),
        (expert.simulator_state[:, :9], f"{field}has 9 numbers; expected hopper's 13 to "),
        (np.roll(expert.simulator_state, 1, axis=0), f"{field}is not what was observed; expected states of hopper"),
    ):
        changed = dataclasses.replace(shown, expert=dataclasses.replace(expert, simulator_state=states))
        with pytest.raises(GailfeError, match=f"^{message}"):
            prepare_inputs(method, hopper, DemoSettings(), changed)
    for env in ("cartpole", "delayed5:cartpole"):
        with pytest.raises(GailfeError, match=f"^{SHARE}: got 0.5; cartpole has no simulator that can be set"):
            method.on(make_env(env))
    for name in ("bc", "dagger", "ppo", "gasil"):
        with pytest.raises(GailfeError, match=f"^{SHARE}: got 0.5; nothing reads it"):
            put(METHODS[name], {SHARE: 0.5}).verify()
