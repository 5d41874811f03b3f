"""Policy steps from replay: targets and updates by hand, and probe environments with known answers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.config.tree import put
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.keys import Keys
from gailfe_jax.learners.methods import find_method, with_policy
from gailfe_jax.learners.sources import Demos
from gailfe_jax.nn.distributions import Gaussian
from gailfe_jax.nn.squashed import Squashed
from gailfe_jax.policies.base import Objective
from gailfe_jax.policies.critics import Critics
from gailfe_jax.policies.replayed import Minibatch, ReplayedUpdate
from gailfe_jax.policies.sac import SAC
from gailfe_jax.policies.td3 import TD3
from gailfe_jax.types import EnvSpec, Problem, StateAction, Transition
from tests.policies.test_probe import SurviveEnv, TargetEnv, assert_matches_the_target, probed
from tests.toy import Cliff

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

SPEC = EnvSpec("lopsided", None, "none", 2, 2, (-1.0, 0.0), (1.0, 4.0), 9)
LINEAR = {"hidden": (), "critics": Critics(hidden=(), layer_norm=False), "random_steps": 0, "minibatch": 5}


def linear(kind: type[ReplayedUpdate], **settings) -> ReplayedUpdate:
    """A step whose policy and critics are linear, on actions with bounds of their own."""
    return kind(**(LINEAR | settings)).bind(Problem(SPEC, num_envs=2, unroll_length=4))


def minibatch(key=7) -> Minibatch:
    x, following, action = (np.random.default_rng(key).normal(size=(3, 5, 2)) * 0.4).astype(np.float32)
    discount = np.array([0.9, 0.9, 0.0, 0.9, 0.9], np.float32)
    return Minibatch(x, np.clip(action, -1, 1), np.arange(5.0, dtype=np.float32), discount, following)


def kernels(params, name=None):
    """`(kernel, bias)` of a linear network."""
    inner = params["params"] if name is None else params["params"][name]
    return np.asarray(inner["Dense_0"]["kernel"]), np.asarray(inner["Dense_0"]["bias"])


def q_values(params, x, action):
    kernel, bias = kernels(params)
    return np.einsum("mi,eio->em", np.concatenate([x, action], axis=1), kernel) + bias


def adams_first(grad, lr):
    """The first step of Adam."""
    return lr * grad / (np.abs(grad) + 1e-5)


def test_targets_are_discounted_sums_up_to_the_end_of_the_episode():
    step = linear(TD3, n_step=3, gamma=0.5, reward_scale=2.0)
    reward = jnp.array([[1.0, 2.0, 4.0]] * 4)
    terminated = jnp.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]], bool)
    truncated = jnp.array([[0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 1, 0]], bool)
    obs = jnp.arange(24.0).reshape(4, 3, 2)
    action = jnp.broadcast_to(jnp.array([0.5, 3.0]), (4, 3, 2))
    steps = Transition(obs, action, reward, obs + 100, reward, terminated, truncated)
    steps = jax.tree.map(lambda x: x[None], steps)
    state = step.init(jax.random.key(0))
    made = jax.tree.map(lambda x: x[0], step.minibatches(state, Objective(experience=steps)))
    np.testing.assert_allclose(made.reward, [2 * (1 + 1 + 1), 2, 2 * (1 + 1), 2 * (1 + 1)])
    # A fall has no future; a time limit has.
    np.testing.assert_allclose(made.discount, [0.125, 0.0, 0.0, 0.25])
    last = np.array([2, 0, 1, 1])
    unit = state.obs_stats.normalise(steps.next_obs[0])
    np.testing.assert_allclose(made.next_x, unit[np.arange(4), last])
    np.testing.assert_allclose(made.action, [[0.5, 0.5]] * 4)  # 3 is the middle of 2 and 4.

    def score(obs, action, next_obs=None):
        return obs[..., 0] + action[..., 1]

    scored = jax.tree.map(lambda x: x[0], step.minibatches(state, Objective(score=score, experience=steps)))
    np.testing.assert_allclose(scored.reward[1], 2 * (obs[1, 0, 0] + 3))
    both = step.minibatches(state, Objective(score=score, true_reward=True, experience=steps))
    np.testing.assert_allclose(both.reward[0, 1], 2 * (obs[1, 0, 0] + 3 + 1))


def test_td3_updates_are_those_worked_out_by_hand():
    step = linear(TD3, target_noise=0.0)
    state, batch = step.init(jax.random.key(1)), minibatch()
    kernel, bias = kernels(state.policy, "mean")
    bias = np.array([0.2, 0.9], np.float32)  # Many actions lie beyond their bounds.
    params = dict(state.policy["params"]) | {"mean": {"Dense_0": {"kernel": 3000 * kernel, "bias": bias}}}
    state = state.replace(policy={"params": params}, extra={"params": params})
    mean = batch.next_x @ (3000 * kernel) + bias
    following = np.clip(mean, -1, 1)
    target = batch.reward + batch.discount * q_values(state.target, batch.next_x, following).min(axis=0)
    values = q_values(state.value, batch.x, batch.action)
    row = np.concatenate([batch.x, batch.action], axis=1)
    grad = 2 / 5 * np.einsum("em,mi->ei", values - target, row)
    after, metrics = step.critic_step(state, batch, Objective(), jax.random.key(2))
    old, new = kernels(state.value)[0][..., 0], kernels(after.value)[0][..., 0]
    np.testing.assert_allclose(new, old - adams_first(grad, 1e-3), rtol=1e-5)
    np.testing.assert_allclose(metrics["value_loss"], np.mean(np.square(values - target)), rtol=1e-5)
    slow = kernels(after.target)[0][..., 0]
    np.testing.assert_allclose(slow, 0.99 * old + 0.01 * new, rtol=1e-5)

    # The policy ascends the critics' mean; beyond a bound only a gradient that leads back counts.
    here = batch.x @ (3000 * kernel) + bias
    slope = np.broadcast_to(kernels(state.value)[0][:, 2:, 0].mean(axis=0), here.shape)
    assert ((np.abs(here) > 1) & (slope * here > 0)).any() and ((np.abs(here) > 1) & (slope * here < 0)).any()
    slope = np.where((np.abs(here) > 1) & (slope * here > 0), 0.0, slope)
    ascent = batch.x.T @ slope / 5
    moved, metrics = step.actor_step(state, batch, Objective(), jax.random.key(3))
    np.testing.assert_allclose(
        kernels(moved.policy, "mean")[0], 3000 * kernel + adams_first(ascent, 3e-4), rtol=1e-5, atol=1e-7
    )
    worth = q_values(state.value, batch.x, np.clip(here, -1, 1)).mean()
    np.testing.assert_allclose(metrics["policy_value"], worth, rtol=1e-5)
    np.testing.assert_array_equal(moved.policy["params"]["log_std"], params["log_std"])


def test_sac_updates_are_those_worked_out_by_hand():
    step = linear(SAC, init_temperature=0.5)
    state, batch = step.init(jax.random.key(1)), minibatch()
    key = jax.random.key(2)
    noise = np.asarray(jax.random.normal(key, (5, 2)))
    kernel, bias = kernels(state.policy, "squashed")

    def drawn(kernel, bias, x):
        mean, log_std = jnp.split(x @ kernel + bias, 2, axis=-1)
        u = mean + jnp.exp(log_std) * noise
        density = -0.5 * noise**2 - 0.5 * np.log(2 * np.pi) - log_std - jnp.log(1 - jnp.tanh(u) ** 2)
        return jnp.tanh(u), density.sum(axis=-1)

    action, log_prob = drawn(kernel, bias, batch.next_x)
    soft = q_values(state.target, batch.next_x, action).min(axis=0) - 0.5 * log_prob
    target = batch.reward + batch.discount * soft
    values = q_values(state.value, batch.x, batch.action)
    grad = 2 / 5 * np.einsum("em,mi->ei", values - target, np.concatenate([batch.x, batch.action], axis=1))
    after, _ = step.critic_step(state, batch, Objective(), key)
    old, new = (kernels(x.value)[0][..., 0] for x in (state, after))
    np.testing.assert_allclose(new, old - adams_first(grad, 1e-3), rtol=1e-4)

    def gain(parts):
        action, log_prob = drawn(*parts, batch.x)
        critic, offset = kernels(state.value)
        row = jnp.concatenate([batch.x, action], axis=1)
        values = jnp.einsum("mi,eio->em", row, critic) + offset
        return jnp.mean(values.min(axis=0) - 0.5 * log_prob)

    ascent = jax.grad(gain)((kernel, bias))
    moved, metrics = step.actor_step(state, batch, Objective(), key)
    for part, name in zip(range(2), ("kernel", "bias"), strict=True):
        found = moved.policy["params"]["squashed"]["Dense_0"][name]
        np.testing.assert_allclose(found, (kernel, bias)[part] + adams_first(ascent[part], 3e-4), rtol=1e-4, atol=1e-7)
    entropy = -np.mean(drawn(kernel, bias, batch.x)[1])
    np.testing.assert_allclose(metrics["entropy"], entropy, rtol=1e-4)
    # More entropy than asked for: its price falls.
    assert entropy > -2
    np.testing.assert_allclose(moved.extra.log, np.log(0.5) - 3e-4, rtol=1e-4)
    held, _ = linear(SAC, temperature="fixed").actor_step(state, batch, Objective(), key)
    np.testing.assert_array_equal(held.extra.log, state.extra.log)


def test_a_squashed_density_integrates_to_one_and_knows_its_draws():
    step = linear(SAC)
    units = step.action_units
    dist = Squashed(Gaussian(jnp.array([0.3, -0.6]), jnp.array([-0.9, -0.7])), units)
    grid = [np.linspace(low, high, 801)[1:-1] for low, high in zip(SPEC.action_low, SPEC.action_high, strict=True)]
    points = jnp.asarray(np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1))
    density = np.exp(np.asarray(dist.log_prob(points)))
    assert density.sum() * np.prod([g[1] - g[0] for g in grid]) == pytest.approx(1.0, rel=2e-3)
    noise = dist.draw_noise(jax.random.key(0))
    action = dist.from_noise(noise)
    np.testing.assert_allclose(dist.infer_noise(action), noise, rtol=1e-4)
    np.testing.assert_allclose(dist.retrace(noise), action)
    np.testing.assert_allclose(dist.mode, [np.tanh(0.3), 2 + 2 * np.tanh(-0.6)], rtol=1e-6)
    assert np.isfinite(dist.log_prob(jnp.array([1.0, 4.0])))
    np.testing.assert_array_equal(dist.kl(dist), 0.0)


SIZES = {
    "rollout.num_envs": 8, "rollout.unroll_length": 8, "policy.hidden": (32,), "policy.critics.hidden": (32,),
    "policy.minibatch": 64, "policy.random_steps": 64, "policy.lr": 2e-3, "policy.critics.lr": 3e-3,
    "policy.init_temperature": 0.01, "policy.temperature": "fixed",
}  # fmt: skip


@pytest.mark.parametrize("name", ["sac", pytest.param("td3", marks=pytest.mark.slow)])
def test_learns_to_match_the_target(name):
    env = TargetEnv()
    learner, start, state, metrics = probed(name, env, SIZES | {"policy.gamma": 0.5}, 60)
    assert_matches_the_target(env, learner, start, state)
    # Nothing is learned from the first random steps.
    assert np.isnan(metrics["value_loss"][0]) and np.isfinite(metrics["value_loss"][1:]).all()


@pytest.mark.parametrize("kind", [pytest.param(SAC, marks=pytest.mark.slow), TD3])
def test_time_limits_are_bootstrapped(kind):
    """The value of one reward a step, for ever, is 1 / (1 - gamma) as on-policy steps find it in `test_probe`."""
    values = SIZES | {"policy.gamma": 0.9, "policy.init_temperature": 1e-6, "policy.critics.tau": 0.05}
    learner, _, last, _ = probed(kind.__name__.lower(), SurviveEnv(), values, 80)
    state = last.agent
    found = learner.policy.critics.values(state.value, state.obs_stats.normalise(jnp.ones((1, 1))), jnp.zeros((1, 1)))
    np.testing.assert_allclose(found, 10.0, rtol=0.1)


def test_it_acts_at_random_first_and_its_statistics_stand_still_then():
    step = TD3(hidden=(8,), random_steps=16, critics=Critics(hidden=(8,)), minibatch=4, update_ratio=0.25)
    step = step.bind(Problem(SPEC, num_envs=4, unroll_length=4))
    state = step.init(jax.random.key(0))
    obs = jnp.zeros((4000, 2))
    action, density = step.act(state, obs, jax.random.key(1))
    np.testing.assert_allclose(density, np.log(1 / (2 * 4)), rtol=1e-5)
    for i, (low, high) in enumerate(zip(SPEC.action_low, SPEC.action_high, strict=True)):
        shares, _ = np.histogram(action[:, i], bins=4, range=(low, high))
        assert shares.sum() == 4000 and np.all(np.abs(shares - 1000) < 150)
    later, density = step.act(state.replace(seen=jnp.int32(16)), obs, jax.random.key(1))
    around = Gaussian(step.deterministic_action(state, obs), jnp.log(jnp.array([0.2, 0.4])))
    np.testing.assert_allclose(density, around.log_prob(later), rtol=1e-4)
    assert np.std(np.asarray(later[:, 1])) == pytest.approx(0.4, rel=0.1)  # A fifth of half the distance.
    rng = np.random.default_rng(0)
    rows = jnp.asarray(rng.normal(3, 2, (4, 4, 2)), jnp.float32)
    flat = jnp.zeros((4, 4))
    unroll = Transition(rows, rows, flat, rows, flat, flat > 0, flat > 0)
    windows = jax.tree.map(lambda x: x.reshape(4, 4, 1, *x.shape[2:]), unroll)
    seen, _ = step.update(state, unroll, Objective(experience=windows), jax.random.key(2))
    np.testing.assert_allclose(seen.obs_stats.mean, rows.mean(axis=(0, 1)), rtol=1e-3)
    assert int(seen.seen) == 16
    again, _ = step.update(seen, unroll, Objective(experience=windows), jax.random.key(2))
    np.testing.assert_array_equal(again.obs_stats.mean, seen.obs_stats.mean)


@pytest.mark.parametrize("kind", [SAC, TD3])
def test_in_a_share_of_the_environments_it_acts_as_it_is_judged(kind):
    noisy = kind(hidden=(8,), random_steps=4, critics=Critics(hidden=(8,)), average=0.5)
    step = noisy.replace(noiseless=0.4).bind(Problem(SPEC, num_envs=5, unroll_length=4))
    noisy = noisy.bind(step.problem)
    state = step.init(jax.random.key(0)).replace(seen=jnp.int32(4))
    # The average is judged, and not the newest policy.
    state = state.replace(average=jax.tree.map(lambda x: x + 0.1, state.policy))
    obs = jax.random.normal(jax.random.key(1), (5, 2))
    action, log_prob = step.act(state, obs, jax.random.key(2))
    drawn, density = noisy.act(state, obs, jax.random.key(2))
    np.testing.assert_array_equal(action[:2], step.deterministic_action(state, obs)[:2])
    np.testing.assert_array_equal(action[2:], drawn[2:])
    np.testing.assert_array_equal(log_prob[2:], density[2:])
    assert np.all(np.asarray(action[:2]) != np.asarray(drawn[:2]))
    first, _ = step.act(state.replace(seen=jnp.int32(3)), obs, jax.random.key(2))
    np.testing.assert_array_equal(first, noisy.act(state.replace(seen=jnp.int32(3)), obs, jax.random.key(2))[0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"policy.replay": 63}, "policy.replay: got 63; expected at least rollout.num_envs . unroll_length = 64"),
        ({"policy.n_step": 9}, "policy.n_step: got 9; expected at most rollout.unroll_length = 8"),
        ({"policy.update_ratio": 0.001}, "policy.update_ratio: got 0.001; expected one update of the policy in each"),
        (
            {"policy.critics.subset": 3},
            "policy.critics.subset: got 3; expected at most policy.critics.ensemble = 2, or 0",
        ),
        ({"policy.mixture": 2}, "policy.mixture: got 2; nothing reads it: a step from replay"),
    ],
)
def test_what_does_not_go_together_is_named(values, message):
    method = put(find_method("td3"), {"rollout.num_envs": 8, "rollout.unroll_length": 8} | values)
    with pytest.raises(GailfeError, match=f"^{message}"):
        method.on(Cliff())


@pytest.mark.parametrize("name", ["sac", "td3"])
def test_choices_and_actions_without_bounds_are_refused(name):
    class Choosing(Cliff):
        spec = EnvSpec("choosing", None, "none", 2, 2, (0.0, 0.0), (1.0, 1.0), 12, discrete=True)

    class Free(Cliff):
        spec = EnvSpec("free", None, "none", 2, 2, (-1.0, -np.inf), (1.0, np.inf), 12)

    for env, message in ((Choosing(), "choosing has actions to choose from"), (Free(), "an action of free has no")):
        with pytest.raises(GailfeError, match=f"^policy: {message}.*; expected trpo, ppo or mail"):
            find_method(name).on(env)


def test_a_share_of_each_minibatch_is_demonstrated_and_ends_there():
    method = put(find_method("gail"), {"rollout.num_envs": 4, "rollout.unroll_length": 8})
    method = with_policy(method, "td3")
    method = put(method, {"policy.demonstrated": 0.25, "policy.n_step": 3, "policy.minibatch": 8, "reward.steps": 2})
    learner = method.on(Cliff())
    shown = jnp.arange(30.0).reshape(15, 2) + 100
    ended = jnp.arange(15) % 3 == 0
    demos = Demos(StateAction(shown, shown), next_obs=shown + 0.5, terminated=ended)
    number = jnp.broadcast_to(jnp.arange(32.0).reshape(8, 4, 1), (8, 4, 2))
    flat = jnp.zeros((8, 4))
    unroll = Transition(number, number, flat, number, flat, flat > 0, flat > 0)

    @jax.jit
    def drawn(key):
        sources = learner.sources
        return sources.add_and_sample(sources.init(demos), unroll, Keys.of(key, jnp.int32(0)).sample, demos)[1]

    found = drawn(jax.random.key(0))
    windows = found.experience
    assert windows.reward.shape == (16, 8, 3) and found.batch.policy.obs.shape[0] == 2
    theirs, own = windows.obs[:, :2], windows.obs[:, 2:]
    assert theirs.min() >= 100 and own.max() < 32 and np.ptp(np.diff(own[..., 0], axis=-1)) == 0
    np.testing.assert_array_equal(windows.next_obs[:, :2], theirs + 0.5)
    assert np.isnan(windows.log_prob[:, :2]).all() and not np.isnan(windows.log_prob[:, 2:]).any()
    np.testing.assert_array_equal(windows.terminated[:, :2], (theirs[..., 0] - 100) % 6 == 0)
    assert (windows.terminated | windows.truncated)[:, :2].all() and not windows.terminated[:, 2:].any()
    assert len(np.unique(theirs[..., 0])) > 10


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.5, 4), (1.0, 8)])
def test_a_share_of_the_rewards_minibatches_is_of_the_newest_steps(share, count):
    method = with_policy(put(find_method("gail"), {"rollout.num_envs": 4, "rollout.unroll_length": 2}), "td3")
    values = {"reward.minibatch": 8, "reward.steps": 16, "reward.recent": share, "reward.absorbing": True}
    if share:
        values["reward.recent_steps"] = 8
    sources = put(method, values).on(Cliff()).sources
    flat = jnp.zeros((2, 4))

    def unroll(number):
        rows = jnp.full((2, 4, 2), float(number))
        return Transition(rows, rows, flat, rows, flat, flat + number == 9, flat > 0)

    @jax.jit
    def drawn(key):
        states, found = sources.init(None), None
        for number in range(10):
            states, found = sources.add_and_sample(states, unroll(number), Keys.of(key, jnp.int32(number)).sample)
        return found.batch

    batch = drawn(jax.random.key(0))
    seen = np.asarray(batch.policy.obs[..., 0])
    assert seen.shape == (16, 8) and (seen[:, 8 - count :] == 9).all()
    # The others are of all steps alike, the newest among them.
    if count < 8:
        assert set(seen[:, : 8 - count].ravel().tolist()) == set(map(float, range(10)))
    np.testing.assert_array_equal(batch.policy_ended, seen == 9)


def test_a_linear_reward_sees_many_pairs_of_a_replay():
    fem = put(find_method("fem"), {"rollout.num_envs": 4, "rollout.unroll_length": 2})
    assert fem.on(Cliff())._draws == (1, 8)
    replayed = with_policy(fem, "sac")
    assert replayed.on(Cliff())._draws == (1, 2048)
    assert put(replayed, {"reward.minibatch": 3}).on(Cliff())._draws == (1, 8)


@pytest.mark.parametrize("name", ["gail", "fem"])
def test_an_unroll_has_no_newest_steps(name):
    with pytest.raises(GailfeError, match=r"^reward.recent: got 0.5; nothing reads it: the policy steps on the newest"):
        put(find_method(name), {"reward.recent": 0.5}).on(Cliff())


def test_demonstrated_steps_need_demonstrations_that_are_imitated():
    for name, values, message in (
        ("sac", {}, "policy.demonstrated: got 0.5; nothing reads it: no demonstrations are imitated"),
        ("gail", {"true_reward.add": True}, "policy.demonstrated: got more than 0 with true_reward.add"),
    ):
        method = find_method(name) if name == "sac" else with_policy(find_method(name), "sac")
        with pytest.raises(GailfeError, match=f"^{message}"):
            put(method, {"policy.demonstrated": 0.5} | values).on(Cliff())


def test_targets_take_the_least_of_a_drawn_subset():
    step = linear(SAC, critics=Critics(hidden=(), layer_norm=False, ensemble=4, subset=2))
    state, batch = step.init(jax.random.key(1)), minibatch()
    values = q_values(state.value, batch.x, batch.action)
    pairs = {(i, j): np.minimum(values[i], values[j]) for i in range(4) for j in range(i)}
    seen = set()
    for i in range(40):
        found = step.critics.least(state.value, batch.x, batch.action, jax.random.key(i))
        seen |= {pair for pair, least in pairs.items() if np.allclose(found, least, rtol=1e-5)}
    assert seen == set(pairs)
    all_of_two = linear(SAC).critics
    two = jax.tree.map(lambda x: x[:2], state.value)
    np.testing.assert_allclose(
        all_of_two.least(two, batch.x, batch.action, jax.random.key(0)), values[:2].min(axis=0), rtol=1e-5
    )


@pytest.mark.parametrize("kind", [SAC, TD3])
def test_what_is_maximised_besides_goes_by_the_spread_of_the_values(kind):
    step = linear(kind)
    state, batch = step.init(jax.random.key(1)), minibatch()
    # Ten times the value is ten times the gain, and what is beside it keeps its share.
    larger = state.replace(value=jax.tree.map(lambda x: 10 * x, state.value))
    aim = Objective(auxiliary=lambda policy, rows: jnp.mean(policy(jnp.ones((3, 2))).log_prob(jnp.ones((3, 2)))))
    found = [step.beside(s, s.policy, aim, step.ascended(s, batch.x, batch.action)) for s in (state, larger)]
    np.testing.assert_allclose(found[1], 10 * found[0], rtol=1e-5)
    assert float(step.beside(state, state.policy, Objective(), jnp.ones(3))) == 0.0


def fitted(step, state, batch, objective=None, key=2):
    """The critics' kernels `[E, o + a]` after one update, and its metrics."""
    after, metrics = step.critic_step(state, batch, objective or Objective(), jax.random.key(key))
    return kernels(after.value)[0][..., 0], metrics, after


