"""MuJoCo Warp agrees with the C engine, hence with Gymnasium, within float32 rounding.

The tests run on the CPU unless told otherwise: on a machine with an NVIDIA GPU set `JAX_PLATFORMS=cuda,cpu`.
Where warp-lang is installed but no GPU is, the same kernels run on the processor. They are slow to compile for it, so
those tests are slow; `python tests/versions.py warp` runs them in an environment of their own.
"""

from __future__ import annotations

import importlib.util
import types

import jax
import numpy as np
import pytest

from gailfe_jax.envs import MujocoEnv
from gailfe_jax.envs import physics as engines
from gailfe_jax.envs.physics import has_nvidia_gpu, make_physics
from gailfe_jax.envs.physics.warp import Warp
from gailfe_jax.envs.tasks import HOPPER, TASKS
from gailfe_jax.errors import GailfeError
from gailfe_jax.training.program import Trainer
from tests.tiny import tiny

pytestmark = pytest.mark.exact

HAS_WARP = importlib.util.find_spec("warp") is not None
DEVICE = "gpu" if has_nvidia_gpu() else "cpu"
# MuJoCo Warp does not have what the others read, or their solver.
RUNNING = [name for name in TASKS if name not in ("ant", "humanoid", "humanoidstandup")]


def runs_warp(test):
    """Only where warp-lang is, and with the slow tests."""
    test = pytest.mark.skipif(not HAS_WARP, reason="warp-lang is not installed")(test)
    return pytest.mark.slow(test)


@pytest.fixture(scope="module", params=[TASKS[name] for name in RUNNING], ids=RUNNING)
def contract(request, rounding_contract):
    return rounding_contract(Warp(request.param, device=DEVICE))


@runs_warp
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "fresh"])
def test_step_agrees_with_gymnasium(contract, warm):
    contract.agrees(warm)


@runs_warp
def test_reset_equals_fresh_init(contract):
    contract.resets()


@runs_warp
def test_an_iteration_of_training():
    env = MujocoEnv(HOPPER, Warp(HOPPER, device=DEVICE))
    trainer = Trainer(tiny("ppo").on(env), np.arange(2), chunk=1, eval_episodes=1)
    state, metrics = trainer.advance(trainer.init(None), None)
    assert all(np.isfinite(metrics[name]).all() for name in ("value_loss", "kl", "reward_mean"))
    assert {device.platform for device in state.env.obs.devices()} == {DEVICE}
    assert not np.array_equal(state.env.obs[0], state.env.obs[1])


@pytest.mark.skipif(has_nvidia_gpu(), reason="an NVIDIA GPU is here")
def test_without_gpu_the_error_says_so():
    with pytest.raises(GailfeError, match=r"^engine warp: .*no NVIDIA GPU"):
        make_physics(HOPPER, "warp")


def test_without_warp_the_error_says_so(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "warp" else find_spec(name, *a))
    with pytest.raises(GailfeError, match=r"^engine warp: package warp-lang is not installed"):
        Warp(HOPPER, device="cpu")


def test_the_cpu_is_the_cpu(monkeypatch):
    """With a GPU as JAX's default the program around the simulator would run there."""
    monkeypatch.setattr(jax, "devices", lambda *a: [types.SimpleNamespace(platform="gpu")])
    with pytest.raises(GailfeError, match=r"^device: got cpu, and JAX computes on .*; expected JAX_PLATFORMS=cpu"):
        Warp(HOPPER, device="cpu")


def test_unknown_device_is_one_clear_error():
    with pytest.raises(GailfeError, match=r"^device: got 'tpu'; expected gpu or cpu"):
        Warp(HOPPER, device="tpu")


@pytest.mark.parametrize(
    ("platform", "nvidia", "warp", "expected"),
    [
        ("cpu", False, True, "mujoco_c"),
        ("gpu", True, True, "warp"),
        ("gpu", True, False, "mjx"),
        ("gpu", False, True, "mjx"),
        ("tpu", False, True, "mjx"),
    ],
)
def test_auto_picks_the_fastest_engine_that_runs(monkeypatch, platform, nvidia, warp, expected):
    monkeypatch.setattr(engines.jax, "default_backend", lambda: platform)
    monkeypatch.setattr(engines, "has_nvidia_gpu", lambda: nvidia)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: object() if warp else None)
    assert engines.resolve_engine("auto") == expected


def test_unknown_engine_is_one_clear_error():
    with pytest.raises(GailfeError, match=r"^engine: unknown engine 'bullet'; expected auto, mujoco_c, mjx, warp"):
        engines.resolve_engine("bullet")
