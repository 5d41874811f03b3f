from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.apps.collection import collect_demonstrations
from gailfe_jax.apps.evaluate_run import evaluate_path
from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.config.flat import Config, Hyper
from gailfe_jax.data.trajectories import Demonstrations, Trajectories
from gailfe_jax.envs import make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.methods import make_learner
from gailfe_jax.training.checkpoint import CheckpointManager
from gailfe_jax.training.loop import (
    DemoSettings,
    RunSettings,
    Trainer,
    load_policies,
    load_run,
    prepare_imitation,
    settings_from_run,
    to_policies,
    train,
)

TINY = Config(
    algo="gailfe", env="Hopper-v5", num_envs=4, unroll_length=32, hidden=(8,), value_minibatch=64, disc_hidden=(8,),
    disc_minibatch=64, failure_capacity=6,
)  # fmt: skip
CHUNK = TINY.batch_size
EVALUATIONS = 4
SEEDS = [3, 4]
# What tells of the machine's speed differs from run to run.
TIMING = ("steps_per_second",)


def settings(evaluations=EVALUATIONS, **changes):
    fields = dict(
        steps=evaluations * CHUNK, seeds=2, first_seed=3, eval_every=CHUNK, eval_episodes=2, quiet=True,
        tensorboard=False, checkpoint_seconds=0,
    )  # fmt: skip
    return RunSettings(**(fields | changes))


pytestmark = pytest.mark.usefixtures("quick_programs")


