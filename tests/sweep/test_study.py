from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import shutil
import signal
import sys
import types
from typing import ClassVar

import numpy as np
import pytest

from gailfe_jax.analysis.statistics import iqm
from gailfe_jax.apps.collection import collect_demonstrations
from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.cli.main import main
from gailfe_jax.cli.parsing import parse
from gailfe_jax.cli.sweep import Sweep, defaults
from gailfe_jax.config.flat import Config, Hyper
from gailfe_jax.envs import make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.sweep import space as search
from gailfe_jax.sweep import study as sweep
from gailfe_jax.sweep.space import Base, build, distributions, field_of, from_file, grid, random, read_value, show
from gailfe_jax.training.logger import read_metrics
from gailfe_jax.training.loop import DemoSettings, RunSettings, load_run, settings_from_run

pytestmark = pytest.mark.usefixtures("quick_programs")


@pytest.fixture(scope="module")
def haste_options():
    """What is trained side by side is to be what is trained one by one, to the bit."""
    return {}


TINY = [
    *("--algo", "gailfe", "--num-envs", "4", "--unroll-length", "32", "--value-minibatch", "64", "--disc-hidden", "8"),
    *("--disc-minibatch", "64", "--failure-capacity", "6", "--eval-every", "128", "--eval-episodes", "1"),
    *("--steps", "256", "--seeds", "2", "--first-seed", "3", "--checkpoint-seconds", "0", "--no-tensorboard"),
]
GRID = ["--grid", "disc_lr=1e-4,3e-3", "hidden=8,9"]
VALUES = [(1e-4, (8,)), (1e-4, (9,)), (3e-3, (8,)), (3e-3, (9,))]


def base(algo=None, env=None):
    return Base(Config(algo=algo or "gail", env=env or "hopper"))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def of_setting(folder, number):
    """What a setting was trained to: its measurements but for speed, and its policies."""
    folder = folder if number is None else folder / "settings" / f"{number:04d}"
    records = [{k: v for k, v in r.items() if k != "steps_per_second"} for r in read_metrics(folder)]
    return records, contents(folder / "policies"), contents(folder / "discriminators")


# What is tried: values, grids, draws, files.


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("disc_lr", "1e-4", 1e-4),
        ("disc-lr", 1, 1.0),
        ("num_envs", "16", 16),
        ("num_envs", 16.0, 16),
        ("hidden", "64x32", (64, 32)),
        ("hidden", [64, 32], (64, 32)),
        ("hidden", "none", ()),
        ("anneal", "true", True),
        ("anneal", False, False),
        ("generator", "ppo", "ppo"),
        ("own_episodes", "return_above:0.9", "return_above:0.9"),
        ("trajectories", "none", None),
        ("trajectories", "4", 4),
    ],
)
def test_values_have_the_type_of_their_field(name, given, value):
    read = read_value(field_of(name), given)
    assert read == value and type(read) is type(value)
    assert read_value(field_of(name), show(value)) == value


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("disc_lr", "fast", "a finite number"),
        ("disc_lr", "nan", "a finite number"),
        ("disc_lr", True, "a finite number"),
        ("num_envs", "1.5", "a whole number"),
        ("num_envs", [1], "a whole number"),
        ("hidden", "64x", "layer sizes such as 64x64, or none"),
        ("hidden", 64, "layer sizes"),
        ("anneal", "maybe", "true or false"),
        ("anneal", 1, "true or false"),
        ("generator", "adam", "one of trpo, ppo, backprop"),
        ("algo", 3, "text"),
        ("trajectories", "few", "a whole number, or none"),
        ("disc_lr", " ", "got an empty value"),
    ],
)
def test_values_of_another_type_are_refused(name, given, expected):
    with pytest.raises(GailfeError, match=f"^{name}: got .*") as error:
        read_value(field_of(name), given)
    assert expected in str(error.value) and "\n" not in str(error.value)


def test_every_field_of_the_three_parts_can_be_swept():
    owners = {"config": Config, "hyper": Hyper, "demos": DemoSettings}
    names = [(part, f.name) for part, owner in owners.items() for f in dataclasses.fields(owner)]
    assert [(field.part, field.name) for field in search.FIELDS.values()] == names
    for field in search.FIELDS.values():
        default = getattr(owners[field.part](), field.name)
        if default is not None:
            assert read_value(field, show(default)) == default


