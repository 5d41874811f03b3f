from __future__ import annotations

import json

import numpy as np
import pytest

from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.cli.main import main
from gailfe_jax.training.run_folder import load_run
from tests.cli.tiny import RUN, sizes

pytestmark = pytest.mark.usefixtures("quick_programs")


def test_expert_writes_a_policy_and_its_report(tmp_path, capsys):
    out = tmp_path / "expert.safetensors"
    flags = [*sizes("ppo")[1:], *RUN, "--run-dir", str(tmp_path / "run"), "--episodes", "2", "--steps", "128"]
    assert main(["expert", "--env", "Hopper-v5", "--out", str(out), *flags, "--quiet"]) == 0
    policy, report = Policy.load(out), json.loads((tmp_path / "expert.json").read_text())
    assert policy.metadata["env"] == "hopper" and policy.metadata["algo"] == "ppo"
    assert float(policy.metadata["expert_return"]) == report["mean"] == np.mean(report["returns"])
    assert len(report["returns"]) == 2 and report["steps"] in (32, 64, 96, 128)
    assert load_run(tmp_path / "run")["method"]["schedule"]["anneal"]
    assert main(["evaluate", str(out), "--episodes", "2", "--json"]) == 0
    printed = capsys.readouterr().out
    # The same episodes as those of the report.
    assert json.loads(printed[printed.index("{") :])["seeds"][0]["returns"] == report["returns"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("expert --out x.txt", "out: got 'x.txt'; expected a file name that ends in .safetensors"),
        ("expert --out x.safetensors --algo gail", "algo: got 'gail'; expected none: gailfe expert trains by ppo"),
        ("expert --out x.safetensors --env brax:fast", "brax:fast has no Gymnasium environment"),
    ],
)
def test_bad_input_ends_in_one_line(refused, words, message):
    refused(words, message)


def test_a_file_for_another_method_is_refused(refused, tmp_path):
    (tmp_path / "run.toml").write_text('algo = "gail"\n')
    refused(
        "expert --config run.toml --out x.safetensors",
        "config: run.toml: algo: got 'gail'; expected none: gailfe expert trains by ppo",
    )
