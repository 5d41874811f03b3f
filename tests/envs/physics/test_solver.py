"""Which solver setting training takes, from which evidence, and what a record says of it."""

from __future__ import annotations

import json
import pathlib

import pytest

from gailfe_jax.bench.fidelity import OWN, cheapest
from gailfe_jax.cli.settings import read_words, write_config
from gailfe_jax.cli.train import Train
from gailfe_jax.config.run import EnvSettings, MjxSettings
from gailfe_jax.envs import engine_of
from gailfe_jax.envs.physics.model import load_model
from gailfe_jax.envs.physics.solver import CHEAP, settled
from gailfe_jax.envs.tasks import HOPPER
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.methods import find_method
from gailfe_jax.learners.record import part_record
from gailfe_jax.learners.setup import build_setup
from gailfe_jax.training.plan import find_env
from gailfe_jax.training.run_folder import read_record

FIDELITY = pathlib.Path(__file__).resolve().parents[3] / "benchmarks" / "results" / "fidelity.json"
FEW = {"iterations": 4, "ls_iterations": 8}


def test_the_table_is_what_the_committed_measurement_says():
    assert cheapest(json.loads(FIDELITY.read_text())["rows"]) == CHEAP
    assert CHEAP


def row(variant, rate, *errors, env="hopper", **options):
    measured = dict(zip(("1", "10", "100"), errors, strict=True))
    return {
        "env": env, "engine": "mjx", "variant": variant, "options": options, "steps_per_second": rate, "error": measured
    }  # fmt: skip


def test_the_cheapest_setting_is_the_fastest_that_errs_no_more():
    own = row(OWN, 100.0, 1e-8, 1e-6, 0.4)
    good = row("good", 300.0, 1e-8, 1.05e-6, 0.43, iterations=4)
    slow = row("slow", 200.0, 1e-8, 1e-6, 0.4, iterations=8)
    early = row("early", 900.0, 2e-8, 1e-6, 0.4, iterations=1)
    late = row("late", 900.0, 1e-8, 1e-6, 0.45, iterations=2)
    lost = row("lost", 900.0, 1e-8, 1e-6, None, iterations=3)
    assert cheapest([own, early, good, late, slow, lost]) == {("mjx", "hopper"): {"iterations": 4}}
    # Nothing is known of a task whose own settings were not measured, or whose others are slower.
    assert cheapest([row("good", 300.0, 0.0, 0.0, 0.0, env="ant"), own, row("same", 90.0, 0.0, 0.0, 0.0)]) == {}


@pytest.mark.parametrize(
    ("env", "engine", "given", "setting", "options"),
    [
        ("hopper", "mjx", {}, "cheap", FEW),
        ("delayed20:hopper", "mjx", {}, "cheap", FEW),
        ("hopper", "mjx", {"solver_setting": "model"}, "model", {}),
        ("hopper", "mjx", {"tolerance": 1e-3}, "model", {"tolerance": 1e-3}),
        ("hopper", "mjx", {"solver_setting": "cheap", "iterations": 6}, "cheap", {"iterations": 6}),
        ("walker2d", "mjx", {}, "model", {}),
        ("hopper", "warp", {}, "model", {}),
        ("hopper", "mujoco_c", {}, None, {}),
    ],
)
def test_a_setting_is_settled_once(env, engine, given, setting, options):
    place = settled(EnvSettings(env=env, engine=engine, mjx=MjxSettings(**given)), engine)
    assert place.mjx.solver_setting == setting and place.options == options
    assert settled(place, engine) == place
    assert part_record(place).get("mjx", {}) == ({} if setting is None else {"solver_setting": setting} | options)


def test_what_is_not_known_to_be_cheap_cannot_be_asked_for():
    place = EnvSettings(env="ant", engine="mjx", mjx=MjxSettings(solver_setting="cheap"))
    with pytest.raises(GailfeError, match=r"^mjx\.solver_setting: got cheap for ant on mjx; expected model"):
        find_env(place)


@pytest.mark.slow
def test_training_runs_what_its_record_says():
    _, record, env = find_env(EnvSettings(engine="mjx"))
    assert record["mjx"] == {"solver_setting": "cheap"} | FEW
    opt, own = env.physics.model.opt, load_model(HOPPER).opt
    assert (opt.iterations, opt.ls_iterations) == (4, 8) and own.iterations > 4 and own.ls_iterations > 8
    # An environment of the caller's own is taken as it is.
    assert find_env(env)[1]["mjx"] == {"solver_setting": "model"}


def old_record(place):
    """Of a run that a release without the setting made."""
    method = find_method("ppo")
    setup = build_setup({"algo": "ppo"})
    return setup.record() | {"environment": place, "algo": method.name, "engine": "mjx"}


@pytest.mark.parametrize("options", [{}, {"iterations": 7}])
def test_a_run_without_the_setting_resumes_with_the_models_own(options):
    held = read_record(old_record({"env": "hopper", "engine": "mjx"} | ({"mjx": options} if options else {})))
    _, record, env = find_env(held.place)
    assert record["mjx"] == {"solver_setting": "model"} | options
    opt, own = env.physics.model.opt, load_model(HOPPER).opt
    assert opt.iterations == options.get("iterations", own.iterations) and opt.ls_iterations == own.ls_iterations


def test_a_sweeps_points_and_configuration_files_name_it():
    setup = build_setup({"algo": "ppo", "engine": "mjx"})
    assert setup.record()["environment"]["mjx"] == {"solver_setting": "cheap"} | FEW
    assert read_record(setup.record()).place == settled(setup.environment, "mjx")
    assert 'solver_setting = "cheap"' in write_config(setup)
    words = ["ppo", "--engine", "mjx", "--mjx.solver-setting", "model"]
    flagged = read_words(Train, "train", words)[2]
    assert flagged.record()["environment"]["mjx"] == {"solver_setting": "model"}


def test_an_engine_has_a_name_before_it_is_made():
    assert engine_of("hopper") == "mujoco_c" and engine_of("delayed:hopper", "mjx") == "mjx"
    assert engine_of("brax:fast") == "own"
    with pytest.raises(GailfeError, match=r"^env: unknown task 'hoper'"):
        engine_of("hoper")