def test_a_grid_is_every_combination():
    assert grid(["disc_lr=1e-4,3e-4", "hidden=64x64,8"]) == [
        {"disc_lr": 1e-4, "hidden": (64, 64)}, {"disc_lr": 1e-4, "hidden": (8,)},
        {"disc_lr": 3e-4, "hidden": (64, 64)}, {"disc_lr": 3e-4, "hidden": (8,)},
    ]  # fmt: skip


SPACE = ["disc_lr=log:1e-5:1e-3", "gamma=uniform:0.98:0.999", "disc_steps=uniform:1:3", "algo=choice:gail:mail"]


def test_draws_stay_within_their_bounds_repeat_and_continue():
    rows = random(SPACE, 200, 7)
    assert random(SPACE, 50, 7) == rows[:50] and random(SPACE, 50, 8) != rows[:50]
    assert all(1e-5 <= row["disc_lr"] <= 1e-3 and 0.98 <= row["gamma"] <= 0.999 for row in rows)
    assert {row["disc_steps"] for row in rows} == {1, 2, 3} and {row["algo"] for row in rows} == {"gail", "mail"}
    # Half of a logarithmic range lies below its geometric mean.
    assert 0.4 < np.mean([row["disc_lr"] < 1e-4 for row in rows]) < 0.6
    small = random(["algo=choice:gail:mail", "anneal=choice:true:false"], 4)
    assert len({tuple(row.values()) for row in small}) == 4
    (part,) = distributions(["env=choice:brax:ant,hopper"])
    assert part.choices == ("brax:ant", "hopper")


