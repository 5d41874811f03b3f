from __future__ import annotations

import csv
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
from gailfe_jax.cli.main import main
from gailfe_jax.config.values import show_value
from gailfe_jax.sweep import planner, point_folder, study
from gailfe_jax.training.logger import read_metrics
from gailfe_jax.training.run_folder import load_run, read_record
from tests import toy
from tests.sweep.conftest import GRID, TINY, VALUES, contents, of_point
from tests.tiny import toy_demonstrations

pytestmark = pytest.mark.usefixtures("quick_programs")


@pytest.mark.parametrize("number", [0, 2])
def test_side_by_side_equals_one_by_one_bit_for_bit(whole, demos_file, number, tmp_path):
    lr, hidden = VALUES[number]
    words = [*TINY, "--demos", str(demos_file), "--reward.lr", str(lr), "--policy.hidden", str(hidden[0]), "--quiet"]
    assert main(["train", *words, "--out", str(tmp_path / "run")]) == 0
    assert of_point(whole, number) == of_point(tmp_path / "run", None)
    ours, theirs = load_run(whole / "settings" / f"{number:04d}"), load_run(tmp_path / "run")
    ours, theirs = read_record(ours), read_record(theirs)
    assert repr((ours.method, ours.place, ours.run)) == repr((theirs.method, theirs.place, theirs.run))


