"""Loading Gymnasium's model files: quietly, once, and with one clear error where that fails."""

from __future__ import annotations

import dataclasses
import warnings

import mujoco
import pytest

from gailfe_jax.envs.physics import model
from gailfe_jax.envs.physics.model import action_bounds, load_model, seconds_per_step
from gailfe_jax.envs.tasks import HALFCHEETAH, HOPPER, TASKS
from gailfe_jax.errors import GailfeError


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_loading_says_nothing(task, capfd, tmp_path, monkeypatch, recwarn):
    # MuJoCo prints its warnings to stderr and appends them to a file in the working directory.
    monkeypatch.chdir(tmp_path)
    model._read.__wrapped__(model._model_path(task), 0)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    assert not recwarn.list


def test_other_warnings_get_through_and_the_handler_is_restored():
    heard = []
    mujoco.set_mju_user_warning(heard.append)
    try:
        with warnings.catch_warnings(record=True) as caught, model.without_expected_warning():
            warnings.simplefilter("always")
            mujoco.get_mju_user_warning()("the sky is falling")
            mujoco.get_mju_user_warning()("compiler attribute 'settotalmass' is deprecated and will be removed")
        assert [str(one.message) for one in caught] == ["MuJoCo: the sky is falling"]
        assert heard == []
        mujoco.get_mju_user_warning()("after")
        assert heard == ["after"]
    finally:
        mujoco.set_mju_user_warning(None)


def test_a_model_is_loaded_once():
    assert load_model(HALFCHEETAH) is load_model(HALFCHEETAH)


def test_a_model_file_that_has_changed_is_loaded_again(slider):
    assert action_bounds(slider()) == ((-0.5,), (2.0,))
    assert action_bounds(slider(range='ctrllimited="true" ctrlrange="-3 3"')) == ((-3.0,), (3.0,))


def test_seconds_per_step_are_gymnasiums():
    assert (seconds_per_step(HALFCHEETAH), seconds_per_step(HOPPER)) == (0.05, 0.008)


def test_missing_model_file_is_one_clear_error():
    task = dataclasses.replace(HOPPER, model_file="nowhere.xml")
    with pytest.raises(GailfeError, match=r"^task 'hopper': model file .*nowhere.xml is missing; expected gymnasium"):
        load_model(task)


def test_a_model_file_may_be_anywhere(slider):
    task = slider()
    assert (load_model(task).nq, load_model(task).nu) == (1, 1)
    assert action_bounds(task) == ((-0.5,), (2.0,))


def test_a_missing_file_of_ones_own_is_one_clear_error(tmp_path):
    task = dataclasses.replace(HOPPER, model_file=str(tmp_path / "nowhere.xml"))
    with pytest.raises(GailfeError, match=r"^task 'hopper': model file .*nowhere.xml is missing; expected an MJCF"):
        load_model(task)


def test_a_model_file_that_does_not_fit_is_one_clear_error(slider, tmp_path):
    for fields, message in (
        (dict(action_size=2), r"^task 'slider': action_size is 2; expected 1, the actuators of .*slider.xml$"),
        (dict(range=""), r"^task 'slider': actuator 0 of .*slider.xml has no control range; expected"),
    ):
        with pytest.raises(GailfeError, match=message):
            action_bounds(slider(**fields))
    (tmp_path / "broken.xml").write_text("<mujoco>\n<nothing/>\n</mujoco>")
    with pytest.raises(GailfeError, match=r"^task 'slider': MuJoCo does not load model file .*broken.xml \(") as caught:
        load_model(slider(model_file=str(tmp_path / "broken.xml")))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '<robots name="arm"><link name="base"/></robots>',
            r"type: 'robots'\); expected <mujoco>, as in an MJCF file$",
        ),
        ("<html><body/></html>", r"type: 'html'\); expected <mujoco>, as in an MJCF file$"),
        ('<robot name="arm"><links/></robot>', r"has no joints, so nothing moves; expected an MJCF file with some$"),
        ('<Robot name="arm"><link name="base"/></Robot>', r"has no joints, so nothing moves; expected an MJCF file"),
        ("<mujoco/>", r"has no joints, so nothing moves; expected an MJCF file"),
    ],
)
@pytest.mark.parametrize("name", ["model.urdf", "model.xml"])
def test_what_describes_nothing_that_moves_is_one_clear_error(slider, text, message, name, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(GailfeError, match=rf"^task 'slider': .*model file .*{name} .*{message}") as caught:
        load_model(slider(model_file=str(tmp_path / name)))
    assert "\n" not in str(caught.value)