def random_policy(seed=0):
    rng = np.random.default_rng(seed)
    return Policy(
        weights=[(rng.normal(size=(11, 8)), np.zeros(8)), (rng.normal(size=(8, 3)), np.zeros(3))],
        activation="tanh", obs_mean=np.zeros(11), obs_std=np.ones(11), log_std=np.zeros(3), action_low=-1,
        action_high=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def demos_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("demos") / "demos.npz"
    collect_demonstrations(make_env("hopper"), random_policy(), trajectories=4, failures=8, seed=0).save(path)
    return path


@pytest.fixture(scope="module")
def go(demos_file):
    def start(out, run=None, config=TINY, **options):
        return train(config, Hyper(), run or settings(), out=out, demos=DemoSettings(str(demos_file)), **options)

    return start


@pytest.fixture(scope="module")
def whole(quick_programs, go, tmp_path_factory):
    """An uninterrupted run: its result."""
    return go(tmp_path_factory.mktemp("runs") / "whole", settings(tensorboard=True))


@pytest.fixture(scope="module")
def half(quick_programs, go, tmp_path_factory):
    """The folder of a run that ended after half the steps."""
    return go(tmp_path_factory.mktemp("runs") / "half", settings(EVALUATIONS // 2)).run_dir


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def metrics_of(folder):
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if name not in TIMING} for record in records]


def checkpointed(folder):
    """`(step, leaves)` of the newest checkpoint."""
    env = make_env("hopper")
    saved = settings_from_run(load_run(folder))
    imitation = prepare_imitation(saved[0], env, saved[3])
    learner = make_learner(saved[0], env, annotator=imitation.annotator)
    template = Trainer(learner, saved[1], np.array(SEEDS), chunk=1, eval_episodes=1).template(imitation.demos)
    step, state = CheckpointManager(folder / "checkpoints").restore(template)
    named = jax.tree_util.tree_flatten_with_path(state)[0]
    raw = [(path, jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x) for path, x in named]
    return step, {jax.tree_util.keystr(path): np.asarray(x).tobytes() for path, x in raw}


def assert_same_run(folder, whole):
    policies = {name: data for name, data in contents(folder).items() if name.startswith("policies")}
    assert policies == {name: data for name, data in contents(whole.run_dir).items() if name.startswith("policies")}
    assert metrics_of(folder) == metrics_of(whole.run_dir)
    assert checkpointed(folder) == checkpointed(whole.run_dir)


@pytest.fixture(scope="module")
def expert_file(tmp_path_factory):
    return str(random_policy().save(tmp_path_factory.mktemp("expert") / "expert.safetensors"))


SUPERVISED = dict(bc_minibatch=32, fit_steps=4, aggregate_capacity=300)


@pytest.mark.parametrize("algo", ["bc", "dagger"])
def test_supervised_too_a_resumed_run_equals_an_uninterrupted_one(algo, demos_file, expert_file, tmp_path):
    config = dataclasses.replace(TINY, algo=algo, **SUPERVISED)
    # Each takes of them what it needs.
    shown = DemoSettings(str(demos_file), expert=expert_file)

    def go(folder, evaluations=EVALUATIONS, **options):
        return train(config, Hyper(), settings(evaluations), out=folder, demos=shown, **options)

    whole = go(tmp_path / "whole")
    go(tmp_path / "half", EVALUATIONS // 2)
    go(tmp_path / "half", resume=True)
    assert_same_run(tmp_path / "half", whole)
    assert whole.policies[0].metadata["generator"] == "likelihood"
    if algo == "dagger":
        moved = DemoSettings(expert=str(shutil.copy(expert_file, tmp_path / "moved.safetensors")))
        train(config, Hyper(), settings(), out=whole.run_dir, demos=moved, resume=True)
        random_policy(1).save(tmp_path / "moved.safetensors")
        with pytest.raises(GailfeError, match=r"field demos\.content_sha256"):
            train(config, Hyper(), settings(), out=whole.run_dir, demos=moved, resume=True)


def test_a_run_whose_seeds_have_all_stopped_is_at_its_end(demos_file, tmp_path):
    """A rate at which every step makes it worse: the first snapshot is the best, and patience ends after two more."""
    config = dataclasses.replace(TINY, algo="bc", **SUPERVISED)
    hyper = Hyper(bc_lr=30.0, bc_patience=2.0)

    def go(**options):
        shown = DemoSettings(str(demos_file))
        return train(config, hyper, settings(50), out=tmp_path / "run", demos=shown, **options)

    first = go()
    assert first.steps < 40 * CHUNK and first.summary["finished"] and not first.interrupted
    assert first.metrics["stopped"][1][:, -1].tolist() == [1, 1]
    assert (first.metrics["stopped"][1][:, -2] == 0).any()
    before = contents(tmp_path / "run" / "policies")
    again = go(resume=True)
    assert again.steps == first.steps and again.summary["finished"]
    assert contents(tmp_path / "run" / "policies") == before
    assert metrics_of(tmp_path / "run")[-1]["step"] == first.steps


def test_with_a_learned_model_a_resumed_run_equals_an_uninterrupted_one(go, tmp_path):
    """MAIL's step under GAILFE's constraint, from a clone: the state holds the model and its experience too."""
    small = dict(horizon=8, model_hidden=(8,), model_fit_steps=2, model_minibatch=16, model_capacity=300)
    config = dataclasses.replace(TINY, generator="backprop", bc_steps=5, policy_steps=2, **small)
    whole = go(tmp_path / "whole", config=config)
    go(tmp_path / "half", settings(EVALUATIONS // 2), config=config)
    go(tmp_path / "half", config=config, resume=True)
    assert_same_run(tmp_path / "half", whole)
    assert all(math.isfinite(record["model_error_1"]) for record in metrics_of(whole.run_dir))


def test_a_run_traces_its_program_once(whole, quick_programs):
    trainer = next(trainer for trainer in quick_programs if trainer.compile_seconds > 0)
    assert trainer.traces == 1
    assert quick_programs.count(trainer) == EVALUATIONS


def test_a_run_folder_holds_what_it_should(whole):
    folder, steps = whole.run_dir, [CHUNK * (i + 1) for i in range(EVALUATIONS)]
    records = metrics_of(folder)
    assert [(record["seed"], record["step"]) for record in records] == [
        (seed, step) for step in steps for seed in SEEDS
    ]
    for name in ("return_mean", "length_mean", "discriminator_accuracy", "multiplier", "failure_log_d", "violation"):
        assert all(math.isfinite(record[name]) for record in records), name
    assert all(record["expert_normalised"] > 0 for record in records)
    record = load_run(folder)
    assert record["config"]["env"] == "hopper" and record["engine"] == "mujoco_c"
    assert record["demos"]["annotator"] == "terminated" and record["demos"]["collected_failures"] == 6
    assert record["provenance"]["versions"]["jax"] == jax.__version__
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["finished"] and summary["steps"] == steps[-1] and summary["steps_per_second"] > 0
    assert summary["final"]["return_mean"] == [r["return_mean"] for r in records[-2:]]
    assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in (folder / "tensorboard").iterdir()} == {"mean", "seed3", "seed4"}
    assert whole.metrics["return_mean"][1].shape == (2, EVALUATIONS)
    assert not whole.interrupted and whole.steps == steps[-1]


def test_saved_policies_act_in_numpy_as_the_learner_does(whole):
    policies = load_policies(whole.run_dir)
    assert [policy.metadata["seed"] for policy in policies] == ["3", "4"]
    assert policies[0].metadata["env"] == "hopper" and policies[0].metadata["steps"] == str(EVALUATIONS * CHUNK)
    obs = np.random.default_rng(0).normal(size=(5, 11)).astype(np.float32)
    env = make_env("hopper")
    config, _, _, demos = settings_from_run(load_run(whole.run_dir))
    imitation = prepare_imitation(config, env, demos)
    learner = make_learner(config, env, annotator=imitation.annotator)
    template = Trainer(learner, Hyper(), np.array(SEEDS), chunk=1, eval_episodes=1).template(imitation.demos)
    _, state = CheckpointManager(whole.run_dir / "checkpoints").restore(template)
    for index, policy in enumerate(policies):
        agent = jax.tree.map(lambda x, i=index: x[i], state.generator)
        mode = np.clip(learner.generator.mode(agent, jnp.asarray(obs)), -1, 1)
        np.testing.assert_allclose(policy.act(obs), mode, atol=1e-5)
    assert policies[0].act(obs[0]).shape == (3,)


def test_a_run_without_a_folder_learns_the_same(go, whole):
    seen = []
    result = go(None, on_evaluation=lambda step, row: seen.append((step, row["return_mean"].tolist())))
    assert result.run_dir is None
    np.testing.assert_array_equal(result.metrics["return_mean"][1], whole.metrics["return_mean"][1])
    assert seen[-1] == (EVALUATIONS * CHUNK, whole.metrics["return_mean"][1][:, -1].tolist())
    for ours, theirs in zip(result.policies, whole.policies, strict=True):
        np.testing.assert_array_equal(ours.weights[0][0], theirs.weights[0][0])


def test_resume_after_half_the_steps_equals_uninterrupted(go, whole, half, tmp_path):
    folder = shutil.copytree(half, tmp_path / "run")
    assert metrics_of(folder) == metrics_of(whole.run_dir)[: len(SEEDS) * EVALUATIONS // 2]
    go(folder, resume=True)
    assert_same_run(folder, whole)
    record = load_run(folder)
    assert record["provenance"] == load_run(half)["provenance"] and len(record["resumed"]) == 1


# Orbax leaves a thread behind when it fails to read.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_resume_passes_over_a_damaged_checkpoint(go, whole, half, tmp_path, capsys):
    folder = shutil.copytree(half, tmp_path / "run")
    newest = max((folder / "checkpoints").iterdir())
    for path in newest.glob("part_*/**/d/*"):
        path.write_bytes(path.read_bytes()[::-1])
    go(folder, settings(quiet=False), resume=True)
    assert f"checkpoint at step {EVALUATIONS // 2 * CHUNK} is damaged" in capsys.readouterr().out
    assert_same_run(folder, whole)


def test_a_signal_ends_the_chunk_and_saves(go, whole, tmp_path):
    folder, handler = tmp_path / "run", signal.getsignal(signal.SIGINT)
    # After the evaluation is written: the loop has looked for signals, and not saved, when this one comes.
    result = go(
        folder,
        settings(checkpoint_seconds=1e9),
        on_evaluation=lambda step, row: os.kill(os.getpid(), signal.SIGTERM) if step == 2 * CHUNK else None,
    )
    assert result.interrupted and result.steps == 2 * CHUNK
    assert not json.loads((folder / "summary.json").read_text())["finished"]
    assert len(load_policies(folder)) == 2
    assert signal.getsignal(signal.SIGINT) is handler
    go(folder, resume=True)
    assert_same_run(folder, whole)


def test_resuming_a_finished_run_changes_nothing_that_counts(go, whole, tmp_path):
    folder = shutil.copytree(whole.run_dir, tmp_path / "run")
    result = go(folder, settings(tensorboard=True), resume=True)
    assert_same_run(folder, whole)
    ours = {name: value for name, value in result.summary.items() if name != "provenance"}
    assert ours == {name: value for name, value in whole.summary.items() if name != "provenance"}


def test_resume_without_a_checkpoint_starts(go, whole, tmp_path):
    folder = tmp_path / "run"
    go(folder, resume=True)
    assert_same_run(folder, whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(resume=False), "already holds a run; add --resume"),
        (dict(config=TINY.__class__(**(vars(TINY) | {"hidden": (9,)}))), r"field config\.hidden is \[8\] .* and \[9\]"),
        (dict(config=TINY.__class__(**(vars(TINY) | {"algo": "gail"}))), r"field config\.algo is 'gailfe'"),
        (dict(run=settings(seeds=3)), r"field settings\.seeds is 2 .* and 3 now"),
        (dict(run=settings(first_seed=0)), r"field settings\.first_seed is 3 .* and 0 now"),
        (dict(hyper=Hyper(gamma=0.9)), rf"field hyper\.gamma is {Hyper().gamma} .* and 0\.9 now"),
        (dict(demos=DemoSettings(subsample=2)), r"field demos\.content_sha256 "),
        (dict(hyper=Hyper(gamma=math.nan)), r"^gamma: got nan; expected a finite number"),
    ],
)
def test_a_run_is_not_continued_as_something_else(half, demos_file, change, message):
    before = contents(half)
    demos = DemoSettings(str(demos_file), subsample=change.get("demos", DemoSettings()).subsample)
    with pytest.raises(GailfeError, match=message) as error:
        train(
            change.get("config", TINY), change.get("hyper"), change.get("run", settings()), out=half, demos=demos,
            resume=change.get("resume", True),
        )  # fmt: skip
    assert "\n" not in str(error.value)
    assert contents(half) == before


def test_demonstrations_may_move_but_not_change(go, half, demos_file, tmp_path):
    """The file's name and its provenance are free, its content is not."""
    demonstrations = Demonstrations.load(demos_file)
    demonstrations.provenance["created"] = "another day"
    demonstrations.save(tmp_path / "moved.h5")
    folder = shutil.copytree(half, tmp_path / "run")
    run = settings(EVALUATIONS // 2)
    train(TINY, Hyper(), run, out=folder, demos=DemoSettings(str(tmp_path / "moved.h5")), resume=True)
    other = collect_demonstrations(make_env("hopper"), random_policy(), trajectories=4, failures=8, seed=1)
    with pytest.raises(GailfeError, match=r"field demos\.content_sha256"):
        train(TINY, Hyper(), run, out=folder, demonstrations=other, resume=True)


def test_folders_that_are_not_ours_stay_as_they_are(go, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(GailfeError, match="exists and holds no run; choose another --out"):
        go(tmp_path)
    with pytest.raises(GailfeError, match=r"notes.txt: is a file; expected a folder"):
        go(tmp_path / "notes.txt", resume=True)
    assert contents(tmp_path) == {"notes.txt": b"mine"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"config.json: damaged"),
        ("[1]", r"config.json: damaged"),
        ("\x00\xff", r"config.json: damaged"),
        ('{"version": 99}', r"config.json: field 'version': 99; this release reads version 1"),
        ("{}", r"config.json: field 'version': None"),
        ('{"version": 1, "config": {}}', r"config.json: field 'hyper': missing or damaged"),
        (("config", "colour", "red"), r"config.json: field 'config.colour' is unknown to this release"),
        (("config", "num_envs", "many"), r"config.json: field 'config': holds a value of the wrong type"),
        (("hyper", "gamma", "x"), r"config.json: field 'hyper': holds a value of the wrong type"),
        (("settings", "steps", "long"), r"config.json: field 'settings': holds a value of the wrong type"),
        (("config", "num_envs", 0), r"num_envs: got 0; expected at least 1"),
    ],
)
def test_a_damaged_or_foreign_config_is_one_clear_error(go, half, tmp_path, content, message):
    folder = shutil.copytree(half, tmp_path / "run")
    path = folder / "config.json"
    if isinstance(content, tuple):
        part, name, value = content
        record = json.loads(path.read_text())
        record[part][name] = value
        content = json.dumps(record)
    path.write_bytes(content.encode("latin-1"))
    before = contents(folder)
    with pytest.raises(GailfeError, match=message) as error:
        go(folder, resume=True)
    assert "\n" not in str(error.value)
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        *((RunSettings, name, 0) for name in ("steps", "seeds", "eval_every", "eval_episodes", "keep")),
        *((RunSettings, name, math.nan) for name in ("steps", "eval_every", "checkpoint_seconds")),
        *((RunSettings, name, math.inf) for name in ("steps", "eval_every")),
        (RunSettings, "checkpoint_seconds", -1),
        (RunSettings, "first_seed", -1),
        (RunSettings, "first_seed", 2**32),
        (DemoSettings, "trajectories", 0),
        (DemoSettings, "subsample", 0),
        (DemoSettings, "demo_seed", -1),
    ],
)
def test_settings_out_of_range_are_named(kind, field, value):
    with pytest.raises(GailfeError, match=rf"^{field}: got .*; expected"):
        kind(**{field: value})


