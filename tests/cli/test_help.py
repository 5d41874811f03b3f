"""What a command with many settings says of them."""

from __future__ import annotations

import re

import pytest

from gailfe_jax.cli.main import main
from gailfe_jax.config.run import DemoSettings, EnvSettings, RunSettings
from gailfe_jax.config.tree import leaves
from gailfe_jax.config.values import read_value
from gailfe_jax.learners.methods import METHODS, policy_choices
from gailfe_jax.learners.setup import all_settings, build_setup

STEPS = [(algo, policy) for algo in METHODS for policy in policy_choices(METHODS[algo]) or (None,)]
MOST_LINES = 70


def shown(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def flags(text):
    """`flag's name -> default` of lines that begin with one, behind a part's name perhaps, and of the list below."""
    table, _, below = text.partition("Of every method")[0].partition("Of smaller parts")
    lines = (re.match(r"(?:\w+)? *--([\w.-]+) +(\S+) ", line) for line in table.splitlines())
    listed = re.finditer(r"--([\w.-]+)\s+([^\s,]+)", below.partition("):")[2])
    return {match[1].replace("-", "_"): match[2] for match in (*lines, *listed) if match}


@pytest.mark.parametrize("env", ["hopper", "halfcheetah"])
@pytest.mark.parametrize(("algo", "policy"), STEPS)
def test_a_methods_help_fits_and_shows_what_it_reads_with_its_tasks_defaults(algo, policy, env, capsys):
    words = ["train", algo, "--env", env] + ([] if policy is None else ["--policy", policy])
    text = shown([*words, "--help"], capsys)
    assert len(text.splitlines()) <= MOST_LINES
    assert all(len(line) <= 120 for line in text.splitlines())
    setup = build_setup({"algo": algo, "env": env} | ({} if policy is None else {"policy": policy}))
    found, read = flags(text), {n: leaf for n, (part, leaf) in setup.leaves.items() if leaf.unread is None}
    of_method = {name: leaf for name, leaf in read.items() if setup.leaves[name][0] == "method"}
    # Neither what another method or another step reads, nor what this one has no use for as it stands.
    assert found.keys() - {"policy"} == of_method.keys()
    assert ("policy" in found) == bool(policy_choices(METHODS[algo]))
    for name, leaf in of_method.items():
        value = read_value(name, leaf.setting, found[name])
        assert value == (pytest.approx(leaf.value, rel=1e-5) if isinstance(leaf.value, float) else leaf.value), name
    common = text[text.index("Of every method") :]
    for name in read.keys() - of_method.keys():
        assert f"--{name.replace('_', '-')} " in common.replace("\n", " "), name
    assert f"--env {env}" in common.replace("\n", " ")


def test_gail_shows_less_than_half_of_all_settings_and_no_others(capsys):
    text = shown(["train", "gail", "--help"], capsys)
    found = flags(text)
    assert found["policy"] == "trpo" and found["policy.max_kl"] == "0.02" and found["policy.average"] == "0.95"
    assert not {"policy.lr", "policy.epochs", "constraint.dual_lr", "failures.capacity"} & found.keys()
    assert "likelihood.weight" not in found and "likelihood.add" in found
    # Of a whole table of settings that is what one method has.
    assert len(found) < len(all_settings()) / 2


@pytest.mark.parametrize("command", ["train", "sweep", "expert"])
def test_a_commands_own_help_fits_and_shows_its_options(command, capsys):
    text = shown([command, "--help"], capsys)
    assert len(text.splitlines()) <= MOST_LINES
    assert f"usage: gailfe {command}" in text and "--import MODULE" in text
    found = {word for word in text.split() if word.startswith("--")}
    own = {"train": "--out --resume --config --print-config", "sweep": "--grid --random --settings --optuna --cluster"}
    for word in (own | {"expert": "--out --run-dir --episodes --policy.lr --rollout.num-envs"})[command].split():
        assert word in found, word
    run = {f"--{name.replace('_', '-')}" for name in leaves(RunSettings())}
    assert run <= found
    if command != "expert":
        place = {f"--{name.replace('_', '-')}" for name in leaves(EnvSettings()) if "." not in name}
        assert place | {f"--{name.replace('_', '-')}" for name in DemoSettings().values()} - {"--expert"} <= found
        assert all(re.search(rf"^{name} ", text, re.MULTILINE) for name in METHODS)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "train gail --help reward.lr",
            [
                "--reward.lr 0.0003",
                "Expected: a finite number from 0; traced: a sweep trains many values in one program.",
            ],
        ),
        ("train gail --help=reward.lr", ["--reward.lr 0.0003"]),
        ("train gail --help --policy", ["--policy.max-kl 0.02"]),
        ("train gail --help --reward.lr", ["--reward.lr 0.0003"]),
        ("train gail --help max_kl", ["--policy.max-kl 0.02", "in nats"]),
        ("train gail --help activation", ["--policy.activation tanh", "--reward.activation tanh", "one of tanh, relu"]),
        ("train gail --help likelihood", ["--likelihood.add false", "Nothing reads it now: likelihood.add is false."]),
        ("train gail --policy mail --help policy.model", ["--policy.model.kind mlp", "--policy.model.hidden "]),
        ("train --help steps", ["--steps 1e+06", "rounded up to whole evaluation intervals."]),
        ("train gail --env halfcheetah --help gamma", ["--policy.gamma 0.99 Discount"]),
        ("expert --help epochs", ["--policy.epochs 10"]),
        ("train --help --resume", ["--resume Continue the run in --out from its newest checkpoint"]),
    ],
)
def test_a_setting_or_a_part_is_explained_in_full(words, expected, capsys):
    text = shown(words.split(), capsys)
    assert all(part in " ".join(text.split()) for part in expected), text
    assert "…" not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train gail --help max_k", "help: max_k: no such setting; did you mean policy.max_kl?"),
        ("train gail --help dual_lr", "help: dual_lr: no such setting; gail with policy trpo has none; gailfe has"),
        ("train gail --help disc_lr", "help: disc_lr: no such setting; it is called reward.lr now"),
        ("train --help gail", "help: gail is a method; expected gailfe train gail --help"),
        ("train nonsense --help", "algo: unknown algorithm 'nonsense'; expected one of ppo, trpo, sac, td3, gail"),
        ("train gail --policy adam --help", "policy: got 'adam' for gail; expected one of trpo, ppo, mail"),
        ("train gail --env nonsense --help", "env: unknown task 'nonsense'"),
    ],
)
def test_help_on_what_is_not_there_is_one_clear_error(words, message, capsys):
    assert main(words.split()) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"gailfe: error: {message}") and captured.err.count("\n") == 1
