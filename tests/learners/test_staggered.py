"""Environments whose first episodes are cut at ages spread over the time limit."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.config.tree import put
from gailfe_jax.envs.rollout import unroll
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.base import Rollout, reset_envs
from gailfe_jax.learners.methods import find_method
from tests.tiny import tiny
from tests.toy import Drift

pytestmark = pytest.mark.usefixtures("compiled_in_haste")
ENVS = 8


class Long(Drift):
    """Drift with a time limit of 80 steps."""

    @property
    def spec(self):
        return dataclasses.replace(super().spec, max_episode_steps=80)


def ends(rollout):
    """`[160, B]` whether each environment's episode ended at each step, by the time limit alone."""
    env = Long()
    act = lambda agent, obs, key: (jnp.zeros((len(obs), 2)), jnp.zeros(len(obs)))  # noqa: E731
    state = reset_envs(env, jax.random.key(0), rollout)
    _, transition, _ = unroll(env, act, None, state, jax.random.key(1), 160)
    assert not np.any(transition.terminated)
    return np.asarray(transition.truncated)


def test_first_episodes_end_apart_and_the_others_last_their_time():
    together, apart = (ends(Rollout(num_envs=ENVS, staggered=staggered)) for staggered in (False, True))
    assert [np.flatnonzero(row).tolist() for row in together.T] == [[79, 159]] * ENVS
    first = [np.flatnonzero(row)[0] for row in apart.T]
    # No two at once, and none waits longer than twice its share for the next.
    assert len(set(first)) == ENVS and np.diff(sorted(first)).max() <= 2 * 80 / ENVS
    for row in apart.T:
        assert set(np.diff(np.flatnonzero(row))) == {80}
    # Neighbours, which may have roles of their own, are far apart.
    assert min(abs(np.diff(first[:3]))) > 80 / ENVS


def test_environments_with_a_clock_of_their_own_start_together():
    class Host(Long):
        @property
        def spec(self):
            return dataclasses.replace(super().spec, engine="gymnasium")

    state = reset_envs(Host(), jax.random.key(0), Rollout(num_envs=ENVS, staggered=True))
    assert not np.any(state.step_count)


def test_training_starts_as_asked():
    method = tiny("ppo", rollout__num_envs=ENVS, rollout__staggered=True)
    counts = method.on(Long()).init(jax.random.key(0), None).env.step_count
    assert len(set(counts.tolist())) == ENVS


def test_what_steps_no_environment_refuses_it():
    with pytest.raises(GailfeError, match=r"^rollout.staggered: .*bc steps no environment"):
        put(find_method("bc"), {"rollout.staggered": True}).verify()