def test_a_file_has_a_setting_per_row(tmp_path):
    (tmp_path / "a.csv").write_text("disc_lr,hidden,anneal\n1e-4,64x64,true\n\n3e-4,none,false\n")
    rows = [{"disc_lr": 1e-4, "hidden": (64, 64), "anneal": True}, {"disc_lr": 3e-4, "hidden": (), "anneal": False}]
    assert from_file(tmp_path / "a.csv") == rows
    (tmp_path / "a.jsonl").write_text('{"disc-lr": 1e-4, "hidden": [64, 64]}\n\n{"anneal": true}\n{}\n')
    assert from_file(tmp_path / "a.jsonl") == [{"disc_lr": 1e-4, "hidden": (64, 64)}, {"anneal": True}, {}]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", r"^settings: got '.*a.txt'; expected a file name that ends in \.csv or \.jsonl"),
        ("b.csv", None, r"b.csv: no such file"),
        ("a.csv", "", r"a.csv: holds no settings"),
        ("a.csv", "disc_lr\n", r"a.csv: holds no settings"),
        ("a.csv", "disc_lr,disc_lr\n1,2\n", r"a.csv, line 1: a field is named twice"),
        ("a.csv", "disc_lr,gamma\n1,\n", r"a.csv, line 2: gamma: got an empty value"),
        ("a.csv", "disc_lr,gamma\n1\n", r"a.csv, line 2: got 1 values; expected 2"),
        ("a.csv", "disc_lrr\n1\n", r"a.csv, line 2: disc_lrr: no such field to sweep; did you mean disc_lr\?"),
        ("a.jsonl", "[1]\n", r"a.jsonl, line 1: got '\[1\]'; expected a JSON object"),
        ("a.jsonl", '{"gamma": 1}\n{', r"a.jsonl, line 2: got '{'; expected a JSON object"),
        ("a.jsonl", '{"gamma": NaN}\n', r"a.jsonl, line 1: gamma: got nan"),
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
    with pytest.raises(GailfeError, match=r"a\.csv: not a text file that can be read; expected one setting per row"):
        from_file(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: grid(["disc_lr"]), "^grid: got 'disc_lr'; expected name=value,value"),
        (lambda: grid(["disc_lr="]), "^disc_lr: got an empty value"),
        (lambda: grid(["disc_lr=1,"]), "^disc_lr: got an empty value"),
        (lambda: grid(["disc_lr=1e-4,0.0001"]), "^disc_lr: got 0.0001 twice; expected different values"),
        (lambda: grid(["gamma=1", "gamma=2"]), "^grid: gamma is given twice"),
        (lambda: grid(["learning=1"]), "^learning: no such field to sweep"),
        (lambda: grid(["seeds=1,2"]), "^seeds: no such field to sweep"),
        (lambda: random(["gamma=0.9"], 1), "^gamma: got '0.9'; expected name=uniform:low:high"),
        (lambda: random(["gamma=uniform:0.9"], 1), "expected name=uniform:low:high"),
        (lambda: random(["gamma=uniform:1:0"], 1), "^gamma: got 'uniform:1:0'; expected low < high"),
        (lambda: random(["disc_lr=log:0:1"], 1), "expected 0 < low < high"),
        (lambda: random(["algo=uniform:0:1"], 1), "^algo: got 'uniform:0:1'; expected name=choice:a:b"),
        (lambda: random(["algo=choice:gail:gail"], 1), "^algo: got 'gail:gail'; expected different choices"),
        (lambda: random(["algo=choice:gail:mail"], 3), "^samples: got 3; only 2 different settings"),
        (lambda: random(SPACE, 0), "^samples: got 0"),
        (lambda: random(SPACE, 1, -1), "^sweep_seed: got -1"),
        (lambda: build([], base), "^settings: got none"),
        (lambda: build(grid(["num_envs=8,0"]), base), r"^setting 1 \(num_envs=0\): num_envs: got 0; expected at least"),
        (lambda: build(grid(["algo=gail,nonsense"]), base), r"^setting 1 \(algo=nonsense\): algo: unknown algorithm"),
        (
            lambda: build([{"gamma": 0.9}, {"gamma": 0.9, "disc_lr": Hyper().disc_lr}], base),
            r"^setting 1 \(gamma=0.9 disc_lr=0.0003\): trains the same as setting 0 \(gamma=0.9\)",
        ),
        # MAIL settles how the policy steps.
        (lambda: build(grid(["algo=mail", "generator=trpo,ppo"]), base), "trains the same as setting 0"),
    ],
)
def test_what_cannot_be_swept_is_one_clear_error(make, message):
    with pytest.raises(GailfeError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_each_method_starts_from_its_preset_and_the_flags_come_after():
    words = ["--out", "x", "--steps", "7e5", "--gamma", "0.9", "--grid", "algo=gail,gasil,ppo", "entropy=0,0.1"]
    parsed = parse(Sweep, "sweep", words, defaults(words))
    settings = build(grid(parsed.grid), parsed._base)
    assert [s.config.algo for s in settings] == ["gail", "gail", "gasil", "gasil", "ppo", "ppo"]
    assert [s.config.generator for s in settings[::2]] == ["trpo", "ppo", "ppo"]
    assert [s.config.num_envs for s in settings[::2]] == [8, 64, 64]
    assert [s.hyper.entropy for s in settings] == [0.0, 0.1] * 3
    assert all(s.hyper.gamma == 0.9 and s.run.steps == 7e5 for s in settings)
    # What differs in traced fields alone shares a program.
    assert len({s.program_key for s in settings}) == 3 and settings[0].program_key == settings[1].program_key
    explicit = [*words[:-3], "--generator", "trpo", "--grid", "algo=gail,gasil"]
    parsed = parse(Sweep, "sweep", explicit, defaults(explicit))
    assert [s.config.generator for s in build(grid(parsed.grid), parsed._base)] == ["trpo", "trpo"]


# What is trained.


@pytest.fixture(scope="module")
def demos_file(tmp_path_factory):
    rng = np.random.default_rng(0)
    policy = Policy(
        weights=[(rng.normal(size=(11, 8)), np.zeros(8)), (rng.normal(size=(8, 3)), np.zeros(3))],
        activation="tanh", obs_mean=np.zeros(11), obs_std=np.ones(11), log_std=np.zeros(3), action_low=-1,
        action_high=1,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("demos") / "demos.npz"
    collect_demonstrations(make_env("hopper"), policy, trajectories=4, failures=8, seed=0).save(path)
    return path


@pytest.fixture(scope="module")
def go(demos_file):
    def start(out, *words, flags=TINY):
        return main(["sweep", "--out", str(out), "--demos", str(demos_file), *flags, *map(str, words)])

    return start


@pytest.fixture(scope="module")
def whole(quick_programs, go, tmp_path_factory):
    """The folder of a sweep of four settings in two programs."""
    folder = tmp_path_factory.mktemp("sweeps") / "whole"
    assert go(folder, *GRID, "--quiet", "--baseline", 1) == 0
    return folder


@pytest.fixture
def trained(monkeypatch):
    """`[(hidden, settings)]` of the programs that were trained, in order."""
    seen = []
    real = sweep.train

    def counting(config, hyper, settings, **options):
        seen.append((config.hidden, len(options["seeds"]) // settings.seeds))
        return real(config, hyper, settings, **options)

    monkeypatch.setattr(sweep, "train", counting)
    return seen


@pytest.mark.parametrize("number", [0, 2])
def test_side_by_side_equals_one_by_one_bit_for_bit(whole, demos_file, number, tmp_path):
    lr, hidden = VALUES[number]
    words = ["--demos", str(demos_file), *TINY, "--disc-lr", str(lr), "--hidden", str(hidden[0]), "--quiet"]
    assert main(["train", "--out", str(tmp_path / "run"), *words]) == 0
    assert of_setting(whole, number) == of_setting(tmp_path / "run", None)
    ours, theirs = load_run(whole / "settings" / f"{number:04d}"), load_run(tmp_path / "run")
    assert settings_from_run(ours)[:3] == settings_from_run(theirs)[:3]


def test_the_tidy_table_has_a_row_per_setting_seed_and_evaluation(whole):
    with (whole / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = [(n, seed, step) for n in range(4) for step in (128, 256) for seed in (3, 4)]
    assert [(int(row["setting"]), int(row["seed"]), int(row["step"])) for row in rows] == expected
    assert list(rows[0])[:7] == ["setting", "disc_lr", "hidden", "seed", "step", "return_mean", "expert_normalised"]
    assert {(int(row["setting"]), float(row["disc_lr"]), row["hidden"]) for row in rows} == {
        (number, lr, show(hidden)) for number, (lr, hidden) in enumerate(VALUES)
    }
    assert all(math.isfinite(float(row[name])) for row in rows for name in ("return_mean", "multiplier"))
    lines = [json.loads(line) for line in (whole / "sweep.jsonl").read_text().splitlines()]
    assert [line["return_mean"] for line in lines] == [float(row["return_mean"]) for row in rows]
    for number in range(4):
        records = read_metrics(whole / "settings" / f"{number:04d}")
        mine = [line["return_mean"] for line in lines if line["setting"] == number]
        assert mine == [record["return_mean"] for record in records]


def test_the_summary_compares_settings(whole):
    with (whole / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    finals = {n: [r["return_mean"] for r in read_metrics(whole / "settings" / f"{n:04d}")] for n in range(4)}
    iqms = [iqm(finals[int(row["setting"])][-2:]) for row in rows]
    assert [float(row["final_iqm"]) for row in rows] == iqms == sorted(iqms, reverse=True)
    assert [float(row["mean_iqm"]) for row in rows] == pytest.approx([np.mean(finals[int(r["setting"])]) for r in rows])
    for row in rows:
        assert float(row["final_low"]) <= float(row["final_iqm"]) <= float(row["final_high"])
        # Against the baseline that was asked for, not the best.
        assert (row["reference"], row["improvement"] == "") == (("", True) if row["setting"] == "1" else ("1", False))
    text = (whole / "summary.md").read_text()
    assert "disc_lr=0.003 hidden=8" in text and "4 of 4 settings are done" in text
    for name in ("final.png", "curves.png"):
        assert (whole / name).read_bytes().startswith(b"\x89PNG")
    assert not (whole / "programs").exists()


def test_a_sweep_cut_off_resumes_without_repeating_a_setting(go, whole, trained, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "cut"
    counting = sweep.train

    def cut(config, hyper, settings, **options):
        if config.hidden == (9,):
            # After its first evaluation, as a person would.
            options["on_evaluation"] = lambda step, row: os.kill(os.getpid(), signal.SIGINT)
        return counting(config, hyper, settings, **options)

    with monkeypatch.context() as patch:
        patch.setattr(sweep, "train", cut)
        assert go(folder, *GRID, "--quiet") == 130
    assert capsys.readouterr().err.endswith(f"interrupted; continue with: gailfe sweep --out {folder} --resume\n")
    assert trained == [((8,), 2), ((9,), 2)]
    assert sorted(path.name for path in (folder / "settings").iterdir()) == ["0000", "0002"]
    assert "2 of 4 settings are done" in (folder / "summary.md").read_text()
    before = contents(folder / "settings")
    trained.clear()
    assert main(["sweep", "--out", str(folder), "--resume", "--no-quiet"]) == 0
    assert trained == [((9,), 2)]
    # The program went on from its own checkpoint.
    assert "resuming at step 128" in capsys.readouterr().out
    assert before.items() <= contents(folder / "settings").items()
    for number in range(4):
        assert of_setting(folder, number) == of_setting(whole, number)
    assert (folder / "sweep.csv").read_bytes() == (whole / "sweep.csv").read_bytes()
    trained.clear()
    assert main(["sweep", "--out", str(folder), "--resume", "--quiet"]) == 0
    assert trained == [] and len(json.loads((folder / "sweep.json").read_text())["resumed"]) == 2


def test_a_kill_while_settings_are_written_loses_nothing(go, whole, trained, tmp_path, monkeypatch):
    folder = tmp_path / "cut"
    real = sweep.write_json_atomic

    def kill(path, obj):
        if path.parent.name == "0002" and path.name == "summary.json":
            raise KeyboardInterrupt
        real(path, obj)

    with monkeypatch.context() as patch:
        patch.setattr(sweep, "write_json_atomic", kill)
        assert go(folder, *GRID, "--quiet") == 130
    before = (folder / "settings" / "0000" / "summary.json").stat()
    assert main(["sweep", "--out", str(folder), "--resume", "--quiet"]) == 0
    assert trained == [((8,), 2), ((8,), 2), ((9,), 2)]
    assert (folder / "settings" / "0000" / "summary.json").stat().st_mtime_ns == before.st_mtime_ns
    assert [of_setting(folder, number) for number in range(4)] == [of_setting(whole, number) for number in range(4)]


def test_what_does_not_fit_is_trained_in_parts_and_comes_out_the_same(
    go, whole, trained, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(sweep, "setting_bytes", lambda setting, rough: 2.0**20)
    words = ["--grid", "disc_lr=1e-4,3e-3", "--hidden", "8", "--memory-gib", 1.5 / 2**10]
    assert go(tmp_path / "parts", *words) == 0
    assert trained == [((8,), 1), ((8,), 1)]
    assert (
        "2 settings x 2 seeds need about 0.00195 GiB and 0.00146 are free: trained in 2 parts"
        in capsys.readouterr().out
    )
    assert of_setting(tmp_path / "parts", 0) == of_setting(whole, 0)
    assert of_setting(tmp_path / "parts", 1) == of_setting(whole, 2)
    assert go(tmp_path / "none", *words[:-1], 0.5 / 2**10) == 2
    assert (
        "memory_gib: setting 0 with 2 seeds needs about 0.000977 GiB and 0.000488 are free" in capsys.readouterr().err
    )


def test_parts_go_on_as_they_were_begun(tmp_path, monkeypatch):
    settings = build(grid(["algo=ppo", "gamma=0.9,0.91,0.92,0.93,0.94,0.95,0.96"]), base)
    study = sweep._Study(tmp_path / "s", False, 3.5 / 2**30, ())
    monkeypatch.setattr(sweep, "setting_bytes", lambda setting, rough: 1.0)
    study.add([dataclasses.replace(s, run=RunSettings(quiet=True)) for s in settings])
    chunks = study._chunks(list(range(7)))
    assert chunks == [[0, 1, 2], [3, 4, 5], [6]]
    study._write_plan(chunks)
    for name in ("0000", "0003"):
        (tmp_path / "s" / "programs" / name).mkdir()
        (tmp_path / "s" / "programs" / name / "config.json").write_text("{}")
    (tmp_path / "s" / "settings" / "0000").mkdir(parents=True)
    (tmp_path / "s" / "settings" / "0000" / "summary.json").write_text("{}")
    # The first was cut off while its settings were written; more memory changes nothing of what is under way.
    study._memory = 100
    chunks = study._chunks(list(range(7)))
    assert chunks == [[0, 1, 2], [3, 4, 5], [6]]
    # With less, what is under way no longer fits and starts anew.
    study._memory = 2.5
    chunks = study._chunks(list(range(7)))
    assert chunks == [[1, 2], [3, 4], [5, 6]]
    study._write_plan(chunks)
    assert sorted(path.name for path in (tmp_path / "s" / "programs").iterdir()) == ["plan.json"]


def test_memory_is_estimated(tmp_path):
    config = Config(algo="ppo", env="brax:fast", num_envs=2, unroll_length=8, hidden=(4,), ppo_minibatches=2)
    (setting,) = build([{}], lambda algo, env: Base(config, run=RunSettings(seeds=3)))
    measured, bound = sweep.setting_bytes(setting, rough=False), sweep.setting_bytes(setting, rough=True)
    assert 3 * 100 * 4 < measured < bound
    assert 0 < sweep.free_bytes() < math.inf
    assert sweep._room(setting, 5, 10 * bound)[0] == 5
    assert sweep._room(setting, 5, 2.5 * measured)[0] == 2


def test_traced_settings_are_stacked_setting_by_setting():
    hyper = sweep.stack_hyper([Hyper(gamma=0.9), Hyper(gamma=0.8)], 3)
    np.testing.assert_array_equal(hyper.gamma, [0.9] * 3 + [0.8] * 3)
    assert hyper.disc_lr == Hyper().disc_lr


def test_a_seed_that_diverged_is_counted_and_takes_its_setting_out(whole, tmp_path, capsys):
    folder = shutil.copytree(whole, tmp_path / "copy")
    (folder / "settings" / "0003" / "policies" / "seed_4.safetensors").unlink()
    assert main(["sweep", "--out", str(folder), "--resume", "--no-quiet"]) == 0
    with (folder / "summary.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert (last["setting"], last["diverged"], last["final_iqm"], last["improvement"]) == ("3", "1", "", "")
    assert "(1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (GRID, "already holds a sweep; add --resume to continue it, or choose another --out"),
        (["--resume", "--gamma", "0.9"], "field settings.0000.hyper.gamma is 0.995 in the checkpoint and 0.9 now"),
        (["--resume", "--grid", "disc_lr=1e-4,2e-3", "hidden=8,9"], "field settings.0002.hyper.disc_lr is 0.003"),
        (["--resume", "--grid", "disc_lr=1e-4", "--baseline", "0"], "field settings: 4 in the folder and 1 now"),
        (["--resume", "--seeds", "3"], "field settings.0000.run.seeds is 2 in the checkpoint and 3 now"),
        (["--resume", "--subsample", "2"], "field settings.0000.demos.subsample is 1"),
        (["--resume", "--baseline", "4"], "baseline: got 4; expected a setting's number, 0 to 3"),
    ],
)
def test_a_sweep_is_not_continued_as_another(whole, go, words, message, capsys):
    before = contents(whole)
    if "--resume" in words:
        assert main(["sweep", "--out", str(whole), *words]) == 2
    else:
        assert go(whole, *words) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1
    assert contents(whole) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "grid, random, settings: got none of them; expected one of the three"),
        ("--grid gamma=0.9 --random gamma=log:0.1:1", "got grid and random; expected one of the three"),
        ("--grid gama=0.9", "gama: no such field to sweep; did you mean gamma?"),
        ("--grid gamma=0.9 --memory-gib 0", "memory_gib: got 0.0; expected a number above 0"),
        ("--grid gamma=0.9 --wandb", "wandb: not for sweeps"),
        ("--grid gamma=0.9 --optuna 4", "optuna: got --grid; expected distributions from --random"),
        ("--settings rows.txt", "settings: got 'rows.txt'"),
        ("--grid trajectories=4,9", "setting 1 (trajectories=9): "),
        ("--grid env=hopper,walker2d", "demonstrations of 'Hopper-v5', expected 'Walker2d-v5'"),
        ("--grid gamma=0.9 --out full", "full: exists and holds no sweep; choose another --out"),
        ("--grid gamma=0.9 --out full/notes.txt", "full/notes.txt: is a file; expected a folder for the sweep"),
        ("--grid gamma=0.9 --parquet", "parquet: pyarrow is not installed"),
        ("--random gamma=log:0.1:1 --optuna 4", "optuna: not installed; expected `pip install 'gailfe-jax[sweep]'`"),
        ("--grid gamma=0.9 --cluster local", "cluster: submitit is not installed; expected `pip install"),
        ("--random gamma=log:0.1:1 --optuna 2 --cluster local", "cluster: --optuna asks for its next settings here"),
        ("--random gamma=log:0.1:1 --optuna 0", "optuna: got 0; expected at least 1"),
    ],
)
def test_bad_input_ends_in_one_line_and_nothing_is_written(words, message, go, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("pyarrow", "optuna", "submitit"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    assert go("x", *words.split()) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("gailfe: error: ") and captured.err.count("\n") == 1
    assert message in captured.err and captured.out == ""
    assert contents(tmp_path) == before


@pytest.mark.parametrize("content", ["{", "[1]", '{"version": 9}', '{"version": 1, "settings": {}}'])
def test_a_damaged_sweep_is_one_clear_error(content, tmp_path, capsys):
    (tmp_path / "sweep.json").write_text(content)
    assert main(["sweep", "--out", str(tmp_path), "--resume"]) == 2
    captured = capsys.readouterr()
    assert "sweep.json: " in captured.err and captured.err.count("\n") == 1
    assert list(contents(tmp_path)) == ["sweep.json"]


def test_a_search_by_optuna_repeats_its_questions_when_resumed(go, trained, tmp_path):
    pytest.importorskip("optuna")
    words = ["--random", "disc_lr=log:1e-5:1e-2", "--optuna", 4, "--parallel", 2, "--hidden", 8, "--quiet"]
    assert go(tmp_path / "a", *words) == 0
    assert trained == [((8,), 2)] * 2
    settings = json.loads((tmp_path / "a" / "sweep.json").read_text())["settings"]
    assert len({record["values"]["disc_lr"] for record in settings.values()}) == 4
    folder = shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(folder / "settings" / "0003")
    trained.clear()
    assert main(["sweep", "--out", str(folder), "--resume"]) == 0
    assert trained == [((8,), 1)]
    assert json.loads((folder / "sweep.json").read_text())["settings"] == settings
    assert of_setting(folder, 3) == of_setting(tmp_path / "a", 3)


class Jobs:
    """Stands for submitit: a job runs where it is submitted, and the second program's fails the first time."""

    submitted: ClassVar[list[str]] = []
    failing: ClassVar[set[str]] = set()

    def __init__(self, folder, cluster):
        assert cluster == "slurm" and folder.endswith("jobs")

    def update_parameters(self, **options):
        assert options == {"timeout_min": 60, "slurm_partition": "gpu"}

    def submit(self, run, folder, name):
        self.submitted.append(name)
        error = RuntimeError("Traceback\nout of luck") if name in self.failing else None
        result = None if error else run(folder, name)
        return types.SimpleNamespace(exception=lambda: error, result=lambda: result)


def test_each_program_is_a_job_of_a_cluster(go, whole, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "submitit", types.SimpleNamespace(AutoExecutor=Jobs))
    folder, words = tmp_path / "s", ["--cluster", "slurm", "--cluster-options", "timeout_min=60", "slurm_partition=gpu"]
    monkeypatch.setattr(Jobs, "failing", {"0001"})
    assert go(folder, *GRID, "--quiet", *words) == 2
    message = "gailfe: error: cluster: 1 of 2 jobs failed, first program 0001 (out of luck); see "
    assert capsys.readouterr().err.startswith(message)
    monkeypatch.setattr(Jobs, "failing", set())
    assert main(["sweep", "--out", str(folder), "--resume"]) == 0
    assert Jobs.submitted == ["0000", "0001", "0001"] and trained == [((8,), 2), ((9,), 2)]
    assert [of_setting(folder, number) for number in range(4)] == [of_setting(whole, number) for number in range(4)]
    assert go(tmp_path / "t", *GRID, "--cluster", "slurm", "--cluster-options", "fast") == 2
    assert "cluster_options: got 'fast'; expected name=value" in capsys.readouterr().err


def test_parquet_holds_the_same_table(whole, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = shutil.copytree(whole, tmp_path / "copy")
    assert main(["sweep", "--out", str(folder), "--resume", "--parquet", "--quiet"]) == 0
    rows = [json.loads(line) for line in (folder / "sweep.jsonl").read_text().splitlines()]
    assert parquet.read_table(folder / "sweep.parquet").to_pylist() == rows
