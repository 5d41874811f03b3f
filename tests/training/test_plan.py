"""What a run does is settled once, before anything is written."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import re

import jax
import numpy as np
import pytest

from gailfe_jax.config.run import DemoSettings, EnvSettings, RunSettings
from gailfe_jax.config.tree import put
from gailfe_jax.data.annotators import survived
from gailfe_jax.data.trajectories import Demonstrations, Trajectories
from gailfe_jax.envs import DelayedReward, make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.methods import GAIL, find_method
from gailfe_jax.learners.presets import preset
from gailfe_jax.training import plan
from gailfe_jax.training.inputs import Inputs
from gailfe_jax.training.loop import train
from gailfe_jax.training.plan import find_env, make_plan
from tests.tiny import tiny, tiny_run, toy_demonstrations
from tests.toy import Cliff, cliff_expert
from tests.training.cliff import CHUNK, ENV, METHOD, settings


def plan_of(method="gail", env=ENV, run=None, demos=None, **options):
    demonstrations = toy_demonstrations(ENV, cliff_expert(), trajectories=2, failures=0) if demos is None else None
    return make_plan(method, env, run or tiny_run(), demos or DemoSettings(), demonstrations=demonstrations, **options)


def test_a_run_is_cut_into_whole_evaluations():
    made = plan_of(METHOD, run=RunSettings(steps=5 * CHUNK + 1, eval_every=2.4 * CHUNK, seeds=2, quiet=True))
    assert (made.chunk, made.chunk_steps, made.total_steps) == (2, 2 * CHUNK, 6 * CHUNK)
    assert made.learner.total_iterations == 6
    assert made.names == [0, 1] and made.seeds.tolist() == [0, 1] and not made.lenient
    assert made.title == "gailfe (trpo) on cliff, 2 seed(s)"


def test_steps_are_not_rounded_up_to_an_interval_that_nobody_chose():
    for steps, total in ((1, CHUNK), (3 * CHUNK, 3 * CHUNK), (3 * CHUNK + 1, 4 * CHUNK), (60_000, 2 * 49_984)):
        made = plan_of(METHOD, run=RunSettings(steps=steps, quiet=True))
        assert made.total_steps == total and (made.chunk_steps == total or steps == 60_000)
        few = steps == 1
        assert bool(made.notes) == (total > 1.1 * steps)
        if few:
            assert made.notes == (
                f"steps: 1 are rounded up to {CHUNK}, whole iterations of {CHUNK} (environments times unroll length)",
            )
    assert made.notes[0].endswith("whole evaluation intervals of 49,984; a smaller --eval-every rounds less")


SAID = {
    "-log_d": "is positive in every step, so that staying alive pays by itself",
    "1-d": "is positive in every step, so that staying alive pays by itself",
    "log_1-d": "is negative in every step, so that ending early pays by itself",
}


@pytest.mark.parametrize("form", ["-log_d", "1-d", "log_1-d", "logit"])
def test_a_reward_whose_sign_teaches_how_long_to_live_is_told(form):
    def note(name, env, ends=False, **settings):
        method = put(tiny(name), {"reward.form": form} | settings)
        return plan._biased(method.on(env), Inputs(shown_ends=ends))

    hopper, line = make_env("hopper"), ""
    if form != "logit":
        line = f"can end early, and the reward ({form}) {SAID[form]}; --reward.absorbing takes that bias away"
    for name in ("gail", "gailfe", "mail", "gasil"):
        assert note(name, hopper) == (line and f"warning: hopper {line}")
        assert note(name, hopper, **{"reward.absorbing": True}) == ""
    # Nothing ends these, as far as is known; and the cliff's demonstrations may show that something does.
    assert note("gail", make_env("halfcheetah")) == note("gail", ENV) == ""
    assert note("gail", ENV, ends=True) == (line and f"warning: cliff {line}")
    for env in ("examples/arm/arm.toml", "delayed:walker2d", "cartpole"):
        assert bool(note("gail", make_env(env))) == bool(line)


def test_the_line_is_among_those_that_a_run_begins_with():
    shown = toy_demonstrations(ENV, cliff_expert(), trajectories=2, failures=2)
    made = make_plan(METHOD, ENV, tiny_run(), DemoSettings(), demonstrations=shown)
    assert [note for note in made.notes if note.startswith("warning: cliff can end early, and the reward (-log_d)")]


def test_what_has_no_such_reward_is_not_warned():
    for name in ("ppo", "fem", "constant", "bc"):
        assert plan._biased(tiny(name).on(make_env("hopper")), Inputs(shown_ends=True)) == ""


def test_a_precision_that_changes_nothing_here_is_told(monkeypatch):
    line = "precision: default changes nothing on a CPU, which computes in float32"
    assert plan_of(METHOD, run=tiny_run(precision="default")).notes == (line,)
    assert plan_of(METHOD).notes == ()
    monkeypatch.setattr(plan, "computes_on_cpu", lambda: False)
    assert plan_of(METHOD, run=tiny_run(precision="default")).notes == ()


def test_actions_without_bounds_are_told():
    class Free(Cliff):
        spec = dataclasses.replace(Cliff.spec, action_low=(-1.0, -math.inf), action_high=(1.0, math.inf))

    note = "cliff: actions 1 have no bounds; nothing clips them, and a fresh policy draws within about 1 of 0"
    assert plan_of(tiny("ppo"), env=Free(), demos=DemoSettings()).notes == (note,)


def test_rows_of_a_sweep_go_by_their_position():
    made = plan_of(METHOD, run=tiny_run(seeds=2, first_seed=5), seeds=[5, 6, 5, 6])
    assert made.names == [0, 1, 2, 3] and made.seeds.tolist() == [5, 6, 5, 6] and made.lenient
    assert made.identity["seeds"] == [5, 6, 5, 6]
    assert made.title == "gailfe (trpo) on cliff, 2 settings x 2 seed(s)"


def test_a_task_is_found_by_its_name_its_gymnasium_id_or_is_given_itself():
    for env in ("Hopper-v5", "hopper", EnvSettings(env="HOPPER")):
        name, record, world = find_env(env)
        assert (name, record, world.spec.engine) == ("hopper", {"env": "hopper", "engine": "auto"}, "mujoco_c")
    name, record, world = find_env(ENV)
    assert (name, record) == ("cliff", {"env": "cliff", "engine": "auto"}) and world is ENV
    assert find_env("delayed:Hopper-v5")[0] == "delayed20:hopper"


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (Cliff, "env: got the class Cliff; expected one of its objects"),
        (3, "env: int has no spec"),
        ("nonsense", "env: unknown task 'nonsense'"),
        (EnvSettings(engine="nonsense"), "engine: unknown engine 'nonsense'"),
        ("brax:nonsense", "unknown brax environment 'nonsense'"),
    ],
)
def test_what_is_no_environment_is_told(env, message):
    with pytest.raises(GailfeError, match=message) as error:
        find_env(env)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("env", "task"),
    [
        (ENV, None),
        (DelayedReward(ENV, 3), None),
        (make_env("halfcheetah"), "halfcheetah"),
        ("hopper", "hopper"),
    ],
)
def test_a_method_called_by_its_name_takes_its_tasks_preset(env, task, monkeypatch):
    monkeypatch.setattr(plan, "Trainer", lambda learner, *args, **options: None)
    for name in ("gasil", "ppo"):
        made = make_plan(name, env, tiny_run(), DemoSettings())
        assert made.learner.policy.gae_lambda == preset(name, task)[0].policy.gae_lambda
        assert made.identity["method"] == plan.identity(preset(name, task)[0], {}, tiny_run(), {}, "none")["method"]


def test_a_task_of_the_callers_own_differs_from_a_methods_defaults_by_what_suits_any():
    method = preset("gail", None)[0]
    assert method == find_method("gail").replace(policy=find_method("gail").policy.replace(average=0.95))
    assert preset("gail", "halfcheetah")[0].policy.obs_normaliser == "running" != method.policy.obs_normaliser


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path):
    loaded = toy_demonstrations(ENV, cliff_expert(), trajectories=4, failures=8)
    loaded.save(tmp_path / "demos.npz")
    shown = str(tmp_path / "demos.npz")

    def attempt(method=METHOD, demos=None, env=ENV):
        train(method, env, settings(), out=tmp_path / "run", demos=demos)

    with pytest.raises(GailfeError, match=r"^demos: gailfe needs a demonstration file; make one with gailfe demos"):
        attempt()
    with pytest.raises(GailfeError, match=r"missing.npz: no such file"):
        attempt(demos="missing.npz")
    with pytest.raises(GailfeError, match=r"asked for 5, expected 1 to 4"):
        attempt(demos=DemoSettings(demos=shown, trajectories=5))
    with pytest.raises(GailfeError, match=r"demonstrations of 'cliff', expected 'Walker2d-v5'"):
        attempt("gail", shown, "walker2d")
    with pytest.raises(GailfeError, match=r"^annotator 'nonsense': expected one of"):
        attempt(tiny("gailfe", failures__annotator="nonsense"), shown)
    alone = Demonstrations(loaded.env_id, loaded.expert, Trajectories.empty(2, 2))
    with pytest.raises(GailfeError, match=r"^demos: failures.source is collected, but they have no failures"):
        attempt(tiny("gailfe", failures__source="collected"), alone)
    with pytest.raises(GailfeError, match=r"^demos: field 'env_id': .* of 'cliff', expected 'HalfCheetah-v5'"):
        attempt("gail", alone, "halfcheetah")
    with pytest.raises(GailfeError, match=r"^policy.max_kl: got shape \(3,\); expected one number or 2 of them"):
        attempt(METHOD.replace(policy=METHOD.policy.replace(max_kl=np.array([1.0, 2.0, 3.0]))), shown)
    with pytest.raises(GailfeError, match=r"^demos: bc needs a demonstration file"):
        attempt("bc")
    with pytest.raises(GailfeError, match=r"^expert: dagger asks an expert's policy and none is shipped for cliff"):
        attempt("dagger")
    with pytest.raises(GailfeError, match=r"^expert: dagger asks an expert's policy and none is shipped for br"):
        attempt("dagger", env="brax:fast")
    with pytest.raises(GailfeError, match=r"^constraint.dual_lr: got 0.5; nothing reads it: "):
        attempt(METHOD.replace(constraint=METHOD.constraint.replace(multiplier="fixed", dual_lr=0.5)), shown)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (5, {}, "method: got 5; expected a method such as gailfe_jax.GAIL(), or its name"),
        (None, {}, "method: got None; expected a method"),
        (GAIL, {}, "method: got the class GAIL; expected a method"),
        ("ppo", {"run": {"steps": 32}}, "run: got {'steps': 32}; expected gailfe_jax.RunSettings"),
        ("ppo", {"run": 5}, "run: got 5; expected gailfe_jax.RunSettings"),
        ("gail", {"demos": 5}, "demos: got 5; expected a demonstration file"),
        ("gail", {"out": 5}, "out: got 5; expected a folder"),
        ("gail", {"annotator": len}, "annotator: got <built-in function len>; expected an annotator"),
        ("gail", {"resume": "yes"}, "resume: got 'yes'; expected true or false"),
        ("gail", {"on_evaluation": 5}, "on_evaluation: got 5; expected a function"),
        ("gail", {"seeds": 5}, "seeds: got 5; expected a sequence of whole numbers"),
        ("gail", {"seeds": ["a"]}, "seeds: got 'a'; expected a sequence of whole numbers"),
        ("gail", {"seeds": []}, "seeds: got []; expected one or more whole numbers from 0"),
        ("gail", {"seeds": [-1]}, "seeds: got [-1]; expected one or more whole numbers from 0"),
        ("gail", {"imports": "abc"}, "imports: got 'abc'; expected a sequence of names"),
        ("gail", {"demos": pathlib.Path("nosuch.npz")}, "nosuch.npz: no such file"),
        # Without effect.
        ("ppo", {"resume": True}, "resume: got true without out; expected the folder"),
        ("ppo", {"demos": "nosuch.npz"}, "demos: got nosuch.npz; nothing reads it: ppo learns without demonstrations"),
        ("dagger", {"demos": "nosuch.npz"}, "demos: got nosuch.npz; nothing reads it: dagger asks the expert itself"),
        ("bc", {"demos": DemoSettings(expert="x")}, "expert: got x; nothing reads it: bc asks no expert"),
        ("gail", {"annotator": survived()}, "annotator: got survived; nothing reads it: gail learns from no failures"),
    ],
)
def test_an_argument_of_another_kind_or_without_effect_is_refused(method, options, message):
    with pytest.raises(GailfeError, match=f"^{re.escape(message)}") as error:
        train(method, ENV, **({"run": settings()} | options))
    assert "\n" not in str(error.value)


def test_traced_settings_become_arrays_and_static_ones_stay():
    made = plan_of(METHOD)
    assert all(isinstance(x, jax.Array) and x.dtype == np.float32 for x in jax.tree.leaves(made.trainer.learner))
    assert made.trainer.learner.policy.hidden == (8,)
