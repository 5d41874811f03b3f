from __future__ import annotations

import json

import pytest

from gailfe_jax.bench import report, train
from gailfe_jax.config.tree import set_values
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.methods import find_method


@pytest.fixture(autouse=True)
def small(monkeypatch, compiled_in_haste):
    """A benchmark of nothing worth measuring, compiled in haste."""
    monkeypatch.setattr(train, "_BARE_STEPS", 5)
    monkeypatch.setattr(train, "_SHAPES", {"16-step iterations": (2, 8)})


@pytest.mark.slow
def test_train(monkeypatch):
    found = train.run(["hopper"], algo=("ppo",), engine="mujoco_c", repeats=1, seeds=2, steps=32)
    json.dumps(found, allow_nan=False)
    (row,) = found["rows"]
    (raw,) = row["raw_seconds"]
    assert (row["algo"], row["iteration"], row["num_envs"], row["seeds"]) == ("ppo", "16-step iterations", 2, 2)
    assert (row["solver"], row["solver_options"]) == ("", {})
    # Two iterations of 2 x 8 steps of 2 seeds; beside the bare engine with as many environments.
    assert row["steps_per_second"] == pytest.approx(64 / raw["train"])
    assert row["bare_steps_per_second"] == pytest.approx(4 * 5 / raw["bare"])
    assert row["share_of_bare"] == pytest.approx(row["steps_per_second"] / row["bare_steps_per_second"])
    assert raw["train"] < row["compile_seconds"]
    drawn = []
    monkeypatch.setattr(report, "bar_intervals", lambda scores, path, **options: drawn.append(scores))
    train.draw(found, "figure.png")
    assert drawn == [{"hopper, ppo, 16 steps": [pytest.approx(row["share_of_bare"])]}]


@pytest.mark.slow
def test_mail_trains_beside_gail():
    found = train.run(["hopper"], algo=("gail", "mail"), engine="mujoco_c", repeats=1, steps=32)
    assert [row["algo"] for row in found["rows"]] == ["gail", "mail"]


def test_a_method_is_measured_with_its_defaults():
    settings = {"rollout.num_envs": 2, "rollout.unroll_length": 24}
    assert train.method_with("gail", settings) == set_values(find_method("gail"), settings)
    mail = train.method_with("mail", settings)
    # Its windows divide the unroll, and its steps are as large as those of the committed results.
    assert mail == set_values(find_method("mail"), settings | {"policy.horizon": 8, "policy.max_kl": 0.02})
    given = {"policy.horizon": 4, "policy.step": "adam"}
    assert train.method_with("mail", settings | given) == set_values(find_method("mail"), settings | given)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: train.run(["nonsense"]), "env: unknown task 'nonsense'"),
        (lambda: train.run(["brax:fast"]), "env: brax:fast has no bare engine to compare with"),
        (lambda: train.run(["hopper"], algo=("nonsense",)), "algo: unknown algorithm 'nonsense'"),
        (lambda: train.run(["hopper"], algo=()), "algo: got none"),
    ],
)
def test_what_cannot_be_measured_is_named(call, message):
    with pytest.raises(GailfeError, match=f"^{message}"):
        call()
