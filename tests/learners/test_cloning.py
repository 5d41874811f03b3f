from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.artifacts.oracle import Oracle
from gailfe_jax.config.flat import Config, Hyper, hyper_arrays
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.adversarial import Demos
from gailfe_jax.learners.cloning import expert_share, split
from gailfe_jax.learners.methods import make_learner, resolve_config
from gailfe_jax.nn.optimisers import adam, adam_step
from gailfe_jax.training.loop import Trainer
from gailfe_jax.types import StateAction

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

TINY = dict(num_envs=8, unroll_length=16, bc_minibatch=32, hidden=(), fit_steps=20)


def on_host(state):
    def numbers(x):
        return np.array(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)

    return jax.tree.map(numbers, state)


def at_seed(tree, index):
    return jax.tree.map(lambda x: x[index], tree)


def same(a, b):
    return all(x.tobytes() == y.tobytes() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def run(config, env, demos, iterations, hyper=None, seeds=(0,)):
    """`(learner, states [iterations + 1], metrics [iterations])`, each `[S, ...]` on the host."""
    learner = make_learner(config, env, total_iterations=iterations)
    trainer = Trainer(learner, hyper or Hyper(), np.array(seeds), chunk=1, eval_episodes=1)
    state = trainer.init(demos)
    states, rows = [on_host(state)], []
    for _ in range(iterations):
        state, metrics = trainer.advance(state, demos)
        states.append(on_host(state))
        rows.append({name: np.array(x)[0] for name, x in metrics.items()})
    assert trainer.traces == 1
    return learner, states, rows


def demonstrations(policy, trajectories=8, noise=0.0, length=16):
    rng = np.random.default_rng(0)
    obs = rng.uniform(-1, 1, (trajectories * length, 2)).astype(np.float32)
    action = policy.act(obs) + noise * rng.normal(size=obs.shape)
    trajectory = np.repeat(np.arange(trajectories), length).astype(np.int32)
    return Demos(StateAction(jnp.asarray(obs), jnp.asarray(action, jnp.float32)), trajectory=jnp.asarray(trajectory))


def test_whole_trajectories_are_held_out():
    lengths = [3, 9, 1, 5, 20, 2, 7, 4]
    trajectory = jnp.asarray(np.repeat(np.arange(8), lengths), jnp.int32)
    size = len(trajectory)
    held_sets = set()
    for seed in range(20):
        order, held = split(jax.random.key(seed), trajectory, size, 0.25)
        assert sorted(np.array(order)) == list(range(size))
        train, valid = (set(np.array(trajectory[rows])) for rows in (order[: size - held], order[size - held :]))
        assert not train & valid and len(valid) == 2 and len(train) == 6
        again = split(jax.random.key(seed), trajectory, size, 0.25)
        np.testing.assert_array_equal(order, again[0])
        held_sets.add(frozenset(valid))
    assert len(held_sets) > 10


@pytest.mark.parametrize("trajectory", [None, jnp.zeros(20, jnp.int32)])
def test_of_a_single_trajectory_pairs_are_held_out(trajectory):
    order, held = split(jax.random.key(0), trajectory, 20, 0.2)
    assert held == 4 and sorted(np.array(order)) == list(range(20))
    assert sorted(np.array(order[-4:])) != list(range(16, 20))


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.01, 1), (0.99, 2)])
def test_something_is_held_out_and_something_is_not(share, expected):
    assert split(jax.random.key(0), jnp.arange(3, dtype=jnp.int32), 3, share)[1] == expected


def test_one_pair_cannot_be_split():
    with pytest.raises(GailfeError, match=r"^bc_validation: got 1 demonstrated pair; expected 2 or more"):
        split(jax.random.key(0), None, 1, 0.2)


