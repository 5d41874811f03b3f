"""Updates from replay beside the matrix products that they are made of."""

from __future__ import annotations

import json

import pytest

from gailfe_jax.bench import replay
from gailfe_jax.errors import GailfeError
from gailfe_jax.policies.critics import Critics
from gailfe_jax.policies.sac import SAC
from gailfe_jax.policies.td3 import TD3
from gailfe_jax.types import EnvSpec

SPEC = EnvSpec("task", None, "none", 3, 2, (-1.0,), (1.0,), 5)


def test_the_products_of_a_round_are_counted_by_hand():
    sizes = {"minibatch": 7, "hidden": (5,), "critics": Critics(hidden=(4,), ensemble=1), "policy_delay": 1}
    target = [(7, 3, 5), (7, 5, 2), (7, 5, 4), (7, 4, 1)]
    fit = [(7, 5, 4), (7, 4, 1), (5, 7, 4), (4, 7, 1), (7, 1, 4)]
    climb = [(7, 3, 5), (7, 5, 2), (7, 5, 4), (7, 4, 1), (7, 4, 5), (7, 1, 4)]
    descend = [(3, 7, 5), (5, 7, 2), (7, 2, 5)]
    assert sorted(replay.products(TD3(**sizes), SPEC)) == sorted(target + fit + climb + descend)
    wide = replay.products(SAC(**sizes), SPEC)
    assert (7, 5, 4) in wide and wide.count((7, 5, 4)) == len([p for p in target + fit + climb if p == (7, 5, 4)]) + 2
    many = TD3(**sizes | {"critics": Critics(hidden=(4,), ensemble=3, subset=2)})
    target, fit, climb = target[:2] + 2 * target[2:], 3 * fit, climb[:2] + 3 * climb[2:]
    assert sorted(replay.products(many, SPEC)) == sorted(target + fit + climb + descend)


@pytest.mark.slow
def test_replay(compiled_in_haste, capsys, tmp_path):
    report = replay.run(["hopper"], hidden=(8,), minibatch=16, updates=4, repeats=3)
    json.dumps(report, allow_nan=False)
    assert [row["policy"] for row in report["rows"]] == ["sac", "td3"]
    for row in report["rows"]:
        assert row["updates"] == 4 and min(row["products_seconds"], row["update_seconds"]) > 0
        assert len(row["raw_seconds"]) == 3
    replay.show(report)
    shown = capsys.readouterr().out
    assert "one update from replay" in shown and "2 x 8" in shown
    replay.draw(report, tmp_path / "replay.png")
    assert (tmp_path / "replay.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"policy": ["ppo"]}, "policy: ppo does not replay; expected some of sac, td3"),
        ({"hidden": (0,)}, "hidden, minibatch, updates: got"),
        ({"policy": []}, "policy: got none"),
    ],
)
def test_what_cannot_be_measured_is_named(values, message):
    with pytest.raises(GailfeError, match=f"^{message}"):
        replay.run(["hopper"], **values)
