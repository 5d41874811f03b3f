"""All settings of a training in one namespace."""

from __future__ import annotations

import json

import pytest

from gailfe_jax.config.run import DemoSettings, EnvSettings, MjxSettings, RunSettings
from gailfe_jax.config.tree import leaves, set_values
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.methods import METHODS, find_method, policy_choices, policy_name, with_policy
from gailfe_jax.learners.presets import preset
from gailfe_jax.learners.setup import ConfigFile, Setup, all_settings, build_setup, find_setting

STEPS = [(algo, policy) for algo in METHODS for policy in policy_choices(METHODS[algo]) or (None,)]


def setup_of(algo="gail", **values):
    return build_setup({"algo": algo} | {name.replace("__", "."): value for name, value in values.items()})


@pytest.mark.parametrize(("algo", "policy"), STEPS)
def test_a_setup_starts_from_its_methods_preset(algo, policy):
    setup = build_setup({"algo": algo, "env": "Walker2d-v5"} | ({} if policy is None else {"policy": policy}))
    method, run = preset(algo, "walker2d", policy=policy)
    assert (setup.method, setup.run) == (method, run)
    assert setup.environment == EnvSettings(env="walker2d") and setup.demos == DemoSettings()
    assert (setup.get("algo"), setup.get("policy"), setup.get("env")) == (
        algo,
        policy or policy_name(method),
        "walker2d",
    )
    method.verify()


@pytest.mark.parametrize("algo", ["ppo", "sac", "dagger", "gail"])
def test_a_short_run_is_not_made_as_long_as_its_presets_interval(algo):
    assert setup_of(algo, steps=4096).run.eval_every is None
    # What somebody chose stays, and so does the preset's for a long run.
    assert setup_of(algo, steps=4096, eval_every=8192).run.eval_every == 8192
    assert setup_of(algo, steps=1e6).run.eval_every == preset(algo, "hopper")[1].eval_every


@pytest.mark.parametrize(
    ("values", "name", "expected"),
    [
        ({"unroll_length": 2}, "policy.n_step", 2),
        ({"unroll_length": 2, "n_step": 3}, "policy.n_step", 3),
        ({"rollout.unroll_length": 64}, "policy.n_step", 3),
        ({"true_reward.add": True}, "policy.demonstrated", 0.0),
        ({"true_reward.add": True, "policy.demonstrated": 0.5}, "policy.demonstrated", 0.5),
        ({"true_reward.add": False}, "policy.demonstrated", 0.25),
        ({"reward.inputs": "states"}, "policy.demonstrated", 0.0),
        ({"inputs": "transitions"}, "policy.demonstrated", 0.0),
        ({"inputs": "transitions", "demonstrated": 0.5}, "policy.demonstrated", 0.5),
        ({"reward.inputs": "state-action"}, "policy.demonstrated", 0.25),
    ],
)
def test_what_the_preset_for_replay_sets_gives_way_to_what_is_asked_for(values, name, expected):
    assert build_setup({"policy": "sac"} | values).get(name) == expected
    assert build_setup({"policy": "sac"}, config=ConfigFile("mine.toml", values)).get(name) == expected


def test_values_go_to_the_part_that_has_them():
    setup = setup_of(
        "gailfe", reward__lr="1e-3", max_kl=0.02, env="hopper", engine="mjx", mjx__solver="cg", steps="7e5", seeds=3,
        trajectories=4, demos="d.npz",
    )  # fmt: skip
    assert setup.method == set_values(preset("gailfe")[0], {"reward.lr": 1e-3, "policy.max_kl": 0.02})
    assert setup.environment == EnvSettings(engine="mjx", mjx=MjxSettings(solver="cg"))
    assert setup.run == RunSettings(steps=7e5, seeds=3) and setup.demos == DemoSettings(demos="d.npz", trajectories=4)
    assert setup.get("reward.lr") == 1e-3 and setup.get("steps") == 7e5 and setup.get("policy.epochs") is None


