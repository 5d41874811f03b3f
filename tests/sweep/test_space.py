from __future__ import annotations

import numpy as np
import pytest

from gailfe_jax.cli.settings import read_words
from gailfe_jax.cli.sweep import Sweep
from gailfe_jax.config.run import DemoSettings, EnvSettings, RunSettings
from gailfe_jax.config.tree import leaves
from gailfe_jax.config.values import show_value
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.methods import METHODS
from gailfe_jax.learners.setup import all_settings
from gailfe_jax.rewards.discriminator import Discriminator
from gailfe_jax.sweep.space import build, distributions, field_of, from_file, grid, random


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("reward.lr", "1e-4", 1e-4),
        ("dual-lr", 1, 1.0),
        ("num_envs", "16", 16),
        ("num_envs", 16.0, 16),
        ("policy.hidden", "64x32", (64, 32)),
        ("policy.hidden", [64, 32], (64, 32)),
        ("policy.hidden", "none", ()),
        ("anneal", "true", True),
        ("anneal", False, False),
        ("policy", "ppo", "ppo"),
        ("self_demonstrations.episodes", "return_above:0.9", "return_above:0.9"),
        ("trajectories", "none", None),
        ("trajectories", "4", 4),
    ],
)
def test_values_have_the_type_of_their_field(name, given, value):
    field = field_of(name)
    read = field.read(given)
    assert read == value and type(read) is type(value)
    assert field.read(show_value(value)) == value


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("reward.lr", "fast", "a finite number"),
        ("reward.lr", "nan", "a finite number"),
        ("reward.lr", True, "a finite number"),
        ("rollout.num_envs", "1.5", "a whole number"),
        ("rollout.num_envs", [1], "a whole number"),
        ("policy.hidden", "64x", "layer sizes such as 64x64, or none"),
        ("policy.hidden", 64, "layer sizes"),
        ("schedule.anneal", "maybe", "true or false"),
        ("schedule.anneal", 1, "true or false"),
        ("policy", "adam", "one of trpo, ppo, mail"),
        ("algo", 3, "one of ppo, trpo, sac, td3, gail"),
        ("trajectories", "few", "a whole number from 1, or none"),
        ("reward.lr", " ", "got an empty value"),
    ],
)
def test_values_of_another_type_are_refused(name, given, expected):
    with pytest.raises(GailfeError, match=f"^{name}: got .*") as error:
        field_of(name).read(given)
    assert expected in str(error.value) and "\n" not in str(error.value)


def test_every_setting_but_the_runs_can_be_swept():
    known = all_settings()
    for method in METHODS.values():
        assert leaves(method).keys() <= known.keys()
    assert leaves(EnvSettings()).keys() | leaves(DemoSettings()).keys() <= known.keys()
    assert not RunSettings().values().keys() & known.keys()
    for name, setting in known.items():
        if setting.default is not None:
            assert field_of(name).read(show_value(setting.default)) == setting.default


def test_a_grid_is_every_combination():
    assert grid(["reward.lr=1e-4,3e-4", "policy.hidden=64x64,8"]) == [
        {"reward.lr": 1e-4, "policy.hidden": (64, 64)}, {"reward.lr": 1e-4, "policy.hidden": (8,)},
        {"reward.lr": 3e-4, "policy.hidden": (64, 64)}, {"reward.lr": 3e-4, "policy.hidden": (8,)},
    ]  # fmt: skip


SPACE = ["reward.lr=log:1e-5:1e-3", "gamma=uniform:0.98:0.999", "reward.steps=uniform:1:3", "algo=choice:gail:mail"]


def test_draws_stay_within_their_bounds_repeat_and_continue():
    rows = random(SPACE, 200, 7)
    assert random(SPACE, 50, 7) == rows[:50] and random(SPACE, 50, 8) != rows[:50]
    assert all(1e-5 <= row["reward.lr"] <= 1e-3 and 0.98 <= row["policy.gamma"] <= 0.999 for row in rows)
    assert {row["reward.steps"] for row in rows} == {1, 2, 3} and {row["algo"] for row in rows} == {"gail", "mail"}
    # Half of a logarithmic range lies below its geometric mean.
    assert 0.4 < np.mean([row["reward.lr"] < 1e-4 for row in rows]) < 0.6
    small = random(["algo=choice:gail:mail", "anneal=choice:true:false"], 4)
    assert len({tuple(row.values()) for row in small}) == 4
    (part,) = distributions(["env=choice:brax:ant,hopper"])
    assert part.choices == ("brax:ant", "hopper")


