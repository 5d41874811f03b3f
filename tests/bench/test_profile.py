from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from gailfe_jax.bench import profile
from gailfe_jax.bench.profile import iteration_parts, largest, time_parts
from gailfe_jax.bench.train import Training, method_with
from gailfe_jax.envs import make_env
from gailfe_jax.errors import GailfeError

TINY = {
    "rollout.num_envs": 2, "rollout.unroll_length": 8, "policy.hidden": (4,), "reward.hidden": (4,),
    "failures.capacity": 3,
}  # fmt: skip


@pytest.mark.slow
def test_parts_of_an_iteration(compiled_in_haste, tmp_path, capsys):
    training = Training.make(method_with("gailfe", TINY), make_env("hopper", "mujoco_c"), seeds=2)
    training.advance()
    parts = iteration_parts(training)
    assert list(parts) == ["unroll", "buffers", "discriminator", "policy and values"]
    before = jax.tree.map(np.asarray, training.state.agent.evaluated)
    assert parts["unroll"]().obs.shape == (2, 8, 2, 11)
    # Donated buffers go round: a part can be run again and again, and the training has its own.
    parts["buffers"](), parts["buffers"]()
    assert not np.array_equal(*(jax.tree.leaves(x)[0] for x in (parts["policy and values"]().evaluated, before)))
    rows = time_parts(training, parts, lambda: None, repeats=2)
    assert [row["part"] for row in rows] == ["bare engine", *parts, "whole iteration"]
    assert rows[-1]["share_of_whole"] == 1.0 and all(len(row["raw_seconds"]) == 2 for row in rows)
    rows = [{"env": "hopper", "engine": "mujoco_c", "algo": "gailfe", "num_envs": 2} | row for row in rows]
    report = {"rows": rows, "largest": largest(rows)}
    json.dumps(report, allow_nan=False)
    profile.show(report)
    assert "policy and values" in capsys.readouterr().out
    profile.draw(report, tmp_path / "profile.png")
    assert (tmp_path / "profile.png").read_bytes().startswith(b"\x89PNG")


def test_the_largest_part_is_named():
    seconds = {"bare engine": 3.0, "unroll": 4.0, "discriminator": 1.0, "whole iteration": 8.0}
    rows = [{"part": name, "seconds": value} for name, value in seconds.items()]
    assert largest(rows) == "unroll: 50% of an iteration, of which the bare engine is 75%"
    rows[2]["seconds"] = 6.0
    assert largest(rows) == "discriminator: 75% of an iteration"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: profile.run("brax:fast"), "env: brax:fast has no bare engine"),
        (lambda: profile.run(algo="bc"), "algo: bc has no policy step"),
        (lambda: profile.run(repeats=0), "repeats: got 0"),
        (lambda: profile.run(num_envs=0), "num_envs: got 0"),
        (lambda: profile.run(unroll_length=0), "unroll_length: got 0"),
    ],
)
def test_what_cannot_be_measured_is_named(call, message):
    with pytest.raises(GailfeError, match=f"^{message}"):
        call()
