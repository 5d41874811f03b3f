"""What is said of trajectories with known flaws."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gailfe_jax.data.inspection import advise, inspect_part
from gailfe_jax.data.trajectories import Trajectories
from gailfe_jax.types import EnvSpec

SPEC = EnvSpec("point", None, "none", 3, 2, (-1.0, -2.0), (1.0, 2.0), 8)


@pytest.fixture
def flawless():
    rng = np.random.default_rng(0)
    lengths = [8, 8, 6]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    obs = [rng.normal(size=(length + 1, 3)).astype(np.float32) for length in lengths]
    last = np.isin(np.arange(22), offsets[1:] - 1)
    return Trajectories(
        obs=np.concatenate([o[:-1] for o in obs]),
        action=rng.uniform(-0.9, 0.9, (22, 2)).astype(np.float32),
        next_obs=np.concatenate([o[1:] for o in obs]),
        reward=np.ones(22, np.float32),
        terminated=last & (np.arange(22) == 21),
        truncated=last & (np.arange(22) != 21),
        offsets=offsets,
    )


def found(trajectories, spec=SPEC):
    return {finding.name: finding for finding in inspect_part(trajectories, spec)}


def test_nothing_is_held_against_what_is_flawless(flawless):
    said = found(flawless)
    assert not [finding.name for finding in said.values() if finding.warns]
    assert said["pairs"].words == "3 episodes, 22 pairs"
    assert said["lengths"].words == "lengths 6 to 8, median 8"
    assert said["returns"].words == "returns 6 to 8, median 8"
    assert said["terminated"].words == "1 ended by the task (terminated), 2 by a limit or the recording (truncated)"
    assert said["sizes"].words == "sizes fit point: 3 observed, 2 acted"
    assert said["outside"].words == "actions within [-1, -2, 1, 2]"


def test_short_episodes_are_named(flawless):
    one = flawless.trajectory(2)
    stub = dataclasses.replace(
        one, **{name: getattr(one, name)[:1] for name in ("obs", "action", "next_obs", "reward")},
        terminated=np.ones(1, bool), truncated=np.zeros(1, bool), offsets=np.array([0, 1]),
    )  # fmt: skip
    said = found(Trajectories.concatenate([flawless, stub]))
    assert said["short"].value == [3] and said["short"].warns
    assert said["short"].words.startswith("episodes far shorter than the rest: 3; they may have failed")


def test_rows_that_are_not_finite_are_named(flawless):
    reward = flawless.reward.copy()
    obs, reward[7] = flawless.obs.copy(), np.inf
    obs[3, 1] = np.nan
    said = found(dataclasses.replace(flawless, obs=obs, reward=reward))
    assert said["not_finite"].value == [3, 7] and said["not_finite"].warns
    assert said["not_finite"].words == "NaN or infinity in 2 rows: 3, 7; training refuses the file"


def test_numbers_that_never_change_are_named(flawless):
    obs, action = flawless.obs.copy(), flawless.action.copy()
    obs[:, 2], action[:, 0] = 5.0, 0.25
    said = found(dataclasses.replace(flawless, obs=obs, action=action))
    assert said["constant_obs"].words == "obs never changes in 1 number of 3: 2"
    assert said["constant_action"].value == [0]
    assert (said["constant_obs"].warns, said["constant_action"].warns) == (False, True)


def test_pairs_that_are_there_twice_are_counted(flawless):
    said = found(Trajectories.concatenate([flawless, flawless.trajectory(0)]))
    assert (said["duplicated_pairs"].value, said["duplicated_episodes"].value) == (8, 1)
    assert said["duplicated_pairs"].words == "8 pairs of 30 there more than once (26.7%), 1 whole episode among them"
    zeros = dataclasses.replace(flawless, obs=flawless.obs * 0, action=flawless.action * -0.0)
    assert found(zeros)["duplicated_pairs"].value == 21  # 0 and -0 are one number


def test_actions_are_held_against_the_bounds(flawless):
    action = flawless.action.copy()
    action[:15, 1] = 2.0
    action[4, 0] = -1.5
    said = found(dataclasses.replace(flawless, action=action))
    assert said["outside"].words == "1 action of 22 outside the bounds, by up to 0.5 (--clip-actions)"
    assert said["saturated"].value == [round(1 / 22, 4), round(15 / 22, 4)]
    assert said["saturated"].words == "actions at their bounds in 36% of the steps; most of the time: 1"


def test_sizes_and_choices_are_held_against_the_environment(flawless):
    said = found(flawless, dataclasses.replace(SPEC, obs_size=4))
    assert said["sizes"].words == "3 numbers observed and 2 acted; point has 4 and 2: they do not fit"
    assert said["sizes"].warns and "outside" not in said
    choices = dataclasses.replace(SPEC, action_low=(0.0,), action_high=(1.0,), discrete=True)
    assert found(flawless, choices)["choices"].words == "22 actions that are no choices"
    rows = np.eye(2, dtype=np.float32)[np.arange(22) % 2]
    assert found(dataclasses.replace(flawless, action=rows), choices)["choices"].value == [11, 11]


def test_episodes_that_were_cut_off_are_told_from_those_of_the_limit(flawless):
    said = found(flawless, dataclasses.replace(SPEC, max_episode_steps=10))
    assert said["terminated"].words.endswith(
        "2 by a limit or the recording (truncated), 2 of them before the time limit of 10 steps"
    )


def test_advice_follows_what_is_there(flawless):
    said = "\n".join(advise(flawless, 0, SPEC, []))
    assert "bc: clone 22 pairs" in said and "few episodes: compare seeds" in said
    assert "gailfe: no failures are there, so it learns from the agent's own" in said
    unpaid = dataclasses.replace(flawless, reward=None)
    assert found(unpaid)["returns"].words == "returns unknown: no rewards were recorded"
    said = "\n".join(advise(unpaid.trajectory(0), 3, SPEC, ["not_finite", "saturated"]))
    assert "first mend: not_finite\n" in said and "none can be held out" in said
    assert "gailfe, irlf: 3 failures are there" in said
    assert "annotators that read the reward (return_below, bottom_quantile) cannot judge these" in said
