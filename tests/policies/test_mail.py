"""MAIL's gradient against its own recursion and a closed form."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.config.parts import as_arrays
from gailfe_jax.policies.base import Objective
from gailfe_jax.policies.mail import MAIL, Windows, clip_inward, cut_windows
from gailfe_jax.policies.surrogate import importance_surrogate
from gailfe_jax.types import EnvSpec, Transition
from tests.policies.mail_task import (
    FAR,
    MAIL_STEP,
    MODEL,
    bound,
    policy_and_state,
    random_windows,
    smooth_score,
)

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


def test_the_gradient_is_the_papers_recursion_from_jacobians():
    """Equations 10 and 11, written out backwards in time for one trajectory."""
    mail, state = policy_and_state()
    windows = random_windows(jax.random.key(4), 8, 1)

    @jax.jit
    def scanned_gradient(state, windows):
        return jax.grad(mail.real_rollout(state, state.policy, windows, smooth_score))(state.policy)

    scanned = scanned_gradient(state, windows)

    dist = jax.jit(mail.policy)(state.policy, state.obs_stats.normalise(windows.obs[:, 0]))
    noise = (windows.action[:, 0] - dist.mean) / jnp.exp(dist.log_std)
    flat, unravel = jax.flatten_util.ravel_pytree(state.policy)

    def pi(flat, obs, xi):
        dist = mail.policy(unravel(flat), state.obs_stats.normalise(obs))
        return dist.mean + jnp.exp(dist.log_std) * xi

    def f(obs, action):
        return mail.model.predict(state.model, obs, action)[0]

    score_gradients = jax.jit(jax.grad(smooth_score, argnums=(0, 1)))
    model_jacobians = jax.jit(jax.jacobian(f, argnums=(0, 1)))
    policy_jacobians = jax.jit(jax.jacobian(pi, argnums=(0, 1)))
    gamma, j_s, j_theta = 0.9, jnp.zeros(3), jnp.zeros_like(flat)
    for t in reversed(range(8)):
        obs, action = windows.obs[t, 0], windows.action[t, 0]
        d_s, d_a = score_gradients(obs, action)
        f_s, f_a = model_jacobians(obs, action)
        pi_theta, pi_s = policy_jacobians(flat, obs, noise[t])
        j_theta = d_a @ pi_theta + gamma * (j_s @ f_a @ pi_theta + j_theta)
        j_s = d_s + d_a @ pi_s + gamma * j_s @ (f_s + f_a @ pi_s)
    # The objective is a mean over windows and steps.
    np.testing.assert_allclose(jax.flatten_util.ravel_pytree(scanned)[0] * 8, j_theta, rtol=2e-4, atol=2e-5)
    assert np.linalg.norm(j_theta) > 0.1


@pytest.mark.parametrize("mixture", [1, 3])
def test_at_the_policy_itself_states_and_rewards_are_the_real_ones(mixture):
    mail, state = policy_and_state(MAIL_STEP.replace(mixture=mixture))
    windows = random_windows(jax.random.key(5), 8, 6)
    total = jax.jit(lambda policy: mail.real_rollout(state, policy, windows, smooth_score)(policy))
    real = jnp.sum(smooth_score(windows.obs, windows.action) * 0.9 ** jnp.arange(8.0)[:, None], 0)
    np.testing.assert_allclose(total(state.policy), jnp.mean(real) / 8, rtol=1e-4)


def with_model(mail, model):
    """The step with a stand-in for its model, which `replace` would refuse."""
    mail = mail.replace()
    object.__setattr__(mail, "model", model)
    return mail


@dataclasses.dataclass(frozen=True)
class Linear:
    """The true dynamics in the model's place."""

    a: np.ndarray
    b: np.ndarray

    def predict(self, state, obs, action):
        return obs @ self.a.T + action @ self.b.T, jnp.zeros(obs.shape[:-1])


