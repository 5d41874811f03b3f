"""Where policies made on a user's own task are judged: on the run's copy of it, or where its file is now."""

from __future__ import annotations

import json
import shutil
import warnings

import numpy as np
import pytest

from gailfe_jax.apps.evaluate_run import evaluate_path, policies_of
from gailfe_jax.artifacts.policy import Policy, load_expert
from gailfe_jax.cli.main import main
from gailfe_jax.envs import copy_task, make_env, task_record
from gailfe_jax.errors import GailfeError, GailfeWarning
from gailfe_jax.training.run_folder import VERSION

MODEL = """<mujoco><worldbody><body><joint name="slide" type="slide"/><geom size="0.1"/></body></worldbody>
<actuator><motor joint="slide" ctrllimited="true" ctrlrange="-1 1"/></actuator></mujoco>"""


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    """A run on `robot/cart.toml`, as `gailfe train` leaves it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "robot").mkdir()
    (tmp_path / "robot" / "cart.xml").write_text(MODEL)
    (tmp_path / "robot" / "cart.toml").write_text('model = "cart.xml"\nobserve = ["qpos"]\nmax_episode_steps = 5\n')
    env, folder = make_env("robot/cart.toml", "mujoco_c"), tmp_path / "run"
    task = task_record(env)
    assert task is not None
    metadata = {"env": "robot/cart.toml", "task": "cart", "task_files": json.dumps(task["files"])}
    policy = Policy([(np.ones((1, 1)), np.zeros(1))], "tanh", np.zeros(1), np.ones(1), np.zeros(1), -1, 1, metadata)
    policy.save(folder / "policies" / "seed_0.safetensors")
    record = {"version": VERSION, "algo": "gail", "environment": {"env": "robot/cart.toml"}, "method": {}, "run": {}}
    (folder / "config.json").write_text(json.dumps(record | {"demos": {}, "task": task}))
    copy_task(env, folder / "task")
    return folder


def test_a_run_is_judged_on_its_own_copy_wherever_it_lies(run_dir, tmp_path, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = evaluate_path(run_dir, episodes=2)
        assert expected["env"] == "cart" and [row["length"] for row in expected["seeds"]] == [5.0]
        shutil.rmtree(tmp_path / "robot")
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path / "other")
        moved = shutil.move(run_dir, tmp_path / "other" / "moved")
        assert evaluate_path(moved, episodes=2)["seeds"] == expected["seeds"]
        inside = "moved/policies/seed_0.safetensors"
        assert policies_of(inside).name == str(tmp_path / "other" / "moved" / "task" / "cart.toml")
        assert evaluate_path(inside, episodes=2)["seeds"] == expected["seeds"]


def test_a_file_that_has_changed_is_named(run_dir, tmp_path):
    (tmp_path / "robot" / "cart.toml").write_text('model = "cart.xml"\nobserve = ["qpos"]\nmax_episode_steps = 7\n')
    copied = r"run: the run's own copy of its task is taken: cart.toml has changed since it was made$"
    with pytest.warns(GailfeWarning, match=copied):
        assert evaluate_path(run_dir, episodes=1)["seeds"][0]["length"] == 5.0
    with pytest.warns(GailfeWarning, match=r"run: cart.toml has changed since it was made$"):
        assert evaluate_path(run_dir, episodes=1, env="robot/cart.toml")["seeds"][0]["length"] == 7.0
    loose = shutil.copy(run_dir / "policies" / "seed_0.safetensors", tmp_path / "loose.safetensors")
    with pytest.warns(GailfeWarning, match=r"loose.safetensors: cart.toml has changed since it was made$"):
        assert evaluate_path(loose, episodes=1)["seeds"][0]["length"] == 7.0


def test_a_policy_whose_task_file_is_gone_asks_for_it(run_dir, tmp_path, capsys):
    loose = shutil.copy(run_dir / "policies" / "seed_0.safetensors", tmp_path / "loose.safetensors")
    shutil.move(tmp_path / "robot", tmp_path / "elsewhere")
    gone = r"loose.safetensors: robot/cart.toml is not there; expected --env and where its task file is now"
    with pytest.raises(GailfeError, match=gone):
        policies_of(loose)
    with pytest.raises(GailfeError, match=r"nowhere.toml is not there; expected a task in TOML"):
        policies_of(loose, "nowhere.toml")
    assert policies_of(loose, "elsewhere/cart.toml").env.spec.name == "cart"
    assert main(["evaluate", "loose.safetensors", "--env", "elsewhere/cart.toml", "--episodes", "1"]) == 0
    assert capsys.readouterr().err == ""


def test_a_warning_is_one_line_of_the_command(run_dir, tmp_path, capsys):
    (tmp_path / "robot" / "cart.xml").write_text(MODEL.replace("-1 1", "-2 1"))
    assert main(["evaluate", "run", "--env", "robot/cart.toml", "--episodes", "1"]) == 0
    assert capsys.readouterr().err == "gailfe: warning: run: cart.xml has changed since it was made\n"


def test_a_run_resumes_where_its_task_file_is_now(run_dir, tmp_path):
    from gailfe_jax.cli.train import _resumed_env
    from gailfe_jax.training.run_folder import load_run

    record, name = load_run(run_dir), "delayed20:robot/cart.toml"
    record["environment"]["env"] = name
    assert _resumed_env([], run_dir, record, name) == name
    shutil.move(tmp_path / "robot", tmp_path / "elsewhere")
    assert _resumed_env([], run_dir, record, name) == "delayed20:run/task/cart.toml"
    given = "delayed20:elsewhere/cart.toml"
    assert _resumed_env(["--env", given], run_dir, record, name) == given
    (tmp_path / "elsewhere" / "cart.xml").write_text(MODEL.replace("-1 1", "-2 1"))
    with pytest.raises(GailfeError, match=r"run: cart.xml has changed since the run began; expected the task"):
        _resumed_env(["--env", given], run_dir, record, name)
    shutil.rmtree(run_dir / "task")
    with pytest.raises(GailfeError, match=r"run: its task file robot/cart.toml is not there; expected --env and where"):
        _resumed_env([], run_dir, record, name)
    assert _resumed_env([], run_dir, record, "hopper") == "hopper"


def test_a_copy_that_was_edited_is_named(run_dir):
    copy = run_dir / "task" / "cart.toml"
    copy.write_text(copy.read_text().replace("= 5", "= 7"))
    with pytest.warns(GailfeWarning, match=r"^.*run/task: cart.toml has changed since it was made$"):
        assert policies_of(run_dir).env.spec.max_episode_steps == 7
    (run_dir / "task" / "cart.xml").write_text(MODEL.replace("-1 1", "-2 1"))
    with pytest.warns(GailfeWarning, match=r"run/task: cart.toml, cart.xml have changed since it was made$"):
        policies_of(run_dir / "policies" / "seed_0.safetensors")


def test_a_policy_of_another_name_is_judged_where_it_fits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expert = load_expert("cartpole").save("expert.safetensors")
    with pytest.warns(GailfeWarning, match=r"^expert.safetensors: a policy for cartpole, used on gym:CartPole-v1$"):
        assert policies_of(expert.name, "gym:CartPole-v1").env.spec.discrete
    with pytest.raises(GailfeError, match=r"sizes are \(4, 2\); expected \(6, 3\) for gym:Acrobot-v1"):
        policies_of(expert.name, "gym:Acrobot-v1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policies_of(expert.name, "CartPole-v1")


def test_a_home_that_is_not_there_is_one_line(run_dir):
    with pytest.raises(GailfeError, match=r"~nobody-here/cart.toml is not there; expected a task in TOML"):
        policies_of(run_dir, "~nobody-here/cart.toml")
    with pytest.raises(GailfeError, match=r"~nobody-here/cart.toml: no such file; expected a task in TOML"):
        make_env("~nobody-here/cart.toml")
