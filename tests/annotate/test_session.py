"""Decisions by hand, and the file that they make."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gailfe_jax.annotate.session import FAILED, FAILED_FROM, GOOD, Label, Place, Session, default_out
from gailfe_jax.data.trajectories import Demonstrations, Trajectories
from gailfe_jax.errors import GailfeError
from tests.data.made import assert_equal, assert_equal_demonstrations, make_demonstrations


@pytest.fixture
def source(tmp_path):
    """Demonstrations of 5, 3 and 1 steps, and failures of 2 and 4."""
    make_demonstrations().save(tmp_path / "demos.npz")
    return str(tmp_path / "demos.npz")


def test_each_decision_is_in_the_file_at_once(source, tmp_path):
    before = (tmp_path / "demos.npz").read_bytes()
    held = Demonstrations.load(source)
    session = Session(source)
    assert session.out == str(tmp_path / "demos-annotated.npz") and not session.resumed
    assert session.places == [*(Place("expert", i) for i in range(3)), *(Place("failures", i) for i in range(2))]
    session.decide(1, Label(FAILED))
    made = Demonstrations.load(session.out)
    assert_equal(made.expert, held.expert.select([0, 2]))
    assert_equal(made.failures, Trajectories.concatenate([held.expert.trajectory(1), held.failures]))
    session.decide(3, Label(GOOD))
    made = Demonstrations.load(session.out)
    assert_equal(made.expert, Trajectories.concatenate([held.expert.select([0, 2]), held.failures.trajectory(0)]))
    assert made.failures.lengths.tolist() == [3, 4]
    session.decide(1, None)
    assert Demonstrations.load(session.out).expert.lengths.tolist() == [5, 3, 1, 2]
    assert (tmp_path / "demos.npz").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demos-annotated.npz", "demos.npz"]


def test_of_an_episode_that_failed_from_a_step_the_part_before_stays(source):
    session = Session(source)
    episode = session.episode(0)
    session.decide(0, Label(FAILED_FROM, 2))
    made = Demonstrations.load(session.out)
    before, after = made.expert.trajectory(0), made.failures.trajectory(0)
    assert (before.num_transitions, after.num_transitions) == (2, 3)
    # The recording is cut there: nobody ended the task.
    assert (before.terminated.tolist(), before.truncated.tolist()) == ([False, False], [False, True])
    np.testing.assert_array_equal(before.next_obs[-1], episode.obs[2])
    for field in ("obs", "action", "next_obs", "reward", "terminated", "simulator_state"):
        both = np.concatenate([getattr(before, field), getattr(after, field)])
        np.testing.assert_array_equal(both, getattr(episode, field))
    np.testing.assert_array_equal(after.truncated, episode.truncated[2:])
    assert made.expert.num_trajectories == 3 and made.failures.num_trajectories == 3


def test_an_episode_that_failed_from_its_start_failed(source):
    session = Session(source)
    session.decide(0, Label(FAILED_FROM, 0))
    assert session.labels == {0: Label(FAILED)}


def test_the_next_session_goes_on(source):
    session = Session(source)
    session.decide(0, Label(FAILED_FROM, 2))
    session.decide(4, Label(GOOD))
    again = Session(source)
    assert again.resumed and again.labels == session.labels
    assert again.counts() == {"episodes": 5, "decided": 2, "good": 1, "failed": 0, "failed_from": 1}
    again.decide(4, None)
    again.decide(0, None)
    last = Demonstrations.load(again.out)
    assert_equal(last.expert, session.demonstrations.expert)
    assert_equal(last.failures, session.demonstrations.failures)
    assert Session(source).labels == {}


def test_the_file_says_who_decided(source):
    session = Session(source)
    session.decide(2, Label(FAILED))
    session.decide(0, Label(FAILED_FROM, 4))
    provenance = Demonstrations.load(session.out).provenance
    assert (provenance["failure_source"], provenance["annotator"]) == ("recorded", "by hand")
    record = provenance["annotations"]
    assert (record["source"], record["episodes"]) == ("demos.npz", 5)
    assert record["labels"] == [
        {"part": "expert", "index": 0, "label": "failed_from", "step": 4},
        {"part": "expert", "index": 2, "label": "failed"},
    ]
    assert record["before"] == {"failure_source": None, "annotator": None}
    assert {"expert": "hopper", "seed": 3}.items() <= provenance.items()


def test_what_only_some_episodes_have_is_said_to_be_left_out(tmp_path):
    held = make_demonstrations()
    failures = dataclasses.replace(held.failures, simulator_state=None)
    dataclasses.replace(held, failures=failures).save(tmp_path / "demos.npz")
    session = Session(str(tmp_path / "demos.npz"))
    session.decide(0, Label(FAILED))
    made = Demonstrations.load(session.out)
    assert made.failures.simulator_state is None and made.expert.simulator_state is not None
    (note,) = made.provenance["notes"]
    assert note == "simulator_state: left out of the failures, for some of its episodes have none"


def test_a_file_without_a_demonstration_is_not_written(source):
    session = Session(source)
    for number in (0, 1):
        session.decide(number, Label(FAILED))
    with pytest.raises(GailfeError, match="no demonstration would be left"):
        session.decide(2, Label(FAILED))
    assert session.labels.keys() == {0, 1}
    assert Demonstrations.load(session.out).expert.lengths.tolist() == [1]


@pytest.mark.parametrize(
    ("number", "label", "message"),
    [
        (5, Label(GOOD), "episode: no number 5; expected 0 to 4"),
        (-1, Label(GOOD), "episode: no number -1"),
        (0, Label("bad"), "label: got 'bad'; expected one of good, failed, failed_from"),
        (0, Label(FAILED_FROM), "step: got None; expected 0 to 4"),
        (0, Label(FAILED_FROM, 5), "step: got 5; expected 0 to 4, before the episode ends"),
    ],
)
def test_what_is_no_decision_is_refused(source, tmp_path, number, label, message):
    session = Session(source)
    with pytest.raises(GailfeError) as error:
        session.decide(number, label)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert session.labels == {} and not (tmp_path / "demos-annotated.npz").exists()


def test_a_file_that_is_something_else_is_not_replaced(source, tmp_path):
    other = make_demonstrations(failures=(3,))
    other.save(tmp_path / "demos-annotated.npz")
    with pytest.raises(
        GailfeError, match=r"demos-annotated\.npz: exists and annotates nothing; expected another --out"
    ):
        Session(source)
    other.save(tmp_path / "other.npz")
    Session(str(tmp_path / "other.npz"), str(tmp_path / "hand.h5")).decide(0, Label(GOOD))
    with pytest.raises(GailfeError, match=r"hand.h5: annotates 'other.npz' with other content"):
        Session(source, str(tmp_path / "hand.h5"))
    with pytest.raises(GailfeError, match="is the file to annotate"):
        Session(source, f"{tmp_path}/./demos.npz")
    with pytest.raises(GailfeError, match=r"expected a file name that ends in \.npz or \.h5"):
        Session(source, "labels.txt")
    assert_equal_demonstrations(Demonstrations.load(tmp_path / "demos-annotated.npz"), other)


@pytest.mark.parametrize(
    "labels",
    ["x", [3], [{"part": "expert", "index": 9, "label": "good"}], [{"part": "expert", "index": 0, "label": 1}]],
)
def test_damaged_decisions_are_refused(source, labels):
    session = Session(source)
    session.decide(0, Label(GOOD))
    made = Demonstrations.load(session.out)
    made.provenance["annotations"]["labels"] = labels
    made.save(session.out)
    with pytest.raises(GailfeError, match=r"demos-annotated\.npz: (exists|field 'provenance': annotations: damaged)"):
        Session(source)


def test_a_decision_that_cannot_be_saved_is_not_kept(source, tmp_path):
    session = Session(source, str(tmp_path / "gone" / "x.npz"))
    (tmp_path / "gone").write_text("a file")
    with pytest.raises(OSError, match="gone"):
        session.decide(0, Label(GOOD))
    assert session.labels == {}


@pytest.mark.parametrize(
    ("source", "out"),
    [
        ("a/demos.npz", "a/demos-annotated.npz"),
        ("x.H5", "x-annotated.H5"),
        ("minari:mujoco/hopper/expert-v0", "minari-mujoco-hopper-expert-v0-annotated.npz"),
    ],
)
def test_the_new_file_lies_beside(source, out):
    assert default_out(source) == out
