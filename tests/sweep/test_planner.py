from __future__ import annotations

import math

import jax
import numpy as np
import pytest

from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.methods import GAIL
from gailfe_jax.parallel.memory import free_bytes
from gailfe_jax.policies.trpo import TRPO
from gailfe_jax.sweep import planner as module
from gailfe_jax.sweep.planner import Planner, point_bytes, stack_methods
from gailfe_jax.sweep.space import build, grid


def test_parts_go_on_as_they_were_begun(tmp_path, monkeypatch):
    points = build(grid(["gamma=0.9,0.91,0.92,0.93,0.94,0.95,0.96"]), {"algo": "ppo"})
    monkeypatch.setattr(module, "point_bytes", lambda point, rough: 1.0)
    done, said = set(), []

    def plan(memory):
        return Planner(tmp_path / "programs", memory, done.__contains__, said.append)

    chunks = plan(3.5).programs(points)
    assert chunks == [[0, 1, 2], [3, 4, 5], [6]] and "trained in 3 parts" in said[-1]
    (tmp_path / "programs").mkdir()
    plan(3.5).write(chunks)
    for name in ("0000", "0003"):
        (tmp_path / "programs" / name).mkdir()
        (tmp_path / "programs" / name / "config.json").write_text("{}")
    # The first was cut off while its points were written; more memory changes nothing of what is under way.
    done.add(0)
    assert plan(100).programs(points) == [[0, 1, 2], [3, 4, 5], [6]]
    # With less, what is under way no longer fits and starts anew.
    chunks = plan(2.5).programs(points)
    assert chunks == [[1, 2], [3, 4], [5, 6]]
    plan(2.5).write(chunks)
    assert sorted(path.name for path in (tmp_path / "programs").iterdir()) == ["plan.json"]


def test_memory_is_estimated():
    values = {
        "algo": "ppo", "env": "cliff", "rollout.num_envs": 2, "rollout.unroll_length": 8, "policy.hidden": "4",
        "policy.minibatches": 2, "seeds": 3,
    }  # fmt: skip
    (point,) = build([{}], values)
    measured, bound = point_bytes(point, rough=False), point_bytes(point, rough=True)
    assert 3 * 100 * 4 < measured < bound
    assert 0 < free_bytes() < math.inf
    assert module._room(point, 5, 10 * bound)[0] == 5
    assert module._room(point, 5, 2.5 * measured)[0] == 2


def test_traced_settings_are_stacked_point_by_point():
    method = stack_methods([GAIL(policy=TRPO(gamma=0.9)), GAIL(policy=TRPO(gamma=0.8))], 3)
    np.testing.assert_array_equal(method.policy.gamma, [0.9] * 3 + [0.8] * 3)
    assert method.reward.lr == GAIL().reward.lr
    assert jax.tree.structure(method) == jax.tree.structure(GAIL())


def test_what_cannot_fit_is_refused(tmp_path, monkeypatch):
    (point,) = build([{}], {"algo": "ppo"})
    monkeypatch.setattr(module, "point_bytes", lambda point, rough: 2.0**20)
    planner = Planner(tmp_path, 2.0**19, lambda number: False, print)
    with pytest.raises(GailfeError, match=r"setting 0 with 1 seeds needs about 0\.000977 GiB and 0\.000488 are free"):
        planner.programs([point])
