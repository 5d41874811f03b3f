"""One syntax for values, on the command line, in sweeps, tables and files."""

from __future__ import annotations

import pytest

from gailfe_jax.config.run import RunSettings
from gailfe_jax.config.tree import leaves
from gailfe_jax.config.values import read_value, show_value
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.setup import all_settings


def setting_called(name):
    return all_settings()[name] if name in all_settings() else leaves(RunSettings())[name].setting


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("reward.lr", "1e-4", 1e-4),
        ("reward.lr", 1, 1.0),
        ("reward.lr", " 0.5 ", 0.5),
        ("rollout.num_envs", "16", 16),
        ("rollout.num_envs", 16.0, 16),
        ("rollout.num_envs", "1e3", 1000),
        ("policy.hidden", "64x32", (64, 32)),
        ("policy.hidden", "64", (64,)),
        ("policy.hidden", [64, 32], (64, 32)),
        ("policy.hidden", "none", ()),
        ("schedule.anneal", "true", True),
        ("schedule.anneal", "False", False),
        ("schedule.anneal", False, False),
        ("policy", "ppo", "ppo"),
        ("reward.form", "-log_d", "-log_d"),
        ("self_demonstrations.episodes", "return_above:0.9", "return_above:0.9"),
        ("trajectories", "none", None),
        ("trajectories", None, None),
        ("trajectories", "4", 4),
        ("mjx.euler_damping", "false", False),
        ("mjx.euler_damping", "none", None),
        ("steps", "5e5", 5e5),
        ("first_seed", str(2**32 - 2), 2**32 - 2),
        ("first_seed", 2**32 - 2, 2**32 - 2),
    ],
)
def test_values_have_the_type_of_their_setting(name, given, value):
    setting = setting_called(name)
    read = read_value(name, setting, given)
    assert read == value and type(read) is type(value)
    again = read_value(name, setting, show_value(value))
    assert again == value and type(again) is type(value)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("reward.lr", "fast", "a finite number"),
        ("reward.lr", "nan", "a finite number"),
        ("reward.lr", "1e999", "a finite number"),
        ("reward.lr", "١", "a finite number"),
        ("reward.lr", True, "a finite number"),
        ("reward.lr", None, "a finite number"),
        ("reward.lr", [1.0], "a finite number"),
        ("rollout.num_envs", "1.5", "a whole number"),
        ("rollout.num_envs", [1], "a whole number"),
        ("rollout.num_envs", "0", "a whole number from 1"),
        ("policy.hidden", "64x", "layer sizes such as 64x64, or none"),
        ("policy.hidden", "64,64", "layer sizes such as 64x64, or none"),
        ("policy.hidden", "64x0", "layer sizes such as 64x64, or none"),
        ("policy.hidden", 64, "layer sizes"),
        ("schedule.anneal", "maybe", "true or false"),
        ("schedule.anneal", 1, "true or false"),
        ("reward.form", "log", "one of -log_d, 1-d, log_1-d, logit"),
        ("algo", 3, "one of ppo, trpo, sac, td3, gail"),
        ("trajectories", "few", "a whole number from 1, or none"),
        ("trajectories", "0", "a whole number from 1, or none"),
        ("mjx.solver", "pgs", "one of newton, cg, or none"),
        ("reward.lr", " ", "got an empty value"),
        ("policy.hidden", "", "got an empty value"),
    ],
)
def test_values_of_another_type_are_refused(name, given, expected):
    with pytest.raises(GailfeError, match=f"^{name}: got .*") as error:
        read_value(name, setting_called(name), given)
    assert expected in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", all_settings())
def test_every_default_is_written_as_it_is_read(name):
    setting = setting_called(name)
    if setting.default is not None or setting.optional:
        read = read_value(name, setting, show_value(setting.default))
        assert read == setting.default and type(read) is type(setting.default)


@pytest.mark.parametrize("name", [name for name, s in all_settings().items() if s.marks.least is not None])
def test_every_bound_is_kept(name):
    setting = setting_called(name)
    assert read_value(name, setting, show_value(setting.kind(setting.marks.least))) == setting.marks.least
    with pytest.raises(GailfeError, match=rf"^{name}: got .*; expected .* from {setting.marks.least:g}"):
        read_value(name, setting, show_value(setting.kind(setting.marks.least - 1)))
