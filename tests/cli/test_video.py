from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from gailfe_jax.artifacts.policy import Policy


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("video missing", "missing: expected a readable policy file"),
        ("video full", "full/config.json: no such file"),
        ("video {expert} --seed-index 1", "seed_index: got 1; expected 0 to 0"),
    ],
)
def test_bad_input_ends_in_one_line(refused, words, message):
    refused(words, message)


def test_a_platform_that_mujoco_does_not_know_is_one_line(tmp_path):
    """In a process of its own: this one has loaded MuJoCo."""
    code = "import sys; from gailfe_jax.cli.main import main; sys.exit(main(sys.argv[1:]))"
    place = os.environ | {"MUJOCO_GL": "nonsense", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code, "video", str(tmp_path)]
    done = subprocess.run(command, env=place, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("gailfe: error: MUJOCO_GL: got 'nonsense', with which MuJoCo does not load (")


def test_no_expert_is_shipped_for_every_task(refused, tmp_path):
    shutil.copytree(pathlib.Path(__file__).parents[2] / "examples" / "arm", tmp_path / "arm")
    policy = Policy([(np.zeros((6, 2)), np.zeros(2))], "tanh", np.zeros(6), np.ones(6), np.zeros(2), -1.0, 1.0)
    policy.save(tmp_path / "arm.safetensors")
    refused("video arm.safetensors --env arm/arm.toml --beside expert", "expert: none is shipped for arm")
    refused("video {expert} --beside gone.safetensors", "gone.safetensors: expected a readable policy file")
