"""Runs on a Gymnasium environment that steps on the host."""

from __future__ import annotations

import shlex
import shutil

import numpy as np
import pytest

from gailfe_jax.apps.collection import collect_demonstrations
from gailfe_jax.cli.main import main
from gailfe_jax.config.run import DemoSettings
from gailfe_jax.envs import make_env
from gailfe_jax.learners.methods import METHODS
from gailfe_jax.training.loop import train
from tests.cli.tiny import RUN, sizes
from tests.runs import metrics_of
from tests.tiny import tiny, tiny_run
from tests.toy import cliff_expert

NAME = "gym:tests.hosted:Pond-v0"
SEEN = f"{NAME}?sees=dict"


@pytest.fixture(scope="module")
def expert_file(tmp_path_factory):
    """The cliff's expert, who is one on the pond too: its observation is the same."""
    expert = cliff_expert()
    expert.metadata["env"] = NAME
    return str(expert.save(tmp_path_factory.mktemp("expert") / "expert.safetensors"))


@pytest.fixture(scope="module")
def demos(expert_file):
    from gailfe_jax.artifacts.policy import Policy

    env = make_env(NAME)
    return collect_demonstrations(env, Policy.load(expert_file), trajectories=4, failures=8, noise=2.0)


# One that plays, with failures and evaluations; the others take a quarter of a minute each.
QUICK = {"gailfe"}
EACH = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in METHODS]


@pytest.mark.parametrize("name", EACH)
def test_every_method_trains(name, demos, expert_file, compiled_in_haste):
    method = tiny(name)
    shown = DemoSettings(expert=expert_file) if method.asks_expert else demos if method.needs_demonstrations else None
    result = train(method, NAME, tiny_run(64, seeds=2, eval_episodes=4), demos=shown)
    steps, returns = result.metrics["return_mean"]
    assert steps.tolist() == [32, 64] and returns.shape == (2, 2)
    # Who does nothing gets 2 to 11, the expert 12.
    assert (np.abs(returns) < 12).all() and len(np.unique(returns)) > 1
    assert result.policies[0].metadata["env"] == NAME


@pytest.mark.slow
def test_a_run_goes_on_with_new_episodes(tmp_path, capsys, compiled_in_haste):
    folder, method = tmp_path / "run", tiny("ppo")
    train(method, NAME, tiny_run(32), out=folder)
    again = shutil.copytree(folder, tmp_path / "again")
    train(method, NAME, tiny_run(64, quiet=False), out=folder, resume=True)
    assert f"{NAME}: a checkpoint cannot hold its environments; new episodes begin" in " ".join(
        capsys.readouterr().out.split()
    )
    train(method, NAME, tiny_run(64), out=again, resume=True)
    assert metrics_of(folder) == metrics_of(again) and len(metrics_of(folder)) == 2


@pytest.mark.slow
def test_the_commands_know_it_by_its_name(tmp_path, monkeypatch, capsys, compiled_in_haste):
    monkeypatch.chdir(tmp_path)
    tiny_words = " ".join(sizes("gail"))
    expert = cliff_expert()
    expert.metadata["env"] = SEEN
    expert.save("expert.safetensors")
    for line in (
        f"demos --env {SEEN} --expert expert.safetensors --trajectories 3 --out shown.npz",
        f"train {tiny_words} --env {SEEN} --demos shown.npz --steps 64 --out run {' '.join(RUN)}",
        f"train {tiny_words} --env delayed5:{SEEN} --demos shown.npz --steps 32 --out late {' '.join(RUN)}",
        "evaluate run --episodes 3",
        "evaluate run --episodes 3 --backend engine",
        "video run --max-steps 5",
    ):
        assert main(shlex.split(line)) == 0, line
    assert (tmp_path / "run" / "video.mp4").stat().st_size > 1000
    assert f"{SEEN}, 3 episodes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gym:Pund-v0", "env 'gym:Pund-v0': expected an environment Gymnasium can make"),
        ("gym:tests.hosted:Pond-v0?fault=nan", "observation 1 is nan after reset; expected finite numbers"),
        ("delayed5:gym:tests.hosted:Bottomless-pond-v0", "has no time limit; expected max_episode_steps"),
    ],
)
def test_bad_environments_end_before_anything_trains(name, message, tmp_path, capsys):
    assert main(["train", "ppo", "--env", name, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and not (tmp_path / "run").exists()


def test_an_environment_that_fails_later_ends_in_one_line(tmp_path, capsys, compiled_in_haste):
    words = "train ppo --rollout.num-envs 2 --rollout.unroll-length 16 --policy.hidden 4 --steps 64 --eval-every 64"
    out = ["--eval-episodes", "1", "--policy.minibatches", "1", "--out", str(tmp_path / "run")]
    assert main([*words.split(), "--env", f"{NAME}?fault=late", *out]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and "step fails (RuntimeError" in error[0], error
