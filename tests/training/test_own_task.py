"""Runs on a user's own task: what they keep of its files, and what they show where it has no reward."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.cli.main import main
from gailfe_jax.envs import changed_files, policy_record, register_task
from gailfe_jax.envs.task_file import load_task
from gailfe_jax.errors import GailfeError, GailfeWarning
from gailfe_jax.training.logger import read_metrics
from gailfe_jax.training.loop import train
from gailfe_jax.training.run_folder import load_run
from tests.runs import metrics_of
from tests.tiny import tiny, tiny_run, toy_demonstrations
from tests.toy import Cliff, cliff_expert
from tests.training.cliff import settings

pytestmark = pytest.mark.usefixtures("quick_programs")

MODEL = """<mujoco><worldbody><body><joint name="slide" type="slide"/><geom size="0.1"/></body></worldbody>
<actuator><motor joint="slide" ctrllimited="true" ctrlrange="-1 1"/></actuator></mujoco>"""


class Unpaid(Cliff):
    """The cliff without a reward."""

    spec = dataclasses.replace(Cliff.spec, has_reward=False)

    def reward(self, obs):
        return 0.0 * super().reward(obs)


class FromFile(Unpaid):
    """The same, as if a task file had made it: no physics, so that its programs are compiled in no time."""

    def __init__(self, path):
        self.task = load_task(path)


@pytest.fixture
def path(tmp_path):
    (tmp_path / "robot").mkdir()
    (tmp_path / "robot" / "cart.xml").write_text(MODEL)
    (tmp_path / "robot" / "cart.toml").write_text('model = "cart.xml"\nobserve = ["qpos"]\nname = "cliff"\n')
    return tmp_path / "robot" / "cart.toml"


@pytest.fixture(scope="module")
def unpaid_demos(tmp_path_factory):
    demos = toy_demonstrations(Unpaid(), cliff_expert(), trajectories=6, failures=4)
    assert demos.provenance["expert_return"] is None
    file = tmp_path_factory.mktemp("demos") / "unpaid.npz"
    demos.save(file)
    return file


@pytest.fixture(scope="module")
def unpaid(unpaid_demos, tmp_path_factory):
    """A run on the cliff without a reward."""
    folder = tmp_path_factory.mktemp("runs") / "unpaid"
    return train(tiny("gailfe"), Unpaid(), settings(2), demos=str(unpaid_demos), out=folder)


def test_a_run_without_a_reward_shows_no_return(unpaid):
    records = read_metrics(unpaid.run_dir)
    assert not [name for name in records[0] if "return" in name or name == "expert_normalised"]
    assert {"length_mean", "falls", "demo_distance", "demo_scale", "demo_accuracy"} <= records[0].keys()
    for record in records:
        assert 1 <= record["length_mean"] <= 12 and 0 <= record["falls"] <= 1
        assert 0 < record["demo_scale"] < record["demo_distance"] and 0.3 < record["demo_accuracy"] <= 1
    summary = json.loads((unpaid.run_dir / "summary.json").read_text())
    assert summary["expert_return"] is None and "demo_distance" in summary["final"]
    assert (unpaid.run_dir / "learning_curve.png").is_file()
    config = load_run(unpaid.run_dir)
    assert config["demos"]["demonstrated_return"] is None and config["demos"]["expert_return"] is None


def test_distances_are_those_of_the_episodes_that_are_counted(unpaid, unpaid_demos):
    """The policy that the run left, played by its own means from the starts of the last evaluation."""
    import jax

    from gailfe_jax.analysis.occupancy import reference_of
    from gailfe_jax.data.trajectories import Demonstrations

    record = read_metrics(unpaid.run_dir)[-1]
    policy, env = unpaid.policies[-1], Unpaid()
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(1), record["seed"]), record["step"])
    state = jax.vmap(env.reset)(jax.random.split(key, 2))
    rows, going = [], np.ones(2, bool)
    for _ in range(12):
        obs = np.asarray(state.obs)
        action = policy.act(obs)
        rows.append((obs, action, going.copy()))
        state, step = jax.vmap(env.step)(state, action)
        going &= ~np.asarray(step.terminated | step.truncated)
    found = reference_of(Demonstrations.load(unpaid_demos).expert).compare_visited(*map(np.stack, zip(*rows)))
    assert found is not None
    shown = [record[name] for name in ("demo_accuracy", "demo_distance", "demo_scale")]
    np.testing.assert_allclose(list(found), shown, atol=1e-3)
    assert sum(inside.sum() for _, _, inside in rows) / 2 == record["length_mean"]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (tiny("ppo"), r"^algo: ppo maximises the true reward, and cliff has no reward"),
        (
            tiny("gail", true_reward__add=True, policy="ppo"),
            r"^true_reward.add: adds the true reward, and cliff has",
        ),
        (tiny("gasil"), r"^self_demonstrations.episodes: top_k goes by returns, and cliff has no reward"),
        (
            tiny("gailfe", failures__annotator="bottom_quantile:0.2"),
            r"^failures.annotator: bottom_quantile:0.2 reads the reward, and cliff has no reward",
        ),
    ],
)
def test_what_reads_the_reward_is_refused_before_anything_trains(method, message, unpaid_demos, tmp_path):
    demos = str(unpaid_demos) if method.needs_demonstrations else None
    with pytest.raises(GailfeError, match=message):
        train(method, Unpaid(), settings(1), demos=demos, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_failures_cannot_be_told_by_returns_that_mean_nothing():
    from gailfe_jax.apps.collection import collect_demonstrations

    with pytest.raises(GailfeError, match=r"^annotator: bottom_quantile:0.2 reads the reward, and cliff has none"):
        collect_demonstrations(Unpaid(), cliff_expert(), trajectories=1, failures=1, annotator="bottom_quantile:0.2")


def test_a_run_keeps_the_files_of_its_task(path, unpaid_demos, tmp_path):
    """Half a run, then the file moved: it resumes on the copy, to what it would have been; a change is refused."""
    demos = {"demos": str(unpaid_demos)}
    whole = train(tiny("bc"), FromFile(path), settings(2), **demos, out=tmp_path / "whole")
    half = tmp_path / "half"
    train(tiny("bc"), FromFile(path), settings(1), **demos, out=half)
    record = load_run(half)["task"]
    assert record["name"] == "cliff" and set(record["files"]) == {"cart.toml", "cart.xml"}
    assert (half / "task" / "cart.xml").read_text() == MODEL
    held = Policy.load(half / "policies" / "seed_3.safetensors")
    assert changed_files(record, policy_record(held.metadata)) == [] != policy_record(held.metadata)

    path.with_name("cart.xml").write_text(MODEL.replace("-1 1", "-2 2"))
    said = r"half: cart.xml has changed since the run began; expected the task as it"
    with pytest.raises(GailfeError, match=said):
        train(tiny("bc"), FromFile(path), settings(2), **demos, out=half, resume=True)
    # Nor are the demonstrations named, which no longer fit.
    odd = FromFile(path)
    odd.spec = dataclasses.replace(odd.spec, action_low=(-1e-3,), action_high=(1e-3,))
    with pytest.raises(GailfeError, match=said):
        train(tiny("bc"), odd, settings(2), **demos, out=half, resume=True)
    train(tiny("bc"), FromFile(half / "task" / "cart.toml"), settings(2), **demos, out=half, resume=True)
    assert metrics_of(half) == metrics_of(whole.run_dir)


def test_demonstrations_name_a_file_that_has_changed_since(path, tmp_path):
    env = FromFile(path)
    demos = toy_demonstrations(env, cliff_expert(), trajectories=4, failures=2)
    assert demos.provenance["task"]["files"].keys() == {"cart.toml", "cart.xml"}
    demos.save(tmp_path / "demos.npz")
    path.write_text(path.read_text() + "frame_skip = 2\n")
    with pytest.warns(GailfeWarning, match=r"demos.npz: cart.toml has changed since it was made$"):
        train(tiny("bc"), FromFile(path), settings(1), demos=str(tmp_path / "demos.npz"))


def test_the_terminal_shows_lengths_and_distances(capsys, own_registry, unpaid_demos, tmp_path):
    register_task(Unpaid, name="cliff")
    words = ["train", "gail", "--env", "cliff", "--demos", str(unpaid_demos), "--out", str(tmp_path / "run")]
    small = "--rollout.num-envs 4 --rollout.unroll-length 8 --policy.hidden 8 --eval-every 32 --steps 32 --seeds 1"
    assert main([*words, *small.split(), "--no-tensorboard"]) == 0
    out = capsys.readouterr().out
    assert "length" in out and "falls" in out and "distance" in out and "told apart" in out and "return" not in out
    assert math.isfinite(read_metrics(tmp_path / "run")[0]["demo_distance"])

    assert main(["evaluate", str(tmp_path / "run"), "--episodes", "4", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert not report["has_reward"] and "mean" not in report and "returns" not in report["seeds"][0]
    # The run's own demonstrations, for they lie where they lay.
    assert report["demos"] == "unpaid.npz" and report["seeds"][0]["demos"].keys() == {
        "accuracy", "distance", "distance_of_halves",
    }  # fmt: skip
    assert main(["evaluate", str(tmp_path / "run"), "--episodes", "4"]) == 0
    out = capsys.readouterr().out
    assert "no reward, so there is no return to show" in out and "IQM" not in out
    record, gone = tmp_path / "run" / "config.json", tmp_path / "gone.npz"
    record.write_text(record.read_text().replace(str(unpaid_demos), str(gone)))
    assert main(["evaluate", str(tmp_path / "run"), "--episodes", "4"]) == 0
    said = f"its demonstrations gone.npz are not at {gone}; no distance without --demos and where they are"
    assert f"warning: {tmp_path / 'run'}: {said}" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "run"), "--expert-return", "3"]) == 2
    assert "expert_return: got 3.0; nothing reads it: cliff has no reward" in capsys.readouterr().err
    assert main(["video", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert "cliff draws no picture; expected a MuJoCo task" in err and err.count("\n") == 1


@pytest.mark.slow
def test_a_run_on_an_object_says_so_where_its_name_is_unknown(own_registry, unpaid_demos, tmp_path, capsys):
    folder, demos = tmp_path / "run", str(unpaid_demos)
    train(tiny("bc"), Unpaid(), settings(1), demos=demos, out=folder)
    assert load_run(folder)["object"] == "Unpaid"
    said = f"{folder}: trained on an object called 'cliff'; expected a module that registers it by this name"
    for words in (["evaluate", str(folder)], ["train", "--out", str(folder), "--resume"]):
        assert main(words) == 2
        err = capsys.readouterr().err
        assert said in err and "--import" in err and err.count("\n") == 1
    # A policy's file alone knows no more than the name.
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((folder / "policies" / "seed_3.safetensors").read_bytes())
    assert main(["evaluate", str(alone)]) == 2
    err = capsys.readouterr().err
    assert f"{alone}: trained on 'cliff', which is no task that is known here; expected a module that registers" in err
    assert "--import" in err and err.count("\n") == 1
    assert main(["evaluate", str(folder), "--env", "clif"]) == 2
    assert "unknown task 'clif'" in capsys.readouterr().err
    register_task(Unpaid, name="cliff")
    assert main(["evaluate", str(folder), "--episodes", "2"]) == 0
    train(tiny("bc"), "cliff", settings(2), demos=demos, out=folder, resume=True)
    assert "object" not in load_run(folder)


@pytest.mark.slow
def test_a_finished_run_that_resumes_says_that_nothing_is_left(unpaid_demos, tmp_path, capsys):
    """And one that nobody gave an interval keeps the one it began with."""
    folder, demos = tmp_path / "run", str(unpaid_demos)
    run = tiny_run(64, eval_every=None, quiet=False)
    train(tiny("bc"), Unpaid(), run, demos=demos, out=folder)
    out = capsys.readouterr().out
    assert out.index("compiling ") < out.index("100.0%") and "nothing left" not in out
    train(tiny("bc"), Unpaid(), run, demos=demos, out=folder, resume=True)
    out = capsys.readouterr().out
    assert "nothing left to do: a larger --steps trains on" in out and "compiling" not in out
    assert train(tiny("bc"), Unpaid(), run.replace(steps=128), demos=demos, out=folder, resume=True).steps == 128
