from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.artifacts.oracle import Oracle
from gailfe_jax.config.parts import as_arrays
from gailfe_jax.config.tree import put, set_values
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.cloning import BC, Likelihood, split
from gailfe_jax.learners.methods import find_method, with_policy
from gailfe_jax.nn.optimisers import adam, adam_step
from gailfe_jax.types import StateAction
from tests.learners.likelihood import demonstrations, run, small
from tests.states import at_seed, same

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


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
    with pytest.raises(GailfeError, match=r"^validation: got 1 demonstrated pair; expected 2 or more"):
        split(jax.random.key(0), None, 1, 0.2)


def test_cloning_recovers_a_linear_expert(drift_env, linear_expert):
    method = small("bc", schedule__anneal=True, policy__lr=2e-2)
    demos = demonstrations(linear_expert)
    learner, states, rows = run(method, drift_env, demos, 150)
    agent = at_seed(states[-1].agent, 0)
    obs = np.random.default_rng(1).uniform(-1, 1, (200, 2)).astype(np.float32)
    np.testing.assert_allclose(learner.policy.deterministic_action(agent, obs), linear_expert.act(obs), atol=2e-3)
    assert rows[-1]["best_validation_loss"] < rows[0]["best_validation_loss"] - 3
    # It never stepped the environment.
    assert states[-1].env is None


def test_the_best_snapshot_is_kept_and_a_stopped_seed_stays_as_it_is(drift_env, linear_expert):
    method = small("bc", validation=0.5, policy__hidden=(32,), policy__lr=1e-2, patience=10.0)
    demos = demonstrations(linear_expert, trajectories=6, noise=0.1, length=3)
    learner, states, rows = run(method, drift_env, demos, 60, seeds=(0, 1))
    for seed in range(2):
        losses = np.array([row["validation_loss"][seed] for row in rows])
        best = int(np.argmin(losses))
        assert 0 < best < 45 and losses[-1] > losses[best]
        stopped = [bool(row["stopped"][seed]) for row in rows]
        assert stopped == [i >= best + 10 for i in range(60)]
        assert rows[-1]["best_validation_loss"][seed] == losses[best]
        ended, last = (at_seed(states[i], seed) for i in (best + 11, -1))
        assert same(ended.agent, last.agent) and same(ended.progress, last.progress)
        # What is judged is the policy as it was then, and explains the held-out pairs that well.
        assert same(last.agent.evaluated, at_seed(states[best + 1].agent.policy, seed))
        assert not same(last.agent.evaluated, last.agent.policy)
        held = last.order[len(last.order) - last.held_out :]
        shown = StateAction(demos.expert.obs[held], demos.expert.action[held])
        loss = learner.policy.negative_log_likelihood(last.agent, last.agent.evaluated, shown)
        np.testing.assert_allclose(jnp.mean(loss), losses[best], rtol=1e-4)


def test_without_validation_the_last_snapshot_is_kept(drift_env, linear_expert):
    method = small("bc", validation=0.0)
    _, states, rows = run(method, drift_env, demonstrations(linear_expert), 3)
    assert same(states[-1].agent.evaluated, states[-1].agent.policy)
    assert states[-1].held_out == 0 and set(rows[0]) == {"loss", "stopped"} and rows[-1]["stopped"] == 0


def test_weight_decay_takes_its_share_of_the_kernels_only():
    params = {"mean": {"Dense_0": {"kernel": jnp.full((2, 3), 2.0), "bias": jnp.ones(3)}}, "log_std": jnp.ones(3)}
    still = jax.tree.map(jnp.zeros_like, params)
    new, _ = adam_step(still, adam(params), params, 0.1, 0.5)
    np.testing.assert_allclose(new["mean"]["Dense_0"]["kernel"], 2.0 * (1 - 0.1 * 0.5))
    assert same(new["mean"]["Dense_0"]["bias"], jnp.ones(3)) and same(new["log_std"], jnp.ones(3))
    assert same(adam_step(still, adam(params), params, 0.1)[0], params)


@pytest.mark.parametrize("name", ["bc", pytest.param("dagger", marks=pytest.mark.slow)])
def test_a_seed_alone_equals_itself_among_others(name, drift_env, linear_expert):
    """And weight decay, which may differ between seeds, makes weights smaller."""
    demos = demonstrations(linear_expert).replace(oracle=Oracle.of(linear_expert))
    own = {"aggregate_capacity": 300} if name == "dagger" else {}
    method = small(name, policy__hidden=(8,), policy__weight_decay=10.0, policy__lr=1e-2, **own)
    swept = put(method, {"policy.weight_decay": np.array([0.0, 10.0], np.float32)})
    alone = run(method, drift_env, demos, 4, seeds=(4,))
    both = run(swept, drift_env, demos, 4, seeds=(4, 4))
    others = run(method, drift_env, demos, 4, seeds=(3, 4))
    for one, many, rows in zip(alone[1], others[1], both[1], strict=True):
        assert same(one, jax.tree.map(lambda x: x[1:], many)) and same(one, jax.tree.map(lambda x: x[1:], rows))
    kernels = both[1][-1].agent.policy["params"]["mean"]["Dense_1"]["kernel"]
    assert np.linalg.norm(kernels[1]) < np.linalg.norm(kernels[0])
    assert not same(*(at_seed(others[1][-1].agent.policy, i) for i in range(2)))


def test_a_gail_is_no_likelihood():
    with pytest.raises(GailfeError, match=r"^policy: got 'likelihood' for gail; expected one of trpo, ppo, mail"):
        with_policy(find_method("gail"), "likelihood")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("bc", {"start.steps": 5}, r"^start.steps: no such setting"),
        ("dagger", {"likelihood.add": True}, r"^likelihood.add: no such setting"),
        ("bc", {"policy.average": 0.9}, r"^policy.average: nothing reads it: bc evaluates and saves its best snapshot"),
        ("bc", {"self_demonstrations.use": "alone"}, r"^self_demonstrations.use: no such setting"),
        ("bc", {"policy.minibatch": 100}, r"^policy.minibatch: got 100; expected a divisor of .* = 1024"),
        ("bc", {"validation": 1.0}, r"^validation: got 1.0; expected a finite number from 0 below 1"),
        ("dagger", {"fit_steps": 0}, r"^fit_steps: got 0; expected a whole number from 1"),
        ("dagger", {"aggregate_capacity": 0}, r"^aggregate_capacity: got 0"),
    ],
)
def test_settings_that_do_not_go_together_or_are_out_of_range_are_refused(name, values, message):
    with pytest.raises(GailfeError, match=message):
        set_values(find_method(name), values).verify()


def test_what_was_set_by_hand_is_checked_too():
    with pytest.raises(GailfeError, match=r"^policy.average: got 0.9; nothing reads it: bc evaluates"):
        BC(policy=Likelihood(average=0.9)).verify()
    with pytest.raises(GailfeError, match=r"^BC.validation: got 1.0; expected a finite number from 0 below 1"):
        BC(validation=1.0)
    assert np.isfinite(as_arrays(BC()).patience)
