"""A run that was cut off resumes to what it would have been, bit for bit, or says why it does not."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest

from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.config.run import DemoSettings
from gailfe_jax.config.tree import put
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.envs import make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.training.loop import train
from gailfe_jax.training.run_folder import load_run
from tests.runs import assert_same_run, contents, metrics_of, policy
from tests.tiny import tiny, toy_demonstrations
from tests.toy import cliff_expert
from tests.training.cliff import CHUNK, ENV, EVALUATIONS, METHOD, SEEDS, settings

pytestmark = pytest.mark.usefixtures("quick_programs")


def cut(go, folder, *args, **options):
    """`(whole run, folder of one that was resumed half way)`."""
    whole = go(folder / "whole", settings(), *args, **options)
    go(folder / "half", settings(EVALUATIONS // 2), *args, **options)
    go(folder / "half", settings(), *args, **options, resume=True)
    return whole, folder / "half"


def test_after_half_the_steps_it_equals_an_uninterrupted_one(go, whole, half, tmp_path):
    folder = shutil.copytree(half, tmp_path / "run")
    assert metrics_of(folder) == metrics_of(whole.run_dir)[: len(SEEDS) * EVALUATIONS // 2]
    go(folder, resume=True)
    assert_same_run(folder, whole.run_dir)
    record = load_run(folder)
    assert record["provenance"] == load_run(half)["provenance"] and len(record["resumed"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bc", "gasil"])
def test_other_methods_resume_too(name, go, tmp_path):
    """Cloning holds an order of pairs and its best snapshot, GASIL its own best episodes."""
    whole, folder = cut(go, tmp_path, tiny(name))
    assert_same_run(folder, whole.run_dir)


@pytest.mark.slow
def test_dagger_resumes_and_asks_the_same_expert(expert_file, tmp_path):
    def go(folder, run, method, expert=expert_file, **options):
        return train(method, ENV, run, out=folder, demos=DemoSettings(expert=expert), **options)

    whole, folder = cut(go, tmp_path, tiny("dagger"))
    assert_same_run(folder, whole.run_dir)
    assert whole.policies[0].metadata["generator"] == "likelihood"
    moved = str(shutil.copy(expert_file, tmp_path / "moved.safetensors"))
    go(folder, settings(), tiny("dagger"), expert=moved, resume=True)
    Policy(**(vars(cliff_expert()) | {"weights": [(-np.eye(2), np.zeros(2))]})).save(moved)
    with pytest.raises(
        GailfeError, match=r"moved.safetensors is another expert than the one that the run began with; exp"
    ):
        go(folder, settings(), tiny("dagger"), expert=moved, resume=True)


@pytest.mark.slow
def test_from_replay_with_all_that_bounds_it_it_equals_an_uninterrupted_one(go, tmp_path):
    """The state holds the range of rewards, where the discriminator's layers stretch most, and the replay."""
    bounds = {
        "policy.critics.ensemble": 4, "policy.critics.subset": 2, "policy.critics.bounded": True,
        "policy.critics.huber": 1.0, "policy.policy_delay": 3, "policy.update_ratio": 0.5, "reward.recent": 0.5,
        "reward.recent_steps": 40, "reward.spectral_norm": True,
    }  # fmt: skip
    whole, folder = cut(go, tmp_path, put(tiny("gailfe", "sac"), bounds))
    assert_same_run(folder, whole.run_dir)
    assert all(record["reward_high"] > 0 for record in metrics_of(whole.run_dir))


@pytest.mark.slow
def test_with_a_learned_model_it_equals_an_uninterrupted_one(go, tmp_path):
    """MAIL's step under GAILFE's constraint, from a clone: the state holds the model and its experience too."""
    whole, folder = cut(go, tmp_path, tiny("gailfe", "mail", start__steps=5))
    assert_same_run(folder, whole.run_dir)
    assert all(math.isfinite(record["model_error_1"]) for record in metrics_of(whole.run_dir))


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_on_a_physics_engine_it_equals_an_uninterrupted_one(share, hopper_demos, tmp_path):
    """The state holds the simulator's own; where episodes start is drawn from their keys."""

    def go(folder, run, method, **options):
        return train(method, "hopper", run, out=folder, demos=hopper_demos, **options)

    whole, folder = cut(go, tmp_path, put(METHOD, {"rollout.demonstrated_starts": share}))
    assert_same_run(folder, whole.run_dir)


def test_a_damaged_checkpoint_is_passed_over(go, whole, half, tmp_path, capsys):
    folder = shutil.copytree(half, tmp_path / "run")
    newest = max((folder / "checkpoints").iterdir())
    for path in newest.glob("part_*/**/d/*"):
        path.write_bytes(path.read_bytes()[::-1])
    go(folder, settings(quiet=False), resume=True)
    assert f"checkpoint at step {EVALUATIONS // 2 * CHUNK} is damaged" in capsys.readouterr().out
    assert_same_run(folder, whole.run_dir)


