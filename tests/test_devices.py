from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tests.on_devices import CASES, DEVICES, ITERATIONS

# To rounding: an update may differ by this share of its length, a number by this share of its size.
ROUNDING = 2e-3


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The folder of what one and eight devices trained."""
    folder = tmp_path_factory.mktemp("devices")
    # Eight devices on few cores: one may keep the others waiting.
    flags = f"--xla_force_host_platform_device_count={DEVICES} --xla_cpu_collective_call_terminate_timeout_seconds=600"
    root = pathlib.Path(__file__).parents[1]
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.on_devices", str(folder)]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def difference(one, eight):
    """How far the updates of policy and value network are apart, as a share of their length."""
    moved = lambda run, name: run[name.replace("start", "end")] - run[name]  # noqa: E731
    names = [name for name in one if "start" in name]
    apart = np.concatenate([(moved(one, name) - moved(eight, name)).ravel() for name in names])
    return np.linalg.norm(apart) / np.linalg.norm(np.concatenate([moved(one, name).ravel() for name in names]))


@pytest.mark.parametrize("case", CASES)
def test_one_and_eight_devices_make_the_same_updates(results, case):
    """Seeds over devices, environments over devices, and both; the simulator's own state included."""
    one, eight = (dict(np.load(results / f"{case}_{devices}.npz")) for devices in (1, DEVICES))
    assert one.keys() == eight.keys()
    for name in one:
        assert one[name].shape == eight[name].shape, name
        if "start" in name:
            np.testing.assert_array_equal(one[name], eight[name], err_msg=name)
        elif "end" not in name:
            np.testing.assert_allclose(eight[name], one[name], rtol=ROUNDING, atol=ROUNDING, err_msg=name)
    assert difference(one, eight) < ROUNDING
    assert one["['metrics0']['train_return']"].shape == (1, CASES[case][1])
    assert f"['metrics{ITERATIONS - 1}']['episodes']" in one


def test_devices_that_do_not_average_gradients_are_told_apart(results):
    together, apart = (dict(np.load(results / f"{name}.npz")) for name in ("together", "apart"))
    assert difference(together, apart) > 100 * ROUNDING


def test_a_checkpoint_of_one_device_goes_on_on_eight_and_the_other_way(results):
    policies = np.load(results / "resumed.npz")
    for name in policies.files:
        whole = policies["1_1_" + name.rsplit("_", 1)[1]]
        np.testing.assert_allclose(policies[name], whole, rtol=ROUNDING, atol=ROUNDING / 10, err_msg=name)
    assert np.abs(policies["1_1_0"] - policies["1_1_1"]).max() > 0.01