def test_what_does_not_fit_is_refused_before_anything_is_written(demos_file, tmp_path):
    def attempt(config=TINY, demos=None, run=None, **options):
        train(config, None, run or settings(), out=tmp_path / "run", demos=demos, **options)

    with pytest.raises(GailfeError, match=r"^demos: --algo gailfe needs a demonstration file"):
        attempt()
    with pytest.raises(GailfeError, match=r"missing.npz: no such file"):
        attempt(demos=DemoSettings("missing.npz"))
    with pytest.raises(GailfeError, match=r"asked for 5, expected 1 to 4"):
        attempt(demos=DemoSettings(str(demos_file), trajectories=5))
    with pytest.raises(GailfeError, match=r"demonstrations of 'Hopper-v5', expected 'Walker2d-v5'"):
        attempt(Config(algo="gail", env="walker2d"), DemoSettings(str(demos_file)))
    with pytest.raises(GailfeError, match=r"^annotator 'nonsense': expected one of"):
        attempt(Config(algo="gailfe", annotator="nonsense"), DemoSettings(str(demos_file)))
    loaded = Demonstrations.load(demos_file)
    alone = Demonstrations(loaded.env_id, loaded.expert, Trajectories.empty(11, 3))
    with pytest.raises(GailfeError, match=r"^demos: failure_source=collected, but they have no failures"):
        attempt(Config(algo="gailfe", failure_source="collected"), demonstrations=alone)
    with pytest.raises(GailfeError, match=r"^demos: observation and action sizes are \(11, 3\); expected \(17, 6\)"):
        attempt(Config(algo="gail", env="halfcheetah"), demonstrations=alone)
    with pytest.raises(GailfeError, match=r"^max_kl: got shape \(3,\); expected one number or 2 of them"):
        train(TINY, Hyper(max_kl=(1, 2, 3)), settings(), out=tmp_path / "run", demos=DemoSettings(str(demos_file)))
    with pytest.raises(GailfeError, match=r"^demos: --algo bc needs a demonstration file"):
        attempt(Config(algo="bc"))
    with pytest.raises(GailfeError, match=r"^expert: --algo dagger asks an expert's policy and none is shipped for br"):
        attempt(Config(algo="dagger", env="brax:fast"))
    assert not (tmp_path / "run").exists()