def test_a_finished_run_stays_as_it_is(go, whole, tmp_path):
    folder = shutil.copytree(whole.run_dir, tmp_path / "run")
    result = go(folder, settings(tensorboard=True), resume=True)
    assert_same_run(folder, whole.run_dir)
    ours = {name: value for name, value in result.summary.items() if name != "provenance"}
    assert ours == {name: value for name, value in whole.summary.items() if name != "provenance"}


def test_without_a_checkpoint_it_starts(go, whole, tmp_path):
    folder = tmp_path / "run"
    go(folder, resume=True)
    assert_same_run(folder, whole.run_dir)


GAMMA = METHOD.policy.gamma


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(resume=False), "already holds a run; add --resume"),
        (dict(method=tiny("gailfe", policy__hidden=(9,))), r"field method\.policy\.hidden is \[8\] .* and \[9\] now"),
        (dict(method=tiny("gailfe", reward__replay=9)), r"field method\.reward\.replay is 0 .* and 9 now"),
        (dict(method=tiny("gail")), r"field algo is 'gailfe' .* and 'gail' now"),
        (dict(method=tiny("gailfe", "ppo")), r"field method\.policy\."),
        (dict(run=settings(seeds=3)), r"field run\.seeds is 2 .* and 3 now"),
        (dict(run=settings(first_seed=0)), r"field run\.first_seed is 3 .* and 0 now"),
        (dict(method=tiny("gailfe", policy__gamma=0.9)), rf"field method\.policy\.gamma is {GAMMA} .* and 0\.9 now"),
        (dict(subsample=2), r"field demos\.subsample is 1 .* and 2 now"),
        (dict(trajectories=3), r"field demos\.trajectories is None .* and 3 now"),
        (
            dict(method=METHOD.replace(failures=METHOD.failures.replace(last_steps=2))),
            r"field method\.failures\.last_s",
        ),
        (dict(method=METHOD.replace(policy=METHOD.policy.replace(gamma=np.nan * np.ones(2)))), r"^policy\.gamma: got "),
    ],
)
def test_a_run_is_not_continued_as_something_else(half, demos_file, change, message):
    before = contents(half)
    chosen = {name: change[name] for name in ("subsample", "trajectories") if name in change}
    demos = DemoSettings(demos=str(demos_file), **chosen)
    with pytest.raises(GailfeError, match=message) as error:
        train(
            change.get("method", METHOD), ENV, change.get("run", settings()), out=half, demos=demos,
            resume=change.get("resume", True),
        )  # fmt: skip
    assert "\n" not in str(error.value)
    assert contents(half) == before


def test_an_environment_of_another_name_or_engine_is_refused(go, half, tmp_path):
    folder = shutil.copytree(half, tmp_path / "run")
    for field, value in (("environment", {"env": "drift", "engine": "auto"}), ("engine", "mjx")):
        record = json.loads((half / "config.json").read_text()) | {field: value}
        (folder / "config.json").write_text(json.dumps(record))
        with pytest.raises(GailfeError, match=rf"field {field}"):
            go(folder, resume=True)


def test_demonstrations_may_move_but_not_change(go, half, demos_file, tmp_path):
    """The file's name and its provenance are free, its content is not."""
    demonstrations = Demonstrations.load(demos_file)
    demonstrations.provenance["created"] = "another day"
    demonstrations.save(tmp_path / "moved.h5")
    folder = shutil.copytree(half, tmp_path / "run")
    run = settings(EVALUATIONS // 2)
    train(METHOD, ENV, run, out=folder, demos=str(tmp_path / "moved.h5"), resume=True)
    other = toy_demonstrations(ENV, cliff_expert(), trajectories=4, failures=8, seed=1)
    said = r"run: demos \(given in memory\) holds other demonstrations than those that the run began with, .*moved.h5; "
    with pytest.raises(GailfeError, match=said):
        train(METHOD, ENV, run, out=folder, demos=other, resume=True)


@pytest.mark.parametrize("part", ["expert", "failures"])
def test_the_file_that_has_changed_is_named(go, half, demos_file, part, tmp_path):
    demonstrations = Demonstrations.load(demos_file)
    fewer = getattr(demonstrations, part).take(3, 0)
    changed = tmp_path / "changed.npz"
    dataclasses.replace(demonstrations, **{part: fewer}).save(changed)
    folder = shutil.copytree(half, tmp_path / "run")
    said = rf"run: {changed} holds other demonstrations than those that the run began with, {demos_file}; expected the"
    with pytest.raises(GailfeError, match=said):
        train(METHOD, ENV, settings(), out=folder, demos=str(changed), resume=True)


@pytest.fixture(scope="module")
def hopper_demos():
    """Demonstrations of noise on Hopper, and failures."""
    from gailfe_jax.apps.collection import collect_demonstrations

    return collect_demonstrations(make_env("hopper"), policy(0), trajectories=4, failures=8, seed=0, keep_failed=True)