def test_targets_stay_within_what_the_rewards_come_to_for_ever():
    step = linear(TD3, target_noise=0.0, gamma=0.5, critics=Critics(hidden=(), layer_norm=False, bounded=True, tau=0.1))
    state, batch = step.init(jax.random.key(1)), minibatch()
    paid = jnp.array([[3.0], [1.0], [2.0], [1.0], [1.0]])
    # Critics that promise far more than 3 / (1 - 0.5), and far less than 0.
    state = state.replace(target=jax.tree.map(lambda x: 100 * x, state.target))
    batch = batch.replace(rewards=paid)
    following = np.clip(step.to_units(step.policy(state.policy, batch.next_x).mode), -1, 1)
    promised = q_values(state.target, batch.next_x, following).min(axis=0)
    assert promised.max() > 6 and promised.min() < 0
    target = batch.reward + batch.discount * np.clip(promised, 0, 6)
    values = q_values(state.value, batch.x, batch.action)
    grad = 2 / 5 * np.einsum("em,mi->ei", values - target, np.concatenate([batch.x, batch.action], axis=1))
    found, metrics, after = fitted(step, state, batch)
    np.testing.assert_allclose(found, kernels(state.value)[0][..., 0] - adams_first(grad, 1e-3), rtol=1e-4)
    assert float(metrics["reward_low"]) == 0.0 and float(metrics["reward_high"]) == 3.0
    # A new extreme counts at once, an old one fades by tau; what is behind the end is paid, too.
    _, metrics, _ = fitted(step, after, batch.replace(rewards=paid - 2), Objective(after_end=jnp.float32(-4.0)))
    np.testing.assert_allclose([metrics["reward_low"], metrics["reward_high"]], [-4.0, 3 - 0.1 * (3 - 1)], rtol=1e-6)
    assert state.reward_range.shape == (2,) and linear(TD3).init(jax.random.key(1)).reward_range == ()


