"""The promises of this room on a toy task, compiled in full: what stays quick enough for every run of the tests."""

from __future__ import annotations

from tests.states import Runner, assert_same_run, differing, named
from tests.tiny import tiny
from tests.toy import Cliff


def test_a_seed_gives_the_same_bits_again_and_among_others(trained_in_full):
    method = tiny("gailfe", "ppo", rollout__unroll_length=16, constraint__threshold=-0.3, constraint__dual_lr=0.1)
    one, two = Runner(method, Cliff()), Runner(method, Cliff(), 2)
    alone = one.run([3])
    among = two.run([2, 3])
    assert_same_run(alone, among, 1)
    assert_same_run(one.run([3]), among, 1)
    # New values, and not one new trace.
    assert one.trainer.traces == 1
    # Bits that would show a difference: the policies moved, apart from each other, with failures and a multiplier.
    first, last = (named(state.agent.policy) for state in (among[0][0], among[0][-1]))
    assert differing(first, last)
    assert differing(*(named(among[0][-1].agent.policy, i) for i in range(2)))
    assert among[1][-2]["failures_in_buffer"][1] > 0 and among[1][-2]["multiplier"][1] > 0
