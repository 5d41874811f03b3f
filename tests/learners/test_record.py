"""A method as a record of plain values, and back."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gailfe_jax.config.run import RunSettings
from gailfe_jax.config.tree import set_values
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.combinations import COMBINATIONS
from gailfe_jax.learners.methods import find_method, with_policy
from gailfe_jax.learners.record import flat_values, method_record, part_record, read_method, read_part


@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda c: c.name)
def test_every_combination_reads_back_from_its_record(combination):
    method = combination.build()
    record = json.loads(json.dumps(method_record(method)))
    assert read_method(combination.method, record) == method


def test_a_record_is_nested_as_the_parts_are_and_holds_what_something_reads():
    record = method_record(
        set_values(find_method("gailfe"), {"reward.hidden": (5, 3), "constraint.multiplier": "fixed"})
    )
    assert record["policy"]["kind"] == "trpo" and record["reward"]["hidden"] == [5, 3]
    assert record["constraint"] == {"multiplier": "fixed", "threshold": pytest.approx(np.log(0.5)), "weight": 1.0}
    # Where the policy step cannot be chosen it has no name.
    assert "kind" not in method_record(find_method("bc"))["policy"]
    # What is None is left out, for TOML has no word for it.
    assert "model" in method_record(find_method("mail"))["policy"] and "mjx" not in part_record(RunSettings())


def test_arrays_become_lists_and_come_back_as_arrays():
    method = find_method("gail")
    method = method.replace(policy=method.policy.replace(gamma=np.float32([0.5, 0.25])))
    record = json.loads(json.dumps(method_record(method)))
    assert record["policy"]["gamma"] == [0.5, 0.25]
    np.testing.assert_array_equal(read_method("gail", record).policy.gamma, method.policy.gamma)


def test_a_part_of_a_record_changes_that_part_alone():
    method = read_method("gail", {"policy": {"kind": "ppo", "epochs": 3}, "reward": {"lr": 1e-3}})
    expected = with_policy(find_method("gail"), "ppo")
    assert method == set_values(expected, {"policy.epochs": 3, "reward.lr": 1e-3})
    assert read_method("gail", {"reward": {"lr": 0.5}}, start=method) == set_values(method, {"reward.lr": 0.5})
    assert flat_values({"a": {"b": {"c": 1}, "d": [2]}, "e": None}) == {"a.b.c": 1, "a.d": [2], "e": None}


@pytest.mark.parametrize(
    ("algo", "record", "message"),
    [
        ("gail", {"reward": {"lrr": 1.0}}, r"^method: field 'reward\.lrr' is unknown; did you mean reward\.lr\?"),
        ("gail", {"reward": {"lr": "fast"}}, r"^method\.reward\.lr: got 'fast'; expected a finite number"),
        ("gail", {"reward": 3}, r"^method: field 'reward' is unknown"),
        ("gail", {"policy": {"gamma": [0.9, "x"]}}, r"^method\.policy\.gamma: got 'x'; expected a finite number"),
        ("gail", {"constraint": {"dual_lr": 1.0}}, r"^method: field 'constraint\.dual_lr' is unknown"),
        ("gail", [1], r"^method: got \[1\]; expected a table of settings"),
        ("ppo", {"policy": {"kind": "trpo"}}, r"^policy: got 'trpo' for ppo; expected none: ppo stands for its own"),
        ("nonsense", {}, r"^algo: unknown algorithm 'nonsense'"),
        (None, {}, r"^algo: got None; expected the name of a method"),
    ],
)
def test_a_damaged_record_is_one_clear_error(algo, record, message):
    with pytest.raises(GailfeError, match=message) as error:
        read_method(algo, record)
    assert "\n" not in str(error.value)


def test_any_part_is_read_onto_its_defaults():
    assert read_part(RunSettings(), {"steps": 7e5, "quiet": True}, "run") == RunSettings(steps=7e5, quiet=True)
    with pytest.raises(GailfeError, match=r"^run: field 'stebs' is unknown; did you mean steps\?"):
        read_part(RunSettings(), {"stebs": 1}, "run")
    with pytest.raises(GailfeError, match=r"^run: got 3; expected a table of settings"):
        read_part(RunSettings(), 3, "run")