def test_cloning_recovers_a_linear_expert(drift_env, linear_expert):
    config = Config(algo="bc", anneal=True, **TINY)
    demos = demonstrations(linear_expert)
    learner, states, rows = run(config, drift_env, demos, 150, Hyper(bc_lr=2e-2))
    agent = at_seed(states[-1].generator, 0)
    obs = np.random.default_rng(1).uniform(-1, 1, (200, 2)).astype(np.float32)
    np.testing.assert_allclose(learner.generator.mode(agent, obs), linear_expert.act(obs), atol=2e-3)
    assert rows[-1]["best_validation_loss"] < rows[0]["best_validation_loss"] - 3
    # It never stepped the environment.
    assert states[-1].env is None


def test_the_best_snapshot_is_kept_and_a_stopped_seed_stays_as_it_is(drift_env, linear_expert):
    config = Config(algo="bc", bc_validation=0.5, **TINY | dict(hidden=(32,)))
    demos = demonstrations(linear_expert, trajectories=6, noise=0.1, length=3)
    learner, states, rows = run(config, drift_env, demos, 60, Hyper(bc_lr=1e-2, bc_patience=10.0), seeds=(0, 1))
    for seed in range(2):
        losses = np.array([row["validation_loss"][seed] for row in rows])
        best = int(np.argmin(losses))
        assert 0 < best < 45 and losses[-1] > losses[best]
        stopped = [bool(row["stopped"][seed]) for row in rows]
        assert stopped == [i >= best + 10 for i in range(60)]
        assert rows[-1]["best_validation_loss"][seed] == losses[best]
        ended, last = (at_seed(states[i], seed) for i in (best + 11, -1))
        assert same(ended.generator, last.generator) and same(ended.progress, last.progress)
        # What is judged is the policy as it was then, and explains the held-out pairs that well.
        assert same(last.generator.judged, at_seed(states[best + 1].generator.policy, seed))
        assert not same(last.generator.judged, last.generator.policy)
        held = last.order[len(last.order) - last.held_out :]
        shown = StateAction(demos.expert.obs[held], demos.expert.action[held])
        loss = learner.generator.negative_log_likelihood(last.generator, last.generator.judged, shown)
        np.testing.assert_allclose(jnp.mean(loss), losses[best], rtol=1e-4)


def test_without_validation_the_last_snapshot_is_kept(drift_env, linear_expert):
    config = Config(algo="bc", bc_validation=0.0, **TINY)
    _, states, rows = run(config, drift_env, demonstrations(linear_expert), 3)
    assert same(states[-1].generator.judged, states[-1].generator.policy)
    assert states[-1].held_out == 0 and set(rows[0]) == {"loss", "stopped"} and rows[-1]["stopped"] == 0


def test_weight_decay_takes_its_share_of_the_kernels_only():
    params = {"mean": {"Dense_0": {"kernel": jnp.full((2, 3), 2.0), "bias": jnp.ones(3)}}, "log_std": jnp.ones(3)}
    still = jax.tree.map(jnp.zeros_like, params)
    new, _ = adam_step(still, adam(params), params, 0.1, 0.5)
    np.testing.assert_allclose(new["mean"]["Dense_0"]["kernel"], 2.0 * (1 - 0.1 * 0.5))
    assert same(new["mean"]["Dense_0"]["bias"], jnp.ones(3)) and same(new["log_std"], jnp.ones(3))
    assert same(adam_step(still, adam(params), params, 0.1)[0], params)


