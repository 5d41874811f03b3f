"""The forward model on dynamics that are known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.policies.forward_model import ForwardModel
from gailfe_jax.types import EnvSpec, ForwardTransitions, Problem

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

SPEC = EnvSpec("pendulum", None, "none", 2, 1, (-1.0,), (1.0,), 100)
PROBLEM = Problem(SPEC, num_envs=8, unroll_length=128)


def swing(obs, action):
    """A damped pendulum: angle and angular velocity after 0.05 s."""
    velocity = 0.98 * obs[..., 1:] + 0.05 * (3 * action - 5 * jnp.sin(obs[..., :1]))
    return jnp.concatenate([obs[..., :1] + 0.05 * velocity, velocity], -1)


def trajectories(key, steps, width):
    keys = jax.random.split(key, 2)
    actions = jax.random.uniform(keys[0], (steps, width, 1), minval=-1, maxval=1)
    start = jax.random.uniform(keys[1], (width, 2), minval=-1, maxval=1) * jnp.array([1.5, 2.0])
    step = lambda obs, action: (swing(obs, action), ForwardTransitions(obs, action, swing(obs, action)))  # noqa: E731
    return jax.lax.scan(step, start, actions)[1]


@pytest.mark.parametrize(
    ("kind", "ensemble"),
    [("mlp", 3), *(pytest.param(*model, marks=pytest.mark.slow) for model in (("mlp", 1), ("gated", 1), ("gated", 3)))],
)
def test_the_learned_model_follows_a_pendulum_twenty_steps_ahead(kind, ensemble):
    model = ForwardModel(kind=kind, hidden=(64, 64), ensemble=ensemble, lr=2e-3).bind(PROBLEM)
    data = jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), trajectories(jax.random.key(0), 40, 200))
    state = model.observe(jax.jit(model.init)(jax.random.key(1)), data)
    unseen = trajectories(jax.random.key(2), 20, 100)
    done = jnp.zeros((20, 100), bool)
    fit, errors = jax.jit(model.fit), jax.jit(model.errors)
    before = errors(state, unseen, done)
    for i in range(10):
        rows = jax.random.randint(jax.random.fold_in(jax.random.key(3), i), (200, ensemble, 128), 0, 8000)
        state, _ = fit(state, ForwardTransitions(data.obs[rows], data.action[rows], data.next_obs[rows]))
    after = errors(state, unseen, done)
    # In standard deviations of the observations.
    assert after["model_error_1"] < 0.01 < before["model_error_1"]
    assert after["model_error_h"] < 0.1 < before["model_error_h"]
    assert after["model_unexplained"] < 0.01
    _, near = model.predict(state, unseen.obs, unseen.action)
    _, far = model.predict(state, 20 + unseen.obs, unseen.action)
    if ensemble == 1:
        assert not np.any(near)
    else:
        assert jnp.mean(far) > 10 * jnp.mean(near) > 0


@pytest.mark.slow
def test_errors_leave_out_windows_in_which_an_episode_ended():
    model = ForwardModel(hidden=(4,)).bind(PROBLEM)
    state = jax.jit(model.init)(jax.random.key(0))
    errors = jax.jit(model.errors)
    moves = trajectories(jax.random.key(1), 6, 3)
    state = model.observe(state, moves)
    ended = jnp.zeros((6, 3), bool).at[2, 1].set(True)
    kept = jax.tree.map(lambda x: x[:, jnp.array([0, 2])], moves)
    some, alone = errors(state, moves, ended), errors(state, kept, jnp.zeros((6, 2), bool))
    np.testing.assert_allclose(some["model_error_h"], alone["model_error_h"], rtol=1e-5)
    # An end with the last move cuts nothing.
    last = errors(state, kept, jnp.zeros((6, 2), bool).at[5].set(True))
    np.testing.assert_allclose(last["model_error_h"], alone["model_error_h"], rtol=1e-6)
    assert np.isnan(errors(state, moves, jnp.ones((6, 3), bool))["model_error_h"])


def test_agreement_has_a_derivative():
    model = ForwardModel(hidden=(4,)).bind(PROBLEM)
    state = jax.jit(model.init)(jax.random.key(0))
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(model.predict(state, x, jnp.zeros((3, 1)))[1])))(jnp.ones((3, 2)))
    assert np.all(np.isfinite(gradient))
