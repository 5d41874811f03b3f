"""MAIL's gradient against its own recursion and a closed form."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.config.flat import Config, Hyper, hyper_arrays
from gailfe_jax.errors import GailfeError
from gailfe_jax.policies.mail import MAIL, Windows, clip_inward, cut_windows
from gailfe_jax.policies.surrogate import importance_surrogate
from gailfe_jax.types import EnvSpec, ForwardTransitions, StateAction, Transition

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

FAR = 1e6
SPEC = EnvSpec("toy", None, "none", 3, 2, (-FAR, -FAR), (FAR, FAR), 100)
CONFIG = Config(
    algo="mail", generator="backprop", num_envs=4, unroll_length=8, horizon=8, hidden=(6,), model_hidden=(7,),
    terminal_value=False,
)  # fmt: skip
HYPER = hyper_arrays(Hyper(gamma=0.9))


def generator_and_state(config=CONFIG, spec=SPEC):
    generator = MAIL(config, spec)
    state = jax.jit(generator.init)(jax.random.key(0))
    # Away from the nearly-zero output layer, and with statistics that are no identity.
    move = lambda p: p + 0.3 * jax.random.normal(jax.random.key(1), p.shape)  # noqa: E731
    policy = jax.jit(lambda params: jax.tree.map(move, params))(state.policy)
    rows = 0.5 + 1.5 * jax.random.normal(jax.random.key(2), (50, spec.obs_size))
    moves = ForwardTransitions(rows, jax.random.normal(jax.random.key(3), (50, spec.action_size)), rows * 0.9 + 0.1)
    model = jax.jit(generator._model.observe)(state.model, moves)
    return generator, state.replace(policy=policy, obs_stats=state.obs_stats.update(rows), model=model)


def random_windows(key, horizon, width, spec=SPEC, done=None, terminated=None):
    keys = jax.random.split(key, 4)
    obs, next_obs, following = (jax.random.normal(k, (horizon, width, spec.obs_size)) for k in keys[:3])
    none = jnp.zeros((horizon, width), bool)
    done = none if done is None else done
    # Inside an episode one step's end is the next one's start.
    chained = jnp.concatenate([obs[1:], following[-1:]])
    next_obs = jnp.where(done[..., None], next_obs, chained)
    action = 0.7 * jax.random.normal(keys[3], (horizon, width, spec.action_size))
    return Windows(obs, action, next_obs, chained, none if terminated is None else terminated, done)


def smooth_score(obs, action):
    weights = jnp.cos(jnp.arange(obs.shape[-1] + action.shape[-1]) + 1.0)
    return jnp.tanh(jnp.concatenate([obs, action], -1) @ weights) - 0.1 * jnp.sum(jnp.square(action), -1)


def test_the_gradient_is_the_papers_recursion_from_jacobians():
    """Equations 10 and 11, written out backwards in time for one trajectory."""
    generator, state = generator_and_state()
    windows = random_windows(jax.random.key(4), 8, 1)
    total = generator.real_rollout(state, state.policy, windows, smooth_score, HYPER)
    scanned = jax.jit(jax.grad(total))(state.policy)

    dist = generator.policy(state.policy, state.obs_stats.normalise(windows.obs[:, 0]))
    noise = (windows.action[:, 0] - dist.mean) / jnp.exp(dist.log_std)
    flat, unravel = jax.flatten_util.ravel_pytree(state.policy)

    def pi(flat, obs, xi):
        dist = generator.policy(unravel(flat), state.obs_stats.normalise(obs))
        return dist.mean + jnp.exp(dist.log_std) * xi

    def f(obs, action):
        return generator._model.predict(state.model, obs, action)[0]

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
    generator, state = generator_and_state(dataclasses.replace(CONFIG, mixture=mixture))
    windows = random_windows(jax.random.key(5), 8, 6)
    total = generator.real_rollout(state, state.policy, windows, smooth_score, HYPER)
    real = jnp.sum(smooth_score(windows.obs, windows.action) * 0.9 ** jnp.arange(8.0)[:, None], 0)
    np.testing.assert_allclose(total(state.policy), jnp.mean(real) / 8, rtol=1e-4)


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

    class Known(MAIL):
        @property
        def _model(self):
            return Linear(a.astype(np.float32), b.astype(np.float32))

    # No hidden layer and no normaliser: mean = obs @ kernel.
    linear = dataclasses.replace(CONFIG, hidden=())
    generator, state = Known(linear, SPEC), jax.jit(MAIL(linear, SPEC).init)(jax.random.key(0))
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
    score = lambda s, u: -jnp.einsum("...i,ij,...j", s, q, s) - jnp.einsum("...i,ij,...j", u, r, u)  # noqa: E731
    total = generator.real_rollout(state, policy, windows, score, HYPER)
    ours = jax.jit(jax.grad(total))(policy)["params"]["mean"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(ours * 8, gradient, rtol=1e-3, atol=1e-4 * np.abs(gradient).max())


@pytest.mark.parametrize("terminal_value", [False, True])
def test_no_gradient_crosses_an_episodes_end(terminal_value):
    """A window with an end in it is worth, and teaches, what its two parts do."""
    generator, state = generator_and_state(dataclasses.replace(CONFIG, terminal_value=terminal_value))
    end = jnp.zeros((8, 5), bool).at[3].set(True)
    windows = random_windows(jax.random.key(6), 8, 5, done=end, terminated=end)
    parts = [jax.tree.map(lambda x, at=at: x[at], windows) for at in (slice(0, 4), slice(4, 8))]

    @jax.jit
    def value(w, policy):
        return jax.value_and_grad(generator.real_rollout(state, state.policy, w, smooth_score, HYPER))(policy)

    whole, first, second = (value(w, state.policy) for w in (windows, *parts))
    jax.tree.map(lambda w, a, b: np.testing.assert_allclose(w, a + b, rtol=1e-3, atol=1e-5), whole, first, second)

    # The state that a reset draws moves nothing before it.
    def early_gain(following):
        changed = windows.replace(obs=windows.obs.at[4].set(following))
        return generator.real_rollout(state, state.policy, changed, lambda s, a: 0 * s[..., 0], HYPER)(state.policy)

    if not terminal_value:
        assert not np.any(jax.jit(jax.grad(early_gain))(windows.obs[4]))


def test_a_time_limit_is_valued_and_a_fall_is_not():
    generator, state = generator_and_state(dataclasses.replace(CONFIG, terminal_value=True))
    end = jnp.zeros((8, 5), bool).at[-1].set(True)
    nothing = lambda s, a: 0 * s[..., 0]  # noqa: E731
    cut = random_windows(jax.random.key(7), 8, 5, done=end)
    fallen = cut.replace(terminated=end)
    worth = jax.jit(lambda w: generator.real_rollout(state, state.policy, w, nothing, HYPER)(state.policy))
    value = generator._values(state, cut.next_obs[-1])
    np.testing.assert_allclose(worth(cut), 0.9**8 * jnp.mean(value) / 8, rtol=1e-3)
    assert worth(fallen) == 0.0
    on = cut.replace(done=jnp.zeros_like(end))
    np.testing.assert_allclose(worth(on), worth(cut), rtol=1e-5)


def test_free_rollouts_equal_a_loop_and_stop_where_the_models_disagree():
    config = dataclasses.replace(CONFIG, model_ensemble=3, model_rollouts="model", terminal_value=True)
    generator, state = generator_and_state(config)
    windows, key = random_windows(jax.random.key(8), 8, 4), jax.random.key(9)
    noises = jax.random.normal(key, windows.action.shape)

    @jax.jit
    def act(obs, noise):
        dist = generator.policy(state.policy, state.obs_stats.normalise(obs))
        return dist.mean + jnp.exp(dist.log_std) * noise

    predict = jax.jit(lambda obs, action: generator._model.predict(state.model, obs, action))

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
            total += gain + discount * generator._values(state, obs)
        return total / 4 / 8

    _, spread = generator._model.predict(state.model, windows.obs[0], windows.action[0])
    for limit, weight in ((1e6, 0.0), (1e6, 2.0), (float(jnp.median(spread)), 0.5), (0.0, 0.0)):
        hyper = HYPER.replace(disagreement_limit=jnp.float32(limit), disagreement_weight=jnp.float32(weight))
        ours = generator.free_rollout(state, windows, smooth_score, key, hyper)(state.policy)
        np.testing.assert_allclose(ours, loop(limit, weight), rtol=1e-3, atol=1e-5)


def test_the_derivative_at_a_bound_passes_only_inwards():
    x = jnp.array([-2.0, -2.0, 0.0, 2.0, 2.0])
    pull = jnp.array([1.0, -1.0, 1.0, 1.0, -1.0])
    gradient = jax.grad(lambda x: jnp.sum(pull * clip_inward(x, jnp.float32(-1), jnp.float32(1))))(x)
    np.testing.assert_array_equal(gradient, [1.0, 0.0, 1.0, 0.0, -1.0])


def fake_unroll(length, num_envs, key):
    obs = jax.random.normal(key, (length + 1, num_envs, 3))
    action = 0.5 * jax.random.normal(jax.random.fold_in(key, 1), (length, num_envs, 2))
    flag = jnp.zeros((length, num_envs), bool)
    zeros = jnp.zeros((length, num_envs))
    return Transition(obs[:-1], action, zeros, obs[1:], zeros, flag, flag.at[5].set(True))


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
        {"model_step": "adam"},
        {"model_rollouts": "model", "model_ensemble": 2},
        {"mixture": 3},
        {"mixture": 3, "model_rollouts": "model", "model_ensemble": 2},
    ],
    ids=str,
)
def test_a_step_improves_its_objective_within_its_bound(changes):
    config = dataclasses.replace(CONFIG, fisher_fraction=1.0, policy_steps=2, horizon=4, **changes)
    generator, state = generator_and_state(config)
    hyper = HYPER.replace(max_kl=jnp.float32(0.01), policy_lr=jnp.float32(1e-3))
    unroll = fake_unroll(8, 4, jax.random.key(3))
    moves = ForwardTransitions(unroll.obs, unroll.action, unroll.next_obs)
    experience = jax.tree.map(
        lambda x: jnp.broadcast_to(x.reshape(1, 1, -1, x.shape[-1]), (5, config.model_ensemble, 32, x.shape[-1])), moves
    )
    new, metrics = jax.jit(lambda s: generator.update(s, unroll, smooth_score, jax.random.key(0), hyper, experience))(
        state
    )
    assert metrics["improvement"] > 0
    assert 0 < metrics["kl"] <= 2 * 0.01 * 1.001 or changes.get("model_step") == "adam"
    assert metrics["model_loss"] > 0 and metrics["model_error_h"] > 0
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(new))


def test_the_two_gradients_estimate_the_same_one():
    """On a linear-quadratic task whose model and values are exact, over many samples."""
    spec = EnvSpec("toy", None, "none", 1, 1, (-FAR,), (FAR,), 100)
    config = dataclasses.replace(CONFIG, hidden=(), num_envs=4000, unroll_length=4, horizon=4)

    class Known(MAIL):
        @property
        def _model(self):
            return Linear(np.array([[0.8]], np.float32), np.array([[0.5]], np.float32))

        def _values(self, state, obs):
            return jnp.zeros(obs.shape[:-1])

    generator, state = Known(config, spec), jax.jit(MAIL(config, spec).init)(jax.random.key(0))
    mean = {"Dense_0": {"kernel": jnp.array([[-0.3]]), "bias": jnp.array([0.1])}}
    policy = {"params": {"mean": mean, "log_std": jnp.array([-0.5])}}
    keys = jax.random.split(jax.random.key(1), 5)
    obs, rows = jax.random.normal(keys[0], (4000, 1)), []
    for key in keys[1:]:
        dist = generator.policy(policy, obs)
        action = dist.sample(key)
        rows.append((obs, action, dist.log_prob(action)))
        obs = 0.8 * obs + 0.5 * action
    path, action, log_prob = (jnp.stack(column) for column in zip(*rows))
    following = jnp.concatenate([path[1:], obs[None]])
    end = jnp.zeros((4, 4000), bool).at[-1].set(True)
    score = lambda s, a: -jnp.sum(s**2, -1) - 0.1 * jnp.sum(a**2, -1)  # noqa: E731
    transition = Transition(path, action, log_prob, following, 0 * log_prob, end, jnp.zeros_like(end))
    hyper = hyper_arrays(Hyper(gamma=1.0, gae_lambda=1.0))
    _, batch, metrics = generator.prepare(state.replace(policy=policy), transition, score, hyper)

    def likelihood(policy):
        return importance_surrogate(generator.policy(policy, batch.x), batch.action, batch.log_prob, batch.advantage)

    windows = cut_windows(transition, following[-1], 4)
    through_model = jax.jit(jax.grad(generator.real_rollout(state, policy, windows, score, hyper)))(policy)
    ratio = jax.tree.map(lambda g: g * metrics["advantage_std"], jax.jit(jax.grad(likelihood))(policy))
    ours, other = (jnp.concatenate([x.ravel() for x in jax.tree.leaves(g)]) for g in (through_model, ratio))
    np.testing.assert_allclose(ours, other, rtol=0.15, atol=0.03 * float(jnp.linalg.norm(ours)))


def test_a_horizon_that_does_not_divide_the_unroll_is_refused():
    with pytest.raises(GailfeError, match=r"^horizon: got 5; expected a divisor of unroll_length = 128"):
        Config(generator="backprop", horizon=5)


def test_a_clones_model_starts_from_the_demonstrations():
    config = dataclasses.replace(CONFIG, bc_steps=300, model_ensemble=2, model_minibatch=32, model_hidden=(16,))
    generator = MAIL(config, SPEC)
    state = jax.jit(generator.init)(jax.random.key(0))
    obs, action = jax.random.normal(jax.random.key(1), (400, 3)), jax.random.normal(jax.random.key(2), (400, 2))
    next_obs = 0.9 * obs + action @ jnp.array([[0.5, 0.0, 0.2], [0.0, -0.5, 0.1]])
    hyper = HYPER.replace(model_lr=jnp.float32(1e-2))
    clone = lambda following: generator.clone(state, StateAction(obs, action), following, jax.random.key(3), hyper)  # noqa: E731
    fitted, without = clone(next_obs), clone(None)
    error = [
        jnp.mean(jnp.square(generator._model.predict(s.model, obs, action)[0] - next_obs)) for s in (fitted, state)
    ]
    assert error[0] < 0.05 * error[1]
    for a, b in zip(jax.tree.leaves(fitted.policy), jax.tree.leaves(without.policy), strict=True):
        np.testing.assert_array_equal(a, b)
    assert jax.tree.all(jax.tree.map(np.array_equal, without.model.params, state.model.params))
