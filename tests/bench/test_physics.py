from __future__ import annotations

import json

import jax
import pytest

from gailfe_jax.bench import physics, report
from gailfe_jax.errors import GailfeError


@pytest.fixture(autouse=True)
def small(monkeypatch, compiled_in_haste):
    """A benchmark of nothing worth measuring."""
    monkeypatch.setattr(physics, "_STEPS", 5)


def test_physics(capsys, monkeypatch):
    found = physics.run(["Hopper-v5"], engine="mujoco_c", num_envs=(2, 3), repeats=1)
    json.dumps(found, allow_nan=False)
    assert found["what"] == "physics" and found["provenance"]["versions"]["jax"] == jax.__version__
    assert [(row["env"], row["engine"], row["num_envs"]) for row in found["rows"]] == [
        ("hopper", "mujoco_c", 2),
        ("hopper", "mujoco_c", 3),
    ]
    for row in found["rows"]:
        (raw,) = row["raw_seconds"]
        assert row["bare_steps_per_second"] == pytest.approx(row["num_envs"] * 5 / raw["bare"])
        assert row["steps_per_second"] == pytest.approx(row["num_envs"] * 5 / raw["ours"])
        assert row["share_of_bare"] == pytest.approx(raw["bare"] / raw["ours"])
        assert 0 < raw["ours"] < row["compile_seconds"]
    physics.show(found)
    shown = capsys.readouterr().out
    assert "bench physics, engine mujoco_c" in shown and shown.count("scan with policy") == 2
    drawn = []
    monkeypatch.setattr(report, "bar_intervals", lambda scores, path, **options: drawn.append(scores))
    physics.draw(found, "figure.png")
    assert drawn == [
        {f"hopper, {row['num_envs']} envs": [pytest.approx(row["share_of_bare"])] for row in found["rows"]}
    ]


@pytest.mark.parametrize("moves", ["box", "choice"])
def test_on_the_host_the_bare_engine_is_gymnasiums(moves):
    found = physics.run([f"delayed3:gym:tests.hosted:Pond-v0?moves={moves}"], num_envs=(2,), repeats=2)
    (row,) = found["rows"]
    assert row["engine"] == "gymnasium" and row["env"] == f"gym:tests.hosted:Pond-v0?moves={moves}"
    assert len(row["raw_seconds"]) == 2 and row["share_of_bare"] > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: physics.run(["hopper"], repeats=0), "repeats: got 0"),
        (lambda: physics.run(["hopper"], num_envs=(4, 0)), r"num_envs: got \(4, 0\)"),
        (lambda: physics.run(["hopper"], engine="nonsense"), "engine: unknown engine 'nonsense'"),
        (lambda: physics.run([]), "env: got none"),
    ],
)
def test_what_cannot_be_measured_is_named(call, message):
    with pytest.raises(GailfeError, match=f"^{message}"):
        call()