@pytest.mark.parametrize(("algo", "policy"), STEPS)
def test_a_record_of_it_reads_back_as_it_is(algo, policy):
    from gailfe_jax.learners.record import flat_values, read_method, read_part

    values = {"algo": algo, "env": "halfcheetah", "engine": "mujoco_c", "seeds": 2}
    setup = build_setup(values if policy is None else values | {"policy": policy})
    record = json.loads(json.dumps(setup.record()))
    assert read_method(record["algo"], record["method"]) == setup.method
    assert read_part(EnvSettings(), record["environment"], "environment") == setup.environment
    assert read_part(RunSettings(), record["run"], "run") == setup.run
    # It holds what something reads and nothing else.
    held = {name for part in ("method", "environment", "demos", "run") for name in flat_values(record[part])}
    read = {name for name, (_, leaf) in setup.leaves.items() if leaf.unread is None and leaf.value is not None}
    assert held - {"policy.kind"} == read


@pytest.mark.parametrize(
    ("algo", "values", "message"),
    [
        (
            "gail",
            {"dual_lr": 0.1},
            r"^dual_lr: no such setting; gail with policy trpo has none; gailfe has constraint\.dual_lr$",
        ),
        (
            "gail",
            {"epochs": 3},
            r"^epochs: no such setting; gail with policy trpo has none; ppo, gail --policy ppo, .* have policy",
        ),
        ("gail", {"disc_lr": 0.1}, r"^disc_lr: no such setting; it is called reward\.lr now"),
        (
            "gail",
            {"activaton": "relu"},
            r"^activaton: no such setting; did you mean policy\.activation or reward\.activ",
        ),
        (
            "gail",
            {"activation": "relu"},
            r"^activation: is one of policy\.activation, reward\.activation; expected one",
        ),
        ("bc", {"bc_lr": 0.1}, r"^bc_lr: no such setting; it is called policy\.lr now"),
        ("gail", {"irlf_slack": 0.1}, r"^irlf_slack: no such setting; gail with policy trpo has none; irlf"),
        ("ppo", {"reward.lr": 0.1}, r"^reward\.lr: no such setting; ppo has none; gail"),
        ("gail", {"mjx.solver": "cg"}, r"^mjx\.solver: nothing reads it: the engine is mujoco_c"),
        ("gail", {"engine": "mjx", "warp.njmax": 3}, r"^warp\.njmax: nothing reads it: the engine is mjx"),
        ("ppo", {"env": "brax:fast", "engine": "mjx"}, r"^engine: nothing reads it: brax:fast brings its own engine"),
        ("ppo", {"demos": "d.npz"}, r"^demos: nothing reads it: ppo learns without demonstrations"),
        ("gail", {"expert": "e"}, r"^expert: nothing reads it: gail asks no expert"),
        ("dagger", {"trajectories": 3}, r"^trajectories: nothing reads it: dagger asks the expert itself"),
        ("gail", {"warmup_iterations": -1}, r"^schedule\.warmup_iterations: got -1; expected a whole number from 0"),
        ("gail", {"gamma": 0.9, "policy.gamma": 0.8}, r"^policy\.gamma is given twice; expected each setting once"),
        ("gail", {"likelihood.weight": 0.9}, r"^likelihood\.weight: nothing reads it: likelihood\.add is false"),
        ("gail", {"policy": "adam"}, r"^policy: got 'adam' for gail; expected one of trpo, ppo, mail"),
        ("ppo", {"policy": "trpo"}, r"^policy: got 'trpo' for ppo; expected none: ppo stands for its own"),
        ("gtal", {"policy": "likelihood"}, r"^policy: got 'likelihood' for gtal; expected one of"),
        ("gail", {"policy": 3}, r"^policy: got 3; expected a name"),
        ("nonsense", {}, r"^algo: unknown algorithm 'nonsense'"),
        ("gale", {}, r"^algo: unknown algorithm 'gale'; did you mean gailfe or gtal or gail\?$"),
        ("gail", {"env": "hoper"}, r"^env: unknown task 'hoper'; did you mean hopper\?$"),
        ("gail", {"env": "nonsense"}, r"^env: unknown task 'nonsense'"),
        (
            "gasil",
            {"self_demonstrations.use": "both"},
            r"^self_demonstrations\.use: nothing reads it: gasil learns from",
        ),
    ],
)
def test_what_cannot_be_set_is_one_clear_error(algo, values, message):
    with pytest.raises(GailfeError, match=message) as error:
        build_setup({"algo": algo} | values)
    assert "\n" not in str(error.value)


