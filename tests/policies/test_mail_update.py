"""MAIL's steps, and the model that they go through."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.methods import find_method
from gailfe_jax.policies.actor import CloneStart
from gailfe_jax.policies.base import Objective
from gailfe_jax.policies.forward_model import ForwardModel
from gailfe_jax.policies.mail import MAIL, cut_windows
from gailfe_jax.types import ForwardTransitions, StateAction
from tests.policies.mail_task import (
    MAIL_STEP,
    MODEL,
    bound,
    fake_unroll,
    policy_and_state,
    smooth_score,
)

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


def test_windows_are_consecutive_steps_of_one_environment():
    unroll = fake_unroll(12, 3, jax.random.key(0))
    windows = cut_windows(unroll, unroll.next_obs[-1], 4)
    assert windows.obs.shape == (4, 9, 3) and windows.done.shape == (4, 9)
    for column in range(9):
        env, part = column % 3, column // 3
        rows = slice(4 * part, 4 * part + 4)
        np.testing.assert_array_equal(windows.obs[:, column], unroll.obs[rows, env])
        np.testing.assert_array_equal(windows.next_obs[:, column], unroll.next_obs[rows, env])
        np.testing.assert_array_equal(windows.done[:, column], unroll.done[rows, env])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"step": "adam"},
        pytest.param({"rollouts": "model", "ensemble": 2}, marks=pytest.mark.slow),
        pytest.param({"mixture": 3}, marks=pytest.mark.slow),
        pytest.param({"mixture": 3, "rollouts": "model", "ensemble": 2}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_step_improves_its_objective_within_its_bound(changes):
    settings = dict(changes)
    model = MODEL.replace(ensemble=settings.pop("ensemble", 1))
    step = MAIL_STEP.replace(fisher_fraction=1.0, steps=2, horizon=4, max_kl=0.01, lr=1e-3, model=model, **settings)
    mail, state = policy_and_state(step)
    unroll = fake_unroll(8, 4, jax.random.key(3))
    moves = ForwardTransitions(unroll.obs, unroll.action, unroll.next_obs)
    experience = jax.tree.map(
        lambda x: jnp.broadcast_to(x.reshape(1, 1, -1, x.shape[-1]), (5, model.ensemble, 32, x.shape[-1])), moves
    )
    objective = Objective(score=smooth_score, transitions=experience)
    new, metrics = jax.jit(lambda s: mail.update(s, unroll, objective, jax.random.key(0)))(state)
    assert metrics["improvement"] > 0
    assert 0 < metrics["kl"] <= 2 * 0.01 * 1.001 or changes.get("step") == "adam"
    assert metrics["model_loss"] > 0 and metrics["model_error_h"] > 0
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(new))


def test_a_horizon_that_does_not_divide_the_unroll_is_refused():
    mail = find_method("mail")
    with pytest.raises(GailfeError, match=r"^policy\.horizon: got 5; expected a divisor of .*unroll_length = 128"):
        mail.replace(policy=MAIL(horizon=5)).verify()
    with pytest.raises(GailfeError, match=r"^policy\.model\.hidden: got no layers; expected at least one"):
        mail.replace(policy=MAIL(model=ForwardModel(hidden=()))).verify()


def test_a_clones_model_starts_from_the_demonstrations():
    model = ForwardModel(hidden=(16,), ensemble=2, minibatch=32, lr=1e-2)
    mail = bound(MAIL_STEP.replace(model=model))
    state = jax.jit(mail.init)(jax.random.key(0))
    obs, action = jax.random.normal(jax.random.key(1), (400, 3)), jax.random.normal(jax.random.key(2), (400, 2))
    next_obs = 0.9 * obs + action @ jnp.array([[0.5, 0.0, 0.2], [0.0, -0.5, 0.1]])
    demos, start = StateAction(obs, action), CloneStart(steps=300)
    clone = jax.jit(lambda following: mail.clone(state, demos, following, jax.random.key(3), start))
    fitted, without = clone(next_obs), clone(None)
    predict = jax.jit(mail.model.predict)
    error = [jnp.mean(jnp.square(predict(s.model, obs, action)[0] - next_obs)) for s in (fitted, state)]
    assert error[0] < 0.05 * error[1]
    for a, b in zip(jax.tree.leaves(fitted.policy), jax.tree.leaves(without.policy), strict=True):
        np.testing.assert_array_equal(a, b)
    assert jax.tree.all(jax.tree.map(np.array_equal, without.model.params, state.model.params))