def test_on_a_linear_quadratic_task_the_gradient_is_the_analytic_one():
    rng = np.random.default_rng(0)
    a, b = 0.6 * rng.normal(size=(3, 3)), rng.normal(size=(3, 2))
    q, r = np.diag([1.0, 2.0, 0.5]), np.diag([0.3, 0.1])

    # No hidden layer and no normaliser: mean = obs @ kernel.
    learned = bound(MAIL_STEP.replace(hidden=()))
    mail, state = with_model(learned, Linear(np.float32(a), np.float32(b))), jax.jit(learned.init)(jax.random.key(0))
    kernel = 0.2 * rng.normal(size=(3, 2))
    params = {"params": {"mean": {"Dense_0": {"kernel": kernel, "bias": np.zeros(2)}}, "log_std": np.full(2, -30.0)}}
    policy = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)

    # Real trajectories under the policy, without noise.
    start = rng.normal(size=(5, 3))
    closed, states = a + b @ kernel.T, [start]
    for _ in range(8):
        states.append(states[-1] @ closed.T)
    path = np.stack(states)
    gamma, gradient, p = 0.9, np.zeros((3, 2)), np.zeros((3, 3))
    for t in reversed(range(8)):
        # d/dK of -sum gamma^t (s'Qs + a'Ra); `p` is the cost to go after this step.
        inner = r @ kernel.T + gamma * b.T @ p @ closed
        second = path[t].T @ path[t] / 5
        gradient -= 2 * gamma**t * (inner @ second).T
        p = q + kernel @ r @ kernel.T + gamma * closed.T @ p @ closed

    path32 = jnp.asarray(path, jnp.float32)
    none = jnp.zeros((8, 5), bool)
    windows = Windows(path32[:-1], path32[:-1] @ jnp.asarray(kernel, jnp.float32), path32[1:], path32[1:], none, none)
    score = lambda s, u, _=None: -jnp.einsum("...i,ij,...j", s, q, s) - jnp.einsum("...i,ij,...j", u, r, u)  # noqa: E731
    gradient_of = jax.jit(lambda policy: jax.grad(mail.real_rollout(state, policy, windows, score))(policy))
    ours = gradient_of(policy)["params"]["mean"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(ours * 8, gradient, rtol=1e-3, atol=1e-4 * np.abs(gradient).max())


@pytest.mark.parametrize("terminal_value", [False, True])
def test_no_gradient_crosses_an_episodes_end(terminal_value):
    """A window with an end in it is worth, and teaches, what its two parts do."""
    mail, state = policy_and_state(MAIL_STEP.replace(terminal_value=terminal_value))
    end = jnp.zeros((8, 5), bool).at[3].set(True)
    windows = random_windows(jax.random.key(6), 8, 5, done=end, terminated=end)
    parts = [jax.tree.map(lambda x, at=at: x[at], windows) for at in (slice(0, 4), slice(4, 8))]

    @jax.jit
    def value(w, policy):
        return jax.value_and_grad(mail.real_rollout(state, state.policy, w, smooth_score))(policy)

    whole, first, second = (value(w, state.policy) for w in (windows, *parts))
    jax.tree.map(lambda w, a, b: np.testing.assert_allclose(w, a + b, rtol=1e-3, atol=1e-5), whole, first, second)

    # The state that a reset draws moves nothing before it.
    def early_gain(following):
        changed = windows.replace(obs=windows.obs.at[4].set(following))
        return mail.real_rollout(state, state.policy, changed, lambda s, a, _=None: 0 * s[..., 0])(state.policy)

    if not terminal_value:
        assert not np.any(jax.jit(jax.grad(early_gain))(windows.obs[4]))


def test_a_time_limit_is_valued_and_a_fall_is_not():
    mail, state = policy_and_state(MAIL_STEP.replace(terminal_value=True))
    end = jnp.zeros((8, 5), bool).at[-1].set(True)
    nothing = lambda s, a, _=None: 0 * s[..., 0]  # noqa: E731
    cut = random_windows(jax.random.key(7), 8, 5, done=end)
    fallen = cut.replace(terminated=end)
    worth = jax.jit(lambda w: mail.real_rollout(state, state.policy, w, nothing)(state.policy))
    value = jax.jit(mail._values)(state, cut.next_obs[-1])
    np.testing.assert_allclose(worth(cut), 0.9**8 * jnp.mean(value) / 8, rtol=1e-3)
    assert worth(fallen) == 0.0
    on = cut.replace(done=jnp.zeros_like(end))
    np.testing.assert_allclose(worth(on), worth(cut), rtol=1e-5)


def test_free_rollouts_equal_a_loop_and_stop_where_the_models_disagree():
    step = MAIL_STEP.replace(model=MODEL.replace(ensemble=3), rollouts="model", terminal_value=True)
    mail, state = policy_and_state(step)
    windows, key = random_windows(jax.random.key(8), 8, 4), jax.random.key(9)
    noises = jax.random.normal(key, windows.action.shape)

    @jax.jit
    def act(obs, noise):
        dist = mail.policy(state.policy, state.obs_stats.normalise(obs))
        return dist.mean + jnp.exp(dist.log_std) * noise

    predict = jax.jit(lambda obs, action: mail.model.predict(state.model, obs, action))
    values = jax.jit(lambda obs: mail._values(state, obs))
    free_gain = jax.jit(lambda mail, policy: mail.free_rollout(state, windows, smooth_score, key)(policy))

    def loop(limit, weight):
        total = 0.0
        for w in range(4):
            obs, gain, discount = windows.obs[0, w], 0.0, 1.0
            for t in range(8):
                action = act(obs, noises[t, w])
                next_obs, disagreement = predict(obs, action)
                if disagreement > limit:
                    break
                gain += discount * (smooth_score(obs, action) - weight * disagreement)
                obs, discount = next_obs, 0.9 * discount
            total += gain + discount * values(obs)
        return total / 4 / 8

    _, spread = predict(windows.obs[0], windows.action[0])
    for limit, weight in ((1e6, 0.0), (1e6, 2.0), (float(jnp.median(spread)), 0.5), (0.0, 0.0)):
        stopping = as_arrays(mail.replace(disagreement_limit=limit, disagreement_weight=weight))
        ours = free_gain(stopping, state.policy)
        np.testing.assert_allclose(ours, loop(limit, weight), rtol=1e-3, atol=1e-5)


def test_the_derivative_at_a_bound_passes_only_inwards():
    x = jnp.array([-2.0, -2.0, 0.0, 2.0, 2.0])
    pull = jnp.array([1.0, -1.0, 1.0, 1.0, -1.0])
    gradient = jax.grad(lambda x: jnp.sum(pull * clip_inward(x, jnp.float32(-1), jnp.float32(1))))(x)
    np.testing.assert_array_equal(gradient, [1.0, 0.0, 1.0, 0.0, -1.0])


def test_the_two_gradients_estimate_the_same_one():
    """On a linear-quadratic task whose model and values are exact, over many samples."""
    spec = EnvSpec("toy", None, "none", 1, 1, (-FAR,), (FAR,), 100)

    class WithoutValues(MAIL):
        def _values(self, state, obs, share=None):
            return jnp.zeros(obs.shape[:-1])

    step = WithoutValues(hidden=(), horizon=4, model=MODEL, terminal_value=False, gamma=1.0, gae_lambda=1.0)
    learned = bound(step, spec, num_envs=4000, unroll_length=4)
    state = jax.jit(learned.init)(jax.random.key(0))
    mail = with_model(learned, Linear(np.float32([[0.8]]), np.float32([[0.5]])))
    mean = {"Dense_0": {"kernel": jnp.array([[-0.3]]), "bias": jnp.array([0.1])}}
    policy = {"params": {"mean": mean, "log_std": jnp.array([-0.5])}}
    keys = jax.random.split(jax.random.key(1), 5)
    obs, rows = jax.random.normal(keys[0], (4000, 1)), []
    for key in keys[1:]:
        dist = mail.policy(policy, obs)
        action = dist.sample(key)
        rows.append((obs, action, dist.log_prob(action)))
        obs = 0.8 * obs + 0.5 * action
    path, action, log_prob = (jnp.stack(column) for column in zip(*rows))
    following = jnp.concatenate([path[1:], obs[None]])
    end = jnp.zeros((4, 4000), bool).at[-1].set(True)
    score = lambda s, a, _=None: -jnp.sum(s**2, -1) - 0.1 * jnp.sum(a**2, -1)  # noqa: E731
    transition = Transition(path, action, log_prob, following, 0 * log_prob, end, jnp.zeros_like(end))
    make_batch = jax.jit(lambda state, transition: mail.make_batch(state, transition, Objective(score=score)))
    _, batch, metrics = make_batch(state.replace(policy=policy), transition)

    def likelihood(policy):
        return importance_surrogate(mail.policy(policy, batch.x), batch.action, batch.log_prob, batch.advantage)

    windows = cut_windows(transition, following[-1], 4)
    through_model = jax.jit(lambda policy: jax.grad(mail.real_rollout(state, policy, windows, score))(policy))(policy)
    ratio = jax.tree.map(lambda g: g * metrics["advantage_std"], jax.jit(jax.grad(likelihood))(policy))
    ours, other = (jnp.concatenate([x.ravel() for x in jax.tree.leaves(g)]) for g in (through_model, ratio))
    np.testing.assert_allclose(ours, other, rtol=0.15, atol=0.03 * float(jnp.linalg.norm(ours)))
