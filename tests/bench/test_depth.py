"""The depth of training iterations, and caps that a change must not exceed unseen."""

from __future__ import annotations

import json
import pathlib

import jax
import jax.numpy as jnp
import pytest

from gailfe_jax.bench import depth
from gailfe_jax.bench.depth import LEARNING, PARTS, evaluation_depth, iteration_depth
from gailfe_jax.bench.loops import Depth, program_depth
from gailfe_jax.envs import make_env
from gailfe_jax.errors import GailfeError

RESULTS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "results"
# What presets take at 4096 environments x 32 steps (replay: x 8) on the C engine; a part without a name has no loop.
CAPS = {
    "gail": {"unroll": 32, "reward": 40, "policy": 21, "value": 128, "rest": 32},
    "gailfe": {"unroll": 32, "reward": 40, "policy": 21, "value": 128, "buffers": 43, "rest": 32},
    "mail": {"unroll": 32, "reward": 40, "policy": 174, "value": 128, "model": 48, "rest": 32},
    "gasil": {"unroll": 32, "reward": 40, "policy": 128, "buffers": 36, "rest": 64},
    "ppo": {"unroll": 32, "policy": 128, "rest": 64},
    # Each round is an update of the policy and the critics' before it.
    "gail:td3": {"unroll": 8, "reward": 32, "policy": 64},
    "gail:sac": {"unroll": 8, "reward": 32, "policy": 64},
}


def exceeding(found: Depth, caps: dict[str, int]) -> dict[str, str]:
    """What is deeper than its cap, or has no bound."""
    over = {part: f"{n} > {caps.get(part, 0)}" for part, n in found.steps.items() if n > caps.get(part, 0)}
    return over | {part: f"{n} loops without a bound" for part, n in found.unbounded.items()}


@pytest.mark.parametrize("algo", CAPS)
def test_no_part_of_an_iteration_is_deeper_than_its_cap(algo):
    env = make_env("hopper", "mujoco_c")
    found = iteration_depth(depth._preset(algo, "hopper", 4096, 32).on(env))
    assert exceeding(found, CAPS[algo]) == {}


def test_a_part_that_exceeds_its_cap_is_named():
    caps = {"value": 10, "policy": 3}
    assert exceeding(Depth({"value": 10, "policy": 3}), caps) == {}
    found = Depth({"value": 11, "policy": 3, "model": 1}, {"buffers": 2})
    assert exceeding(found, caps) == {"value": "11 > 10", "model": "1 > 0", "buffers": "2 loops without a bound"}


# Four simulator steps of four evaluations (Runge-Kutta), each of four solver iterations of eight line-search steps.
STEP = 4 * 4 * 4 * 8


def test_the_engines_loops_are_those_of_its_settings():
    name, options = depth.ENGINES["mjx-cheap"]
    physics = make_env("hopper", name, **options).physics
    phys = jax.eval_shape(physics.init, physics.init_qpos, physics.init_qvel)
    assert program_depth(physics.step, phys, jnp.zeros(3)) == Depth({"engine": STEP})


@pytest.mark.slow
def test_a_report_counts_the_engine_in_the_unroll(capsys):
    report = depth.run(["Hopper-v5"], algo=["ppo"], engine=["mjx-cheap"], num_envs=16, unroll_length=3)
    json.dumps(report, allow_nan=False)
    (row,) = report["rows"]
    assert row["steps"]["engine"] == 3 * STEP and row["evaluation"] == 1000 * STEP
    assert row["steps"]["unroll"] == 0 and row["unbounded"] == {}
    assert row["learning"] == sum(row["steps"][part] for part in LEARNING) and row["total"] > row["learning"]
    depth.show(report | {"rows": [row | {"unbounded": {"buffers": 2}}]})
    shown = capsys.readouterr().out
    assert "1,536" in shown and "ppo on hopper, mjx-cheap: 2 loop(s) of buffers without a bound" in shown


def test_an_evaluation_may_last_as_long_as_an_episode():
    assert evaluation_depth(make_env("hopper", "mujoco_c")) == Depth({"unroll": 1000})


def rows(name):
    return json.loads((RESULTS / f"{name}.json").read_text())["rows"]


def test_the_committed_tables_have_every_part_engine_and_method():
    assert {row["engine"] for row in rows("depth_before")} == set(depth.ENGINES)
    for row in (*rows("depth"), *rows("depth_before")):
        assert set(row["steps"]) == set(PARTS) and row["unbounded"] == {}
    for row in rows("depth"):
        assert exceeding(Depth(row["steps"]), CAPS[row["algo"]]) == {}
    assert {row["algo"] for row in rows("depth")} == set(CAPS)
    assert json.loads((RESULTS / "depth.json").read_text())["provenance"]["git"]["dirty"] is False


@pytest.mark.parametrize("algo", CAPS)
def test_learning_is_below_its_goal(algo):
    assert sum(CAPS[algo].get(part, 0) for part in LEARNING) <= depth.MOST_LEARNING


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: depth.run(engine=["warp"]), "engine: got 'warp'; expected some of mujoco_c, mjx, mjx-cheap"),
        (lambda: depth.run([]), "env: got none"),
        (lambda: depth.run(engine=[]), "engine: got none"),
        (lambda: depth.run(num_envs=0), "num_envs: got 0"),
        (lambda: depth.run(algo=["bc"]), "algo: bc has no policy step"),
        (lambda: depth.run(["brax:fast"]), "env: .*brax:fast"),
    ],
)
def test_what_cannot_be_counted_is_named(call, message):
    with pytest.raises(GailfeError, match=f"^{message}"):
        call()
