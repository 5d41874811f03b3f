"""What is derived, cast, declared and left out of recorded episodes, by hand-made ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gailfe_jax.data.episodes import Episode, build, refuse_idle_ends
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.errors import GailfeError
from gailfe_jax.types import EnvSpec
from tests.data.made import one_line

SPEC = EnvSpec("point", None, "none", 2, 1, (-1.0,), (1.0,), 4)
CHOICES = EnvSpec("switch", None, "none", 2, 3, (0.0,), (1.0,), 4, discrete=True)
OBS = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]], np.float32)
ACTION = np.array([[0.1], [0.2], [0.3]], np.float32)


def episode(**changes) -> Episode:
    return dataclasses.replace(Episode(OBS, ACTION, end="truncated"), **changes)


def test_the_observation_after_an_action_is_the_one_that_follows():
    built = build("x", [episode()])
    np.testing.assert_array_equal(built.trajectories.obs, OBS[:3])
    np.testing.assert_array_equal(built.trajectories.next_obs, OBS[1:])
    assert built.notes == [] and built.trajectories.reward is None


def test_without_a_last_observation_the_last_pair_is_left_out():
    built = build("x", [episode(obs=OBS[:3], reward=np.array([1.0, 2.0, 8.0]), end="terminated")])
    np.testing.assert_array_equal(built.trajectories.obs, OBS[:2])
    np.testing.assert_array_equal(built.trajectories.next_obs, OBS[1:3])
    assert built.trajectories.reward is not None and built.trajectories.reward.tolist() == [1.0, 2.0]
    assert built.trajectories.terminated.tolist() == [False, True]
    assert built.notes == [
        "reward: float64 made float32, nothing lost",
        "next_obs: the last pair of 1 episodes left out, for no observation follows it, and with it rewards of 8 in "
        "all",
        "terminated: moved to the pair before it in 1 of these episodes",
    ]


def test_an_episode_of_one_pair_may_be_left_with_none():
    built = build("x", [episode(obs=OBS[:1], action=ACTION[:1]), episode()])
    assert built.trajectories.lengths.tolist() == [3]
    assert "episodes: 1 left out, for no pair of theirs is whole" in built.notes
    with pytest.raises(GailfeError, match=r"^x: no episode with a pair that is whole, expected one or more$"):
        build("x", [episode(obs=OBS[:1], action=ACTION[:1])])


def test_observations_that_do_not_follow_are_said():
    after = OBS[1:].copy()
    after[0, 1] += 0.5
    built = build("x", [episode(obs=OBS[:3], next_obs=after)])
    np.testing.assert_array_equal(built.trajectories.next_obs, OBS[1:])
    assert built.notes == [
        "next_obs: 1 differ from the observation that follows, by up to 0.5; the one that follows is kept"
    ]


def test_a_cast_says_what_it_lost():
    built = build("x", [episode(obs=OBS.astype(np.float64) + 1e-9, action=np.array([[2**24 + 1], [0], [0]]) + 0.0)])
    assert built.trajectories.obs.dtype == built.trajectories.action.dtype == np.float32
    assert built.notes[0].startswith("obs: float64 made float32, off by up to 1e-09")
    assert built.notes[1] == "action: float64 made float32, off by up to 1"
    assert build("x", [episode(obs=OBS.astype(np.float16))]).notes == ["obs: float16 made float32, nothing lost"]
    # What float32 cannot hold is infinite, which validation names by its row.
    built = build("x", [episode(obs=OBS.astype(np.float64) * 1e38 * 10)])
    with pytest.raises(GailfeError, match=r"NaN or infinity at step 0"):
        Demonstrations("e", built.trajectories, built.trajectories).validate()


@pytest.mark.parametrize(
    ("end", "spec", "ends", "expected"),
    [
        ("terminated", None, None, "terminated"),
        ("truncated", None, None, "truncated"),
        ("cut", None, None, "truncated"),
        ("unknown", None, "terminated", "terminated"),
        ("over", None, "truncated", "truncated"),
        ("over", SPEC, None, "terminated"),
        ("over", dataclasses.replace(SPEC, max_episode_steps=3), None, "truncated"),
        ("over", SPEC, "truncated", "truncated"),
    ],
)
def test_how_an_episode_ends(end, spec, ends, expected):
    built = build("x", [episode(end=end)], spec=spec, ends=ends)
    assert getattr(built.trajectories, expected).tolist() == [False, False, True]
    assert (built.trajectories.terminated | built.trajectories.truncated).sum() == 1
    assert bool(built.notes) is (end not in ("terminated", "truncated"))
    assert built.declared == (ends is not None)


def test_ends_that_nothing_says_are_asked_for():
    with pytest.raises(GailfeError) as error:
        build("x", [episode(end="unknown", name="demo_3")])
    assert one_line(error).startswith(
        "x: demo_3: field 'terminated': missing: the recording does not say how it ends; "
    )
    assert "--episodes-end-by terminated" in str(error.value) and "--env" not in str(error.value)
    with pytest.raises(GailfeError, match=r"says that it is over, not how; .*, or --env, whose time limit tells"):
        build("x", [episode(end="over")])
    with pytest.raises(GailfeError, match="got 'fallen'; expected terminated or truncated"):
        build("x", [episode()], ends="fallen")
    with pytest.raises(GailfeError, match="episodes-end-by: got truncated; nothing reads it: x says how"):
        refuse_idle_ends("x", "truncated", [build("x", [episode()], ends="truncated")])


def test_choices_become_rows():
    for action in (np.array([0, 2, 1]), np.array([[0], [2], [1]], np.int32)):
        built = build("x", [episode(action=action)], spec=CHOICES)
        assert built.trajectories.action.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
        assert built.notes == ["action: choices, made into rows of 3 with 1 at the choice"]
    with pytest.raises(GailfeError, match="field 'action': choice 3, expected 0 to 2"):
        build("x", [episode(action=np.array([0, 3, 1]))], spec=CHOICES)
    with pytest.raises(GailfeError, match="whole numbers, which may be choices; expected --env"):
        build("x", [episode(action=np.array([0, 3, 1]))])
    # Where actions are no choices, whole numbers are numbers.
    assert build("x", [episode(action=np.array([0, 1, 1]))], spec=SPEC).trajectories.action.tolist() == [[0], [1], [1]]


def test_actions_are_clipped_where_that_is_asked():
    wild = np.array([[0.5], [1.25], [-3.0]], np.float32)
    assert build("x", [episode(action=wild)], spec=SPEC).trajectories.action.tolist() == [[0.5], [1.25], [-3]]
    built = build("x", [episode(action=wild)], spec=SPEC, clip=True)
    assert built.trajectories.action.tolist() == [[0.5], [1], [-1]]
    assert built.notes == ["action: 2 clipped to the bounds, by up to 2"]


def test_rewards_of_some_episodes_are_none():
    built = build("x", [episode(reward=np.ones(3, np.float32)), episode()])
    assert built.trajectories.reward is None
    assert built.notes == ["reward: left out, for 1 of 2 episodes have none"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(obs=OBS[:2]), "field 'obs': 2 observations of 3 actions, expected 3 or 4"),
        (dict(obs=np.zeros((4, 2, 2))), r"field 'obs': shape \[4, 2, 2\], expected a vector a step; --map obs=NAME"),
        (dict(obs=np.array(["a"] * 4)), "field 'obs': dtype <U1, expected plain numbers"),
        (dict(obs=np.array([None] * 4)), "field 'obs': dtype object, expected plain numbers"),
        (dict(action=ACTION * 1j), "field 'action': dtype complex64, expected plain numbers"),
        (dict(next_obs=OBS[:2]), r"field 'next_obs': shape \[2, 2\], expected \[3, 2\]"),
        (dict(reward=np.ones(2)), r"field 'reward': shape \[2, 1\], expected one for 3 actions"),
        (
            dict(simulator_state=np.array([["x"]] * 3)),
            r"field 'simulator_state': dtype <U1, expected plain numbers",
        ),
        (
            dict(simulator_state=np.ones((2, 5))),
            r"field 'simulator_state': shape \[2, 5\], expected a row for 3 actions",
        ),
    ],
)
def test_what_does_not_fit_is_named(changes, message):
    with pytest.raises(GailfeError, match=f"^x: episode 0: {message}") as error:
        build("x", [episode(**changes)])
    one_line(error)


def test_sizes_are_the_same_in_all_episodes():
    with pytest.raises(GailfeError, match=r"^x: field 'obs': sizes \[1, 2\], expected one in all episodes"):
        build("x", [episode(), episode(obs=OBS[:, :1])])


# A Python iterable.


def test_episodes_of_a_program():
    rows = {"obs": OBS, "action": ACTION, "terminated": False, "truncated": True, "reward": [1, 2, 3]}
    bad = {
        "observations": OBS + 1,
        "acts": ACTION,
        "terminated": np.array([0, 0, 1]),
        "rewards": np.ones(3),
        "failed": True,
    }
    demos = Demonstrations.from_episodes((episode for episode in (rows, bad, episode_with_reward())), env_id="Point-v0")
    assert demos.expert.lengths.tolist() == [3, 3] and demos.failures.lengths.tolist() == [3]
    np.testing.assert_array_equal(demos.expert.returns, [6, 6])
    assert demos.failures.terminated.tolist() == [False, False, True]
    assert demos.provenance["failure_source"] == "recorded"
    assert "reward: int64 made float32, nothing lost" in demos.provenance["notes"]


def episode_with_reward() -> Episode:
    return episode(reward=np.array([3, 2, 1], np.float32))


def test_failures_of_a_program():
    demos = Demonstrations.from_episodes(
        [episode(end="unknown")], env_id="Point-v0", failures=[episode()], ends="truncated", spec=SPEC, name="mine"
    )
    assert (demos.expert.num_trajectories, demos.failures.num_trajectories) == (1, 1)
    assert demos.expert.reward is None
    for given, message in (
        ([(OBS, ACTION)], "mine: episode 0: got tuple; expected an Episode, or a mapping with obs and action"),
        ([{"obs": OBS}], "mine: episode 0: field 'action': missing; there are obs"),
        ([{"obs": OBS, "action": ACTION, "done": [1, 0, 0]}], "field 'done': it ends at step 0 of 3, inside it"),
        ([episode(action=ACTION * 9)], r"mine: field 'expert/action': action\[0\] is 1.8 at step 1, outside \[-1, 1\]"),
        ([], "mine: no episode with a pair that is whole"),
    ):
        with pytest.raises(GailfeError, match=message) as error:
            Demonstrations.from_episodes(given, env_id="Point-v0", spec=SPEC, name="mine")
        one_line(error)


def test_unknown_returns_are_never_a_number(tmp_path):
    from gailfe_jax.data.annotators import annotate, return_below, terminated

    demos = Demonstrations.from_episodes([episode()], env_id="Point-v0")
    with pytest.raises(GailfeError, match="hold no reward, so their returns are unknown"):
        demos.expert.returns  # noqa: B018
    assert annotate(terminated(), demos.expert).tolist() == [False]
    with pytest.raises(
        GailfeError, match=r"annotator 'return_below\(3\)': reads the reward, and these trajectories have"
    ):
        annotate(return_below(3.0), demos.expert)
    for name in ("x.npz", "x.h5"):
        demos.save(tmp_path / name)
        again = Demonstrations.load(tmp_path / name)
        assert again.expert.reward is None and again.failures.num_trajectories == 0
        assert again.expert.take(1).reward is None and again.expert.trajectory(0).reward is None
