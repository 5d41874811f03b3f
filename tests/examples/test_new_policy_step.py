"""The example of a new policy step runs, and goes wherever a built-in one goes."""

from __future__ import annotations

import pytest

import gailfe_jax as gf
from tests.examples.loading import FOLDER, TINY, load_example, the_whole_way
from tests.toy import cliff_expert

pytestmark = pytest.mark.usefixtures("compiled_in_haste")
PATH = FOLDER / "new_policy_step.py"


def test_it_is_complete_in_fewer_than_60_lines():
    assert len(PATH.read_text(encoding="utf-8").splitlines()) < 60


def test_it_trains(capsys):
    load_example("new_policy_step").main("cliff", cliff_expert(), **TINY)
    said = capsys.readouterr().out.split()
    assert said[:2] == ["Mean", "return:"] and len(said) == 4


@pytest.mark.slow
def test_it_goes_the_whole_way_from_the_command_line(demos_file, tmp_path):
    words = f"gail --policy a2c --env cliff --demos {demos_file} --import {PATH}".split()
    the_whole_way(tmp_path, words, "policy.lr=1e-3,1e-2")


@pytest.mark.slow
def test_it_stands_for_itself_on_the_true_reward(tmp_path):
    load_example("new_policy_step")
    setup = gf.build_setup({"algo": "a2c", "env": "cliff"} | TINY)
    result = gf.train(setup.method, setup.environment, setup.run, out=tmp_path / "run")
    assert len(result.policies) == 1 and result.summary["algo"] == "a2c"
