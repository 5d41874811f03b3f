"""MJX agrees with the C engine, hence with Gymnasium, within float32 rounding."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.envs.tasks import HOPPER, TASKS
from gailfe_jax.physics import make_physics
from gailfe_jax.physics.mjx import Mjx
from gailfe_jax.physics.model import load_model
from gailfe_jax.types import GailfeError


@pytest.fixture(scope="module", params=TASKS.values(), ids=TASKS)
def contract(request, rounding_contract):
    return rounding_contract(Mjx(request.param))


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "fresh"])
def test_step_agrees_with_gymnasium(contract, warm):
    contract.agrees(warm)


def test_reset_equals_fresh_init(contract):
    contract.resets()


def test_reset_leaves_the_others_alone():
    physics = Mjx(HOPPER)
    phys = physics.init(physics.init_qpos, physics.init_qvel).replace(
        time=jnp.float32(3.0), warmstart=jnp.arange(6, dtype=jnp.float32)
    )
    kept = physics.reset(phys, jnp.array(False), jnp.ones(6), jnp.ones(6))
    for new, old in zip(jax.tree.leaves(kept), jax.tree.leaves(phys), strict=True):
        assert np.array_equal(new, old)


def test_solver_options_default_to_the_models_own():
    own = load_model(HOPPER).opt
    assert (Mjx(HOPPER)._mjx_model.opt.iterations, Mjx(HOPPER)._mjx_model.opt.ls_iterations) == (100, 50)
    cheap = make_physics(HOPPER, "mjx", iterations=3, ls_iterations=7)
    assert isinstance(cheap, Mjx)
    assert (cheap._mjx_model.opt.iterations, cheap._mjx_model.opt.ls_iterations) == (3, 7)
    # The loaded model is shared by all engines.
    assert (own.iterations, own.ls_iterations) == (100, 50)


@pytest.mark.parametrize("option", ["iterations", "ls_iterations"])
def test_bad_solver_option_is_one_clear_error(option):
    with pytest.raises(GailfeError, match=rf"^{option}: got 0; expected"):
        Mjx(HOPPER, **{option: 0})