def test_a_bound_leaves_room_for_what_entropy_is_paid():
    critics = Critics(hidden=(), layer_norm=False, bounded=True)
    step, free = (linear(SAC, init_temperature=2.0, gamma=0.5, critics=c) for c in (critics, LINEAR["critics"]))
    state, batch = step.init(jax.random.key(1)), minibatch()
    state = state.replace(reward_range=jnp.array([-1.0, 3.0]))
    key = jax.random.key(4)
    loud = state.replace(target=jax.tree.map(lambda x: 100 * x, state.target))
    plain = free.next_value(loud, batch, Objective(), key)
    _, log_prob = step.drawn(state.policy, batch.next_x, key)
    bonus = -2.0 * float(np.mean(log_prob))
    low, high = -1 + min(bonus, 0), 3 + max(bonus, 0)
    found = step.next_value(loud, batch, Objective(), key)
    np.testing.assert_allclose(found, np.clip(plain, low / 0.5, high / 0.5), rtol=1e-5)
    assert bonus != 0 and (np.asarray(plain) > 2 * high).any() and (np.asarray(plain) < 2 * low).any()


def test_the_rewards_that_bound_values_are_those_of_single_steps():
    step = linear(TD3, n_step=3, reward_scale=2.0, critics=Critics(hidden=(), layer_norm=False, bounded=True))
    flat, obs = jnp.array([[[1.0, 2.0, 4.0]]]), jnp.zeros((1, 1, 3, 2))
    steps = Transition(obs, obs + 3, flat, obs, flat, flat < 0, flat < 0)
    made = step.minibatches(step.init(jax.random.key(0)), Objective(experience=steps))
    np.testing.assert_array_equal(made.rewards, [[[2.0, 4.0, 8.0]]])


