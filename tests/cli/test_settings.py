"""Settings as flags and as files: one syntax, short names, and wrong words told the right ones."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import sys
import tomllib

import pytest

from gailfe_jax.cli.main import main
from gailfe_jax.cli.settings import read_config, read_words
from gailfe_jax.cli.sweep import Sweep
from gailfe_jax.cli.train import Train
from gailfe_jax.config.values import show_value
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.combinations import COMBINATIONS
from gailfe_jax.learners.methods import METHODS, policy_choices, with_policy
from gailfe_jax.learners.setup import build_setup
from gailfe_jax.sweep.space import build, from_file, grid

STEPS = [(algo, policy) for algo in METHODS for policy in policy_choices(METHODS[algo]) or (None,)]


def read(words, kind=Train, **options):
    """`(options, values, setup)` of the words of `gailfe train`, or of another command."""
    return read_words(kind, kind.__name__.lower(), words.split() if isinstance(words, str) else words, **options)


# Flags.


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("gail --reward.lr 1e-3", {"reward.lr": 1e-3}),
        ("--algo gail --reward.lr=1e-3", {"reward.lr": 1e-3}),
        ("gail --policy.max_kl=0.25", {"policy.max_kl": 0.25}),
        ("gail --value-lr 0.5", {"policy.value_lr": 0.5}),
        ("gail --policy.hidden 64x64 --reward.hidden none", {"policy.hidden": (64, 64), "reward.hidden": ()}),
        ("gail --anneal", {"schedule.anneal": True}),
        ("gail --schedule.anneal true", {"schedule.anneal": True}),
        ("gail --schedule.anneal=false", {"schedule.anneal": False}),
        ("gail --no-anneal --seeds 3", {"schedule.anneal": False, "seeds": 3}),
        ("gail --reward.no-gradient-penalty", {"reward.gradient_penalty": False}),
        ("gail --gradient-penalty False", {"reward.gradient_penalty": False}),
        ("gail --no-quiet --no-tensorboard", {"quiet": False, "tensorboard": False}),
        ("gail --reward.form -log_d", {"reward.form": "-log_d"}),
        ("gail --reward.form 1-d", {"reward.form": "1-d"}),
        ("gail --reward.form log_1-d", {"reward.form": "log_1-d"}),
        ("gail --reward.form logit", {"reward.form": "logit"}),
        ("gail --policy.init-log-std -1.5", {"policy.init_log_std": -1.5}),
        ("gail --trajectories none --demo-seed 4", {"trajectories": None, "demo_seed": 4}),
        ("gail --engine mjx --mjx.euler-damping true", {"engine": "mjx", "mjx.euler_damping": True}),
        ("gail --policy ppo --epochs 3", {"policy": "ppo", "policy.epochs": 3}),
        ("--policy=ppo --epochs 3 --algo=gail", {"policy": "ppo", "policy.epochs": 3}),
        ("gail --env Hopper-v5 --steps 7e5", {"env": "Hopper-v5", "steps": 7e5}),
    ],
)
def test_a_flag_sets_what_it_is_named_after(words, values):
    _, given, setup = read(f"{words} --out x")
    assert setup == build_setup({"algo": "gail"} | values)
    assert given["algo"] == "gail"
    assert {name: setup.get(name) for name in values if name != "env"} == {
        n: v for n, v in values.items() if n != "env"
    }


def test_a_commands_own_options_stand_beside_them():
    options, given, _ = read("gail --out runs/x --resume --demos d.npz --distributed host:1 2 0")
    assert options == Train(out="runs/x", resume=True, distributed=("host:1", "2", "0"))
    assert given == {"algo": "gail", "demos": "d.npz"}
    options, given, _ = read("gail --grid reward.lr=1,2 policy.hidden=8 --samples 3 --anneal", Sweep)
    assert options == Sweep(grid=("reward.lr=1,2", "policy.hidden=8"), samples=3)
    assert given == {"algo": "gail", "schedule.anneal": "true"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("gail --max-k 0.1", "max_k: no such setting; did you mean policy.max_kl?"),
        ("gail --reward.hiden 8", "reward.hiden: no such setting; did you mean reward.hidden?"),
        ("gail --colour red", "colour: no such setting; "),
        ("gail --xyz", "xyz: no such setting; --help lists them"),
        # Another method has it, or this one with another step.
        (
            "gail --dual-lr 0.1",
            "dual_lr: no such setting; gail with policy trpo has none; gailfe has constraint.dual_lr",
        ),
        ("gail --constraint.dual-lr 0.1", "gail with policy trpo has none; gailfe has constraint.dual_lr"),
        ("gail --policy.epochs 3", "gail with policy trpo has none; ppo, gail --policy ppo"),
        (
            "gail --policy.model.hidden 8",
            "gail with policy trpo has none; gail --policy mail, gail --policy svg, gailfe --policy mail",
        ),
        ("ppo --reward.lr 0.1", "reward.lr: no such setting; ppo has none; gail"),
        ("bc --gamma 0.9", "gamma: no such setting; bc has none; ppo, trpo, sac, td3 have policy.gamma"),
        # It has another name now.
        ("gail --disc-lr 0.1", "disc_lr: no such setting; it is called reward.lr now"),
        ("gail --disc_hidden 8", "disc_hidden: no such setting; it is called reward.hidden now"),
        ("gail --bc-steps 8", "bc_steps: no such setting; it is called start.steps now"),
        ("ppo --policy-lr 0.1", "policy_lr: no such setting; it is called policy.lr now"),
        ("gail --generator ppo", "generator: no such setting; it is called policy now"),
        ("gail --policy-lr 0.1", "policy_lr: no such setting; gail with policy trpo has none; ppo"),
        # One word of several.
        ("gail --hidden 8", "hidden: is one of policy.hidden, reward.hidden; expected one of these names"),
        ("gail --lr 8", "lr: is one of reward.lr, start.lr; expected one of these names"),
        ("gail --policy ppo --lr 8", "lr: is one of policy.lr, reward.lr"),
        # Nothing reads it as the others stand.
        ("gail --likelihood.weight 0.1", "likelihood.weight: nothing reads it: likelihood.add is false"),
        ("gail --mjx.solver cg", "mjx.solver: nothing reads it: the engine is mujoco_c"),
        ("ppo --demos d.npz", "demos: nothing reads it: ppo learns without demonstrations"),
        ("gail --expert e", "expert: nothing reads it: gail asks no expert"),
        # A setting twice, in whatever spelling.
        ("gail --max-kl 1 --policy.max-kl 2", "policy.max_kl is given twice; expected each flag once"),
        ("gail --seeds 1 --seeds=1", "seeds is given twice; expected each flag once"),
        ("gail --quiet --no-quiet", "quiet is given twice; expected each flag once"),
        ("gail --out y", "out is given twice; expected each flag once"),
        ("gail --algo gailfe", "algo is given twice; expected each flag once"),
        ("gail --policy ppo --policy=mail", "policy is given twice; expected each flag once"),
        ("gail --env hopper --env walker2d", "env is given twice; expected each flag once"),
        # Values.
        ("gail --reward.lr", "reward.lr: got no value; expected a finite number"),
        ("gail --policy", "policy: got no value; expected one of trpo, ppo, mail"),
        ("gail --policy=", "policy: got no value; expected one of trpo, ppo, mail"),
        ("--algo", "algo: got no value; expected one of ppo, trpo, sac, td3, gail"),
        ("gail --env", "env: got no value; expected a task"),
        ("gail --seeds 1 2", "seeds: got '1 2'; expected a whole number from 1"),
        ("gail --policy.hidden 64 64", "policy.hidden: got '64 64'; expected layer sizes such as 64x64, or none"),
        ("gail --gradient-penalty maybe", "reward.gradient_penalty: got 'maybe'; expected true or false"),
        ("gail --reward.lr fast", "reward.lr: got 'fast'; expected a finite number"),
        ("gail --num-envs 0", "rollout.num_envs: got '0'; expected a whole number from 1"),
        ("gail --anneal=maybe", "schedule.anneal: got 'maybe'; expected true or false"),
        ("gail --reward.form log", "reward.form: got 'log'; expected one of -log_d, 1-d, log_1-d, logit"),
        ("gail --policy adam", "policy: got 'adam' for gail; expected one of trpo, ppo, mail"),
        ("ppo --policy trpo", "policy: got 'trpo' for ppo; expected none: ppo stands for its own"),
        ("nonsense", "algo: unknown algorithm 'nonsense'; expected one of ppo, trpo, sac, td3, gail"),
        ("gail --env nonsense", "env: unknown task 'nonsense'"),
        ("gail --first-seed 4294967296", "first_seed: got '4294967296'; expected a whole number from 0 to 4294967295"),
        ("gail --seeds 4294967297", "seeds: got '4294967297'; expected a whole number from 1 to 65536"),
    ],
)
def test_a_wrong_flag_is_told_the_right_one(words, message):
    with pytest.raises(GailfeError) as error:
        read(f"{words} --out x")
    assert str(error.value).startswith(message) or f" {message}" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("gail stray --out x", "Unrecognized options: stray"),
        ("gail --out", "Missing value for argument '--out'. Expected 1 values."),
        ("gail --out x y", "Unrecognized options: y"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_words_that_do_not_parse_are_named_in_one_line(words, message, encoding, monkeypatch):
    # tyro draws its box by what the terminal can show.
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    with pytest.raises(GailfeError) as error:
        read(words)
    assert str(error.value) == f"{message} (gailfe train --help says more)"


@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda c: c.name)
def test_the_flags_that_gailfe_algorithms_prints_are_understood(combination):
    _, _, setup = read(f"{combination.flags} --out x")
    assert {name: setup.get(name) for name in combination.settings} == combination.settings
    assert setup.get("policy") == (combination.policy or setup.get("policy"))
    assert (
        setup.method
        == build_setup(
            {"algo": combination.method}
            | ({} if combination.policy is None else {"policy": combination.policy})
            | combination.settings
        ).method
    )


# Files.


@pytest.mark.parametrize("env", ["hopper", pytest.param("halfcheetah", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("algo", "policy"), STEPS)
def test_a_printed_configuration_reads_back_as_it_is(algo, policy, env, tmp_path, capsys):
    words = [algo, "--env", env, "--seeds", "3"] + ([] if policy is None else ["--policy", policy])
    assert main(["train", *words, "--print-config"]) == 0
    text = capsys.readouterr().out
    (tmp_path / "run.toml").write_text(text)
    _, given, setup = read(["--config", str(tmp_path / "run.toml"), "--out", "x"])
    _, _, expected = read([*words, "--out", "x"])
    assert setup == expected
    assert main(["train", "--config", str(tmp_path / "run.toml"), "--print-config"]) == 0
    assert capsys.readouterr().out == text
    # The same structure as config.json of a run has.
    assert tomllib.loads(text) == json.loads(json.dumps(expected.record()))
    assert given == {}


@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda c: c.name)
def test_every_combination_reads_back_from_a_file(combination, tmp_path, capsys):
    assert main(["train", *combination.flags.split(), "--print-config"]) == 0
    (tmp_path / "run.toml").write_text(capsys.readouterr().out)
    _, _, setup = read(["--config", str(tmp_path / "run.toml")])
    assert setup == read(combination.flags)[2]


def test_a_file_may_hold_a_part_and_flags_come_after_it(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(
        'algo = "gailfe"\nenv = "walker2d"\n[reward]\nlr = 1e-3\nhidden = "8x8"\n[method.policy]\nkind = "ppo"\n'
    )
    _, _, setup = read(["--config", str(file), "--reward.lr", "5e-4", "--seeds=2"])
    expected = {"algo": "gailfe", "env": "walker2d", "policy": "ppo", "reward.lr": 5e-4, "reward.hidden": (8, 8)}
    assert setup == build_setup(expected | {"seeds": 2})
    # A flag may choose another method, task or step than the file.
    _, _, setup = read(["gail", "--config", str(file), "--policy", "mail", "--env", "hopper"])
    assert setup == build_setup(expected | {"algo": "gail", "policy": "mail", "env": "hopper", "reward.lr": 1e-3})
    assert read(["--config", str(file), "--grid", "reward.lr=1,2"], Sweep)[2].get("reward.lr") == 1e-3


@pytest.mark.parametrize(
    ("printed", "words", "dropped"),
    [
        ("gail --gradient-penalty", "--no-gradient-penalty", "reward.gradient_penalty_weight"),
        ("gail", "--policy ppo", "policy.max_kl"),
        ("gail", "--env brax:fast", "engine"),
        ("gailfe", "--constraint.multiplier fixed", "constraint.dual_lr"),
        ("gailfe", "--algo gail", "constraint.dual_lr"),
        ("gail --policy ppo", "--algo mail", "policy.epochs"),
        ("gail", "--algo bc", "reward.lr"),
        ("gail", "--algo gasil", "self_demonstrations.use"),
        # What goes takes along what it was read for.
        ("gail --true-reward.add --alpha 0.5", "--policy mail", "true_reward.alpha"),
    ],
)
def test_flags_change_a_printed_configuration(printed, words, dropped, tmp_path, capsys):
    assert main(["train", *printed.split(), "--seeds", "3", "--print-config"]) == 0
    (tmp_path / "run.toml").write_text(capsys.readouterr().out)
    setup = read(["--config", str(tmp_path / "run.toml"), *words.split()])[2]
    assert setup.get("seeds") == 3
    assert dropped not in setup.leaves or setup.leaves[dropped][1].unread is not None
    # Only what the flags themselves leave without a reader is refused.
    with pytest.raises(GailfeError, match=r"^likelihood\.weight: "):
        read(["--config", str(tmp_path / "run.toml"), *words.split(), "--likelihood.weight", "0.5"])


@pytest.mark.parametrize(
    ("grid_words", "read_by"),
    [
        ("policy=trpo,ppo", [0.5, None]),
        ("algo=gail,ppo,mail", [0.5, None, 0.5]),
        ("reward.gradient_penalty=true,false", [0.5, 0.5]),
        ("env=hopper,brax:fast", [0.5, 0.5]),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_points_of_a_sweep_change_a_configuration(grid_words, read_by, whole, tmp_path, capsys):
    assert main(["train", "gail", "--max-kl", "0.5", "--gradient-penalty", "--print-config"]) == 0
    text = capsys.readouterr().out
    (tmp_path / "run.toml").write_text(text if whole else "max_kl = 0.5\n")
    options, base, setup = read(["--config", str(tmp_path / "run.toml"), "--grid", grid_words], Sweep)
    config = read_config(options.config).meant_for(setup.method.name)
    points = build(grid(options.grid), base, config=config)
    assert [point.get("policy.max_kl") for point in points] == read_by


@pytest.mark.parametrize("name", ["max_kl", "policy.max_kl"])
@pytest.mark.parametrize("flag", ["--max-kl", "--policy.max-kl"])
def test_a_flag_wins_over_a_file_whichever_spelling(name, flag, tmp_path):
    (tmp_path / "run.toml").write_text(f"{name} = 0.5\n")
    assert read(["--config", str(tmp_path / "run.toml"), flag, "0.25"])[2].get("policy.max_kl") == 0.25


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"^config: .*run\.toml: no such file; expected settings in TOML"),
        ("algo =", r"^config: .*run\.toml: .*; expected settings in TOML"),
        ("\xff", r"^config: .*run\.toml: cannot be read; expected settings in TOML"),
        ('colour = "red"', r"^config: .*run\.toml: colour: no such setting"),
        ("steps = 5\n[run]\nsteps = 7", r"^steps is given twice; expected each setting once"),
        ("max_kl = 5\n[policy]\nmax_kl = 7", r"^policy\.max_kl is given twice; expected each setting once"),
        ("max-kl = 5\nmax_kl = 7", r"^max_kl is given twice; expected each setting once"),
        ("[method.policy]\nmax_kl = 5\n[policy]\nmax_kl = 7", r"^policy\.max_kl is given twice"),
        ('policy = "ppo"\n[method.policy]\nkind = "trpo"', r"^policy is given twice"),
        ('algo = "bc"\n[reward]\nlr = 1', r"^reward\.lr: no such setting; bc has none"),
        ("[reward]\nlrr = 1", r"^reward\.lrr: no such setting; did you mean reward\.lr\?"),
        ('[method.reward]\nlr = "fast"', r"^reward\.lr: got 'fast'; expected a finite number"),
        ('[policy]\nkind = "adam"', r"^policy: got 'adam' for gail; expected one of trpo, ppo, mail"),
        ("algo = 3", r"^algo: got 3; expected a name"),
        ("[run]\nseeds = 1.5", r"^seeds: got 1\.5; expected a whole number from 1"),
        ("disc_lr = 1.0", r"^disc_lr: no such setting; it is called reward\.lr now"),
        ("[likelihood]\nweight = 1.0", r"^likelihood\.weight: nothing reads it: likelihood\.add is false"),
        ("[reward]\nhidden = [8, 0]", r"^reward\.hidden: got \[8, 0\]; expected layer sizes"),
    ],
)
def test_a_bad_file_is_one_clear_error(text, message, tmp_path):
    if text is not None:
        (tmp_path / "run.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(GailfeError, match=r"^config: .*run\.toml: ") as error:
        read(["--config", str(tmp_path / "run.toml"), "--out", "x"])
    said = str(error.value)
    assert re.search(message, said) or re.search(message, said.partition("run.toml: ")[2])
    assert "\n" not in str(error.value)


# One syntax for values.

SPELLINGS = [
    ("reward.lr", "0.001", 1e-3),
    ("rollout.num_envs", "16", 16),
    ("reward.hidden", "64x64", (64, 64)),
    ("reward.hidden", "none", ()),
    ("schedule.anneal", "true", True),
    ("reward.form", "1-d", "1-d"),
    ("trajectories", "4", 4),
    ("policy", "ppo", "ppo"),
    ("self_demonstrations.use", "both", "both"),
]


@pytest.mark.parametrize(("name", "text", "value"), SPELLINGS)
def test_a_value_is_written_alike_in_a_flag_a_grid_a_table_a_file_and_python(name, text, value, tmp_path):
    expected = build_setup({"algo": "gail", name: value})
    assert show_value(value) == text
    assert read(["gail", f"--{name}", text])[2] == expected
    quoted = json.dumps(text)
    (tmp_path / "a.csv").write_text(f"{name}\n{text}\n")
    (tmp_path / "a.jsonl").write_text(f'{{"{name}": {quoted}}}\n')
    (tmp_path / "b.jsonl").write_text(json.dumps({name: value}) + "\n")
    for rows in (grid([f"{name}={text}"]), *(from_file(tmp_path / file) for file in ("a.csv", "a.jsonl", "b.jsonl"))):
        assert rows == [{name: value}]
        assert build(rows, {"algo": "gail"})[0].setup == expected
    path, _, last = name.rpartition(".")
    for line in (f"{name} = {quoted}", f"[{path}]\n{last} = {quoted}" if path else "", f"{name} = {json.dumps(value)}"):
        (tmp_path / "run.toml").write_text(line)
        assert not line or read(["gail", "--config", str(tmp_path / "run.toml")])[2] == expected
    assert build_setup({"algo": "gail", name: text}) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [("reward.lr", "fast"), ("reward.hidden", "64 64"), ("rollout.num_envs", "0"), ("reward.form", "log")],
)
def test_a_wrong_value_is_told_alike_everywhere(name, text, tmp_path):
    (tmp_path / "a.csv").write_text(f"{name}\n{text}\n")
    (tmp_path / "run.toml").write_text(f"{name} = {json.dumps(text)}")
    messages = set()
    for attempt in (
        lambda: read(["gail", f"--{name}", text]),
        lambda: read(["gail", "--config", str(tmp_path / "run.toml")]),
        lambda: grid([f"{name}={text}"]),
        lambda: from_file(tmp_path / "a.csv"),
        lambda: build_setup({"algo": "gail", name: text}),
    ):
        with pytest.raises(GailfeError) as error:
            attempt()
        # Behind the name of a file.
        messages.add(re.sub(r"^.*(, line 2|run\.toml): ", "", str(error.value)))
    assert len(messages) == 1 and messages.pop().startswith(f"{name}: got '{text}'; expected ")


# Resuming.


def test_a_resumed_run_starts_from_its_own_settings():
    start = build_setup({"algo": "gailfe", "policy": "ppo", "env": "walker2d", "reward.lr": 0.5, "seeds": 3})
    assert read("--out x --resume", start=start)[2] == start
    # It may be called by its own method, task and step; anything else is another run, which its folder refuses.
    assert read("gailfe --out x --resume --env Walker2d-v5 --policy ppo", start=start)[2] == start
    assert read("--out x --resume --steps 2e6", start=start)[2] == dataclasses.replace(
        start, run=start.run.replace(steps=2e6)
    )
    other = read("gail --out x --resume", start=start)[2]
    assert other.method.name == "gail" and other.run == start.run
    assert with_policy(other.method, "ppo").policy.epochs == start.method.policy.epochs
