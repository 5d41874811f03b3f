from __future__ import annotations

import dataclasses
import importlib.util
import json
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location("gpu_script", ROOT / "benchmarks" / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_script"] = module  # Where dataclasses look their annotations up.
    spec.loader.exec_module(module)
    return module


def test_what_the_targets_need_comes_first(gpu):
    found = gpu.points(gpu.Sizes(), dry=False)
    assert len(set(found)) == len(found)
    first = [(p.kind, p.num_envs, p.seeds) for p in found[:5]]
    assert first == [
        ("physics", 4096, 1),
        ("train", 4096, 1),
        ("train", 256, 1),
        ("train", 256, 16),
        ("profile", 4096, 1),
    ]
    assert {p.engine for p in found[:5]} == {"warp"} and {p.engine for p in found[5:10]} == {"mjx"}
    for field, values in {
        "engine": {"warp", "mjx"}, "env": {"halfcheetah", "hopper"}, "num_envs": {256, 1024, 4096, 16_384},
        "seeds": {1, 4, 16, 64}, "algo": {"", "gail", "gailfe", "mail"},
    }.items():  # fmt: skip
        assert {getattr(point, field) for point in found} == values


def test_warp_is_compiled_by_itself(gpu):
    warp, mjx = gpu.Point("physics", "warp", "hopper", 4), gpu.Point("physics", "mjx", "hopper", 4)
    assert gpu.waves([warp, warp, mjx, mjx, mjx, warp], 2) == [[warp], [warp], [mjx, mjx], [mjx], [warp]]


def test_the_targets_are_judged_by_engine_and_method(gpu):
    sizes = gpu.Sizes()
    train = {"kind": "train", "engine": "mjx", "env": "hopper", "algo": "gail", "seeds": 1}
    rows = [
        {"kind": "physics", "engine": "mjx", "env": "hopper", "num_envs": 4096, "bare_steps_per_second": 1000.0},
        {"kind": "physics", "engine": "warp", "env": "hopper", "num_envs": 4096, "error": "no Warp"},
        train | {"num_envs": 4096, "steps_per_second": 600.0},
        train | {"num_envs": 4096, "steps_per_second": 400.0, "algo": "mail"},
        train | {"num_envs": 1024, "steps_per_second": 999.0},
        train | {"num_envs": 4096, "steps_per_second": 900.0, "engine": "warp"},
        train | {"num_envs": 256, "iteration_seconds": 2.0},
        train | {"num_envs": 256, "iteration_seconds": 9.0, "seeds": 16},
        train | {"num_envs": 256, "iteration_seconds": 1.0, "seeds": 64},
    ]
    found = [(v["algo"], v["value"], v["met"]) for v in gpu.verdicts(rows, sizes)]
    assert found == [("gail", 0.6, True), ("mail", 0.4, False), ("gail", 4.5, False)]


def run(gpu, monkeypatch, out, *words, ends=(), budget="60"):
    """The script with a process that answers at once, but ends when it meets a point of `ends`."""
    waves = []

    class Instant:
        provenance = None

        def __init__(self, dry):
            assert dry

        def measure(self, wave, deadline):
            waves.append(list(wave))
            self.provenance = {"hardware": "none"}
            if not any(point.kind in ends for point in wave):
                for point in wave:
                    yield dataclasses.asdict(point) | {"steps_per_second": 2.0, "iteration_seconds": 1.0}

        def close(self):
            pass

    monkeypatch.setattr(gpu, "Measurer", Instant)
    monkeypatch.setattr(gpu, "verdicts", lambda rows, sizes: [])
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--dry-run", "--out", str(out), "--budget-seconds", budget, *words])
    assert gpu.main() == 0
    return json.loads(out.read_text()), waves


def test_a_point_that_ends_the_process_costs_itself_only(gpu, monkeypatch, tmp_path):
    out = tmp_path / "gpu.json"
    report, waves = run(gpu, monkeypatch, out, "--compile-together", "9", ends=["profile"])
    chosen = gpu.points(gpu.DRY, dry=True)
    # All of MJX's at once, then each by itself, then Warp's.
    assert waves == [chosen[:-1], *([point] for point in chosen)]
    assert [row["kind"] for row in report["rows"] if "error" in row] == ["profile"]
    assert report["dry_run"] and "mean nothing" in report["note"] and report["provenance"]["hardware"] == "none"
    again, waves = run(gpu, monkeypatch, out, "--resume", "--compile-together", "9")
    assert [[point.kind for point in wave] for wave in waves] == [["profile"]]
    assert len(again["rows"]) == len(chosen) and not any("error" in row for row in again["rows"])


def test_what_the_budget_does_not_reach_is_a_row(gpu, monkeypatch, tmp_path):
    report, waves = run(gpu, monkeypatch, tmp_path / "gpu.json", budget="0")
    assert waves == [] and {row["error"] for row in report["rows"]} == {"not reached within the budget"}


def test_the_committed_dry_run_says_what_it_is(gpu):
    report = json.loads((ROOT / "benchmarks" / "results" / "gpu_dry_run.json").read_text())
    assert report["dry_run"] and report["note"] == gpu.DRY_NOTE
    assert report["provenance"]["hardware"]["accelerators"] == []
    assert report["verdicts"] and all(verdict["met"] is None for verdict in report["verdicts"])
    errors = {row["engine"]: row["error"] for row in report["rows"] if "error" in row}
    assert list(errors) == ["warp"] and errors["warp"].startswith("skipped:")
    assert {row["kind"] for row in report["rows"] if "error" not in row} == {"physics", "train", "profile"}
