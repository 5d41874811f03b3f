"""Training lowers for GPUs and TPUs on a machine that has none, and what it lowers to is what they can run.

Every method lowers on a toy task here, and the engine MJX by itself. Slow tests lower the methods on MJX, and on Warp
where warp-lang is installed. `mujoco_c` calls the host and is for CPUs.
"""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.artifacts.policy import load_expert
from gailfe_jax.bench.loops import jaxpr_depth
from gailfe_jax.envs import make_env
from gailfe_jax.learners.methods import METHODS, policy_choices
from gailfe_jax.training.program import Trainer
from tests.tiny import noise_demos, tiny
from tests.toy import Cliff, cliff_expert

# MJX's Cholesky factors, which a TPU's compiler knows by itself; and with JAX 0.12 an array not yet written.
ALLOWED = {"cuda": {"cusolver_potrf_ffi", "AllocateBuffer"}, "tpu": {"AllocateBuffer"}}
STEPS = [(name, policy) for name in METHODS for policy in policy_choices(METHODS[name]) or (None,)]
# Between them these have every policy step, buffer and reward but the linear ones.
QUICK = [("gailfe", "trpo"), ("mail", None), ("gasil", "ppo"), ("dagger", None)]
MARKED = [pytest.param(*step, marks=[] if step in QUICK else [pytest.mark.slow]) for step in STEPS]


@pytest.fixture
def on_accelerator(monkeypatch):
    """Tracing as it would be there: some parts are written otherwise for CPUs."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


def trace(method, env, expert=None):
    learner = method.on(env)
    trainer = Trainer(learner, np.arange(2), chunk=2, eval_episodes=2)
    demos = noise_demos(env, expert=expert) if learner.needs_demonstrations or learner.asks_expert else None
    return trainer.trace(trainer.template(demos), demos)


def check(traced, platforms=("cuda", "tpu"), allowed=frozenset()):
    """No float64, no call but the known ones, and every loop has an end that the code states.

    Returns:
      The calls by platform.
    """
    assert jaxpr_depth(traced.jaxpr.jaxpr).unbounded == {}
    called = {}
    for platform in platforms:
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert "xf32>" in text
        assert not re.search(r"\bf64\b|xf64>", text)
        called[platform] = set(re.findall(r"stablehlo\.custom_call @([\w.]+)", text))
        assert called[platform] <= ALLOWED[platform] | allowed
    return called


@pytest.mark.usefixtures("on_accelerator")
@pytest.mark.parametrize(("name", "policy"), MARKED)
def test_every_method_lowers(name, policy):
    check(trace(tiny(name, policy), Cliff(), cliff_expert() if METHODS[name].asks_expert else None))


@pytest.mark.slow
@pytest.mark.usefixtures("on_accelerator")
def test_mjx_lowers():
    env = make_env("hopper", "mjx", iterations=4, ls_iterations=8)
    phys = jax.eval_shape(env.physics.init, env.physics.init_qpos, env.physics.init_qvel)
    traced = jax.jit(env.physics.step).trace(phys, jnp.zeros(3))
    assert "cusolver_potrf_ffi" in check(traced)["cuda"]
    assert 0 < jaxpr_depth(traced.jaxpr.jaxpr).total <= 4 * 4 * 4 * 8


@pytest.mark.slow
@pytest.mark.usefixtures("on_accelerator")
@pytest.mark.parametrize(("name", "policy"), STEPS)
def test_every_method_lowers_on_mjx(name, policy):
    expert = load_expert("hopper") if METHODS[name].asks_expert else None
    check(trace(tiny(name, policy), make_env("hopper", "mjx"), expert))


def test_what_may_not_be_lowered_is_found():
    assert set(QUICK) <= set(STEPS)
    x = jnp.ones((3, 3), jnp.float32)
    with jax.enable_x64(True):
        double = jax.jit(lambda x: x.astype(jnp.float64) + 1).trace(x)
        with pytest.raises(AssertionError, match="f64"):
            check(double)
    with pytest.raises(AssertionError, match="cusolver_geqrf_ffi"):
        check(jax.jit(jnp.linalg.qr).trace(x))
    # JAX itself has no way to call this machine's Python from another platform's program.
    called = jax.jit(lambda x: jax.pure_callback(np.sin, x, x)).trace(x)
    with pytest.raises((AssertionError, ValueError), match="platform"):
        check(called)
    with pytest.raises(AssertionError, match="rest"):
        check(jax.jit(lambda x: jax.lax.while_loop(lambda x: x[0, 0] < 9, jnp.sin, x)).trace(x))