def test_large_errors_count_linearly():
    critics = Critics(hidden=(), huber=1.0)
    values, target = jnp.array([[1.0, 5.0], [-1.0, 0.0]]), jnp.array([0.0, 1.0])
    # Errors 1, 4, -1, -1: their root mean square is sqrt(19 / 4).
    knee = np.sqrt(19 / 4)
    expected = (1 + knee * (8 - knee)) / 2 + (1 + 1) / 2
    np.testing.assert_allclose(critics.loss(values, target), expected, rtol=1e-6)
    slope = jax.grad(lambda v: critics.loss(v, target))(values)
    np.testing.assert_allclose(slope, [[1.0, knee], [-1.0, -1.0]], rtol=1e-6)
    assert float(Critics(hidden=()).loss(values, target)) == (1 + 16 + 1 + 1) / 2


@pytest.mark.parametrize("delay", [2, 5])
def test_many_updates_are_the_updates_one_by_one(delay):
    step = linear(TD3, update_ratio=2.5, policy_delay=delay, minibatch=5)
    state = step.init(jax.random.key(0))
    count, size, length = step.draws(8)
    assert count == 20 // delay * delay
    rows = jnp.asarray(np.random.default_rng(0).normal(size=(count, size, length, 2)), jnp.float32)
    flat = rows[..., 0]
    steps = Transition(rows, rows + 3, flat, rows + 0.1, flat, flat > 1, flat < -1)
    unroll = jax.tree.map(lambda x: x[:4, :2, 0], steps)
    aim, key = Objective(experience=steps), jax.random.key(5)
    together, _ = step.update(state, unroll, aim, key)
    one = state.replace(obs_stats=state.obs_stats)
    batches, keys = step.minibatches(one, aim), jax.random.split(key, count)
    for i in range(count):
        batch = jax.tree.map(lambda x, i=i: x[i], batches)
        one, _ = step.critic_step(one, batch, aim, keys[i])
        if (i + 1) % delay == 0:
            one, _ = step.actor_step(one, batch, aim, jax.random.fold_in(keys[i], 1))
    for name in ("policy", "value", "target"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5),
            getattr(together, name),
            getattr(one, name),
        )


def test_more_updates_make_no_larger_program():
    def operations(ratio, delay):
        step = linear(SAC, update_ratio=ratio, policy_delay=delay)
        shape = step.draws(8)
        rows, flat = jnp.zeros((*shape, 2)), jnp.zeros(shape)
        steps = Transition(rows, rows, flat, rows, flat, flat > 0, flat > 0)
        unroll = jax.tree.map(lambda x: x[:1, :1, 0], steps)
        update = lambda state, key: step.update(state, unroll, Objective(experience=steps), key)  # noqa: E731
        jaxpr = jax.make_jaxpr(update)(step.init(jax.random.key(0)), jax.random.key(0))
        return str(jaxpr).count(" = ")

    assert operations(4.0, 4) == operations(20.0, 20)
