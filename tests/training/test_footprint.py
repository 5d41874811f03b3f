"""What a run holds is known from its shapes, and what cannot fit is refused before anything is compiled."""

from __future__ import annotations

import dataclasses
import re

import jax
import pytest

from gailfe_jax.cli.main import main
from gailfe_jax.config.run import DemoSettings, RunSettings
from gailfe_jax.envs import make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.methods import METHODS, policy_choices
from gailfe_jax.parallel.memory import tree_bytes
from gailfe_jax.training import footprint as footprints
from gailfe_jax.training.footprint import Footprint, footprint, in_words
from gailfe_jax.training.loop import train
from gailfe_jax.training.plan import make_plan
from gailfe_jax.training.program import Trainer
from tests.tiny import tiny, tiny_run, toy_demonstrations
from tests.toy import Drift, cliff_expert
from tests.training.cliff import ENV

GIB = 2**30


def plan_of(method, env=ENV, **run):
    demos = toy_demonstrations(env, cliff_expert(), trajectories=2, failures=0) if env is ENV else None
    return make_plan(method, env, tiny_run(**run), DemoSettings(), demonstrations=demos)


def test_the_parts_are_those_of_the_run_and_make_its_state():
    plan = plan_of(tiny("mail", reward__replay=10), seeds=3)
    found = footprint(plan)
    state = plan.trainer.init(plan.inputs.demos)
    parts = found.parts
    assert sum(parts[name] for name in ("experience", "replay", "environments", "networks")) == tree_bytes(state)
    assert parts["environments"] == tree_bytes(state.env)
    assert parts["copy of both"] == parts["environments"] + parts["networks"]
    spec = plan.learner.env.spec
    key = jax.random.key(0)
    one = jax.tree.map(lambda x: x[0], state)
    unroll = jax.eval_shape(plan.learner.collect, one, key)[1]
    assert parts["unroll"] == 3 * tree_bytes(unroll)
    # Four steps of 16 pairs for the reward, two of 8 moves for the model.
    pair = spec.obs_size + spec.action_size
    assert parts["draws"] == 3 * 4 * (4 * 16 * pair + 2 * 8 * (pair + spec.obs_size))
    assert parts["demonstrations"] == tree_bytes(plan.inputs.demos)
    assert found.total == sum(parts.values()) and list(parts.values()) == sorted(parts.values(), reverse=True)


