"""Demonstrations without actions: how they are recorded, imported, written, looked at and refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import gailfe_jax as gf
from gailfe_jax.cli.main import main
from gailfe_jax.data.episodes import Episode, build
from gailfe_jax.data.recordings import write_recording
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.errors import GailfeError
from tests.data.made import assert_equal, make_demonstrations, one_line

OBS = np.arange(8, dtype=np.float32).reshape(4, 2)


def unacted(failures=(2, 4)) -> Demonstrations:
    """Demonstrations on Hopper's name, whose actions nobody recorded."""
    made = make_demonstrations(failures)
    bare = lambda part: dataclasses.replace(part, action=part.action[:, :0])  # noqa: E731
    return dataclasses.replace(made, expert=bare(made.expert), failures=bare(made.failures))


def test_a_step_leads_from_an_observation_to_the_next():
    built = build("x", [Episode(OBS, None, end="terminated")])
    np.testing.assert_array_equal(built.trajectories.obs, OBS[:3])
    np.testing.assert_array_equal(built.trajectories.next_obs, OBS[1:])
    assert built.trajectories.action.shape == (3, 0) and built.trajectories.terminated.tolist() == [False, False, True]
    assert built.notes == ["action: none; only what was observed can be imitated"]


def test_rewards_and_outcomes_say_how_many_steps_there_are():
    rewarded = Episode(OBS, None, reward=np.float32([1, 2, 4, 8]), end="truncated")
    built = build("x", [rewarded])
    assert built.trajectories.reward is not None and built.trajectories.reward.tolist() == [1, 2, 4]
    assert "the last pair of 1 episodes left out" in built.notes[1] and "rewards of 8" in built.notes[1]
    assert build("x", [dataclasses.replace(rewarded, next_obs=OBS + 2)]).trajectories.lengths.tolist() == [4]
    with pytest.raises(GailfeError, match=r"^x: episode 0: field 'obs': 4 observations of 2 actions, expected 2 or 3$"):
        build("x", [dataclasses.replace(rewarded, reward=np.float32([1, 2]))])


def test_actions_that_some_episodes_lack_are_left_out_and_said():
    acted = Episode(OBS, np.zeros((3, 1), np.float32), end="truncated")
    built = build("x", [acted, Episode(OBS, None, end="truncated")])
    assert not built.trajectories.acted
    assert built.notes[:2] == [
        "action: left out, for 1 of 2 episodes have none",
        "action: none; only what was observed can be imitated",
    ]


@pytest.mark.parametrize("name", ["demos.npz", "demos.h5"])
def test_a_file_says_that_there_are_none(name, tmp_path):
    pytest.importorskip("h5py")
    demos, path = unacted(), tmp_path / name
    demos.save(path)
    # Bounds and choices are nothing to those of which there are none.
    again = Demonstrations.load(path, action_low=np.zeros(3), action_high=np.ones(3), discrete=name == "demos.h5")
    assert_equal(again.expert, demos.expert)
    assert_equal(again.failures, demos.failures)
    assert again.expert.take(1).pairs().action.shape == (5, 0)
    # An importer takes it as it is: the file says it.
    imported = gf.import_demonstrations(path)
    assert_equal(imported.expert, demos.expert)
    assert_equal(imported.failures, demos.failures)


def test_an_action_that_is_missing_is_asked_for_and_may_be_said_to_be_none(tmp_path, capsys):
    walks, out = tmp_path / "walks.npz", tmp_path / "demos.npz"
    np.savez(walks, obs=np.random.default_rng(0).normal(size=(30, 11)), episode=np.repeat([0, 1, 2], 10))
    words = ["demos", "import", str(walks), "--env", "hopper", "--episodes-end-by", "truncated", "--out", str(out)]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "field 'action': missing" in said and said.rstrip().endswith("or --no-actions, where nobody recorded any")
    assert main([*words, "--no-actions"]) == 0
    assert "- action: none; only what was observed can be imitated" in capsys.readouterr().out
    held = Demonstrations.load(out, expect_env="Hopper-v5").expert
    assert held.lengths.tolist() == [9, 9, 9] and held.action.shape == (27, 0)
    with pytest.raises(GailfeError, match=r"^map: action is given beside --no-actions; expected one of them$"):
        gf.import_demonstrations(walks, env="hopper", mapping=["action=x"], actions=False)
    assert main(["demos", "inspect", str(walks), "--env", "hopper", "--out", str(tmp_path / "x.png")]) == 0
    assert "no actions: what was observed is all that was recorded" in capsys.readouterr().out


def test_python_says_none(tmp_path):
    one = {"obs": OBS, "truncated": True}
    demos = Demonstrations.from_episodes([one | {"action": None}, Episode(OBS, None, end="cut")], env_id="x")
    assert demos.expert.lengths.tolist() == [3, 3] and not demos.expert.acted
    with pytest.raises(GailfeError, match=r"^episodes: episode 0: field 'action': missing"):
        Demonstrations.from_episodes([one], env_id="x")


def test_looking_at_them_says_what_they_allow(tmp_path):
    path = tmp_path / "demos.npz"
    demos = Demonstrations.from_episodes(
        [Episode(np.random.default_rng(i).normal(size=(21, 11)), None, end="truncated") for i in range(2)],
        env_id="Hopper-v5",
    )
    demos.save(path)
    found = gf.inspect_demonstrations(path)
    words = [f.words for f in found.findings["expert"] if f.words]
    assert "no actions: what was observed is all that was recorded" in words
    assert "sizes fit hopper: 11 observed" in words and not [f for f in found.findings["expert"] if f.warns]
    assert any("joint:rootz.qpos" in line and "--reward.features" in line for line in words)
    advice = "\n".join(found.advice)
    assert "gail --reward.inputs transitions" in advice and "not bc, fem, gtal and irlf" in advice
    assert found.record()["expert"]["actions"] is False


@pytest.mark.parametrize("to", ["d4rl", "lerobot"])
def test_they_are_written_in_other_layouts_and_read_back(to, tmp_path):
    pytest.importorskip("pyarrow" if to == "lerobot" else "h5py")
    demos, path = unacted(), str(tmp_path / ("set" if to == "lerobot" else "set.hdf5"))
    flags = write_recording(to, path, demos)
    assert flags.split()[-1] == "--no-actions"
    again = gf.import_demonstrations(path, failures=flags.split()[1], actions=False)
    assert_equal(again.expert, demos.expert)
    assert_equal(again.failures, demos.failures)
    with pytest.raises(GailfeError, match=r"^action: missing, and a Minari dataset has to have it; expected --to d4rl"):
        write_recording("minari", "a/b-v0", demos)


def test_a_part_with_actions_does_not_go_with_one_without():
    demos = dataclasses.replace(unacted(), failures=make_demonstrations().failures)
    with pytest.raises(GailfeError, match="field 'failures/action': size 2, expected the expert's 0") as error:
        demos.validate()
    one_line(error)
