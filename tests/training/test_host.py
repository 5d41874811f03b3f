"""What a machine with an accelerator leaves to its host: few environments, and evaluation."""

from __future__ import annotations

import json
import os
import re
import signal
import threading

import jax
import numpy as np
import pytest

from gailfe_jax.config.run import DemoSettings, EnvSettings, RunSettings
from gailfe_jax.envs import DelayedReward, engine_of, make_env, on_c_engine
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.setup import build_setup
from gailfe_jax.training import plan
from gailfe_jax.training.loop import train
from gailfe_jax.training.plan import find_env, make_plan
from gailfe_jax.training.program import Trainer
from gailfe_jax.training.run_folder import load_run, read_record, recorded_engine
from tests.runs import assert_same_run
from tests.tiny import tiny, tiny_run
from tests.training.cliff import CHUNK, ENV, settings

PPO = tiny("ppo", rollout__num_envs=4)
MANY = tiny("ppo", rollout__num_envs=256)


@pytest.fixture
def accelerator(monkeypatch):
    """JAX says that it has a TPU; what computes is the CPU."""
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")


def text(made):
    with made.placed():
        return made.trainer.lower(made.trainer.template(None), None).as_text()


def numberless(program):
    """Without the numbers of its host calls."""
    return re.sub(r"index = \d+|\d{6,}", "", program)


def test_few_environments_stay_on_the_cpu_with_all_that_learns(monkeypatch):
    alone = make_plan(PPO, "hopper", tiny_run(), DemoSettings())
    assert alone.device is None and alone.notes == ()
    expected = numberless(text(alone))
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    made = make_plan(PPO, "hopper", tiny_run(), DemoSettings())
    assert made.learner.env.spec.engine == "mujoco_c" and made.device.platform == "cpu"
    assert made.notes[0] == (
        "engine mujoco_c, on the CPU: 4 environments are too few for the tpu (from 512 on: mjx); --engine mjx overrides"
    )
    assert numberless(text(made)) == expected


@pytest.mark.usefixtures("accelerator")
def test_many_environments_or_who_asks_for_it_get_the_accelerators_engine():
    for method, place, run in (
        (MANY, "hopper", tiny_run(seeds=2)),
        (PPO, EnvSettings(engine="mjx"), tiny_run()),
        (PPO, "hopper", tiny_run(devices=2)),
    ):
        worlds = method.rollout.num_envs * run.seeds if run.devices <= 1 else None
        world = find_env(place, worlds)[2]
        assert world.spec.engine == "mjx"
    made = make_plan(PPO, EnvSettings(engine="mujoco_c"), tiny_run(), DemoSettings())
    assert made.device.platform == "cpu" and made.notes == ()
    assert engine_of("hopper") == "mjx" and engine_of("hopper", worlds=511) == "mujoco_c"
    # Contact forces, which the C engine alone gives, need no word.
    assert make_plan(PPO, "ant", tiny_run(), DemoSettings()).notes == ()


@pytest.mark.usefixtures("accelerator")
def test_settings_go_by_the_engine_of_that_many_environments():
    few = build_setup({"algo": "ppo", "num_envs": 8})
    with pytest.raises(GailfeError, match=r"^mjx\.iterations: nothing reads it: the engine is mujoco_c"):
        few.changed({"mjx.iterations": 4})
    assert build_setup({"algo": "ppo", "num_envs": 8, "seeds": 64, "mjx.iterations": 4}).environment.mjx.iterations == 4


@pytest.mark.slow
def test_a_run_stays_on_the_engine_that_it_began_on(tmp_path, monkeypatch):
    train(PPO, "hopper", tiny_run(64), out=tmp_path / "run")
    assert load_run(tmp_path / "run")["environment"]["engine"] == "auto"
    assert recorded_engine(tmp_path / "run") == "mujoco_c" and recorded_engine(tmp_path) is None
    # As on the machine where `auto` took another engine by another rule.
    monkeypatch.setattr(plan, "engine_of", lambda name, engine="auto", worlds=None: "mjx")
    assert find_env("hopper", 4)[2].spec.engine == "mjx"
    again = train(PPO, "hopper", tiny_run(128), out=tmp_path / "run", resume=True)
    assert again.steps == 128 and load_run(tmp_path / "run")["engine"] == "mujoco_c"
    with pytest.raises(GailfeError, match=r"field engine is 'mujoco_c' in the checkpoint and 'mjx' now"):
        train(PPO, EnvSettings(engine="mjx"), tiny_run(128), out=tmp_path / "run", resume=True)


