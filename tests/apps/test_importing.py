"""Recordings become demonstrations: labels, the annotator that sorts, and what an environment refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gailfe_jax.apps.collection import collect_demonstrations
from gailfe_jax.apps.importing import import_demonstrations
from gailfe_jax.data.annotators import return_below
from gailfe_jax.data.formats import load_demonstrations
from gailfe_jax.data.recordings import write_recording
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.errors import GailfeError
from tests.data.made import assert_equal, make_demonstrations, one_line
from tests.toy import Cliff, cliff_expert

CLIFF = Cliff()


@pytest.fixture(scope="module")
def shown():
    """Twelve episodes on the cliff, some of which fall."""
    stumbler = dataclasses.replace(cliff_expert(), log_std=np.full(2, 0.5, np.float32))
    return collect_demonstrations(CLIFF, stumbler, trajectories=12, keep_failed=True).expert


@pytest.fixture
def source(shown, tmp_path):
    """The same in a plain .npz, with `bad` marked in the first episode."""
    bad = np.arange(shown.num_transitions) < shown.lengths[0]
    columns = {
        name: getattr(shown, name) for name in ("obs", "action", "next_obs", "reward", "terminated", "truncated")
    }
    np.savez(tmp_path / "walk.npz", **columns, bad=bad, good=~bad)
    return tmp_path / "walk.npz"


def fell(trajectories):
    return int(trajectories.terminated.sum())


def test_the_environments_annotator_sorts(source, shown):
    demos = import_demonstrations(source, env=CLIFF)
    assert 1 <= fell(shown) <= 11
    assert demos.failures.num_trajectories == fell(shown) == fell(demos.failures) and fell(demos.expert) == 0
    record = demos.provenance
    assert (record["annotator"], record["failure_source"], demos.env_id) == ("terminated", "recorded", "cliff")
    assert f"failures: {fell(shown)} of 12 episodes, by annotator 'terminated'" in record["notes"]
    assert record["imported"]["format"] == "npz" and len(record["imported"]["sha256"]) == 64
    demos.save(source.parent / "demos.npz")
    assert load_demonstrations(source.parent / "demos.npz", CLIFF).expert.num_trajectories == 12 - fell(shown)


def test_all_episodes_are_kept_where_that_is_asked(source, shown):
    demos = import_demonstrations(source, env=CLIFF, keep_failed=True)
    assert_equal(demos.expert, dataclasses.replace(shown, simulator_state=None))
    assert demos.failures.num_trajectories == 0 and demos.provenance["annotator"] is None


@pytest.mark.parametrize("labels", [dict(failures="bad"), dict(success="good")])
def test_labels_take_the_annotators_place(source, shown, labels):
    demos = import_demonstrations(source, env=CLIFF, **labels)
    np.testing.assert_array_equal(demos.failures.obs, shown.trajectory(0).obs)
    assert demos.expert.num_trajectories == 11
    assert "failures: 1 of 12 episodes, as the recording says" in demos.provenance["notes"]
    # Unless one is named beside them.
    both = import_demonstrations(source, env=CLIFF, annotator="terminated", **labels)
    ended = shown.terminated[shown.offsets[1:] - 1]
    ended[0] = True
    assert both.failures.num_trajectories == ended.sum()


def test_failures_come_from_a_file_of_their_own(source, shown):
    demos = import_demonstrations(source, env=CLIFF, failures=str(source))
    assert demos.expert.num_trajectories == demos.failures.num_trajectories == 12
    assert_equal(demos.failures, demos.expert)


def test_without_an_environment_nothing_sorts(source):
    with pytest.raises(GailfeError, match=r"walk\.npz: nothing in it says which environment it is of; expected --env"):
        import_demonstrations(source)
    with pytest.raises(GailfeError, match="annotator: got 'terminated'; expected --env beside it"):
        import_demonstrations(_own(source.parent), annotator="terminated")
    demos = import_demonstrations(_own(source.parent))
    assert demos.env_id == "Hopper-v5" and (demos.expert.num_trajectories, demos.failures.num_trajectories) == (3, 2)


def _own(folder):
    make_demonstrations().save(folder / "own.npz")
    return folder / "own.npz"


def test_our_own_layout_is_read_leniently(tmp_path):
    original = make_demonstrations()
    with np.load(_own(tmp_path), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    # In float64, without the next observations, with the last episode's end taken out.
    arrays["expert/obs"] = arrays["expert/obs"].astype(np.float64)
    del arrays["expert/next_obs"], arrays["failures/next_obs"], arrays["failures/reward"]
    arrays["expert/truncated"][-1] = arrays["expert/terminated"][-1] = False
    np.savez(tmp_path / "loose.npz", **arrays)
    with pytest.raises(GailfeError, match="field 'expert/next_obs': missing"):
        Demonstrations.load(tmp_path / "loose.npz")
    demos = import_demonstrations(tmp_path / "loose.npz")
    assert demos.expert.lengths.tolist() == [4, 2] and demos.failures.lengths.tolist() == [1, 3]
    np.testing.assert_array_equal(demos.expert.trajectory(0).obs, original.expert.trajectory(0).obs[:4])
    # Failures alone have no reward, and rewards of some are none.
    assert "reward: left out, for 2 of 4 episodes have none" in demos.provenance["notes"]


def test_returns_are_judged_by_the_mean_of_what_is_recorded(source, shown):
    demos = import_demonstrations(source, env=CLIFF, annotator="return_below:0.5")
    low = shown.returns < np.float32(0.5 * shown.returns.mean())
    assert demos.failures.num_trajectories == low.sum() > 0
    assert import_demonstrations(source, env=CLIFF, annotator=return_below(-1e9)).failures.num_trajectories == 0


def test_annotators_that_cannot_sort_say_so(source, tmp_path):
    env = Cliff()
    for annotator, why in (
        (
            "return_below:0.5",
            "failures: not looked for, for annotator 'return_below:0.5' of cliff needs positive returns",
        ),
        (
            "bottom_quantile:0.2",
            "failures: not looked for, for annotator 'bottom_quantile:0.2' calls some of any episodes",
        ),
    ):
        env.spec = dataclasses.replace(CLIFF.spec, annotator=annotator)
        with np.load(source) as file:
            reward = {} if "below" in annotator else {"reward": file["reward"]}
            names = ("obs", "action", "next_obs", "terminated", "truncated")
            np.savez(tmp_path / "x.npz", **{name: file[name] for name in names}, **reward)
        demos = import_demonstrations(tmp_path / "x.npz", env=env)
        assert demos.failures.num_trajectories == 0
        assert any(note.startswith(why) for note in demos.provenance["notes"])


def test_what_an_environment_refuses(source, tmp_path):
    with np.load(source) as file:
        arrays = {name: file[name] for name in file.files}

    def refused(message, env=CLIFF, options=None, **changes):
        np.savez(tmp_path / "x.npz", **(arrays | changes))
        with pytest.raises(GailfeError, match=message) as error:
            import_demonstrations(tmp_path / "x.npz", env=env, **(options or {}))
        one_line(error)

    wild = arrays["action"].copy()
    wild[3, 1] = 1.5
    refused(r"action\[1\] is 1\.5 at step .*, outside \[-1, 1\]; --clip-actions clips such actions", action=wild)
    assert import_demonstrations(tmp_path / "x.npz", env=CLIFF, clip=True).expert.action.max() <= 1
    wide = np.concatenate([arrays["action"], arrays["action"]], axis=1)
    refused(
        r"x\.npz: field 'action': size 4, expected the 2 of cliff; --map action=NAME,\.\.\. chooses columns",
        action=wide,
    )
    holes = arrays["obs"].copy()
    holes[5] = np.nan
    refused("NaN or infinity at step", obs=holes)
    falls = dict(terminated=arrays["terminated"] | arrays["truncated"], truncated=arrays["truncated"] & False)
    refused(
        "all 12 episodes are failures by annotator 'terminated'; expected demonstrations; --keep-failed keeps", **falls
    )
    refused(
        "all 12 episodes are failures by its labels; expected demo",
        options=dict(failures="all"),
        all=np.ones(len(wild)),
    )
    refused("success: got a column beside --failures", options=dict(failures="bad", success="good"))
    refused("annotator: nothing reads it beside --keep-failed", options=dict(annotator="terminated", keep_failed=True))
    refused("episodes-end-by: got truncated; nothing reads it", options=dict(ends="truncated"))
    refused("failures: no column and no file 'worse'; there are action, bad, ", options=dict(failures="worse"))
    refused("unknown task 'nowhere'", env="nowhere")


def test_episodes_that_are_over_before_the_limit_may_be_no_falls(source, tmp_path):
    with np.load(source) as file:
        done = file["terminated"] | file["truncated"]
        early = np.isin(np.arange(len(done)), np.flatnonzero(done) - 1)  # all are over a step before
        np.savez(tmp_path / "x.npz", obs=file["obs"], action=file["action"], done=early | done)
    with pytest.raises(
        GailfeError, match=r"all .* episodes are failures .*, --episodes-end-by truncated says that it was"
    ):
        import_demonstrations(tmp_path / "x.npz", env=CLIFF)
    kept = import_demonstrations(tmp_path / "x.npz", env=CLIFF, ends="truncated")
    assert fell(kept.expert) == 0 and kept.failures.num_trajectories == 0


def test_a_recordings_own_environment_is_said(tmp_path):
    write_recording("d4rl", str(tmp_path / "x.hdf5"), make_demonstrations(failures=()))
    demos = import_demonstrations(tmp_path / "x.hdf5")
    assert demos.env_id == "Hopper-v5"
    assert (
        "env_id: Hopper-v5, as the recording says; without --env nothing is checked against it"
        in demos.provenance["notes"]
    )
    env = Cliff()
    env.spec = dataclasses.replace(env.spec, obs_size=3)
    taken = import_demonstrations(tmp_path / "x.hdf5", env=env, keep_failed=True)
    assert taken.env_id == "cliff"
    assert "env_id: recorded as Hopper-v5, taken for cliff as --env says" in taken.provenance["notes"]


@pytest.mark.parametrize("to", ["d4rl", "lerobot", "minari"])
@pytest.mark.parametrize("failures", [(), (2, 4)])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_exported_comes_back_equal(tmp_path, monkeypatch, to, failures):
    pytest.importorskip({"d4rl": "h5py", "lerobot": "pyarrow", "minari": "minari"}[to])
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    original = make_demonstrations(failures)
    out = {"d4rl": str(tmp_path / "x.hdf5"), "lerobot": str(tmp_path / "x"), "minari": "tiny/x-v0"}[to]
    flags = write_recording(to, out, original).split()
    assert flags[:1] == (["--failures"] if failures else [])
    back = import_demonstrations(f"minari:{out}" if to == "minari" else out, failures=flags[-1] if flags else None)
    assert_equal(back.expert, original.expert)
    assert_equal(back.failures, original.failures)
    assert back.env_id == "Hopper-v5"


def test_rewards_that_are_absent_stay_absent(tmp_path):
    pytest.importorskip("pyarrow")
    demos = make_demonstrations(failures=())
    unpaid = dataclasses.replace(demos, expert=dataclasses.replace(demos.expert, reward=None))
    for to, out in (("d4rl", "x.hdf5"), ("lerobot", "x")):
        write_recording(to, str(tmp_path / out), unpaid)
        assert import_demonstrations(tmp_path / out).expert.reward is None
    with pytest.raises(
        GailfeError, match="reward: missing, and a Minari dataset has to have it; expected --to d4rl or"
    ):
        write_recording("minari", "tiny/x-v0", unpaid)
    with pytest.raises(GailfeError, match="to: got 'csv'; expected minari, lerobot, d4rl"):
        write_recording("csv", "x.csv", demos)
    with pytest.raises(GailfeError, match="x: exists, expected a new folder"):
        write_recording("lerobot", str(tmp_path / "x"), demos)


def test_a_run_on_demonstrations_without_rewards_has_no_return_to_compare_with(source, tmp_path):
    from gailfe_jax.config.run import DemoSettings
    from gailfe_jax.learners.presets import preset
    from gailfe_jax.training.inputs import prepare_inputs

    with np.load(source) as file:
        names = ("obs", "action", "next_obs", "terminated", "truncated")
        np.savez(tmp_path / "x.npz", **{name: file[name] for name in names})
    demos = import_demonstrations(tmp_path / "x.npz", env=CLIFF)
    assert demos.expert.reward is None
    inputs = prepare_inputs(preset("gailfe", None)[0], CLIFF, DemoSettings(), demos)
    assert inputs.expert_return is None and inputs.record["demonstrated_return"] is None
    assert inputs.demos is not None and inputs.demos.failures is not None
    from gailfe_jax.config.tree import set_values

    by_return = set_values(preset("gailfe", None)[0], {"failures.annotator": "return_below:0.5"})
    with pytest.raises(GailfeError, match="needs a positive expert return, got None"):
        prepare_inputs(by_return, CLIFF, DemoSettings(), demos)
