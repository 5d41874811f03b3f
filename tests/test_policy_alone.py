"""The package as a robot has it: installed without its dependencies, beside NumPy and safetensors."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import venv
import zipfile

import numpy as np
import pytest
import safetensors
from hatchling.builders.wheel import WheelBuilder

from tests.runs import policy

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = """
import importlib.util, sys
for name in ("jax", "jaxlib", "flax", "mujoco", "gymnasium", "scipy", "onnx"):
    assert importlib.util.find_spec(name) is None, name
import numpy as np
from gailfe_jax.policy import Policy, load_expert
import gailfe_jax
policy = Policy.load(sys.argv[1])
obs = np.load(sys.argv[2])
action, _ = policy.predict(obs, deterministic=True)
np.save(sys.argv[3], action)
assert load_expert("hopper").act(np.zeros(11)).shape == (3,) and gailfe_jax.Policy is Policy
"""


@pytest.mark.slow
def test_a_wheel_with_numpy_and_safetensors_alone_acts(tmp_path):
    venv.create(tmp_path / "env", with_pip=False)
    (packages,) = (tmp_path / "env").glob("lib/python*/site-packages")
    # What `pip install --no-deps . numpy safetensors` would unpack; no network here.
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    for module in (np, safetensors):
        folder = pathlib.Path(module.__path__[0])
        for part in [folder, *folder.parent.glob(f"{folder.name}.libs")]:
            (packages / part.name).symlink_to(part)
    file, obs = policy(1).save(tmp_path / "policy.safetensors"), np.random.default_rng(0).normal(size=(5, 11))
    np.save(tmp_path / "obs.npy", obs)
    python = tmp_path / "env" / "bin" / "python"
    words = [python, "-I", "-c", PROGRAM, file, tmp_path / "obs.npy", tmp_path / "action.npy"]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(python) != sys.executable
    np.testing.assert_array_equal(np.load(tmp_path / "action.npy"), policy(1).act(obs))
