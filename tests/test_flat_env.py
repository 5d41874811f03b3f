"""Gymnasium environments made flat, and names with options."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from gailfe_jax.errors import GailfeError
from gailfe_jax.flat_env import (
    FlatEnv,
    Lane,
    check_lane,
    is_flat,
    join_options,
    make_gymnasium,
    split_options,
    time_limit,
)
from tests.hosted import LIMIT, Pond


def test_options_stand_behind_a_name():
    name = "Ant-v5?max_episode_steps=200&use_contact_forces=true&frame=null&scale=0.5&file=my ant.xml"
    options = {"max_episode_steps": 200, "use_contact_forces": True, "frame": None, "scale": 0.5, "file": "my ant.xml"}
    assert split_options(name) == ("Ant-v5", options)
    assert join_options("Ant-v5", options) == name
    assert split_options("my_package:Mine-v0") == ("my_package:Mine-v0", {})
    for wrong in ("A?steps", "A?=3", "A?a b=3", "A?steps=1&"):
        with pytest.raises(GailfeError, match=r"^env: got option '.*' behind A\?; expected <option>=<value>"):
            split_options(wrong)
    with pytest.raises(GailfeError, match=r"^env: option a of A is given twice"):
        split_options("A?a=1&a=2")


def test_an_environment_is_made_with_its_options():
    env = make_gymnasium("tests.hosted:Pond-v0?max_episode_steps=7&sees=dict")
    assert time_limit(env) == 7 and isinstance(env.observation_space, spaces.Dict)
    assert time_limit(make_gymnasium("tests.hosted:Pond-v0")) == LIMIT
    assert time_limit(Pond()) is None
    assert time_limit(gymnasium.wrappers.TimeLimit(Pond(), 5)) == 5
    for wrong in ("Pund-v0", "tests.nowhere:Pond-v0", "tests.hosted:Pond-v0?depth=3", "tests.hosted:Pond-v9"):
        with pytest.raises(
            GailfeError, match=r"^env '.*': expected an environment Gymnasium can make \(.*\)$"
        ) as caught:
            make_gymnasium(wrong)
        assert "\n" not in str(caught.value)


def test_a_dictionary_is_flattened_in_gymnasiums_order():
    space = spaces.Dict(
        {
            "z": spaces.Box(-2.0, 3.0, (2, 2)),
            "a": spaces.Dict({"deep": spaces.Box(0, 9, (), np.int64), "b": spaces.Box(-np.inf, np.inf, (1,))}),
        }
    )
    env = FlatEnv(Pond(observes=space))
    assert not is_flat(env.env) and is_flat(env)
    flat = spaces.utils.flatten_space(space)
    assert np.array_equal(env.observation_space.low, flat.low) and np.array_equal(env.observation_space.high, flat.high)
    for seed in range(3):
        space.seed(seed)
        obs = space.sample()
        assert np.array_equal(env.flat_observation(obs), spaces.utils.flatten(space, obs).astype(np.float32))


def test_actions_are_flat():
    box = FlatEnv(Pond(moves=spaces.Box(-2.0, np.array([[1.0, 2.0], [3.0, np.inf]], np.float64), dtype=np.float64)))
    assert box.action_space == spaces.Box(np.full(4, -2, np.float32), np.array([1, 2, 3, np.inf], np.float32))
    own = box.own_action(np.arange(4, dtype=np.float32))
    assert own.tolist() == [[0.0, 1.0], [2.0, 3.0]] and own.dtype == np.float64
    choice = FlatEnv(Pond(moves="choice"))
    assert choice.discrete and choice.action_space == spaces.Box(0.0, 1.0, (3,))
    assert [choice.own_action(row) for row in np.eye(3)] == [3, 4, 5]
    choice.reset(seed=0)
    start = choice.unwrapped.at[0]
    assert choice.step([0.1, 0.2, 0.9])[0][0] == pytest.approx(1.1 * start + 0.5)


def test_a_lane_seeds_each_episode_by_its_number():
    one, two = Lane(Pond()), Lane(Pond())
    starts = [one.reset(seed=5)[0]] + [one.reset()[0] for _ in range(3)]
    assert len(np.unique(starts, axis=0)) == 4
    first, info = two.reset(seed=5)
    assert np.array_equal(first, starts[0]) and info == {}
    # Whatever was drawn in between.
    two.unwrapped.np_random.uniform(size=9)
    assert np.array_equal(two.reset()[0], starts[1])
    # A whole number of any size.
    assert not np.array_equal(two.reset(seed=5 + 2**64)[0], starts[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"observes": spaces.Box(0, 255, (8, 8, 3), np.uint8)},
            r"observation is an image of shape \(8, 8, 3\); expected n",
        ),
        ({"observes": spaces.Box(0, 255, (8, 8), np.uint8)}, r"observation is an image of shape \(8, 8\)"),
        ({"observes": spaces.Text(5)}, r"observation space is Text\(.*\); expected a Box, or a Dict of Boxes$"),
        ({"observes": spaces.Discrete(5)}, r"observation space is Discrete\(5\); expected a Box"),
        (
            {"observes": spaces.Dict({"a": spaces.Dict({"b": spaces.MultiBinary(2)})})},
            r"observation\['a'\]\['b'\] space is MultiBinary\(2\); expected a Box",
        ),
        ({"observes": spaces.Box(0, 1, (0,))}, "observation is empty; expected at least one number"),
        (
            {"moves": spaces.MultiDiscrete([2, 3])},
            r"action space is MultiDiscrete\(.*\); expected a Box of floats, or D",
        ),
        (
            {"moves": spaces.Box(0, 3, (2,), np.int32)},
            r"action space is Box\(0, 3, \(2,\), int32\); expected a Box of f",
        ),
        ({"moves": spaces.Box(0, 1, (0,))}, "action is empty; expected at least one number"),
        ({"moves": spaces.Discrete(1)}, r"action space is Discrete\(1\); expected two choices or more"),
        ({"fault": "nan"}, "observation 1 is nan after reset; expected finite numbers"),
        ({"fault": "grows"}, r"the observation space is Box\(.*\(3,\).*\) after reset; expected Box\(.*\) throughout"),
        ({"fault": "raises"}, r"reset fails \(RuntimeError: no water; hosted.py, line \d+\)$"),
        ({"fault": "old step"}, r"step fails \(it returns 4 values, as in Gym's old API; expected obs, reward, termin"),
        ({"fault": "old reset"}, r"reset fails \(it returns no pair, as in Gym's old API; expected obs, info\)$"),
        ({"observes": spaces.Box(0, 1, (3,))}, r"observation has shape \(2,\); expected its space's, \(3,\)"),
        ({"observes": spaces.Dict({"x": spaces.Box(0, 1, (3,))})}, r"reset fails \(IndexError: "),
    ],
)
def test_what_cannot_be_trained_on_is_one_line(options, message):
    with pytest.raises(GailfeError, match=rf"^env 'mine': {message}") as caught:
        check_lane(Lane(Pond(**options), "mine"))
    assert "\n" not in str(caught.value)
