from __future__ import annotations

import json

import jax
import pytest

from gailfe_jax.bench import speed as bench
from gailfe_jax.bench.speed import bench_horizon, bench_physics, bench_train, print_horizon, print_report
from gailfe_jax.errors import GailfeError


@pytest.fixture(autouse=True)
def small(monkeypatch, quick_programs):
    """A benchmark of nothing worth measuring, compiled in haste."""
    monkeypatch.setattr(bench, "_PHYSICS_STEPS", 5)
    monkeypatch.setattr(bench, "_TRAIN_SHAPES", {"16-step iterations": (2, 8)})


def drawn(monkeypatch, how, draw, report):
    """What a report hands to the function of `plotting` called `how`."""
    shown = []
    monkeypatch.setattr(bench, how, lambda data, path, **options: shown.append(data))
    draw(report, "figure.png")
    return shown[0]


def test_physics(capsys, monkeypatch):
    report = bench_physics(["Hopper-v5"], engine="mujoco_c", num_envs=(2, 3), repeats=1)
    json.dumps(report, allow_nan=False)
    assert report["what"] == "physics" and report["provenance"]["versions"]["jax"] == jax.__version__
    assert [(row["env"], row["engine"], row["num_envs"]) for row in report["rows"]] == [
        ("hopper", "mujoco_c", 2),
        ("hopper", "mujoco_c", 3),
    ]
    for row in report["rows"]:
        (raw,) = row["raw_seconds"]
        assert row["bare_steps_per_second"] == pytest.approx(row["num_envs"] * 5 / raw["bare"])
        assert row["steps_per_second"] == pytest.approx(row["num_envs"] * 5 / raw["ours"])
        assert row["share_of_bare"] == pytest.approx(raw["bare"] / raw["ours"])
        assert 0 < raw["ours"] < row["compile_seconds"]
    print_report(report)
    shown = capsys.readouterr().out
    assert "bench physics, engine mujoco_c" in shown and shown.count("scan with policy") == 2
    scores = drawn(monkeypatch, "bar_intervals", bench.draw_report, report)
    assert scores == {
        f"hopper, {row['num_envs']} envs": [pytest.approx(row["share_of_bare"])] for row in report["rows"]
    }


def test_train(monkeypatch):
    report = bench_train(["hopper"], algos=("ppo",), engine="mujoco_c", repeats=1, seeds=2, steps=32)
    json.dumps(report, allow_nan=False)
    (row,) = report["rows"]
    (raw,) = row["raw_seconds"]
    assert (row["algo"], row["iteration"], row["num_envs"], row["seeds"]) == ("ppo", "16-step iterations", 2, 2)
    # Two iterations of 2 x 8 steps of 2 seeds; beside the bare engine with as many environments.
    assert row["steps_per_second"] == pytest.approx(64 / raw["train"])
    assert row["bare_steps_per_second"] == pytest.approx(4 * 5 / raw["bare"])
    assert row["share_of_bare"] == pytest.approx(row["steps_per_second"] / row["bare_steps_per_second"])
    assert raw["train"] < row["compile_seconds"]
    scores = drawn(monkeypatch, "bar_intervals", bench.draw_report, report)
    assert scores == {"hopper, ppo, 16 steps": [pytest.approx(row["share_of_bare"])]}


def test_horizon(capsys, monkeypatch):
    report = bench_horizon(["hopper"], horizons=(1, 8), windows=4, repeats=3)
    json.dumps(report, allow_nan=False)
    short, long = report["rows"]
    assert (short["horizon"], long["horizon"], long["windows"]) == (1, 8, 4)
    assert long["memory_bytes"] > short["memory_bytes"] and len(long["raw_seconds"]) == 3
    print_horizon(report)
    assert "through the model" in capsys.readouterr().out
    panels = drawn(monkeypatch, "log_panels", bench.draw_horizon, report)
    assert panels["one gradient, ms"]["hopper"] == ([1, 8], [1e3 * short["seconds"], 1e3 * long["seconds"]])


def test_mail_trains_beside_gail():
    report = bench_train(["hopper"], algos=("gail", "mail"), engine="mujoco_c", repeats=1, steps=32)
    assert [row["algo"] for row in report["rows"]] == ["gail", "mail"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bench_physics(["hopper"], repeats=0), "repeats: got 0"),
        (lambda: bench_physics(["hopper"], num_envs=(4, 0)), r"num_envs: got \(4, 0\)"),
        (lambda: bench_physics(["hopper"], engine="nonsense"), "engine: unknown engine 'nonsense'"),
        (lambda: bench_horizon(["hopper"], horizons=(4, 0)), r"horizons, windows: got \(4, 0\) and 64"),
        (lambda: bench_train(["nonsense"]), "env: unknown task 'nonsense'"),
        (lambda: bench_train(["brax:fast"]), "env: brax:fast has no bare engine to compare with"),
        (lambda: bench_train(["hopper"], algos=("nonsense",)), "algo: unknown algorithm 'nonsense'"),
    ],
)
def test_what_cannot_be_measured_is_named(call, message):
    with pytest.raises(GailfeError, match=f"^{message}"):
        call()
