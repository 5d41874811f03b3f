"""MuJoCo Warp agrees with the C engine, hence with Gymnasium, within float32 rounding.

The tests run on the CPU unless told otherwise: on a machine with an NVIDIA GPU set `JAX_PLATFORMS=cuda,cpu`.
Set `GAILFE_TEST_WARP_ON_CPU=1` to run the same kernels on the processor where warp-lang is installed but no GPU is.
"""

from __future__ import annotations

import importlib.util
import os

import pytest

from gailfe_jax.envs import physics as engines
from gailfe_jax.envs.physics import has_nvidia_gpu, make_physics
from gailfe_jax.envs.physics.warp import Warp
from gailfe_jax.envs.tasks import HOPPER, TASKS
from gailfe_jax.errors import GailfeError

HAS_WARP = importlib.util.find_spec("warp") is not None
ON_CPU = os.environ.get("GAILFE_TEST_WARP_ON_CPU") == "1"
DEVICE = "cpu" if ON_CPU else "gpu"

runs_warp = pytest.mark.skipif(
    not HAS_WARP or not (has_nvidia_gpu() or ON_CPU),
    reason="warp-lang is not installed" if not HAS_WARP else "JAX sees no NVIDIA GPU",
)


@pytest.fixture(scope="module", params=TASKS.values(), ids=TASKS)
def contract(request, rounding_contract):
    return rounding_contract(Warp(request.param, device=DEVICE))


@runs_warp
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "fresh"])
def test_step_agrees_with_gymnasium(contract, warm):
    contract.agrees(warm)


@runs_warp
def test_reset_equals_fresh_init(contract):
    contract.resets()


@pytest.mark.skipif(has_nvidia_gpu(), reason="an NVIDIA GPU is here")
def test_without_gpu_the_error_says_so():
    with pytest.raises(GailfeError, match=r"^engine warp: .*no NVIDIA GPU"):
        make_physics(HOPPER, "warp")


def test_without_warp_the_error_says_so(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "warp" else find_spec(name, *a))
    with pytest.raises(GailfeError, match=r"^engine warp: package warp-lang is not installed"):
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
