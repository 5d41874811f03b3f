"""What is filmed of a run, and whose pairs are looked at."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from gailfe_jax.analysis.evaluation import evaluate_policies
from gailfe_jax.apps import closer_look
from gailfe_jax.artifacts.confidence import Confidence
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.digests import file_sha256
from tests.host_episodes import random_episode
from tests.runs import make_run, policy


def test_the_best_the_median_and_the_worst_episode_are_filmed(tmp_path, monkeypatch):
    filmed: list[dict[str, Any]] = []

    def record(policy, gymnasium_id, path, **options):
        filmed.append({"id": gymnasium_id, "of": policy.metadata["seed"]} | options)
        pathlib.Path(path).write_bytes(f"{options['first']}".encode())

    monkeypatch.setattr(closer_look, "record_video", record)
    run = make_run(tmp_path / "run", seeds=(9,))
    films = closer_look.films_of(run, episodes=5, seed=3)
    (found,) = evaluate_policies([policy(9)], "Hopper-v5", episodes=5, seed=3)
    order = np.argsort(found.returns)
    assert [film.words for film in films] == ["best", "median", "worst"]
    assert [film.content.decode() for film in films] == [str(order[4]), str(order[2]), str(order[0])]
    assert [film.episode_return for film in films] == found.returns[order[[4, 2, 0]]].tolist()
    assert {film.of for film in films} == {5}
    assert [(f["id"], f["of"], f["seed"], f["most_fps"]) for f in filmed] == [("Hopper-v5", "9", 3, 30)] * 3
    # One episode is all three, and is filmed once.
    assert [film.words for film in closer_look.films_of(run, episodes=1)] == ["best"]


@pytest.fixture
def imitated(tmp_path):
    """A run of one seed with a discriminator by hand, and its demonstrations."""
    run = make_run(tmp_path / "run", seeds=(9,))
    weights = np.zeros((14, 1))
    weights[0] = 3.0  # By the height alone.
    Confidence([(weights, np.zeros(1))], "tanh", np.zeros(14), np.ones(14), obs_size=11).save(
        run / "discriminators" / "seed_9.safetensors"
    )
    shown = random_episode("hopper", 50)
    Demonstrations("Hopper-v5", shown, shown.select([])).save(tmp_path / "demos.npz")
    record = json.loads((run / "config.json").read_text())
    record["demos"] |= {"demos": str(tmp_path / "demos.npz"), "sha256": file_sha256(tmp_path / "demos.npz")}
    (run / "config.json").write_text(json.dumps(record))
    return run


@pytest.mark.slow
def test_pairs_of_the_policy_and_of_the_demonstrations_are_judged(imitated):
    found = closer_look.state_space_of(imitated)
    assert found.about == "The discriminator of seed 9, the only one"
    demos = Demonstrations.load(imitated.parent / "demos.npz").expert
    # It takes what stands above the ground for the policy's: all of them.
    assert (found.expert_found, found.policy_found) == (0.0, 1.0)
    assert (~found.is_policy).sum() == demos.num_transitions and found.is_policy.sum() > 4
    assert all("joint:" in name for axis in found.axes for name, _ in axis.parts)


def test_demonstrations_that_are_gone_or_changed_are_asked_for(imitated):
    demos = imitated.parent / "demos.npz"
    demos.rename(imitated.parent / "moved.npz")
    with pytest.raises(GailfeError, match=r"its demonstrations are not at .*demos\.npz; expected --demos"):
        closer_look.state_space_of(imitated)
    demos.write_bytes(b"other")
    with pytest.raises(GailfeError, match=r"demos\.npz has changed since; expected --demos with what the run"):
        closer_look.state_space_of(imitated)


def test_a_run_without_a_discriminator_is_refused(tmp_path):
    run = make_run(tmp_path / "run", seeds=(9,))
    with pytest.raises(GailfeError, match="no discriminator of seed 9; expected an imitation run that ended"):
        closer_look.state_space_of(run)
