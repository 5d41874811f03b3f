"""Sweeps on a user's own task: they know its files again, and do without a reward."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest

from gailfe_jax.cli.main import main
from gailfe_jax.cli.sweep import _started
from gailfe_jax.envs import register_task
from gailfe_jax.envs.task_file import load_task
from gailfe_jax.errors import GailfeError
from gailfe_jax.sweep import space
from gailfe_jax.sweep.report import compare
from gailfe_jax.sweep.study import Study, Summary
from gailfe_jax.training.run_folder import load_run
from tests.tiny import toy_demonstrations
from tests.toy import Cliff, cliff_expert

MODEL = """<mujoco><worldbody><body><joint name="slide" type="slide"/><geom size="0.1"/></body></worldbody>
<actuator><motor joint="slide" ctrllimited="true" ctrlrange="-1 1"/></actuator></mujoco>"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "cart.xml").write_text(MODEL)
    (tmp_path / "cart.toml").write_text('model = "cart.xml"\nobserve = ["qpos"]\n')
    return tmp_path / "cart.toml"


class Unpaid(Cliff):
    """The cliff without a reward, as if a task file had made it."""

    spec = dataclasses.replace(Cliff.spec, name="unpaid", has_reward=False)

    def __init__(self, path):
        self.task = load_task(path)

    def reward(self, obs):
        return 0.0 * super().reward(obs)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_programs")
def test_a_sweep_without_a_reward_goes_by_the_distance(path, own_registry, tmp_path, capsys):
    register_task(lambda: Unpaid(path), name="unpaid")
    expert = dataclasses.replace(cliff_expert(), metadata={"env": "unpaid"})
    toy_demonstrations(Unpaid(path), expert, trajectories=4, failures=0).save(tmp_path / "demos.npz")
    out = tmp_path / "sweep"
    small = "--seeds 2 --steps 64 --eval-every 64 --eval-episodes 2 --no-tensorboard --policy.minibatch 16"
    sizes = "--rollout.num-envs 4 --rollout.unroll-length 8 --policy.hidden 8 --grid policy.lr=1e-9,3e-2"
    words = f"sweep bc --env unpaid --demos {tmp_path / 'demos.npz'} --out {out} {small} {sizes}".split()
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "distance to the" in " ".join(shown.split()) and "final return" not in shown
    with (out / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    finals = [float(row["final_iqm"]) for row in rows]
    assert finals == sorted(finals) and all(final > 0 for final in finals)
    config = load_run(out / "settings" / "0000")
    assert config["task"]["files"].keys() == {"cart.xml", "cart.toml"}
    assert (out / "settings" / "0001" / "task" / "cart.xml").read_text() == MODEL

    path.with_name("cart.xml").write_text(MODEL.replace("-1 1", "-2 2"))
    # What `--import` does in another process: the name is registered anew.
    register_task(lambda: Unpaid(path), name="unpaid")
    assert main(["sweep", "--out", str(out), "--resume"]) == 2
    err = capsys.readouterr().err
    assert "sweep: cart.xml has changed since the sweep began; expected it as it was" in err


def test_the_smaller_distance_is_the_better(monkeypatch):
    from types import SimpleNamespace

    point = SimpleNamespace(setup=SimpleNamespace(environment=SimpleNamespace(env="unpaid")))

    def summary(number, values):
        final = SimpleNamespace(estimate=float(np.mean(values)))
        returns = np.array(values)[:, None]
        return Summary(number, point, returns, np.array([1]), 0, None, final, None, judged_by="demo_distance")

    first, second = compare([summary(0, [5.0, 6.0]), summary(1, [1.0, 2.0])])
    assert (first.number, second.number, second.reference) == (1, 0, 1)
    assert second.improvement is not None and second.improvement.estimate == 0.0


def test_a_sweep_resumes_on_its_own_copy(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, words = tmp_path / "sweep", ["bc", "--env", "delayed5:robot/cart.toml", "--grid", "seeds=1"]
    (folder / "task").mkdir(parents=True)
    (folder / "sweep.json").write_text(json.dumps({"version": 2, "words": words, "settings": {}}))
    (folder / "task" / "cart.toml").write_bytes(path.read_bytes())
    resumed = ["--out", "sweep", "--resume"]
    assert _started(resumed) == [*words, "--env=delayed5:sweep/task/cart.toml"]
    given = [*resumed, "--env", "delayed5:cart.toml"]
    assert _started(given) == words
    (folder / "task" / "cart.toml").unlink()
    with pytest.raises(GailfeError, match=r"^sweep: its task file robot/cart.toml is not there; expected --env and wh"):
        _started(resumed)
    (tmp_path / "robot").mkdir()
    path.rename(tmp_path / "robot" / "cart.toml")
    assert _started(resumed)[-1] == "--env=delayed5:robot/cart.toml"


@pytest.mark.usefixtures("quick_programs")
def test_a_sweep_keeps_the_files_of_its_task(path, tmp_path):
    path.write_text(path.read_text() + 'reward = "-qpos[0]**2"\n')
    study = Study(tmp_path / "sweep", False, None, ())
    study.add(space.build(space.grid(["policy.lr=1e-3,2e-3"]), {"algo": "ppo", "env": str(path)}))
    assert {file.name for file in (tmp_path / "sweep" / "task").iterdir()} == {"cart.toml", "cart.xml"}


@pytest.mark.usefixtures("quick_programs")
def test_a_sweep_over_several_task_files_keeps_each(path, tmp_path):
    """Two folders may hold files of one name."""
    path.write_text(path.read_text() + 'reward = "-qpos[0]**2"\n')
    other = tmp_path / "other" / "cart.toml"
    other.parent.mkdir()
    other.write_text("max_episode_steps = 7\n" + path.read_text())
    other.with_suffix(".xml").write_text(MODEL)
    study = Study(tmp_path / "sweep", False, None, ())
    study.add(space.build(space.grid([f"env={path},{other}"]), {"algo": "ppo", "env": str(path)}))
    place = tmp_path / "sweep" / "task"
    kept = sorted(file.relative_to(place).as_posix() for file in place.glob("*/*"))
    assert kept == ["0000/cart.toml", "0000/cart.xml", "0001/cart.toml", "0001/cart.xml"]
    assert load_task(place / "0001" / "cart.toml").max_episode_steps == 7
