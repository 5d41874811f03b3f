"""Every combination that has a name trains, and goes on from a checkpoint bit for bit."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from gailfe_jax.config.tree import leaves, put, set_values, without_unread
from gailfe_jax.data.annotators import survived
from gailfe_jax.learners.combinations import COMBINATIONS
from gailfe_jax.training.checkpoint import CheckpointManager
from tests.states import ITERATIONS, Runner, differing, from_host, named, on_host
from tests.tiny import SIZES, tiny
from tests.toy import Cliff, cliff_expert

# Each policy step, each kind of reward, cloning and the aggregation; the others run with the slow tests.
QUICK = ("GAILFE", "MAIL", "GASIL+PPO", "FEM by TRPO", "DAgger")
EACH = [pytest.param(c, id=c.name, marks=() if c.name in QUICK else pytest.mark.slow) for c in COMBINATIONS]
LONG = {"rollout.unroll_length": 32, "aggregate_capacity": 300}


def small(combination):
    """Long enough for whole episodes; the combination's own sizes are cut too."""
    method = combination.build(tiny(combination.method, combination.policy))
    known = leaves(method)
    method = without_unread(put(method, {name: x for name, x in (SIZES | LONG).items() if name in known}))
    # Nothing here comes near the expert's return.
    own = {"self_demonstrations.episodes": "survived"} if judged(combination) else {}
    return set_values(method, combination.settings | own)


def judged(combination):
    return "self_demonstrations.episodes" in combination.settings


@pytest.mark.usefixtures("compiled_in_haste")
@pytest.mark.parametrize("combination", EACH)
def test_every_combination_trains_and_resumes(combination, tmp_path):
    success = survived() if judged(combination) else None
    runner = Runner(small(combination), Cliff(), expert=cliff_expert(), success=success)
    states, rows = runner.run([0])
    shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), state) for state in (states[0], states[-1])]
    assert shapes[0] == shapes[1]
    assert all(np.isfinite(x).all() for x in named(states[-1].agent.policy).values())
    assert differing(*(named(state.agent.policy) for state in (states[0], states[-1])))
    own = getattr(runner.learner, "self_demonstrations", None)
    if own is not None and own.use != "none" and not judged(combination):
        assert 1 <= rows[-2]["own_episodes"][0] <= 3

    checkpoints = CheckpointManager(tmp_path)
    checkpoints.save(ITERATIONS - 1, from_host(states[-2], runner.trainer.template(runner.demos)), {})
    step, state = checkpoints.restore(runner.trainer.template(runner.demos))
    assert step == ITERATIONS - 1
    resumed, _ = runner.trainer.advance(state, runner.demos)
    assert differing(named(on_host(resumed)), named(states[-1])) == []