def test_each_device_holds_its_seeds():
    plan = plan_of(tiny("ppo"), Drift(), seeds=2)
    whole = footprint(plan)
    assert set(whole.parts) == {"environments", "evaluation", "networks", "copy of both", "unroll"}
    assert 0 < whole.total < whole.free
    worlds, episodes = plan.learner.rollout.num_envs, plan.run.eval_episodes
    assert whole.parts["evaluation"] * worlds == whole.parts["environments"] * episodes
    mesh = type("Mesh", (), {"shape": {"seeds": 2, "envs": 4}})
    shapes = plan.trainer.template(None)
    plan.trainer.mesh, plan.trainer.template = mesh, lambda demos: shapes
    half = footprint(plan)
    assert half.seeds == 1 and half.parts["environments"] == whole.parts["environments"] // 8
    assert all(half.parts[name] == whole.parts[name] // 2 for name in ("networks", "unroll"))


@pytest.mark.parametrize(
    ("parts", "lower"),
    [
        ({"failures": 8 * GIB, "unroll": 1 * GIB, "networks": 1}, "failures.capacity, rollout.num_envs, "),
        ({"experience": 8 * GIB, "failures": GIB // 2}, "policy.model.capacity, seeds"),
        ({"networks": 9 * GIB}, "policy.hidden, policy.model.hidden, seeds"),
    ],
)
def test_what_cannot_fit_is_one_line_that_names_what_to_lower(parts, lower):
    known = (
        "failures.capacity", "rollout.num_envs", "rollout.unroll_length", "policy.model.capacity", "policy.hidden",
        "policy.model.hidden",
    )  # fmt: skip
    found = Footprint(2, parts, 4 * GIB, known)
    with pytest.raises(
        GailfeError, match=r"^memory: 2 seed\(s\) need at least .* GiB \(.*\) and 4 GiB are free; "
    ) as error:
        found.check()
    assert f"expected less of {lower}" in str(error.value) and "\n" not in str(error.value)
    dataclasses.replace(found, free=float(found.total)).check()
    dataclasses.replace(found, free=float("inf")).check()


def test_every_part_of_every_method_has_a_setting_that_makes_it_smaller():
    env = make_env("hopper", "mujoco_c")
    named = [(name, {}) for name in METHODS] + [("gail", {"policy": step}) for step in policy_choices(METHODS["gail"])]
    for name, chosen in named:
        learner = tiny(name, **chosen).on(env)
        parts = ["networks", *learner.buffer_bytes()]
        parts += ["unroll"] if learner.unroll_bytes() else []
        parts += ["draws"] if learner.drawn_bytes() else []
        for part in parts:
            with pytest.raises(GailfeError, match=r"expected less of [a-z]+[._][a-z_.]+"):
                Footprint(1, {part: 2}, 1.0, footprints._settings(learner)).check()


def test_a_program_that_takes_more_than_is_free_is_refused_before_it_runs(monkeypatch):
    plan = plan_of(tiny("gail"))
    state = plan.trainer.init(plan.inputs.demos)
    assert plan.trainer.further_bytes is None
    footprints.compile_within(plan, state)
    assert 0 < plan.trainer.further_bytes < plan.trainer.program_bytes
    # Memory that others take later on is no reason to stop.
    monkeypatch.setattr(footprints, "free_bytes", lambda device: 10.0)
    footprints.compile_within(plan, state)
    plan = plan_of(tiny("gail"))
    words = (
        r"memory: the program takes [\d.]+ KiB more while it runs, and 0\.00977 KiB are free; expected less of [a-z_.]+"
    )
    with pytest.raises(GailfeError, match=words):
        footprints.compile_within(plan, state)


@pytest.mark.parametrize("where", ["init", "advance"])
def test_a_device_without_memory_ends_the_run_in_one_line(where, monkeypatch, tmp_path):
    def refuse(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 7 bytes.\nAllocator stats: ...")

    monkeypatch.setattr(Trainer, where, refuse)
    with pytest.raises(GailfeError) as error:
        train(tiny("ppo"), Drift(), RunSettings(steps=16, quiet=True), out=tmp_path / "run")
    said = "memory: used up (RESOURCE_EXHAUSTED: Out of memory allocating 7 bytes.); expected less of "
    assert str(error.value).startswith(said) and "\n" not in str(error.value)

    def break_down(*_):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(Trainer, where, break_down)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        train(tiny("ppo"), Drift(), RunSettings(steps=16, quiet=True))


def test_a_run_says_what_it_takes_and_is_refused_before_its_folder_is_made(monkeypatch, tmp_path, capsys):
    words = ["train", "ppo", "--env", "hopper", "--engine", "mujoco_c", "--out", str(tmp_path / "run")]
    assert main([*words, "--num-envs", "500000000"]) == 2
    line = capsys.readouterr().err.strip()
    assert re.search(
        r"memory: 1 seed\(s\) need at least [\d,.]+ GiB \(unroll .* are free; expected less of rollout", line
    )
    assert len(line.splitlines()) == 1 and not (tmp_path / "run").exists()
    monkeypatch.setattr(footprints, "free_bytes", lambda device: 100.0)
    with pytest.raises(GailfeError, match=r"^memory: .* 0\.0977 KiB are free"):
        train(tiny("ppo"), Drift(), RunSettings(steps=16, quiet=True))


def test_the_opening_lines_say_what_a_run_takes(tmp_path, capsys):
    train(tiny("ppo"), Drift(), tiny_run(quiet=False), out=tmp_path / "run")
    assert re.search(
        r"memory: at least [\d.]+ KiB of [\d,.]+ GiB free \((copy of both|networks|unroll) ", capsys.readouterr().out
    )


def test_bytes_in_words():
    assert [in_words(size) for size in (640, 12.5 * 2**20, 3.2 * GIB, 1500 * GIB)] == [
        "0.625 KiB", "12.5 MiB", "3.2 GiB", "1,500 GiB",
    ]  # fmt: skip
    assert in_words(1000 * 2**20) == "1000 MiB"
