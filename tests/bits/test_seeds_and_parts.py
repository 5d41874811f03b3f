"""Bit for bit: what seeds, settings and parts must not change, in the compiler's last bits and the simulator's state.

Everything here is compiled in full and stepped by MuJoCo; test_canary.py says the most important of it on a toy task.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest

from gailfe_jax.config.tree import leaves, put
from gailfe_jax.data.annotators import Annotator
from gailfe_jax.envs import make_env
from tests.states import ITERATIONS, Runner, assert_same_run, differing, named
from tests.tiny import tiny

pytestmark = [pytest.mark.slow, pytest.mark.exact]

FITTED = {"reward__minibatch": 64, "reward__steps": 20, "reward__lr": 3e-3}
NEVER = Annotator("never", reads_reward=False, verdict=lambda episode: episode.length < 0)
# Two rows of fixed multipliers, and what the first is where the multiplier is a dual variable: one that stays at 1.
FIXED = (
    {"reward.lr": 1e-2, "policy.gamma": 0.9, "constraint.weight": 1.0},
    {"constraint.weight": 0.0},
)
STILL = {"reward.lr": 1e-2, "policy.gamma": 0.9, "constraint.dual_init": 1.0, "constraint.dual_lr": 0.0}
CAPACITY = 6


def small(name, policy=None, **values):
    """Rates so large that runs drift apart at once."""
    sizes = {} if name in ("ppo", "gasil") else {"policy__value_minibatch": 64}
    fitted = FITTED if name in ("gail", "gailfe", "gasil") else {}
    held = {"constraint__threshold": -0.3} if name == "gailfe" else {}
    if held and values.get("constraint__multiplier") != "fixed":
        held["constraint__dual_lr"] = 0.1
    return tiny(name, policy, **({"rollout__unroll_length": 32} | sizes | fitted | held | values))


def hopper(method, num_seeds=1, **judges):
    return Runner(method, make_env("hopper", "mujoco_c"), num_seeds, **judges)


@pytest.fixture(scope="module")
def single():
    return hopper(small("gailfe"))


@pytest.fixture(scope="module")
def alone(single):
    """GAILFE, seed 4, by itself."""
    return single.run([4])


@pytest.fixture(scope="module")
def gail():
    """GAIL, seeds 9 and 4, side by side."""
    return hopper(small("gail"), 2).run([9, 4])


@pytest.fixture(scope="module")
def fixed():
    """GAILFE with a fixed multiplier, seeds 9 and 4, each with its own hyper-parameters."""
    method = small("gailfe", constraint__multiplier="fixed")
    known = leaves(method)
    # The dual variable is there too, unused; it stays where it is, as that of `STILL`.
    swept = {name: np.array([row.get(name, known[name].value) for row in FIXED], np.float32) for name in FIXED[0]}
    return hopper(put(method, swept), 2).run([9, 4], {"constraint.dual_lr": 0.0})


def test_a_seed_and_its_hyper_parameters_alone_equal_a_row_of_the_vmapped_run(single, alone, fixed):
    """And a dual variable that does not move is a fixed multiplier."""
    assert_same_run(single.run([9], STILL), fixed, 0)
    # New values, and not one new trace.
    assert single.trainer.traces == 1
    policies = [named(fixed[0][-1].agent.policy, i) for i in range(2)]
    assert differing(*policies)


def test_on_the_true_reward_too_a_seed_alone_equals_itself_among_others():
    one, two = hopper(small("ppo")), hopper(small("ppo"), 2)
    assert_same_run(one.run([3]), two.run([2, 3]), 1)


def test_through_a_model_too_a_seed_alone_equals_itself_among_others():
    """GAILFE's constraint with MAIL's step: all that MAIL has, and more."""
    method = small("gailfe", "mail", policy__horizon=8, policy__model__minibatch=16, policy__model__capacity=200)
    one, two = hopper(method), hopper(method, 2)
    alone = one.run([3])
    assert_same_run(alone, two.run([2, 3]), 1)
    states, rows = alone
    assert int(states[-1].sources.transitions.size[0]) == min(200, ITERATIONS * method.rollout.batch_size)
    assert np.isfinite(rows[-2]["model_error_1"]).all() and "multiplier" in rows[-2]
    # The experience holds the executed actions and what they led to.
    last = jax.tree.map(lambda x: x[0], states[-1].sources.transitions.rows)
    assert np.abs(last.action).max() <= 1.0 and np.ptp(last.next_obs - last.obs) > 0


def test_the_same_seed_gives_the_same_bits(single, alone):
    again = single.run([4])
    assert_same_run(alone, again, 0)


def without_effect(kind, single, request):
    """A run of GAILFE whose failures must not matter, and which of its seeds is seed 4."""
    if kind == "a dual variable that starts at 0 and is slack":
        return single.run([4], {"constraint.dual_init": 0.0, "constraint.threshold": -1e3}), 0
    if kind == "a fixed multiplier of 0":
        return request.getfixturevalue("fixed"), 1
    return hopper(small("gailfe", failures__source="own"), annotator=NEVER).run([4]), 0


@pytest.mark.parametrize(
    "kind", ["a dual variable that starts at 0 and is slack", "a fixed multiplier of 0", "an empty buffer"]
)
def test_gailfe_is_gail_to_the_bit_with(kind, single, gail, request):
    (states, rows), index = without_effect(kind, single, request)
    for ours, theirs in zip(states, gail[0], strict=True):
        for part in ("agent", "reward", "env", "key", "iteration"):
            assert differing(named(getattr(ours, part), index), named(getattr(theirs, part), 1)) == [], part
    for ours, theirs in zip(rows, gail[1], strict=True):
        ours = {name: x for name, x in ours.items() if name in theirs}
        assert differing(named(ours, index), named(theirs, 1)) == []
    failures = [row["failures_in_buffer"][index] for row in rows[:-1]]
    assert failures[-1] == (0 if kind == "an empty buffer" else CAPACITY)


def test_gailfe_with_a_multiplier_is_not_gail(alone, gail):
    assert alone[1][-2]["multiplier"] > 0
    assert differing(named(alone[0][-1].reward.params, 0), named(gail[0][-1].reward.params, 1))


def test_the_average_policy_is_judged_and_the_newest_acts():
    decay = 0.75
    plain = hopper(small("gail")).run([0])[0]
    averaged = hopper(small("gail", policy__average=decay)).run([0])[0]
    expected = named(plain[0].agent.policy)
    for before, after in zip(plain[1:], averaged[1:], strict=True):
        newest = named(before.agent.policy)
        assert differing(newest, named(after.agent.policy)) == []
        expected = {name: decay * x + (1 - decay) * newest[name] for name, x in expected.items()}
        for name, x in named(after.agent.evaluated).items():
            np.testing.assert_allclose(x, expected[name], atol=1e-6)
    assert differing(named(averaged[-1].agent.evaluated), named(averaged[-1].agent.policy))
    assert differing(named(plain[-1].agent.evaluated), named(plain[-1].agent.policy)) == []


def test_gasil_with_alpha_zero_is_ppo_to_the_bit():
    ppo = hopper(small("ppo"), 2).run([0, 5])[0]
    runner = hopper(small("gasil", true_reward__add=True), 2)
    gasil = runner.run([0, 5], {"true_reward.alpha": 0.0})[0]
    for one, other in zip(ppo, gasil, strict=True):
        assert differing(named(one.agent), named(other.agent)) == []
        assert differing(named(one.env), named(other.env)) == []
    with_alpha = runner.run([0, 5])[0]
    assert differing(named(ppo[-1].agent), named(with_alpha[-1].agent))
