"""The example of a new environment runs, and stays short."""

from __future__ import annotations

import importlib.util
import pathlib
import re

import pytest

from gailfe_jax.envs import make_env

PATH = pathlib.Path(__file__).parents[2] / "examples" / "new_environment.py"

pytestmark = pytest.mark.usefixtures("own_registry")


@pytest.fixture
def example():
    spec = importlib.util.spec_from_file_location("new_environment", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_complete_in_fewer_than_60_lines():
    assert len(PATH.read_text(encoding="utf-8").splitlines()) < 60


def test_importing_it_registers_the_task(example):
    assert isinstance(make_env("Puck"), example.Puck)
    assert make_env("delayed5:puck").spec.max_episode_steps == 100


def test_a_controller_scores_far_more_than_nothing(example, capsys):
    example.main()
    said = re.fullmatch(r"Return of doing nothing: (.+), of a controller: (.+)\n", capsys.readouterr().out)
    assert said is not None
    idle, controlled = map(float, said.groups())
    # A puck that rests in the middle for all of the 100 steps has 100.
    assert idle < 40 < 80 < controlled < 100