def test_the_returns_that_scores_are_measured_by(demos_file):
    env, loaded = make_env("hopper"), Demonstrations.load(demos_file)
    shown = float(np.mean(loaded.expert.returns))
    for recorded, expected in ((1234.5, 1234.5), (None, shown), ("many", shown), (math.nan, shown)):
        demonstrations = Demonstrations("Hopper-v5", loaded.expert, loaded.failures, {"expert_return": recorded})
        imitation = prepare_imitation(TINY, env, DemoSettings(trajectories=2), demonstrations)
        assert imitation.expert_return == (
            expected if expected != shown else pytest.approx(loaded.expert.returns[:2].mean())
        )
        assert imitation.record["expert_trajectories"] == 2
    assert imitation.demos.expert.obs.shape == (loaded.expert.lengths[:2].sum(), 11)


def test_a_diverged_seed_is_named():
    env = make_env("hopper")
    learner = make_learner(Config(algo="ppo", hidden=(8,)), env)
    state = Trainer(learner, Hyper(), np.array(SEEDS), chunk=1, eval_episodes=1).template(None)
    state = jax.tree.map(lambda x: np.ones(x.shape), state.replace(key=None, env=None))
    state.generator.policy["params"]["log_std"][1] = np.nan
    with pytest.raises(GailfeError, match=r"^seed 4: training has diverged at step 7 \(log_std: .*nan"):
        to_policies(state, TINY, env, 7, np.array(SEEDS))
    first, second = to_policies(state, TINY, env, 7, np.array(SEEDS), lenient=True)
    assert first.metadata["seed"] == "3" and second is None


def test_an_environment_of_brax_trains_and_is_judged_on_its_own_engine(tmp_path):
    config = Config(algo="ppo", env="brax:fast", num_envs=2, unroll_length=8, hidden=(4,), ppo_minibatches=2)
    run = RunSettings(steps=32, eval_every=16, eval_episodes=1, quiet=True, tensorboard=False)
    result = train(config, None, run, out=tmp_path / "run")
    assert np.isfinite(result.metrics["return_mean"][1]).all()
    with pytest.raises(GailfeError, match=r"brax:fast has no Gymnasium environment; use --backend engine"):
        evaluate_path(tmp_path / "run")
    report = evaluate_path(tmp_path / "run", episodes=2, backend="engine")
    assert report["env"] == "brax:fast" and len(report["seeds"][0]["returns"]) == 2
