"""A seed whose numbers are no longer finite ends alone, is named, and costs nobody else anything."""

from __future__ import annotations

import json
import shutil
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.cli.main import main
from gailfe_jax.envs import make_env
from gailfe_jax.training.divergence import Divergence, Guard
from gailfe_jax.training.divergence import _observations as observed
from gailfe_jax.training.loop import train
from gailfe_jax.types import StepResult
from tests.runs import contents
from tests.tiny import tiny
from tests.toy import Cliff
from tests.training.cliff import CHUNK, settings

pytestmark = pytest.mark.usefixtures("quick_programs")
SEEDS = range(4)


class Mined(Cliff):
    """The cliff, where one episode in fifty observes what is no number from its first step on."""

    def start(self, key):
        obs, _ = super().start(key)
        return (obs, jax.random.uniform(jax.random.fold_in(key, 7)) < 0.02), obs

    def advance(self, phys, action):
        obs, bad = phys
        obs, result = super().advance(obs, action)
        return (obs, bad), StepResult(jnp.where(bad, jnp.nan, result.obs), result.reward, result.terminated)


def run_of(evaluations=4, **changes):
    return settings(evaluations, **({"seeds": 4, "first_seed": 0} | changes))


def records_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(path):
    return [array for layer in Policy.load(path).weights for array in layer]


def same(one, two):
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.fixture(scope="module")
def mined(quick_programs, go, tmp_path_factory):
    """A run of which some seeds diverge, by the method."""
    made = {}

    def of(algo):
        if algo not in made:
            folder = tmp_path_factory.mktemp("mined") / algo
            made[algo] = go(folder, run_of(snapshots=True), tiny(algo), Mined())
        return made[algo]

    return of


@pytest.mark.parametrize("algo", [pytest.param("ppo", marks=pytest.mark.slow), "gail"])
def test_a_seed_that_diverges_is_named_and_the_others_go_on(mined, algo):
    result = mined(algo)
    folder = result.run_dir
    assert result.diverged and set(result.diverged) < set(SEEDS) and not result.interrupted
    for found in result.diverged.values():
        assert found.quantity == "observations" and found.also and found.step % CHUNK == 0
        assert f"diverged by step {found.step:,}: observations are not finite (then " in found.line
    for record in records_of(folder):
        found = result.diverged.get(record["seed"])
        if found is not None and record["step"] >= found.step:
            assert {"seed": record["seed"]} | record["diverged"] == found.record(record["seed"])
            assert record["return_mean"] is None and record["train_return"] is None
        else:
            assert "diverged" not in record and record["return_mean"] is not None
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["finished"] and summary["steps"] == 4 * CHUNK
    assert [row["seed"] for row in summary["diverged"]] == sorted(result.diverged)
    assert (folder / "learning_curve.png").is_file()
    assert len(result.policies) == len(list((folder / "policies").iterdir())) == 4


@pytest.mark.parametrize("algo", ["ppo", "gail"])
def test_it_keeps_its_last_finite_policy(mined, algo):
    result = mined(algo)
    for seed in SEEDS:
        kept = weights(result.run_dir / "policies" / f"seed_{seed}.safetensors")
        last = result.diverged[seed].step - CHUNK if seed in result.diverged else result.steps
        if last:
            assert same(kept, weights(result.run_dir / "snapshots" / f"step_{last:09d}_seed_{seed}.safetensors"))


def test_the_others_bits_are_those_of_a_run_without_a_guard(mined, go, tmp_path, monkeypatch):
    watched = mined("gail")
    monkeypatch.setattr(Guard, "after", lambda self, state, kept, metrics, step: state)
    bare = go(tmp_path / "bare", run_of(), tiny("gail"), Mined())
    for seed in set(SEEDS) - set(watched.diverged):
        paths = [result.run_dir / "policies" / f"seed_{seed}.safetensors" for result in (watched, bare)]
        assert paths[0].read_bytes() == paths[1].read_bytes()
        np.testing.assert_array_equal(watched.metrics["return_mean"][1][seed], bare.metrics["return_mean"][1][seed])


def test_resume_goes_on_with_the_others(mined, go, tmp_path):
    before = mined("gail")
    folder = shutil.copytree(before.run_dir, tmp_path / "run")
    after = go(folder, run_of(5, snapshots=True), tiny("gail"), Mined(), resume=True)
    assert after.steps == 5 * CHUNK and before.diverged.items() <= after.diverged.items()
    for seed in SEEDS:
        name = f"seed_{seed}.safetensors"
        held = same(weights(folder / "policies" / name), weights(before.run_dir / "policies" / name))
        assert held == (seed in after.diverged)


def test_the_run_stops_where_that_is_asked_for(go, tmp_path):
    folder = tmp_path / "run"
    first = go(folder, run_of(12, on_divergence="stop"), tiny("gail"), Mined())
    assert len(first.diverged) == 1 and not first.interrupted and not first.summary["finished"]
    (found,) = first.diverged.values()
    assert first.steps == found.step < 12 * CHUNK and records_of(folder)[-1]["step"] == found.step
    second = go(folder, run_of(12, on_divergence="stop"), tiny("gail"), Mined(), resume=True)
    assert second.steps > first.steps and len(second.diverged) == 2


