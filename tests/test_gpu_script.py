from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

from benchmarks.accelerator import books, plan
from benchmarks.accelerator.measure import method_of, missing
from benchmarks.accelerator.plan import Point
from gailfe_jax.learners.presets import SCALE_FROM
from gailfe_jax.learners.setup import build_setup

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAIN, WARP = plan.points(), plan.points("warp")


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location("gpu_script", ROOT / "benchmarks" / "gpu.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_the_targets_need_comes_first_and_learning_last():
    assert len(set(MAIN)) == len(MAIN) and len(set(WARP)) == len(WARP)
    first = [(p.kind, p.engine, p.num_envs, p.seeds, p.solver) for p in MAIN[:7]]
    assert first == [
        ("physics", "mujoco_c", 4096, 1, ""),
        ("physics", "mjx", 4096, 1, "cheap"),
        ("physics", "mjx", 4096, 1, "model"),
        ("train", "mjx", 4096, 1, "cheap"),
        ("train", "mujoco_c", 4096, 1, ""),
        ("train", "mjx", 256, 1, "cheap"),
        ("train", "mjx", 256, 16, "cheap"),
    ]
    for stage in (MAIN, WARP):
        assert [p.kind == "learn" for p in stage] == [False] * (len(stage) - 1) + [True]
        kinds = [
            p.kind for p in stage if p.env == "halfcheetah" and p.num_envs == 4096 and p.solver == stage[-1].solver
        ]
        assert kinds[:2] == ["physics", "train"]
    assert {p.engine for p in MAIN} == {"mjx", "mujoco_c"} and {p.engine for p in WARP} == {"warp"}
    assert {p.algo for p in MAIN} == {"", "gail", "gailfe", "mail"} and {p.env for p in MAIN} == {
        "halfcheetah",
        "hopper",
    }
    assert {p.precision for p in MAIN} == {"highest", "default"}
    assert {p.kind for p in plan.points(dry=True)} == {p.kind for p in MAIN}
    assert {p.engine for p in plan.points(dry=True)} == {"mjx", "mujoco_c", "warp"}


def test_the_key_figures_are_there_early_and_limits_leave_room():
    key = MAIN[: plan.KEY_POINTS]
    assert {p.kind for p in key} == {"physics", "train"} and {p.solver for p in key} == {"", "cheap", "model"}
    assert sum(p.expected for p in key) <= plan.KEY_SECONDS
    for point in MAIN + WARP:
        assert plan.LEAST_LIMIT <= point.limit < plan.BUDGET_SECONDS and point.limit > point.expected
    assert Point("physics", "mjx", "hopper", 8, solver="cheap").options == {"iterations": 4, "ls_iterations": 8}
    assert Point("physics", "mjx", "hopper", 8, solver="model").options == {}


@pytest.mark.parametrize("stage", plan.STAGES)
def test_the_plan_is_printed_and_in_the_docs(gpu, monkeypatch, capsys, stage):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--plan", "--stage", stage])
    assert gpu.main() == 0
    table = capsys.readouterr().out.strip()
    assert table == plan.plan_table(stage) and f"| {len(plan.points(stage))} | learn gail" in table
    assert table in (ROOT / "docs" / "gpu.md").read_text()


def test_only_mjx_is_compiled_side_by_side():
    warp, mjx, host = (Point("physics", engine, "hopper", 4) for engine in ("warp", "mjx", "mujoco_c"))
    learn = dataclasses.replace(mjx, kind="learn")
    found = books.waves([host, warp, warp, mjx, mjx, mjx, warp, mjx, host, mjx, learn], 2)
    assert found == [[host], [warp], [warp], [mjx, mjx], [mjx], [warp], [mjx], [host], [mjx], [learn]]


def test_the_targets_are_judged_by_engine_solver_and_method():
    common = {"engine": "mjx", "solver": "cheap", "precision": "highest", "env": "hopper"}
    train = common | {"kind": "train", "algo": "gail", "seeds": 1}
    physics = common | {"kind": "physics", "num_envs": 4096, "algo": "", "seeds": 1}
    learn = common | {"kind": "learn", "algo": "gail", "target": 0.9, "seconds": 100.0}
    rows = [
        physics | {"bare_steps_per_second": 1000.0},
        physics | {"bare_steps_per_second": 500.0, "solver": "model"},
        physics | {"engine": "warp", "error": "no Warp"},
        train | {"num_envs": 4096, "steps_per_second": 600.0},
        train | {"num_envs": 4096, "steps_per_second": 200.0, "solver": "model"},
        train | {"num_envs": 4096, "steps_per_second": 400.0, "algo": "mail"},
        train | {"num_envs": 1024, "steps_per_second": 999.0},
        train | {"num_envs": 4096, "steps_per_second": 900.0, "engine": "warp"},
        train | {"num_envs": 256, "iteration_seconds": 2.0},
        train | {"num_envs": 256, "iteration_seconds": 9.0, "seeds": 16},
        learn | {"reached": True},
        learn | {"reached": False},
        learn | {"reached": True, "seconds": 130.0},
    ]
    found = [(v["algo"], v["solver"], v["value"], v["met"]) for v in books.verdicts(rows)]
    assert found == [
        ("gail", "cheap", 0.6, True), ("gail", "model", 0.4, False), ("mail", "cheap", 0.4, False),
        ("gail", "cheap", 4.5, False),
        ("gail", "cheap", 100.0, True), ("gail", "cheap", 100.0, False), ("gail", "cheap", 130.0, False),
    ]  # fmt: skip


def run(gpu, monkeypatch, out, *words, ends=(), late=False, budget="6000"):
    """The script with a process that answers at once, but ends when it meets a point of `ends`."""
    waves = []

    class Instant:
        provenance = None

        def __init__(self, dry, cache):
            assert dry and cache == pathlib.Path("gpu_cache")
            self.late = late

        def measure(self, wave, deadline):
            waves.append(list(wave))
            self.provenance = {"hardware": "none"}
            if not any(point.kind in ends for point in wave):
                for point in wave:
                    yield dataclasses.asdict(point) | {
                        "steps_per_second": 2.0, "iteration_seconds": 1.0, "share_of_expert": 0.5, "seconds": 1.0,
                        "steps": 10, "reached": False,
                    }  # fmt: skip

        def close(self):
            pass

    monkeypatch.setattr(gpu, "Measurer", Instant)
    monkeypatch.setattr(gpu, "verdicts", lambda rows: [])
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--dry-run", "--out", str(out), "--budget-seconds", budget, *words])
    assert gpu.main() == 0
    return json.loads(out.read_text()), waves


def test_a_point_that_ends_the_process_costs_itself_only(gpu, monkeypatch, tmp_path):
    out = tmp_path / "gpu.json"
    report, waves = run(gpu, monkeypatch, out, "--compile-together", "9", ends=["train"])
    chosen = plan.points(dry=True)
    errors = {row["error"] for row in report["rows"] if "error" in row}
    assert errors == {"it ended the measuring process"}
    assert [row["kind"] for row in report["rows"] if "error" in row] == ["train"] * 3
    # MJX's at once, then each by itself.
    assert waves[:2] == [chosen[:1], chosen[1:4]] and waves[2:] == [[point] for point in chosen[1:]]
    assert report["dry_run"] and "mean nothing" in report["note"] and report["provenance"]["hardware"] == "none"
    again, waves = run(gpu, monkeypatch, out, "--resume", "--compile-together", "9")
    assert {point.kind for wave in waves for point in wave} == {"train"}
    assert len(again["rows"]) == len(chosen) and not any("error" in row for row in again["rows"])


def test_a_hang_costs_one_row(gpu, monkeypatch, tmp_path):
    report, _ = run(gpu, monkeypatch, tmp_path / "gpu.json", ends=["profile"], late=True)
    errors = [row["error"] for row in report["rows"] if "error" in row]
    assert errors == ["it took longer than its limit of 120 s"]


def test_what_the_budget_does_not_reach_is_a_row(gpu, monkeypatch, tmp_path):
    report, waves = run(gpu, monkeypatch, tmp_path / "gpu.json", budget="0")
    assert waves == [] and {row["error"] for row in report["rows"]} == {"not reached within the budget"}


FAKE = """
import json, sys, time
print(json.dumps({"hardware": {"accelerators": ["fake"]}}), flush=True)
for line in sys.stdin:
    for point in json.loads(line):
        if point["env"] == "hang":
            time.sleep(600)
        if point["env"] == "die":
            sys.exit(3)
        print(json.dumps(point), flush=True)
"""


def test_a_process_is_ended_at_the_limit_and_started_again(monkeypatch, tmp_path):
    (tmp_path / "fake.py").write_text(FAKE)
    monkeypatch.setattr(books, "SCRIPT", tmp_path / "fake.py")
    monkeypatch.setattr(Point, "limit", property(lambda self: 1.5))
    measurer = books.Measurer(dry=False, cache=tmp_path / "cache")
    points = {env: Point("physics", "mjx", env, 4) for env in ("good", "hang", "die")}

    def rows(*names):
        return [row["env"] for row in measurer.measure([points[name] for name in names], time.monotonic() + 60)]

    try:
        assert (
            rows("good") == ["good"]
            and measurer.provenance == {"hardware": {"accelerators": ["fake"]}}
            and not measurer.late
        )
        assert rows("hang") == [] and measurer.late
        assert rows("good", "die") == ["good"] and not measurer.late
        assert rows("good") == ["good"]
    finally:
        measurer.close()


def test_a_machine_without_an_accelerator_is_told_at_once(tmp_path):
    out = tmp_path / "gpu.json"
    out.write_text("measured before")
    words = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--out", str(out), "--cache", str(tmp_path / "cache")]
    ended = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"})
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.splitlines()[-1].startswith("gpu.py: error: JAX sees no accelerator here; expected a GPU")
    assert out.read_text() == "measured before"


def test_thousands_of_environments_train_as_gailfe_train_would():
    for point in MAIN:
        if point.kind in ("train", "profile", "learn"):
            method = method_of(point, plan.Sizes())
            chosen = {"algo": point.algo, "env": point.env, "num_envs": point.num_envs}
            same = method == build_setup(chosen).method
            assert same == (point.num_envs >= SCALE_FROM)
            assert method.rollout.unroll_length == (16 if same else 32)
    (learn,) = (point for point in MAIN if point.kind == "learn")
    assert (learn.algo, learn.env, learn.num_envs) == ("gail", "halfcheetah", 4096)


def test_what_cannot_run_here_says_so():
    assert missing(Point("physics", "mjx", "hopper", 4)) is missing(Point("train", "mujoco_c", "hopper", 4)) is None
    assert (missing(Point("physics", "warp", "hopper", 4)) or "").startswith("skipped: ")


def test_a_row_is_one_line():
    point = dataclasses.asdict(Point("learn", "mjx", "hopper", 4096, "gail", solver="cheap", precision="default"))
    line = books.describe(point | {"share_of_expert": 0.912, "seconds": 61.4, "steps": 3_900_000})
    assert line == (
        "learn gail on hopper, mjx, 4,096 environments, cheap solver, default precision: "
        "0.91 of the expert after 61 s, 3,900,000 steps"
    )


def test_the_committed_dry_run_says_what_it_is(gpu):
    report = json.loads((ROOT / "benchmarks" / "results" / "gpu_dry_run.json").read_text())
    assert report["dry_run"] and report["note"] == gpu.DRY_NOTE
    assert report["provenance"]["hardware"]["accelerators"] == []
    assert report["verdicts"] and all(verdict["met"] is None for verdict in report["verdicts"])
    errors = {row["engine"]: row["error"] for row in report["rows"] if "error" in row}
    assert list(errors) == ["warp"] and errors["warp"].startswith("skipped:")
    done = [row for row in report["rows"] if "error" not in row]
    assert {row["kind"] for row in done} == {"physics", "train", "profile", "learn"}
    assert {(row["engine"], row["solver"]) for row in done} == {("mujoco_c", ""), ("mjx", "cheap"), ("mjx", "model")}
