from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import pytest

from gailfe_jax.config.flat import Config, Hyper, hyper_arrays
from gailfe_jax.errors import GailfeError


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden", (-3,)),
        ("disc_hidden", (100, 0)),
        ("init_log_std", float("nan")),
        ("mixture", 0),
        ("num_envs", 0),
        ("bc_steps", -1),
        ("warmup_iterations", -1),
        ("policy_average", 1.0),
        ("fisher_fraction", 1.5),
        ("ppo_minibatches", 0),
        ("mjx_iterations", 0),
        ("mjx_ls_iterations", 0),
        ("mjx_tolerance", -1.0),
        ("warp_nconmax", 0),
        ("warp_njmax", 0),
    ],
)
def test_a_value_out_of_range_is_one_line_that_names_the_field(field, value):
    with pytest.raises(GailfeError, match=field) as error:
        Config(**{field: value})
    assert "\n" not in str(error.value)


def test_more_minibatches_than_samples_is_refused_for_ppo_only():
    small = {"num_envs": 1, "unroll_length": 4, "ppo_minibatches": 8}
    with pytest.raises(GailfeError, match="ppo_minibatches"):
        Config(generator="ppo", **small)
    assert Config(generator="trpo", **small).batch_size == 4


def test_engine_options_are_those_that_are_not_the_models_own():
    assert Config().engine_options == {}
    options = Config(mjx_iterations=4, mjx_euler_damping=False, warp_njmax=50).engine_options
    assert options == {"iterations": 4, "euler_damping": False, "njmax": 50}


def test_hyper_arrays_are_float32_and_finite():
    hyper = hyper_arrays(Hyper(gamma=0.9))
    assert all(getattr(hyper, f.name).dtype == jnp.float32 for f in dataclasses.fields(hyper))
    with pytest.raises(GailfeError, match="disc_lr"):
        hyper_arrays(Hyper(disc_lr=float("inf")))