def test_a_run_without_a_seed_left_ends_in_exit_code_3(toy_tasks, go, tmp_path, capsys):
    folder = tmp_path / "run"
    first = go(folder, settings(8), tiny("gail", reward__lr=1e38))
    assert set(first.diverged) == {3, 4} and first.steps < 8 * CHUNK
    summary = json.loads((folder / "summary.json").read_text())
    assert not summary["finished"] and len(summary["diverged"]) == 2
    before = contents(folder / "policies")
    assert main(["train", "--out", str(folder), "--resume", "--quiet"]) == 3
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(" has diverged by step ")[0] for line in said] == ["gailfe: seed 3", "gailfe: seed 4"]
    assert contents(folder / "policies") == before


@pytest.mark.parametrize("name", ["bc", "dagger", "fem", pytest.param("sac", marks=pytest.mark.slow)])
def test_every_method_is_watched(name, go, expert_file):
    """A rate at which any number overflows at the first steps."""
    from gailfe_jax.config.run import DemoSettings

    method = tiny(name, policy__value_lr=3e38) if name == "fem" else tiny(name, policy__lr=3e38)
    if name == "dagger":
        result = train(method, Cliff(), run_of(2), demos=DemoSettings(expert=expert_file))
    else:
        result = go(None, run_of(2), method, Cliff())
    assert set(result.diverged) == set(SEEDS) and result.steps <= 2 * CHUNK


def test_a_healthy_run_is_left_as_it_is(go, monkeypatch):
    after, seen = Guard.after, []

    def watch(self, state, kept, metrics, step):
        found = after(self, state, kept, metrics, step)
        seen.append(found is state)
        return found

    monkeypatch.setattr(Guard, "after", watch)
    assert not go(None).diverged
    assert seen == [True] * 4


@pytest.mark.parametrize(
    ("before", "series", "expected"),
    [
        (1.0, [1.0, np.nan, 2.0], (1, "disc_loss")),
        (1.0, [np.inf, 1.0, 1.0], (0, "disc_loss")),
        (np.nan, [np.nan, np.nan, np.nan], None),
        (np.nan, [np.nan, 1.0, np.nan], (2, "disc_loss")),
        (None, [np.nan, np.nan, 1.0], None),
        (None, [-np.inf, np.nan, 1.0], (0, "disc_loss")),
        (1.0, [1.0, 2.0, 3.0], None),
    ],
)
def test_a_loss_that_was_never_a_number_is_not_one_that_ceases_to_be(before, series, expected):
    guard = Guard(types.SimpleNamespace(), [0], {}, fresh=True)
    if before is not None:
        guard._before = {"disc_loss": np.array([before])}
    metrics = {"train_return": np.full((3, 1), np.nan), "disc_loss": np.array(series)[:, None]}
    assert guard._first_metric(metrics, 0, "loss") == expected


def test_what_is_told_is_one_line():
    found = Divergence(1024, "disc_loss", ("the policy", "the value network"))
    assert found.line == "has diverged by step 1,024: disc_loss is not finite (then the policy, the value network)"
    assert found.record(3) == {
        "seed": 3, "step": 1024, "quantity": "disc_loss", "also": ["the policy", "the value network"]
    }  # fmt: skip


TASK = """
model = "slide.xml"
observe = ["qpos", "sqrt(0.2 - qpos[0])", "qvel"]
reward = "1.0 / (qpos[0] - 0.21)"
frame_skip = 20
max_episode_steps = 40
"""
MODEL = """<mujoco><worldbody><body><joint name="slide" type="slide" axis="1 0 0"/><geom size="0.1"/></body></worldbody>
<actuator><motor joint="slide" gear="30" ctrllimited="true" ctrlrange="-1 1"/></actuator></mujoco>"""


@pytest.fixture
def slide(tmp_path):
    (tmp_path / "slide.xml").write_text(MODEL)
    (tmp_path / "slide.toml").write_text(TASK)
    return str(tmp_path / "slide.toml")


def test_the_expression_of_a_task_file_is_named(slide):
    learner = types.SimpleNamespace(env=make_env(slide, "mujoco_c"))
    assert observed(learner, np.array([False, True, False])) == "observation 'sqrt(0.2 - qpos[0])' of slide.toml"
    several = "observations 'qpos', 'sqrt(0.2 - qpos[0])' of slide.toml"
    assert observed(learner, np.array([True, True, False])) == several
    assert observed(learner, np.array([True, True, True])) == "observations"
    learner = types.SimpleNamespace(env=make_env("hopper", "mujoco_c"))
    assert observed(learner, np.arange(11) == 1) == "observation 'joint:rooty.qpos'"


@pytest.mark.slow
def test_an_expression_that_gives_no_number_is_told_as_such(slide, tmp_path):
    """The physics is finite throughout, and the true reward is read by PPO alone."""
    result = train(tiny("ppo", "ppo"), slide, settings(6), out=tmp_path / "run")
    assert {found.quantity for found in result.diverged.values()} == {"observation 'sqrt(0.2 - qpos[0])' of slide.toml"}
    assert all(record["resets_nonfinite"] in (0, None) for record in records_of(tmp_path / "run"))