@pytest.mark.parametrize("algo", ["bc", "dagger"])
def test_a_seed_alone_equals_itself_among_others(algo, drift_env, linear_expert):
    """And weight decay, which may differ between seeds, makes weights smaller."""
    demos = demonstrations(linear_expert).replace(oracle=Oracle.of(linear_expert))
    config = Config(algo=algo, aggregate_capacity=300, **TINY | dict(hidden=(8,)))
    hyper = Hyper(bc_weight_decay=10.0, bc_lr=1e-2)
    alone = run(config, drift_env, demos, 4, hyper, seeds=(4,))
    both = run(config, drift_env, demos, 4, hyper.replace(bc_weight_decay=(0.0, 10.0)), seeds=(4, 4))
    others = run(config, drift_env, demos, 4, hyper, seeds=(3, 4))
    for one, many, swept in zip(alone[1], others[1], both[1], strict=True):
        assert same(one, jax.tree.map(lambda x: x[1:], many)) and same(one, jax.tree.map(lambda x: x[1:], swept))
    kernels = both[1][-1].generator.policy["params"]["mean"]["Dense_1"]["kernel"]
    assert np.linalg.norm(kernels[1]) < np.linalg.norm(kernels[0])
    assert not same(*(at_seed(others[1][-1].generator.policy, i) for i in range(2)))


@pytest.mark.parametrize(("p", "expected"), [(0.0, [1, 0, 0, 0]), (0.5, [1, 0.5, 0.25, 0.125]), (1.0, [1, 1, 1, 1])])
def test_how_often_the_expert_acts(p, expected):
    np.testing.assert_allclose(expert_share(p, jnp.arange(4)), expected)


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_dagger_labels_what_the_mixture_visits(p, drift_env, linear_expert):
    config = Config(algo="dagger", aggregate_capacity=300, **TINY)
    demos = Demos(None, oracle=Oracle.of(linear_expert))
    learner, states, rows = run(config, drift_env, demos, 3, Hyper(dagger_beta=p, bc_lr=1e-2))
    assert [row["aggregate"][0] for row in rows] == [128, 256, 300]
    acted = []
    for i in range(2):
        kept = states[i + 1].replay.rows
        obs, label = (x[0, 128 * i : 128 * (i + 1)].reshape(16, 8, 2) for x in (kept.obs, kept.action))
        np.testing.assert_allclose(label, linear_expert.act(obs), atol=1e-5)
        # An episode has six steps: elsewhere the next observation tells which action was taken.
        inside = (np.arange(16 * i, 16 * i + 15) + 1) % 6 != 0
        taken = ((obs[1:] - 0.9 * obs[:-1]) / 0.5)[inside]
        agent = at_seed(states[i].generator, 0)
        own = np.clip(learner.generator.mode(agent, obs), -1, 1)[:-1][inside]
        by_expert = np.abs(taken - label[:-1][inside]).max(-1) < 1e-4
        by_policy = np.abs(taken - own).max(-1) < 1e-4
        assert (by_expert | by_policy).all() and (by_expert & by_policy).mean() < 0.1
        acted.append(by_expert.mean())
    assert acted[0] == 1 and (acted[1] < 0.1 if p == 0 else 0.3 < acted[1] < 0.7)
    assert rows[-1]["expert_distance"] < rows[0]["expert_distance"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(algo="gail", generator="likelihood"), r"^generator: --algo gail has more than a likelihood"),
        (dict(algo="bc", bc_steps=5), r"^bc_steps: --algo bc is maximum likelihood from the start"),
        (dict(algo="dagger", bc_auxiliary=True), r"^bc_auxiliary: --algo dagger is maximum likelihood"),
        (dict(algo="bc", policy_average=0.9), r"^policy_average: --algo bc evaluates and saves its best snapshot"),
        (dict(algo="bc", bc_minibatch=100), r"^bc_minibatch: got 100; expected a divisor of .* = 1024"),
        (dict(algo="bc", positives="own"), r"^positives: --algo bc has no discriminator"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(settings, message):
    with pytest.raises(GailfeError, match=message):
        resolve_config(Config(**settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(bc_validation=1.0), r"^bc_validation: got 1.0; expected a share in \[0, 1\)"),
        (dict(fit_steps=0), r"^fit_steps: got 0; expected at least 1"),
        (dict(aggregate_capacity=0), r"^aggregate_capacity: got 0"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(GailfeError, match=message):
        Config(algo="bc", **settings)
    assert np.isfinite(hyper_arrays(Hyper()).bc_patience)