def test_a_registered_environment_brings_its_own_engine(toy_tasks):
    for env in ("cliff", "delayed3:Cliff"):
        with pytest.raises(GailfeError, match=rf"^engine: nothing reads it: {env.lower()} brings its own engine"):
            build_setup({"algo": "ppo", "env": env, "engine": "mjx"})
    assert build_setup({"algo": "ppo", "env": "Cliff"}).record()["environment"] == {"env": "cliff"}


def test_dashes_count_as_underscores_in_every_name():
    assert build_setup({"policy.max-kl": 0.5, "first-seed": 3}).get("policy.max_kl") == 0.5


def test_another_method_step_or_task_starts_from_its_own_preset():
    start = setup_of("gailfe", env="halfcheetah", steps=5e5, trajectories=4, max_kl=0.5)
    same = build_setup({"gamma": 0.9}, start)
    assert same == start.changed({"gamma": 0.9}) and same.get("policy.max_kl") == 0.5
    # Its own names change nothing.
    assert build_setup({"algo": "gailfe", "policy": "trpo", "env": "HalfCheetah-v5"}, start) == start
    other = build_setup({"algo": "gail"}, start)
    assert other.method == preset("gail", "halfcheetah")[0]
    # What was set beside the method stays.
    assert (other.run, other.demos) == (start.run, start.demos)
    stepped = build_setup({"policy": "ppo"}, start)
    assert stepped.method == preset("gailfe", "halfcheetah", policy="ppo")[0]
    assert build_setup({"env": "hopper"}, start).method == preset("gailfe", "hopper")[0]


def test_what_depends_on_a_setting_is_read_once_it_is_on():
    assert setup_of(likelihood__add=True, likelihood__weight=0.5).method.likelihood.weight == 0.5
    assert setup_of(true_reward__add=True, true_reward__alpha=0.5).method.true_reward.alpha == 0.5
    # And goes back to its default where it is turned off again.
    off = build_setup({"likelihood.add": False}, setup_of(likelihood__add=True, likelihood__weight=0.5))
    assert off.method == preset("gail")[0]


def test_every_setting_is_known_by_its_full_name():
    found = all_settings()
    for algo, policy in STEPS:
        method = find_method(algo) if policy is None else with_policy(find_method(algo), policy)
        for name, leaf in leaves(method).items():
            assert found[name].kind is leaf.setting.kind, name
            assert find_setting(name) == name
    assert {"algo", "policy", "env", "engine", "demos", "mjx.solver"} <= found.keys()
    # How a run is carried out is no setting to vary.
    assert not {"steps", "seeds", "quiet"} & found.keys()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("max_kl", "policy.max_kl"), ("dual-lr", "constraint.dual_lr"), ("mjx.solver", "mjx.solver")],
)
def test_a_setting_of_any_method_is_found(name, expected):
    assert find_setting(name) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lr", r"^lr: is one of .*reward\.lr.*; expected one of these names"),
        ("disc_lr", r"^disc_lr: no such setting; it is called reward\.lr now"),
        ("max_k", r"^max_k: no such setting; did you mean policy\.max_kl\?"),
        ("seeds", r"^seeds: how a run is carried out cannot vary in a sweep"),
    ],
)
def test_a_setting_of_no_method_is_told(name, message):
    with pytest.raises(GailfeError, match=message):
        find_setting(name)


def test_the_defaults_of_a_setup_are_the_documented_ones():
    setup = Setup(find_method("gail"))
    assert setup.environment.env == "hopper" and setup.run == RunSettings() and setup.demos == DemoSettings()