def test_products_are_as_precise_as_is_asked_for_on_an_accelerator(monkeypatch):
    def lowered(precision):
        run = tiny_run(precision=precision)
        return text(make_plan(tiny("ppo"), ENV, run, DemoSettings()))

    plain = {precision: lowered(precision) for precision in ("highest", "default")}
    assert plain["highest"] == plain["default"] and "HIGHEST" not in plain["highest"]
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert "precision = [HIGHEST, HIGHEST]" in lowered("highest")
    assert "precision = [HIGH, HIGH]" in lowered("high")
    assert "HIGH" not in lowered("default")
    assert RunSettings().precision == "highest"


def test_the_same_task_on_the_c_engine():
    delayed = on_c_engine(make_env("delayed7:hopper", "mjx"))
    assert isinstance(delayed, DelayedReward) and (delayed.every, delayed.spec.engine) == (7, "mujoco_c")
    assert on_c_engine(make_env("hopper")) is on_c_engine(make_env("brax:fast")) is on_c_engine(ENV) is None


@pytest.mark.slow
def test_on_mjx_policies_are_judged_as_on_the_c_engine():
    here, there = make_env("hopper"), make_env("hopper", "mjx")
    direct, judged = (
        Trainer(PPO.on(env), np.arange(2), chunk=1, eval_episodes=3, judge=judge)
        for env, judge in ((here, None), (there, on_c_engine(there)))
    )
    state = direct.init(None)
    expected, wanted = direct.evaluate(state, 5), direct.visit(state, 5, 4)
    agents = judged.to_judge(state)
    jax.tree.map(lambda x: x.delete(), state.agent)  # As training on does, to which the state is donated.
    found = judged.evaluate(agents, 5)
    assert judged.eval_compile_seconds > 0
    for name in ("returns", "lengths", "terminated"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_array_equal(judged.visit(agents, 5, 4).action, wanted.action)


def test_evaluation_goes_to_the_host_where_it_can():
    made = make_plan(PPO, EnvSettings(engine="mjx"), tiny_run(), DemoSettings())
    judge = made.trainer.judge
    assert judge is not None and judge.spec.engine == "mujoco_c" and made.identity["run"]["eval_engine"] == "auto"
    made = make_plan(PPO, EnvSettings(engine="mjx"), tiny_run(eval_engine="same"), DemoSettings())
    assert made.trainer.judge is None
    assert make_plan(PPO, "hopper", tiny_run(), DemoSettings()).trainer.judge is None


@pytest.fixture
def judged_on_the_host(monkeypatch):
    """Runs on the cliff are judged as those on MJX are; collects the threads that evaluate."""
    threads = []
    evaluate = Trainer.evaluate

    def noted(self, *args):
        threads.append(threading.current_thread())
        return evaluate(self, *args)

    monkeypatch.setattr(Trainer, "evaluate", noted)
    monkeypatch.setattr(plan, "on_c_engine", lambda env: env)
    return threads


@pytest.mark.usefixtures("quick_programs")
def test_what_is_judged_beside_training_is_the_same(go, whole, tmp_path, judged_on_the_host):
    result = go(tmp_path / "run")
    assert judged_on_the_host and threading.main_thread() not in judged_on_the_host
    assert_same_run(result.run_dir, whole.run_dir)
    assert result.metrics["return_mean"][0].tolist() == whole.metrics["return_mean"][0].tolist()


def test_auto_is_what_it_was_when_the_run_began():
    for engine in ("mjx", "mujoco_c"):
        made = make_plan(PPO, "hopper", tiny_run(), DemoSettings(), engine=engine)
        assert made.learner.env.spec.engine == made.identity["engine"] == engine
        assert made.identity["environment"]["engine"] == "auto"


@pytest.mark.usefixtures("quick_programs", "judged_on_the_host")
def test_it_resumes_from_a_signal_to_the_same(go, whole, tmp_path):
    seen = []

    def strike(step, row):
        seen.append(step)
        if len(seen) == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    result = go(tmp_path / "run", settings(checkpoint_seconds=1e9), on_evaluation=strike)
    assert result.interrupted and seen == list(range(CHUNK, result.steps + 1, CHUNK))
    go(tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", whole.run_dir)


@pytest.mark.usefixtures("quick_programs")
def test_an_old_run_is_judged_as_it_was(whole, tmp_path):
    record = load_run(whole.run_dir)
    for name in ("eval_engine", "precision"):
        del record["run"][name]
    held = read_record(record).run
    assert (held.eval_engine, held.precision) == ("same", "default")


def test_both_rates_are_recorded(whole):
    summary = json.loads((whole.run_dir / "summary.json").read_text())
    rows = [json.loads(line) for line in (whole.run_dir / "metrics.jsonl").read_text().splitlines()]
    for record in (summary, *rows):
        assert 0 < record["steps_per_second_overall"] < record["steps_per_second"]
    assert summary["wall_seconds"] > summary["train_seconds"] > 0
