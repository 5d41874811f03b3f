from __future__ import annotations

import dataclasses
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from gailfe_jax.config.run import RunSettings
from gailfe_jax.envs import make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.parallel import devices
from gailfe_jax.parallel.devices import compiler_options
from gailfe_jax.training import program
from gailfe_jax.training.program import Trainer, mesh_shape
from tests import haste
from tests.parallel.on_devices import CASES, DEVICES
from tests.tiny import noise_demos, tiny
from tests.toy import Cliff

# To rounding: an update may differ by this share of its length, a number by this share of its size.
ROUNDING = 1e-4


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The folder of what one and eight devices trained."""
    folder = tmp_path_factory.mktemp("devices")
    # Eight devices on few cores: one may keep the others waiting.
    flags = (
        f"--xla_force_host_platform_device_count={DEVICES}",
        "--xla_cpu_collective_call_terminate_timeout_seconds=600",
    )
    root = pathlib.Path(__file__).parents[2]
    environment = haste.environment(*flags) | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.parallel.on_devices", str(folder)]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def difference(one, eight):
    """How far the updates of policy and value network are apart, as a share of their length."""
    moved = lambda run, name: run[name.replace("start", "end")] - run[name]  # noqa: E731
    names = [name for name in one if "start" in name]
    apart = np.concatenate([(moved(one, name) - moved(eight, name)).ravel() for name in names])
    return np.linalg.norm(apart) / np.linalg.norm(np.concatenate([moved(one, name).ravel() for name in names]))


@pytest.mark.exact
@pytest.mark.slow
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
    if case == "gailfe":
        assert (one["['metrics1']['failures_in_buffer']"] > 0).all() and (one["['metrics1']['multiplier']"] > 0).all()


@pytest.mark.exact
@pytest.mark.slow
def test_devices_that_do_not_average_gradients_are_told_apart(results):
    one, apart = (dict(np.load(results / f"dagger_{name}.npz")) for name in (1, "apart"))
    assert difference(one, apart) > 100 * ROUNDING


@pytest.mark.exact
@pytest.mark.slow
def test_a_checkpoint_of_one_device_goes_on_on_eight_and_the_other_way(results):
    policies = np.load(results / "resumed.npz")
    for name in policies.files:
        whole = policies["1_1_" + name.rsplit("_", 1)[1]]
        np.testing.assert_allclose(policies[name], whole, rtol=ROUNDING, atol=1e-6, err_msg=name)
    assert np.abs(policies["1_1_0"] - policies["1_1_1"]).max() > 0.01


@pytest.mark.parametrize(
    ("devices", "seeds", "num_envs", "shape"),
    [
        (0, 1, 8, (1, 8)),
        (0, 8, 3, (8, 1)),
        (0, 2, 8, (2, 4)),
        (4, 6, 8, (2, 2)),
        # Some stay idle where all of them do not divide the environments.
        (0, 1, 6, (1, 6)),
        (0, 2, 3, (2, 3)),
        (1, 5, 7, (1, 1)),
    ],
)
def test_seeds_are_parted_before_environments(devices, seeds, num_envs, shape):
    assert mesh_shape(devices, seeds, num_envs, 8) == shape


def test_devices_that_do_not_fit_are_refused():
    expected = r"expected 0 \(all that fit\) or one of 1, 2, 4, 8 on a machine with 8$"
    with pytest.raises(GailfeError, match=r"^devices: got 3 for 1 seed\(s\) of 8 environments; " + expected):
        mesh_shape(3, 1, 8, 8)
    with pytest.raises(GailfeError, match=r"^devices: got 2 .* one of 1 on a machine with 1$"):
        mesh_shape(2, 4, 8, 1)
    with pytest.raises(GailfeError, match=r"^RunSettings.devices: got -1; expected a whole number from 0$"):
        RunSettings(devices=-1)


def test_only_programs_around_environments_of_the_host_are_told_how_to_run(monkeypatch):
    spec = make_env("hopper", "mujoco_c").spec
    on_host, on_device = compiler_options(spec), dataclasses.replace(spec, engine="mjx")
    assert on_host and compiler_options(on_device) == {}
    assert compiler_options(dataclasses.replace(spec, engine="gymnasium")).items() > on_host.items()
    monkeypatch.setattr(devices, "_AROUND", {"gymnasium": {"xla_cpu_no_such_option": True}})
    devices._known_options.cache_clear()
    assert compiler_options(dataclasses.replace(spec, engine="gymnasium")) == {}
    devices._known_options.cache_clear()


@pytest.mark.parametrize(("steps", "quick"), [(0, True), (5, False)])
def test_a_start_that_clones_first_is_compiled_in_full(steps, quick, monkeypatch):
    asked = []
    monkeypatch.setattr(program, "compiler_options", lambda spec, *, once=False: asked.append(once) or {})
    trainer = Trainer(tiny("gail", start__steps=steps).on(Cliff()), np.arange(1), chunk=1, eval_episodes=1)
    trainer.init(noise_demos(Cliff()))
    assert asked == [quick]


def test_a_level_of_optimisation_that_the_user_names_stays(monkeypatch):
    spec = make_env("hopper", "mujoco_c").spec
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=true")
    assert compiler_options(spec)["xla_backend_optimization_level"] == 1
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=true --xla_backend_optimization_level=3")
    assert "xla_backend_optimization_level" not in compiler_options(spec)
    assert compiler_options(spec, once=True)["xla_backend_optimization_level"] == 0


def test_what_runs_once_is_compiled_quickly(monkeypatch):
    spec = make_env("hopper", "mujoco_c").spec
    assert compiler_options(spec, once=True) == compiler_options(spec) | {"xla_backend_optimization_level": 0}
    monkeypatch.setattr(devices, "computes_on_cpu", lambda: False)
    assert compiler_options(spec, once=True) == {}