def test_a_file_has_a_setting_per_row(tmp_path):
    (tmp_path / "a.csv").write_text("reward.lr,policy.hidden,anneal\n1e-4,64x64,true\n\n3e-4,none,false\n")
    rows = [
        {"reward.lr": 1e-4, "policy.hidden": (64, 64), "schedule.anneal": True},
        {"reward.lr": 3e-4, "policy.hidden": (), "schedule.anneal": False},
    ]
    assert from_file(tmp_path / "a.csv") == rows
    (tmp_path / "a.jsonl").write_text('{"reward.lr": 1e-4, "policy.hidden": [64, 64]}\n\n{"anneal": true}\n{}\n')
    assert from_file(tmp_path / "a.jsonl") == [
        {"reward.lr": 1e-4, "policy.hidden": (64, 64)}, {"schedule.anneal": True}, {},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", r"^settings: got '.*a.txt'; expected a file name that ends in \.csv or \.jsonl"),
        ("b.csv", None, r"b.csv: no such file"),
        ("a.csv", "", r"a.csv: holds no settings"),
        ("a.csv", "reward.lr\n", r"a.csv: holds no settings"),
        ("a.csv", "reward.lr,reward.lr\n1,2\n", r"a.csv, line 1: a field is named twice"),
        ("a.csv", "reward.lr,gamma\n1,\n", r"a.csv, line 2: policy.gamma: got an empty value"),
        ("a.csv", "reward.lr,gamma\n1\n", r"a.csv, line 2: got 1 values; expected 2"),
        ("a.csv", "reward.lrr\n1\n", r"a.csv, line 2: reward.lrr: no such setting; did you mean reward.lr\?"),
        ("a.csv", "disc_lr\n1\n", r"a.csv, line 2: disc_lr: no such setting; it is called reward.lr now"),
        ("a.jsonl", "[1]\n", r"a.jsonl, line 1: got '\[1\]'; expected a JSON object"),
        ("a.jsonl", '{"gamma": 1}\n{', r"a.jsonl, line 2: is no JSON .*; expected a JSON object"),
        ("a.jsonl", '{"gamma": 1, "gamma": 2}\n', r"a.jsonl, line 1: gamma is given twice; expected each field once"),
        ("a.jsonl", '{"gamma": NaN}\n', r"a.jsonl, line 1: policy.gamma: got nan"),
    ],
)
def test_a_bad_file_is_one_clear_error(name, text, message, tmp_path):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(GailfeError, match=message) as error:
        from_file(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_folder_is_no_file_of_settings(tmp_path):
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(GailfeError, match=r"a\.csv: expected a readable file of settings"):
        from_file(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: grid(["reward.lr"]), "^grid: got 'reward.lr'; expected name=value,value"),
        (lambda: grid(["reward.lr="]), "^reward.lr: got an empty value"),
        (lambda: grid(["reward.lr=1,"]), "^reward.lr: got an empty value"),
        (lambda: grid(["reward.lr=1e-4,0.0001"]), "^reward.lr: got 0.0001 twice; expected different values"),
        (lambda: grid(["gamma=1", "gamma=2"]), "^grid: policy.gamma is given twice"),
        (lambda: grid(["learning=1"]), "^learning: no such setting"),
        (lambda: grid(["seeds=1,2"]), "^seeds: how a run is carried out cannot vary in a sweep"),
        (lambda: grid(["steps=1,2"]), "^steps: how a run is carried out cannot vary in a sweep"),
        (lambda: random(["gamma=0.9"], 1), "^policy.gamma: got '0.9'; expected name=uniform:low:high"),
        (lambda: random(["gamma=uniform:0.9"], 1), "expected name=uniform:low:high"),
        (lambda: random(["gamma=uniform:1:0"], 1), "^policy.gamma: got 'uniform:1:0'; expected low < high"),
        (lambda: random(["reward.lr=log:0:1"], 1), "expected 0 < low < high"),
        (lambda: random(["algo=uniform:0:1"], 1), "^algo: got 'uniform:0:1'; expected name=choice:a:b"),
        (lambda: random(["algo=choice:gail:gail"], 1), "^algo: got 'gail:gail'; expected different choices"),
        (lambda: random(["algo=choice:gail:mail"], 3), "^samples: got 3; only 2 different settings"),
        (lambda: random(SPACE, 0), "^samples: got 0"),
        (lambda: random(SPACE, 1, -1), "^sweep_seed: got -1"),
        (lambda: build([], {}), "^settings: got none"),
        (lambda: grid(["num_envs=8,0"]), r"^rollout.num_envs: got '0'; expected a whole number from 1"),
        (lambda: grid(["algo=gail,nonsense"]), r"^algo: got 'nonsense'; expected one of ppo, trpo, sac, td3, gail"),
        (
            lambda: build([{"policy.gamma": 0.9}, {"policy.gamma": 0.9, "reward.lr": Discriminator().lr}], {}),
            r"^setting 1 \(policy.gamma=0.9 reward.lr=0.0003\): trains the same as setting 0 \(policy.gamma=0.9\)",
        ),
        # MAIL settles how the policy steps.
        (lambda: build(grid(["algo=mail", "policy=trpo,ppo"]), {}), r"^setting 0 .*policy: got 'trpo' for mail"),
        # A setting that one of the methods does not have cannot vary, and none that nothing reads.
        (
            lambda: build(grid(["algo=gailfe,gail", "dual_lr=0.1,0.2"]), {}),
            r"^setting 2 .*gailfe has constraint.dual_lr",
        ),
        (
            lambda: build(grid(["likelihood.weight=0.1,0.2"]), {}),
            "^setting 0 .*nothing reads it: likelihood.add is false",
        ),
    ],
)
def test_what_cannot_be_swept_is_one_clear_error(make, message):
    with pytest.raises(GailfeError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_each_method_starts_from_its_preset_and_the_flags_come_after():
    words = ["--out", "x", "--steps", "7e5", "--gamma", "0.9"]
    options, base, _ = read_words(Sweep, "sweep", [*words, "--grid", "algo=gail,gasil,ppo", "policy.entropy=0,0.1"])
    points = build(grid(options.grid), base)
    assert [p.get("algo") for p in points] == ["gail", "gail", "gasil", "gasil", "ppo", "ppo"]
    assert [p.get("policy") for p in points[::2]] == ["trpo", "ppo", "ppo"]
    assert [p.get("rollout.num_envs") for p in points[::2]] == [8, 64, 64]
    assert [p.get("policy.entropy") for p in points] == [0.0, 0.1] * 3
    assert all(p.get("policy.gamma") == 0.9 and p.setup.run.steps == 7e5 for p in points)
    # What differs in traced settings alone shares a program.
    assert len({p.program_key for p in points}) == 3 and points[0].program_key == points[1].program_key
    options, base, _ = read_words(Sweep, "sweep", [*words, "--policy", "trpo", "--grid", "algo=gail,gasil"])
    assert [p.get("policy") for p in build(grid(options.grid), base)] == ["trpo", "trpo"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "gamma\n" + "1" * 200_000, r"a\.csv, line [12]: field larger than field limit .*; expected CSV"),
        ("a.csv", "gamma\n" + "0.5\n" * 10_001, r"a\.csv: got 10001 settings; expected at most 10000 in a sweep"),
        ("a.jsonl", '{"gamma": 1' + "0" * 400 + "}", r"a\.jsonl, line 1: holds a whole number of 401 digits"),
        ("a.jsonl", '{"gamma": 1e400}', r"a\.jsonl, line 1: holds 1e400, which is not finite"),
        ("a.jsonl", "[" * 100_000, r"a\.jsonl, line 1: nests more than 64 objects and lists"),
        ("a.jsonl", '{"gamma": 0.5}\n' * 10_001, r"a\.jsonl: got 10001 settings; expected at most 10000"),
        ("a.jsonl", " " * (16 * 2**20 + 1), r"a\.jsonl: has over 16777216 bytes; expected a file of settings"),
    ],
)
def test_a_file_of_settings_is_bounded(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(GailfeError, match=message) as error:
        from_file(tmp_path / name)
    assert "\n" not in str(error.value)
