"""Flat names of old records, and what has become of each."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from gailfe_jax.config import compat
from gailfe_jax.config.run import EnvSettings, MjxSettings
from gailfe_jax.config.tree import leaves
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.methods import METHODS, find_method, policy_choices, policy_name, with_policy
from gailfe_jax.learners.record import read_flat
from gailfe_jax.learners.setup import all_settings
from gailfe_jax.policies.registry import POLICY_UPDATES

ROOT = pathlib.Path(__file__).parent.parent.parent
RESULTS = sorted((ROOT / "experiments" / "results").glob("*/*.json"))
CELLS = {path.relative_to(ROOT / "experiments" / "results"): json.loads(path.read_text()) for path in RESULTS}
CELLS = {str(name.with_suffix("")): record["cell"] for name, record in CELLS.items() if "cell" in record}
CELLS = {name: cell for name, cell in CELLS.items() if "config" in cell}  # Later ones hold no flat names.
# What the parts that a method has were called in all of its flat records, whether or not it read them.
OLD_RUNS = sorted((ROOT / "tests" / "training" / "old_runs").glob("*/config.json"))


def test_there_are_committed_records_to_read():
    assert len(CELLS) > 100 and len(OLD_RUNS) == 6


def test_every_field_of_the_committed_records_has_become_something():
    records = [*CELLS.values(), *(json.loads(path.read_text()) for path in OLD_RUNS)]
    held = {name for record in records for part in ("config", "hyper") for name in record[part]}
    assert held - compat.FLAT.keys() == set()
    # And nothing stands in the table that no old record holds.
    assert compat.FLAT.keys() - held == set()


def test_every_name_it_has_become_is_one_of_todays_settings():
    known = set(all_settings()) | {"algo"}
    targets = {target.rpartition(":")[2] for targets in compat.FLAT.values() for target in targets}
    assert targets - known == set()
    # Demonstrations stood in a record of their own, and these settings came later.
    later = {"mjx.solver_setting", "reset_nonfinite", "rollout.demonstrated_starts", "reward.inputs"}
    later |= {
        "policy.timed_value",
        "reward.absorbing",
        "reward.recent",
        "reward.recent_steps",
        "reward.spectral_norm",
        "reward.spectral_limit",
        "reward.normaliser",
        "reward.delayed",
        "failures.fade",
    }
    for name in ("sac", "td3", "svg"):
        later |= {f"policy.{setting}" for setting in leaves(POLICY_UPDATES[name]())} - targets
    assert known - targets == {"demos", "trajectories", "subsample", "demo_seed", "expert"} | later


@pytest.mark.parametrize("name", CELLS)
def test_a_committed_cell_is_read_as_todays_method(name):
    config, hyper = CELLS[name]["config"], CELLS[name]["hyper"]
    place, method = read_flat(config, hyper)
    assert (method.name, place.env, place.engine) == (config["algo"], config["env"], config["engine"])
    assert (method.rollout.num_envs, method.rollout.unroll_length) == (config["num_envs"], config["unroll_length"])
    assert method.policy.hidden == tuple(config["hidden"])
    if policy_choices(method):
        assert policy_name(method) == {"backprop": "mail"}.get(config["generator"], config["generator"])
    if hasattr(method.policy, "gamma"):
        assert method.policy.gamma == hyper["gamma"] and method.policy.gae_lambda == hyper["gae_lambda"]
    method.verify()


def test_what_a_method_did_not_read_is_left_out():
    flat = {"algo": "gail", "env": "hopper", "multiplier": "fixed", "sil_updates": 0, "sil_minibatch": 7}
    place, method = read_flat(flat, {"dual_lr": 0.5, "irlf_lr": 0.3, "max_kl": 0.03, "policy_lr": 9.0})
    assert place == EnvSettings() and method == find_method("gail").replace(
        policy=find_method("gail").policy.replace(max_kl=0.03)
    )


@pytest.mark.parametrize(
    ("algo", "flat", "name", "value"),
    [
        ("gail", {"disc_lr": 0.5}, "reward.lr", 0.5),
        ("irlf", {"disc_lr": 0.5, "irlf_lr": 0.25}, "reward.lr", 0.25),
        ("ppo", {"policy_lr": 0.5}, "policy.lr", 0.5),
        ("bc", {"policy_lr": 0.5, "bc_lr": 0.25}, "policy.lr", 0.25),
        ("bc", {"bc_minibatch": 9}, "policy.minibatch", 9),
        ("gail", {"bc_steps": 3, "bc_minibatch": 9}, "start.minibatch", 9),
        ("gail", {"activation": "relu"}, "policy.activation", "relu"),
        ("gail", {"activation": "relu"}, "reward.activation", "relu"),
        ("gail", {"positives": "demonstrations"}, "self_demonstrations.use", "none"),
        ("gail", {"positives": "both", "own_episodes": "best"}, "self_demonstrations.episodes", "top_k"),
        ("gail", {"positives": "both", "own_episodes": "survived"}, "self_demonstrations.episodes", "survived"),
        ("gasil", {"positives": "own"}, "self_demonstrations.use", "alone"),
        ("gail", {"hidden": [7, 5]}, "policy.hidden", (7, 5)),
        ("dagger", {"dagger_beta": 0.5}, "beta", 0.5),
    ],
)
def test_a_flat_setting_goes_to_the_part_that_its_method_has(algo, flat, name, value):
    _, method = read_flat({"algo": algo} | flat, {})
    assert leaves(method)[name].value == value


def test_a_policy_step_and_the_engines_options_find_their_places():
    place, method = read_flat({"algo": "gailfe", "generator": "backprop", "model_hidden": [3], "mjx_solver": "cg"}, {})
    assert method == with_policy(find_method("gailfe"), "mail").replace(
        policy=with_policy(find_method("gailfe"), "mail").policy.replace(
            model=with_policy(find_method("gailfe"), "mail").policy.model.replace(hidden=(3,))
        )
    )
    assert place == EnvSettings(mjx=MjxSettings(solver="cg"))
    # MAIL stands for its own step, whatever an old record says.
    assert policy_name(read_flat({"algo": "mail", "generator": "trpo"}, {})[1]) == "mail"


def test_several_values_of_a_traced_setting_are_read_as_an_array():
    _, method = read_flat({"algo": "gail"}, {"gamma": [0.9, 0.8]})
    np.testing.assert_array_equal(method.policy.gamma, [0.9, 0.8])


@pytest.mark.parametrize(
    ("config", "hyper", "message"),
    [
        ({"colour": "red"}, {}, r"^config\.json: field 'colour' is unknown to this release"),
        ({}, {"colour": 1.0}, r"^config\.json: field 'colour' is unknown to this release"),
        ({"num_envs": "many"}, {}, r"^rollout\.num_envs: got 'many'; expected a whole number from 1"),
        ({"num_envs": 0}, {}, r"^rollout\.num_envs: got 0; expected a whole number from 1"),
        ({}, {"gamma": "x"}, r"^policy\.gamma: got 'x'; expected a finite number"),
        ({"algo": "nonsense"}, {}, r"^algo: unknown algorithm 'nonsense'"),
        ({"generator": "adam"}, {}, r"^policy: got 'adam' for gail; expected one of trpo, ppo, mail"),
    ],
)
def test_a_damaged_flat_record_is_one_clear_error(config, hyper, message):
    with pytest.raises(GailfeError, match=message) as error:
        read_flat({"algo": "gail"} | config, hyper)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "now"),
    [
        (".generator.policy['params']['log_std']", ".agent.policy['params']['log_std']"),
        (".cost.params", ".reward.params"),
        (".failures.pool.obs", ".sources.failures.storage.obs"),
        (".failures.labels[0]", ".sources.failures.labels[0]"),
        (".own.pool", ".sources.self_demonstrations.storage"),
        (".own.returns", ".sources.self_demonstrations.returns"),
        (".replay.rows.obs", ".sources.policy_replay.rows.obs"),
        (".experience.size", ".sources.transitions.size"),
        (".episodes.pool.obs", ".sources.episodes.storage.obs"),
        (".key", ".key"),
        (".env.phys.row", ".env.phys.row"),
        (".order", ".order"),
        (".costs", ".costs"),
    ],
)
def test_leaves_of_old_checkpoints_are_renamed(old, now):
    assert compat.leaf_name(old) == now
    # Today's names stay as they are.
    assert compat.leaf_name(now) == now


def test_methods_have_kept_their_names():
    assert {record["config"]["algo"] for record in CELLS.values()} <= set(METHODS)
