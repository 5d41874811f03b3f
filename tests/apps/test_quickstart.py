from __future__ import annotations

import json

import pytest

from gailfe_jax.apps import quickstart
from gailfe_jax.artifacts.policy import expert_names, load_expert
from gailfe_jax.cli.main import main
from gailfe_jax.config.tree import leaves, put
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners import presets
from gailfe_jax.training.run_folder import load_policies, load_run
from tests.tiny import SIZES


@pytest.mark.slow
def test_the_main_job(quick_programs, tmp_path, monkeypatch, capsys):
    if "hopper" not in expert_names():
        pytest.skip("no Hopper expert is shipped yet")

    def tiny_preset(algo, env):
        method, run = presets.preset(algo, env)
        known = leaves(method)
        return put(method, {name: value for name, value in SIZES.items() if name in known}), run

    settings = {"rollout.num_envs": 4, "start.steps": 20, "schedule.warmup_iterations": 1}
    settings |= {name: value for name, value in SIZES.items() if name.startswith("reward.")}
    monkeypatch.setattr(quickstart, "preset", tiny_preset)
    monkeypatch.setattr(quickstart, "SETTINGS", quickstart.SETTINGS | settings)
    monkeypatch.setattr(quickstart, "EVAL_EVERY", 32)
    monkeypatch.setattr(quickstart, "TRAJECTORIES", 2)
    monkeypatch.setattr(quickstart, "FAILURES", 3)
    out = tmp_path / "quickstart"
    out.mkdir()
    # What an earlier quickstart, cut off, has left.
    (out / "quickstart.json").write_text("{}")
    (out / "gail").mkdir()
    (out / "gail" / "config.json").write_text("old")
    assert main(["quickstart", "--out", str(out), "--seeds", "2", "--steps", "64", "--episodes", "2"]) == 0
    demonstrations = Demonstrations.load(out / "demos.npz", expect_env="Hopper-v5")
    assert (demonstrations.expert.num_trajectories, demonstrations.failures.num_trajectories) == (2, 3)
    summary = json.loads((out / "quickstart.json").read_text())
    assert summary["finished"]
    assert summary["expert_return"] == pytest.approx(float(load_expert("hopper").metadata["expert_return"]))
    for method in ("gail", "gailfe"):
        assert len(load_policies(out / method)) == len(summary["methods"][method]["seeds"]) == 2
        assert load_run(out / method)["algo"] == method
        assert summary["methods"][method]["backend"] == "gymnasium"
        assert load_run(out / method)["method"]["start"]["steps"] == 20
        for panel in (quickstart.DETERMINISTIC, quickstart.NOISY):
            ends = summary["start_and_end"][panel][method.upper()]
            assert len(ends["first"]) == len(ends["last"]) == 2
    assert (out / "quickstart.png").read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr().out
    assert "Hopper-v5, 2 Gymnasium episodes per seed" in shown and "gailfe" in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(), "exists and holds no quickstart; choose another --out"),
        (dict(env="nonsense"), "^env: unknown task 'nonsense'"),
        (dict(seeds=0), "^seeds: got 0"),
        (dict(steps=float("nan")), "^steps: got nan"),
        (dict(episodes=0), "^episodes: got 0"),
    ],
)
def test_a_folder_of_somebody_else_stays_as_it_is(tmp_path, options, message):
    (tmp_path / "gail").mkdir()
    (tmp_path / "demos.npz").write_text("mine")
    with pytest.raises(GailfeError, match=message):
        quickstart.quickstart(tmp_path, **options)
    assert {path.name for path in tmp_path.iterdir()} == {"gail", "demos.npz"}
