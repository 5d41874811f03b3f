"""The example of a new environment runs, and goes wherever a built-in one goes."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import pytest

from gailfe_jax.envs import make_env
from gailfe_jax.envs.rollout import evaluate
from tests.examples.loading import FOLDER, TINY, load_example, the_whole_way

pytestmark = pytest.mark.usefixtures("compiled_in_haste")
PATH = FOLDER / "new_environment.py"
SAID = r"Return of doing nothing: (.+), of PPO: (.+)\n"


def test_it_is_complete_in_fewer_than_60_lines():
    assert len(PATH.read_text(encoding="utf-8").splitlines()) < 60


def test_importing_it_registers_the_task():
    example = load_example("new_environment")
    assert isinstance(make_env("Puck"), example.Puck)
    assert make_env("delayed5:puck").spec.max_episode_steps == 100


def test_a_controller_scores_far_more_than_nothing():
    load_example("new_environment")
    kernel = jnp.concatenate([-1.0 * jnp.eye(2), -1.5 * jnp.eye(2)])
    key, env = jax.random.key(0), make_env("puck")
    controlled = evaluate(env, lambda kernel, obs: obs @ kernel, kernel, key, 64).returns.mean()
    # A puck that rests in the middle for all of the 100 steps has 100.
    assert 80 < controlled < 100


def test_it_trains(capsys):
    load_example("new_environment").main(**TINY | {"policy.minibatches": 2, "policy.epochs": 2})
    said = re.fullmatch(SAID, capsys.readouterr().out)
    assert said is not None and float(said[1]) < 40


@pytest.mark.slow
def test_ppo_learns_to_bring_the_puck_to_rest(capsys):
    load_example("new_environment").main()
    said = re.fullmatch(SAID, capsys.readouterr().out)
    assert said is not None and 80 < float(said[2]) < 100


@pytest.mark.slow
def test_it_goes_the_whole_way_from_the_command_line(tmp_path):
    words = f"ppo --env puck --import {PATH} --minibatches 2 --policy.epochs 2".split()
    the_whole_way(tmp_path, words, "policy.lr=1e-3,1e-2")
