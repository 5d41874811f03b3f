from __future__ import annotations

import json

import pytest

from gailfe_jax.bench import scaling
from gailfe_jax.bench.scaling import AXES, Axis, knee
from gailfe_jax.cli.main import main
from gailfe_jax.errors import GailfeError
from tests import haste


def test_a_point_that_fails_is_a_row(clockwork, capsys, tmp_path):
    assert main(f"bench scaling --env hopper --values 512 8 1 --out {tmp_path / 'envs.json'}".split()) == 0
    report = json.loads((tmp_path / "envs.json").read_text())
    assert (tmp_path / "envs.png").read_bytes().startswith(b"\x89PNG")
    one, eight, failed = report["rows"]
    assert [row["value"] for row in report["rows"]] == [1, 8, 512]
    assert failed["error"] == "bench: a process ended with code -9 (no message)" and "steps_per_second" not in failed
    assert (eight["steps_per_second"], eight["bare_steps_per_second"], eight["share_of_bare"]) == (50.0, 200.0, 0.25)
    # One call takes longer than a repeat should.
    assert (one["calls"], one["iterations_per_call"], one["iteration_seconds"]) == (1, 16, 2.0 / 16)
    assert (one["program_bytes"], one["peak_bytes"], one["compile_seconds"]) == (2**20, 2**30, 3.0)
    shown = capsys.readouterr().out
    assert "failed" in shown and "code -9" in shown and "No knee from 1 to 8" in shown


@pytest.mark.parametrize("name", AXES)
def test_every_axis_varies_what_it_says(clockwork, name):
    axis = AXES[name]
    report = scaling.run(name, "hopper", values=axis.values[:2], repeats=1)
    first, second = (program for program, _ in clockwork.started)
    changed = {key for key in first.settings if first.settings[key] != second.settings[key]}
    expected = {
        "envs": {"rollout.num_envs"}, "seeds": set(), "width": {"policy.hidden", "reward.hidden"},
        "horizon": {"policy.horizon"}, "failures": {"failures.capacity"},
    }  # fmt: skip
    assert changed == expected[name]
    assert (first.seeds, second.seeds) == (axis.values[:2] if name == "seeds" else (1, 1))
    assert report["axis"] == name and report["rows"][0]["algo"] == axis.algo


def rows(rates):
    return [{"value": value, "steps_per_second": rate} for value, rate in rates.items()]


def test_the_knee_is_where_the_fixed_part_equals_the_growing_one():
    # Speed is x / (a + b x), half of its limit at a / b.
    points = {2**k: 2**k / (0.01 + 0.001 * 2**k) for k in range(15)}
    value, text = knee([*rows(points), {"value": 9, "error": "x"}])
    assert value == pytest.approx(10.0, rel=0.03) and "reached at about 10: the knee" in text
    # And 1 / (a + b x^2), half of it at sqrt(a / b).
    value, text = knee(rows({2**k: 1 / (0.01 + 1e-6 * 4**k) for k in range(10)}))
    assert value == pytest.approx(100.0, rel=0.06) and "left at about 94" in text


def test_between_points_the_knee_lies_on_a_straight_line_of_the_logarithms():
    assert knee(rows({1: 1.0, 16: 8.0, 32: 8.0}))[0] == pytest.approx(16 ** (2 / 3))
    assert knee(rows({1: 8.0, 16: 2.0}))[0] == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("rates", "text"),
    [
        ({1: 100.0, 10: 101.0, 1000: 76.0}, "No knee from 1 to 1,000: the slowest point has 75% of the best speed."),
        ({1: 1.0}, "Too few points"),
    ],
)
def test_where_there_is_no_knee_it_says_so(rates, text):
    value, said = knee(rows(rates))
    assert text in said and value is None


@pytest.mark.slow
def test_a_process_measures_itself(monkeypatch):
    for name, value in haste.environment().items():
        monkeypatch.setenv(name, value)
    tiny = {"rollout.num_envs": 2, "policy.hidden": (4,), "reward.hidden": (4,)}
    axis = Axis("failures held", (2,), "gailfe", tiny, lambda n: {"rollout.unroll_length": 8, "failures.capacity": n})
    monkeypatch.setitem(scaling.AXES, "failures", axis)
    (row,) = scaling.run("failures", "hopper", engine="mujoco_c", values=(3,), repeats=1, seconds=0.01)["rows"]
    assert "error" not in row and row["engine"] == "mujoco_c"
    (raw,) = row["raw_seconds"]
    assert row["steps_per_second"] == pytest.approx(row["calls"] * 16 * 16 / raw["train"])
    # The program holds the buffer: (3 + 2) x 1000 x 14 numbers of 4 bytes.
    assert 280_000 < row["program_bytes"] < row["peak_bytes"] < 2**32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scaling.run("nonsense"), "axis: got 'nonsense'; expected one of envs"),
        (lambda: scaling.run("envs", values=(4, 0)), r"values, seconds: got \[0, 4\]"),
        (lambda: scaling.run("horizon", values=(3,)), "policy.horizon: got 3; expected a divisor of rollout.unroll"),
        (lambda: scaling.run("envs", engine="nonsense"), "engine: unknown engine 'nonsense'"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_named(call, message):
    with pytest.raises(GailfeError, match=f"^{message}"):
        call()
