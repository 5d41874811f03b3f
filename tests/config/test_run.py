"""Settings beside the method's."""

from __future__ import annotations

import math

import pytest

from gailfe_jax.config.run import DemoSettings, RunSettings, eval_interval, whole_chunks
from gailfe_jax.errors import GailfeError


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        *((RunSettings, name, 0) for name in ("steps", "seeds", "eval_every", "eval_episodes", "keep")),
        *((RunSettings, name, math.nan) for name in ("steps", "eval_every", "checkpoint_seconds")),
        *((RunSettings, name, math.inf) for name in ("steps", "eval_every")),
        (RunSettings, "checkpoint_seconds", -1),
        (RunSettings, "first_seed", -1),
        (RunSettings, "first_seed", 2**32),
        (RunSettings, "devices", -1),
        (DemoSettings, "trajectories", 0),
        (DemoSettings, "subsample", 0),
        (DemoSettings, "demo_seed", -1),
    ],
)
def test_settings_out_of_range_are_named(kind, field, value):
    with pytest.raises(GailfeError, match=rf"^({kind.__name__}\.)?{field}: got .*; expected"):
        kind(**{field: value})


def test_keys_have_32_bits_for_a_seed():
    assert RunSettings(first_seed=2**32 - 2, seeds=2).first_seed == 2**32 - 2
    with pytest.raises(GailfeError, match=r"^first_seed: got 4294967294; expected seeds from 0 to 4294967295"):
        RunSettings(first_seed=2**32 - 2, seeds=3)


@pytest.mark.parametrize(
    ("steps", "every", "batch", "expected"),
    [
        (1000, 100, 100, (1, 10)),
        (1001, 100, 100, (1, 11)),
        (1000, 249, 100, (2, 5)),
        (1000, 251, 100, (3, 4)),
        (1, 1, 100, (1, 1)),
        (1e6, 50_000, 1024, (49, 20)),
    ],
)
def test_a_run_is_whole_evaluations_of_whole_iterations(steps, every, batch, expected):
    assert whole_chunks(RunSettings(steps=steps, eval_every=every), batch) == expected


@pytest.mark.parametrize(
    ("batch", "unroll", "steps", "on_cpu", "iterations"),
    [
        (1024, 128, 1000, True, 122),
        (1024, 128, 50, True, 49),
        (8192, 32, 1000, True, 15),
        (131_072, 32, 1000, True, 2),
        (32_768, 32, 1000, False, 8),
        (131_072, 32, 1000, False, 8),
        (131_072, 32, 50, False, 7),
        (4096, 1, 4096, False, 12),
    ],
)
def test_evaluations_are_so_far_apart_that_they_take_little(batch, unroll, steps, on_cpu, iterations):
    interval = eval_interval(batch, unroll, steps, on_cpu=on_cpu)
    assert whole_chunks(RunSettings(eval_every=interval), batch)[0] == iterations
