"""What demonstrations must hold, whichever file they come from."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gailfe_jax.data.formats import hdf5, npz
from gailfe_jax.data.formats.arrays import to_arrays
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.errors import GailfeError
from tests.data.made import ACTION, make_demonstrations, one_line


def _edit(field, change):
    def edit(arrays):
        arrays[field] = np.asarray(change(arrays[field].copy()))

    return edit


def _put(row, value):
    def change(array):
        array[row] = value
        return array

    return change


# name -> (edit of the file's arrays, field the message names, words it contains)
WRONG_CONTENT = {
    "foreign": (lambda a: (a.clear(), a.update(x=np.zeros(3))), "format", "not a demonstration file"),
    "other format": (_edit("format", lambda _: np.array("imitation")), "format", "not a demonstration file"),
    "newer version": (_edit("format_version", lambda v: v + 1), "format_version", "2, expected 1"),
    "version of wrong type": (_edit("format_version", lambda _: np.array("1")), "format_version", "one integer"),
    "no env id": (lambda a: a.pop("env_id"), "env_id", "missing"),
    "env id is a number": (_edit("env_id", lambda _: np.array(3.0)), "env_id", "one string"),
    "other env": (_edit("env_id", lambda _: np.array("Ant-v5")), "env_id", "'Ant-v5', expected 'Hopper-v5'"),
    "provenance is no JSON": (_edit("provenance", lambda _: np.array("{")), "provenance", "JSON object"),
    "provenance is a list": (_edit("provenance", lambda _: np.array("[1]")), "provenance", "JSON object"),
    "deep provenance": (_edit("provenance", lambda _: np.array("[" * 100_000)), "provenance", "JSON object"),
    "field missing": (lambda a: a.pop("expert/next_obs"), "expert/next_obs", "missing"),
    "field too many": (lambda a: a.update({"expert/weights": np.zeros(9)}), "expert/weights", "not part of"),
    "wrong dtype": (_edit("expert/obs", lambda x: x.astype(np.float64)), "expert/obs", "float64, expected float32"),
    "wrong bool": (_edit("expert/terminated", lambda x: x.astype(np.int8)), "expert/terminated", "expected bool"),
    "wrong rank": (_edit("expert/reward", lambda x: x[:, None]), "expert/reward", "shape (9, 1)"),
    "flat obs": (_edit("failures/obs", lambda x: x[:, 0]), "failures/obs", "expected [n, size]"),
    "no actions in one part": (
        _edit("expert/action", lambda x: x[:, :0]),
        "failures/action",
        "size 2, expected the expert's 0",
    ),
    "too few steps": (_edit("expert/action", lambda x: x[:-1]), "expert/action", "8 steps, expected the 9"),
    "state too short": (_edit("expert/simulator_state", lambda x: x[1:]), "expert/simulator_state", "8 steps"),
    "narrow next_obs": (_edit("expert/next_obs", lambda x: x[:, 1:]), "expert/next_obs", "shape (9, 2)"),
    "narrow failures": (
        _edit("failures/action", lambda x: x[:, 1:]),
        "failures/action",
        "size 1, expected the expert's 2",
    ),
    "NaN": (_edit("expert/obs", _put((4, 1), np.nan)), "expert/obs", "NaN or infinity at step 4"),
    "infinity": (_edit("failures/reward", _put(2, -np.inf)), "failures/reward", "NaN or infinity at step 2"),
    "NaN state": (_edit("expert/simulator_state", _put((0, 0), np.nan)), "expert/simulator_state", "at step 0"),
    "action too large": (
        _edit("expert/action", _put((3, 0), 1.01)),
        "expert/action",
        "action[0] is 1.01 at step 3, outside [-1, 1]",
    ),
    "action too small": (
        _edit("failures/action", _put((5, 1), -1.01)),
        "failures/action",
        "action[1] is -1.01 at step 5, outside [-1, 1]",
    ),
    "offsets short": (_edit("expert/offsets", _put(-1, 8)), "expert/offsets", "from 0 to 9"),
    "offsets start late": (_edit("expert/offsets", _put(0, 1)), "expert/offsets", "increasing"),
    "empty trajectory": (_edit("expert/offsets", lambda x: np.insert(x, 1, 0)), "expert/offsets", "increasing"),
    "offsets fall": (_edit("expert/offsets", _put(1, 8)), "expert/offsets", "increasing"),
    "no offsets": (_edit("expert/offsets", lambda x: x[:0]), "expert/offsets", "increasing"),
    "done inside": (_edit("expert/terminated", _put(2, True)), "expert/terminated", "step 2, inside a trajectory"),
    "cut inside": (_edit("failures/truncated", _put(3, True)), "failures/truncated", "step 3, inside"),
    "last step goes on": (_edit("expert/truncated", _put(4, False)), "expert/truncated", "stops at step 4"),
    "broken chain": (_edit("expert/next_obs", _put((5, 0), 0.25)), "expert/next_obs", "step 5 differs"),
    "no expert": (
        lambda a: a.update({k: v[: k.endswith("offsets")] for k, v in a.items() if k.startswith("expert/")}),
        "expert/offsets",
        "no expert trajectories",
    ),
}


@pytest.mark.parametrize("suffix", ["npz", "h5"])
@pytest.mark.parametrize("case", WRONG_CONTENT)
def test_wrong_content_is_one_clear_error(tmp_path, suffix, case):
    edit, field, words = WRONG_CONTENT[case]
    arrays = to_arrays(make_demonstrations())
    edit(arrays)
    path = tmp_path / f"demos.{suffix}"
    {"npz": npz, "h5": hdf5}[suffix].write_arrays(str(path), arrays)
    with pytest.raises(GailfeError) as error:
        Demonstrations.load(path, expect_env="Hopper-v5", action_low=-1.0, action_high=1.0)
    message = one_line(error)
    assert message.startswith(f"{path}: field '{field}': ")
    assert words in message


def test_bounds_are_arguments(tmp_path):
    path = tmp_path / "demos.npz"
    original = make_demonstrations()
    original.save(path)
    peak = float(np.abs(original.expert.action).max())
    with pytest.raises(GailfeError, match="expert/action"):
        Demonstrations.load(path, action_low=-peak / 2, action_high=peak / 2)
    Demonstrations.load(path, action_low=np.full(ACTION, -2.0), action_high=np.full(ACTION, 2.0))
    Demonstrations.load(path, action_low=-0.5, action_high=0.5, tolerance=0.5)
    with pytest.raises(GailfeError, match="size 2, expected the task's action size, 3"):
        Demonstrations.load(path, action_low=np.full(3, -1.0), action_high=np.full(3, 1.0))


def test_bounds_are_the_tasks_not_one(tmp_path):
    demonstrations = make_demonstrations()
    wide = dataclasses.replace(demonstrations.expert, action=demonstrations.expert.action * 300)
    path = tmp_path / "wide.npz"
    dataclasses.replace(demonstrations, expert=wide).save(path)
    np.testing.assert_array_equal(Demonstrations.load(path).expert.action, wide.action)


def test_the_bounds_of_the_dimension_that_is_outside_are_told(tmp_path):
    original = make_demonstrations()
    original.expert.action[2] = [1.5, 30.0]
    original.save(tmp_path / "demos.npz")
    with pytest.raises(GailfeError, match=r"'expert/action': action\[0\] is 1.5 at step 2, outside \[-1, 1\]$"):
        Demonstrations.load(
            tmp_path / "demos.npz", action_low=np.array([-1.0, -3.0]), action_high=np.array([1.0, 40.0])
        )


@pytest.mark.parametrize(
    ("row", "shown"), [([0.0, 0.0], "0, 0"), ([1, 1], "1, 1"), ([0.25, 0.75], "0.25, 0.75"), ([2, -1], "2, -1")]
)
def test_actions_that_are_choices_are_rows_with_one_1(tmp_path, row, shown):
    path = tmp_path / "demos.npz"
    original = make_demonstrations()
    for part in (original.expert, original.failures):
        part.action[:] = np.eye(ACTION)[np.arange(len(part.action)) % ACTION]
    original.save(path)
    Demonstrations.load(path, discrete=True)
    original.failures.action[3] = row
    original.save(path)
    with pytest.raises(GailfeError) as error:
        Demonstrations.load(path, action_low=0, action_high=1, discrete=True)
    said = f"[{shown}] at step 3, expected 1 at the choice and 0 elsewhere"
    assert one_line(error) == f"{path}: field 'failures/action': {said}"