def test_the_tidy_table_has_a_row_per_setting_seed_and_evaluation(whole):
    with (whole / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = [(n, seed, step) for n in range(4) for step in (32, 64) for seed in (3, 4)]
    assert [(int(row["setting"]), int(row["seed"]), int(row["step"])) for row in rows] == expected
    assert list(rows[0])[:7] == [
        "setting",
        "reward.lr",
        "policy.hidden",
        "seed",
        "step",
        "return_mean",
        "expert_normalised",
    ]
    assert {(int(row["setting"]), float(row["reward.lr"]), row["policy.hidden"]) for row in rows} == {
        (number, lr, show_value(hidden)) for number, (lr, hidden) in enumerate(VALUES)
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
    assert "reward.lr=0.003 policy.hidden=8" in text and "4 of 4 settings are done" in text
    for name in ("final.png", "curves.png"):
        assert (whole / name).read_bytes().startswith(b"\x89PNG")
    assert not (whole / "programs").exists()


def test_a_sweep_cut_off_resumes_without_repeating_a_setting(go, whole, trained, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "cut"
    counting = study.train

    def cut(method, env, run, **options):
        if method.policy.hidden == (9,):
            # After its first evaluation, as a person would.
            options["on_evaluation"] = lambda step, row: os.kill(os.getpid(), signal.SIGINT)
        return counting(method, env, run, **options)

    with monkeypatch.context() as patch:
        patch.setattr(study, "train", cut)
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
    assert "resuming at step 32" in capsys.readouterr().out
    assert before.items() <= contents(folder / "settings").items()
    for number in range(4):
        assert of_point(folder, number) == of_point(whole, number)
    assert (folder / "sweep.csv").read_bytes() == (whole / "sweep.csv").read_bytes()
    trained.clear()
    assert main(["sweep", "--out", str(folder), "--resume", "--quiet"]) == 0
    assert trained == [] and len(json.loads((folder / "sweep.json").read_text())["resumed"]) == 2


def test_a_kill_while_settings_are_written_loses_nothing(go, whole, trained, tmp_path, monkeypatch):
    folder = tmp_path / "cut"
    real = point_folder.write_json_atomic

    def kill(path, obj):
        if path.parent.name == "0002" and path.name == "summary.json":
            raise KeyboardInterrupt
        real(path, obj)

    with monkeypatch.context() as patch:
        patch.setattr(point_folder, "write_json_atomic", kill)
        assert go(folder, *GRID, "--quiet") == 130
    before = (folder / "settings" / "0000" / "summary.json").stat()
    assert main(["sweep", "--out", str(folder), "--resume", "--quiet"]) == 0
    assert trained == [((8,), 2), ((8,), 2), ((9,), 2)]
    assert (folder / "settings" / "0000" / "summary.json").stat().st_mtime_ns == before.st_mtime_ns
    assert [of_point(folder, number) for number in range(4)] == [of_point(whole, number) for number in range(4)]


def test_what_does_not_fit_is_trained_in_parts_and_comes_out_the_same(
    go, whole, trained, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(planner, "point_bytes", lambda point, rough: 2.0**20)
    words = ["--grid", "reward.lr=1e-4,3e-3", "--policy.hidden", "8", "--memory-gib", 1.5 / 2**10]
    assert go(tmp_path / "parts", *words) == 0
    assert trained == [((8,), 1), ((8,), 1)]
    assert (
        "2 settings x 2 seeds need about 0.00195 GiB and 0.00146 are free: trained in 2 parts"
        in capsys.readouterr().out
    )
    assert of_point(tmp_path / "parts", 0) == of_point(whole, 0)
    assert of_point(tmp_path / "parts", 1) == of_point(whole, 2)
    assert go(tmp_path / "none", *words[:-1], 0.5 / 2**10) == 2
    assert (
        "memory_gib: setting 0 with 2 seeds needs about 0.000977 GiB and 0.000488 are free" in capsys.readouterr().err
    )


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
        (
            ["--resume", "--gamma", "0.9"],
            "field settings.0000.method.policy.gamma is 0.995 in the",
        ),
        (
            ["--resume", "--grid", "reward.lr=1e-4,2e-3", "policy.hidden=8,9"],
            "field settings.0002.method.reward.lr is 0.003",
        ),
        (["--resume", "--grid", "reward.lr=1e-4", "--baseline", "0"], "field settings: 4 in the folder and 1 now"),
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


def test_a_sweep_is_not_continued_on_other_demonstrations(whole, demos_file, tmp_path, capsys):
    before, other = contents(whole), tmp_path / "other.npz"
    toy_demonstrations(toy.Cliff(), toy.cliff_expert(), trajectories=4, failures=8, seed=5).save(other)
    assert main(["sweep", "--out", str(whole), "--resume", "--demos", str(other)]) == 2
    said = capsys.readouterr().err
    assert f"{whole}: {other} holds other demonstrations than those that the sweep began with, {demos_file};" in said
    assert said.count("\n") == 1 and contents(whole) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "grid, random, settings: got none of them; expected one of the three"),
        ("--grid gamma=0.9 --random gamma=log:0.1:1", "got grid and random; expected one of the three"),
        ("--grid gama=0.9", "gama: no such setting; did you mean policy.gamma?"),
        ("--grid gamma=0.9 --memory-gib 0", "memory_gib: got 0.0; expected a number above 0"),
        ("--grid gamma=0.9 --wandb", "wandb: not for sweeps"),
        ("--grid gamma=0.9 --film", "film: not for sweeps"),
        ("--grid gamma=0.9 --optuna 4", "optuna: got --grid; expected distributions from --random"),
        ("--settings rows.txt", "settings: got 'rows.txt'"),
        ("--grid trajectories=4,9", "setting 1 (trajectories=9): "),
        ("--grid env=cliff,drift", "demonstrations of 'cliff', expected 'drift'"),
        ("--grid gamma=0.9 --out full", "full: exists and holds no sweep; choose another --out"),
        ("--grid gamma=0.9 --out full/notes.txt", "full/notes.txt: is a file; expected a folder for the sweep"),
        ("--grid gamma=0.9 --parquet", "parquet: pyarrow is not installed"),
        ("--random gamma=log:0.1:1 --optuna 4", "optuna: not installed; expected `pip install 'gailfe-jax[sweep]'`"),
        ("--grid gamma=0.9 --cluster local", "cluster: submitit is not installed; expected `pip install"),
        ("--random gamma=log:0.1:1 --optuna 2 --cluster local", "cluster: --optuna asks for its next settings here"),
        # What nothing reads, and what would be lost.
        ("--grid gamma=0.9 --samples 16", "samples: nothing reads it: the settings are not drawn; expected --random"),
        ("--grid gamma=0.9 --sweep-seed 1", "sweep_seed: nothing reads it: the settings are not drawn"),
        ("--grid gamma=0.9 --parallel 2", "parallel: nothing reads it: Optuna chooses no settings; expected --optuna"),
        ("--random gamma=log:0.1:1 --optuna 2 --samples 3", "samples: nothing reads it: --optuna says how many"),
        ("--grid gamma=0.9 --cluster-options a=1", "cluster_options: nothing reads it: no jobs are submitted"),
        ("--grid gamma=0.9 --grid subsample=1,2", "grid is given twice; expected each flag once"),
        ("--resume", "x: holds no sweep to resume; expected a folder made by gailfe sweep"),
        ("--random gamma=log:0.1:1 --optuna 0", "optuna: got 0; expected a whole number from 1 to 10000"),
    ],
)
def test_bad_input_ends_in_one_line_and_nothing_is_written(words, message, go, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("pyarrow", "optuna", "submitit"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    words, _, out = words.partition(" --out ")
    assert go(out or "x", *words.split()) == 2
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


def _put(name, text):
    return lambda folder: (folder / name).write_text(text)


def _without_line(which):
    def change(folder):
        path = folder / "metrics.jsonl"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for number, line in enumerate(lines) if number not in which))

    return change


def _changed_number(folder):
    path = folder / "metrics.jsonl"
    *lines, last = path.read_text().splitlines()
    path.write_text("\n".join([*lines, json.dumps(json.loads(last) | {"return_mean": 99.0})]) + "\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        *((_put("summary.json", text), "summary.json: damaged; expected what gailfe sweep wrote")
          for text in ("[]", "{}", "null", '{"expert_return": "x", "final": {}}', '{"expert_return": 1, "final": 2}')),
        (_put("summary.json", ""), "summary.json: is no JSON"),
        (_put("metrics.jsonl", ""), "metrics.jsonl: return_mean: no evaluation has it"),
        (_put("metrics.jsonl", '{"seed": 3, "step": 32}\n'), "metrics.jsonl: return_mean: no evaluation has it"),
        (_put("metrics.jsonl", '{"seed": 3, "step": 32, "return_mean": "x"}\n'), "got 'x' for seed 3 at step 32"),
        (_put("metrics.jsonl", "x\n"), "metrics.jsonl, line 1: damaged"),
        (lambda folder: (folder / "metrics.jsonl").unlink(), "metrics.jsonl: no such file"),
        *((_without_line(which), "metrics.jsonl: is not what summary.json is of")
          for which in ((0,), (-1 % 4,), (2, 3), (0, 2))),
        (_changed_number, "metrics.jsonl: is not what summary.json is of"),
    ],
)  # fmt: skip
def test_a_damaged_setting_is_one_line_and_can_be_trained_again(whole, tmp_path, spoil, message, capsys):
    folder = shutil.copytree(whole, tmp_path / "s")
    spoil(folder / "settings" / "0002")
    before = contents(folder)
    assert main(["sweep", "--out", str(folder), "--resume", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("gailfe: error: ") and said.count("\n") == 1 and message in said
    assert f"; without {folder / 'settings' / '0002'} its setting is trained again" in said
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [("0001", odd) for odd in (None, 5, "x", [1], {}, {"environment": {}}, {"environment": {"env": 5}, "inputs": {}})],
)
def test_a_setting_in_the_record_that_is_none_is_named(whole, tmp_path, name, value, capsys):
    folder = shutil.copytree(whole, tmp_path / "s")
    record = json.loads((folder / "sweep.json").read_text())
    record["settings"][name] = value
    (folder / "sweep.json").write_text(json.dumps(record))
    assert main(["sweep", "--out", str(folder), "--resume", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert f"sweep.json: field 'settings.{name}': damaged; expected a setting" in said and said.count("\n") == 1


@pytest.mark.parametrize("part", ["environment", "method", "run", "demos", "inputs", "values"])
@pytest.mark.parametrize("value", [None, [1], "x"])
def test_a_part_of_a_setting_that_is_gone_or_of_another_kind_is_one_line(whole, tmp_path, part, value, capsys):
    folder = shutil.copytree(whole, tmp_path / "s")
    record = json.loads((folder / "sweep.json").read_text())
    record["settings"]["0001"] |= {part: value}
    if value is None:
        record["settings"]["0001"].pop(part)
    (folder / "sweep.json").write_text(json.dumps(record))
    assert main(["sweep", "--out", str(folder), "--resume", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "sweep.json: field 'settings.0001': damaged; expected a setting" in said and said.count("\n") == 1


@pytest.mark.slow
def test_a_search_by_optuna_repeats_its_questions_when_resumed(go, trained, tmp_path):
    pytest.importorskip("optuna")
    words = ["--random", "reward.lr=log:1e-5:1e-2", "--optuna", 4, "--parallel", 2, "--policy.hidden", 8, "--quiet"]
    assert go(tmp_path / "a", *words) == 0
    assert trained == [((8,), 2)] * 2
    settings = json.loads((tmp_path / "a" / "sweep.json").read_text())["settings"]
    assert len({record["values"]["reward.lr"] for record in settings.values()}) == 4
    folder = shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(folder / "settings" / "0003")
    trained.clear()
    assert main(["sweep", "--out", str(folder), "--resume"]) == 0
    assert trained == [((8,), 1)]
    assert json.loads((folder / "sweep.json").read_text())["settings"] == settings
    assert of_point(folder, 3) == of_point(tmp_path / "a", 3)


class Jobs:
    """Stands for submitit: a job runs where it is submitted, and the second program's fails the first time."""

    submitted: ClassVar[list[str]] = []
    failing: ClassVar[set[str]] = set()

    def __init__(self, folder, cluster):
        assert cluster == "slurm" and folder.endswith("jobs")

    def update_parameters(self, **options):
        assert options == {"timeout_min": 60, "slurm_partition": "gpu"}

    def submit(self, run, folder, name, *modules):
        self.submitted.append(name)
        error = RuntimeError("Traceback\nout of luck") if name in self.failing else None
        result = None if error else run(folder, name, *modules)
        return types.SimpleNamespace(exception=lambda: error, result=lambda: result)


def test_each_program_is_a_job_of_a_cluster(go, whole, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "submitit", types.SimpleNamespace(AutoExecutor=Jobs))
    folder, words = tmp_path / "s", ["--cluster", "slurm", "--cluster-options", "timeout_min=60", "slurm_partition=gpu"]
    monkeypatch.setattr(Jobs, "failing", {"0001"})
    assert go(folder, *GRID, "--quiet", *words) == 2
    message = "gailfe: error: cluster: 1 of 2 jobs failed, first program 0001 (out of luck); see "
    assert capsys.readouterr().err.startswith(message)
    monkeypatch.setattr(Jobs, "failing", set())
    assert main(["sweep", "--out", str(folder), "--resume", *words]) == 0
    assert Jobs.submitted == ["0000", "0001", "0001"] and trained == [((8,), 2), ((9,), 2)]
    assert [of_point(folder, number) for number in range(4)] == [of_point(whole, number) for number in range(4)]
    assert go(tmp_path / "t", *GRID, "--cluster", "slurm", "--cluster-options", "fast") == 2
    assert "cluster_options: got 'fast'; expected name=value" in capsys.readouterr().err


def test_parquet_holds_the_same_table(whole, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = shutil.copytree(whole, tmp_path / "copy")
    assert main(["sweep", "--out", str(folder), "--resume", "--parquet", "--quiet"]) == 0
    rows = [json.loads(line) for line in (folder / "sweep.jsonl").read_text().splitlines()]
    assert parquet.read_table(folder / "sweep.parquet").to_pylist() == rows
