from __future__ import annotations

import pytest

from gailfe_jax.bench.report import show_rates
from gailfe_jax.bench.timing import make_env_as_training, make_envs, settle, solver_record
from gailfe_jax.config.run import EnvSettings
from gailfe_jax.envs.physics.solver import CHEAP
from gailfe_jax.errors import GailfeError
from gailfe_jax.training.plan import find_env


@pytest.mark.parametrize("setting", [None, "cheap", "model"])
def test_the_simulator_is_set_as_training_sets_it(setting):
    place = settle("Hopper-v5", "mjx", setting)
    trained = EnvSettings(env="hopper", engine="mjx")
    trained = trained.replace(mjx=trained.mjx.replace(solver_setting=setting))
    assert make_env_as_training(place) is find_env(trained)[2]
    cheap = setting != "model"
    assert solver_record(place) == {
        "solver": "cheap" if cheap else "model", "solver_options": CHEAP["mjx", "hopper"] if cheap else {},
    }  # fmt: skip


def test_what_takes_no_solver_setting_names_none():
    (_, solver), (_, own) = make_envs(["hopper", "gym:tests.hosted:Pond-v0"], "mujoco_c", 1, host=True)
    assert solver == own == {"solver": "", "solver_options": {}}
    # Ant's cheaper settings have not been measured.
    assert settle("ant", "mjx").mjx.solver_setting == "model"
    with pytest.raises(GailfeError, match=r"^mjx\.solver_setting: got cheap for ant on mjx"):
        settle("ant", "mjx", "cheap")


def test_a_table_names_the_solver(capsys):
    row = {"env": "hopper", "engine": "mjx", "num_envs": 8, "compile_seconds": 1.0}
    row |= dict.fromkeys(("bare_steps_per_second", "steps_per_second", "share_of_bare"), 1.0)
    show_rates({"what": "train", "rows": [row | {"solver": "cheap"}]}, lambda row: "x")
    show_rates({"what": "train", "rows": [row]}, lambda row: "x")
    shown = capsys.readouterr().out
    assert "engine mjx (cheap solver)" in shown and shown.count("cheap") == 1
