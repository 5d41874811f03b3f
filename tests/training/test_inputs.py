"""What a learner is shown, out of a demonstration file and the settings that cut it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from gailfe_jax.config.run import DemoSettings
from gailfe_jax.data.annotators import Annotator
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.errors import GailfeError
from gailfe_jax.training.inputs import prepare_inputs
from gailfe_jax.training.loop import train
from tests.tiny import tiny
from tests.training.cliff import ENV, METHOD, settings


@pytest.fixture(scope="module")
def loaded(demos_file):
    return Demonstrations.load(demos_file)


def test_the_returns_that_scores_are_measured_by(loaded):
    shown = float(np.mean(loaded.expert.returns))
    for recorded, expected in ((1234.5, 1234.5), (None, shown), ("many", shown), (math.nan, shown)):
        demonstrations = Demonstrations("cliff", loaded.expert, loaded.failures, {"expert_return": recorded})
        inputs = prepare_inputs(METHOD, ENV, DemoSettings(trajectories=2), demonstrations)
        assert inputs.expert_return == (
            expected if expected != shown else pytest.approx(loaded.expert.returns[:2].mean())
        )
        assert inputs.record["expert_trajectories"] == 2
    assert inputs.demos.expert.obs.shape == (loaded.expert.lengths[:2].sum(), 2)


def test_pairs_are_thinned_and_the_record_says_how(loaded):
    whole = prepare_inputs(METHOD, ENV, DemoSettings(), loaded)
    thin = prepare_inputs(METHOD, ENV, DemoSettings(subsample=4, demo_seed=1), loaded)
    assert whole.record["expert_pairs"] == loaded.expert.num_transitions == len(whole.demos.expert.obs)
    assert thin.record["expert_pairs"] == len(thin.demos.expert.obs) < whole.record["expert_pairs"] / 2
    assert (thin.record["subsample"], thin.record["demo_seed"]) == (4, 1)
    assert thin.record["content_sha256"] != whole.record["content_sha256"]


@pytest.mark.parametrize(("source", "collected"), [("both", 6), ("collected", 6), ("own", None)])
def test_failures_of_the_file_are_taken_where_they_are_asked_for(loaded, source, collected):
    inputs = prepare_inputs(tiny("gailfe", failures__source=source), ENV, DemoSettings(), loaded)
    # Eight in the file, and room for six.
    assert inputs.record.get("collected_failures") == collected
    assert (inputs.demos.failures is None) == (collected is None)
    assert prepare_inputs(tiny("gail"), ENV, DemoSettings(), loaded).demos.failures is None


def test_what_judges_episodes_is_settled_and_written_down(loaded):
    inputs = prepare_inputs(tiny("gailfe", failures__annotator="return_below:0.5"), ENV, DemoSettings(), loaded)
    assert inputs.annotator.reads_reward and inputs.record["annotator_reads_reward"]
    assert inputs.record["annotator"] == inputs.annotator.name and inputs.success is None
    method = tiny("gailfe", self_demonstrations__use="both", self_demonstrations__episodes="survived")
    inputs = prepare_inputs(method, ENV, DemoSettings(), loaded)
    assert inputs.record["success"] == inputs.success.name and not inputs.record["success_reads_reward"]
    assert prepare_inputs(tiny("gail"), ENV, DemoSettings(), loaded).annotator is None


def test_a_callers_own_annotator_is_used(quick_programs, demos_file, tmp_path):
    never = Annotator("never", reads_reward=False, verdict=lambda episode: episode.terminated & False)
    method = tiny("gailfe", failures__source="own")
    run = {"demos": str(demos_file), "out": tmp_path / "run"}
    result = train(method, ENV, settings(2), annotator=never, **run)
    assert result.summary["annotator"] == "never"
    assert (result.metrics["failures_in_buffer"][1] == 0).all()


def test_cloning_knows_which_pairs_belong_together(loaded):
    inputs = prepare_inputs(tiny("bc"), ENV, DemoSettings(), loaded)
    np.testing.assert_array_equal(inputs.demos.trajectory, np.repeat(np.arange(4), loaded.expert.lengths))


def test_a_method_without_demonstrations_is_shown_none():
    inputs = prepare_inputs(tiny("ppo"), ENV, DemoSettings())
    assert inputs.demos is None and inputs.expert_return is None and inputs.record == {}


def test_an_asked_expert_is_shown_with_its_return(expert_file):
    inputs = prepare_inputs(tiny("dagger"), ENV, DemoSettings(expert=expert_file))
    assert inputs.demos.expert is None and inputs.demos.oracle is not None
    assert inputs.record["expert"] == expert_file and inputs.record["expert_return"] is None
    assert len(inputs.record["content_sha256"]) == 64


def _far(part, field, value):
    array = getattr(part, field).copy()
    array[(3, 0) if array.ndim > 1 else 3] = value
    return dataclasses.replace(part, **{field: array})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: dataclasses.replace(d, env_id="walker2d"), "field 'env_id': demonstrations of 'walker2d', expected"),
        (
            lambda d: dataclasses.replace(d, expert=_far(d.expert, "action", 5.0)),
            r"action\[0\] is 5 at step 3, outside",
        ),
        (lambda d: dataclasses.replace(d, failures=_far(d.failures, "obs", np.nan)), "'failures/obs': NaN or infinity"),
        (lambda d: dataclasses.replace(d, expert=_far(d.expert, "reward", np.inf)), "'expert/reward': NaN or infinity"),
        (
            lambda d: dataclasses.replace(d, expert=_far(d.expert, "next_obs", 1e38)),
            r"1e\+38 at step 3, expected at most",
        ),
        (
            lambda d: dataclasses.replace(
                d, expert=dataclasses.replace(d.expert, truncated=d.expert.truncated & False)
            ),
            "neither terminated nor truncated",
        ),
    ],
)
def test_what_is_in_memory_is_held_to_what_files_are_held_to(loaded, change, message):
    with pytest.raises(GailfeError, match=rf"^demos: .*{message}"):
        prepare_inputs(METHOD, ENV, DemoSettings(), change(loaded))


def test_a_file_of_numbers_without_a_variance_is_refused(loaded, tmp_path):
    with pytest.raises(GailfeError, match=r"'expert/reward': 1e\+38 at step 3, expected at most 1e\+17"):
        dataclasses.replace(loaded, expert=_far(loaded.expert, "reward", 1e38)).save(tmp_path / "far.npz")


@pytest.mark.parametrize("kind", [np.longdouble, np.float16, np.int64, np.int8])
def test_what_is_learned_from_is_of_one_type(loaded, kind):
    def cast(part):
        return dataclasses.replace(part, **{name: getattr(part, name).astype(kind) for name in ("obs", "next_obs")})

    given = dataclasses.replace(loaded, expert=cast(loaded.expert), failures=cast(loaded.failures))
    for name in ("gail", "bc", "gailfe"):
        found = prepare_inputs(tiny(name), ENV, DemoSettings(), given).demos
        assert found.expert.obs.dtype == found.next_obs.dtype == np.float32
        assert found.failures is None or found.failures.data.dtype == np.float32
        np.testing.assert_array_equal(found.expert.obs, given.expert.obs.astype(np.float32))


def test_other_types_of_numbers_are_taken_from_memory(loaded):
    expert = loaded.expert
    doubles = dataclasses.replace(
        expert,
        obs=expert.obs.astype(np.float64),
        next_obs=expert.next_obs.astype(np.float64),
        reward=np.round(expert.reward).astype(np.int64),
        offsets=expert.offsets.astype(np.int32),
    )
    found = prepare_inputs(METHOD, ENV, DemoSettings(), dataclasses.replace(loaded, expert=doubles))
    same = prepare_inputs(METHOD, ENV, DemoSettings(), loaded)
    np.testing.assert_array_equal(found.demos.expert.obs, same.demos.expert.obs)
    beyond = dataclasses.replace(doubles, obs=np.where(np.arange(len(doubles.obs))[:, None] == 3, 1e300, doubles.obs))
    with pytest.raises(GailfeError, match="'expert/obs': NaN or infinity at step 3"):
        prepare_inputs(METHOD, ENV, DemoSettings(), dataclasses.replace(loaded, expert=beyond))
