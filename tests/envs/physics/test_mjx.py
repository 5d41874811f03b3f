"""MJX agrees with the C engine, hence with Gymnasium, within float32 rounding."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from gailfe_jax.envs.physics import make_physics
from gailfe_jax.envs.physics.mjx import Mjx
from gailfe_jax.envs.physics.model import load_model
from gailfe_jax.envs.tasks import HOPPER, TASKS
from gailfe_jax.errors import GailfeError

pytestmark = pytest.mark.exact

# Compiling a task's contact solver takes half a minute.
EACH = [
    pytest.param(task, id=name, marks=() if task is HOPPER else pytest.mark.slow)
    for name, task in TASKS.items()
    if "cfrc_ext" not in task.fields and name != "pusher"  # Whose arm of meshes takes too long to compile.
]


@pytest.fixture(scope="module", params=EACH)
def contract(request, rounding_contract):
    return rounding_contract(Mjx(request.param))


@pytest.mark.slow
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "fresh"])
def test_step_agrees_with_gymnasium(contract, warm):
    contract.agrees(warm)


@pytest.mark.slow
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


OWN = {"solver": 2, "iterations": 100, "ls_iterations": 50, "tolerance": 1e-8, "integrator": 1}
CHEAP = {"iterations": 3, "ls_iterations": 7, "tolerance": 1e-3, "solver": "cg", "integrator": "euler"}
EULER_DAMPING = int(mujoco.mjtDisableBit.mjDSBL_EULERDAMP)


def settings(physics):
    compiled = physics._mjx_model.opt
    return {name: pytest.approx(float(getattr(compiled, name))) for name in OWN}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("humanoid", {}, r"lacks what humanoid.xml asks for \(.*PGS\); expected --mjx.solver newton, or"),
        ("humanoid", {"solver": "newton"}, r"gives no field 'cfrc_ext'; expected engine mujoco_c"),
        ("ant", {}, r"gives no field 'cfrc_ext'; expected engine mujoco_c"),
    ],
)
def test_what_mjx_lacks_is_one_clear_error(name, options, message):
    with pytest.raises(GailfeError, match=f"^task '{name}': engine mjx {message}") as caught:
        Mjx(TASKS[name], **options)
    assert "\n" not in str(caught.value)


def test_solver_options_default_to_the_models_own():
    own = load_model(HOPPER).opt
    assert {name: getattr(own, name) for name in OWN} == OWN == settings(Mjx(HOPPER))
    assert not Mjx(HOPPER)._mjx_model.opt.disableflags & EULER_DAMPING


def test_solver_options_reach_the_compiled_model():
    cheap = make_physics(HOPPER, "mjx", **CHEAP, euler_damping=False)
    assert isinstance(cheap, Mjx)
    assert settings(cheap) == CHEAP | {"solver": 1, "integrator": 0}
    assert cheap._mjx_model.opt.disableflags & EULER_DAMPING
    assert not Mjx(HOPPER, euler_damping=True)._mjx_model.opt.disableflags & EULER_DAMPING
    # The loaded model is shared by all engines.
    assert {name: getattr(load_model(HOPPER).opt, name) for name in OWN} == OWN


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("iterations", 0, "iterations: got 0; expected"),
        ("ls_iterations", 0, "ls_iterations: got 0; expected"),
        ("tolerance", -1.0, "tolerance: got -1.0; expected"),
        ("solver", "pgs", "solver: got 'pgs'; expected one of newton, cg"),
        ("integrator", "leapfrog", "integrator: got 'leapfrog'; expected one of euler"),
        ("nconmax", 4, "engine mjx: takes no option nconmax"),
    ],
)
def test_bad_solver_option_is_one_clear_error(option, value, message):
    with pytest.raises(GailfeError, match=f"^{message}"):
        Mjx(HOPPER, **{option: value})
