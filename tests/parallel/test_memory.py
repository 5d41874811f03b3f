from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.config.run import RunSettings
from gailfe_jax.envs import make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.parallel.memory import free_bytes, peak_bytes, program_bytes, tree_bytes
from gailfe_jax.training import plan
from gailfe_jax.training.loop import train
from tests.tiny import tiny


def test_bytes_of_a_tree_and_of_its_shapes():
    tree = {"a": jnp.zeros((3, 5), jnp.float32), "b": jax.random.split(jax.random.key(0), 4), "c": jnp.zeros((), bool)}
    assert tree_bytes(tree) == 3 * 5 * 4 + 4 * 8 + 1
    assert tree_bytes(jax.eval_shape(lambda: tree)) == tree_bytes(tree)


def test_a_program_holds_its_arguments_and_results():
    x = jnp.zeros(1000, jnp.float32)
    kept = jax.jit(lambda x: x + 1).lower(x).compile()
    assert 8000 <= program_bytes(kept) < 16_000
    # What is donated is counted once.
    assert program_bytes(jax.jit(lambda x: x + 1, donate_argnums=0).lower(x).compile()) == program_bytes(kept) - 4000


def test_the_peak_is_this_processs_own():
    before = peak_bytes()
    block = np.ones(64 * 2**20, np.uint8)
    del block
    assert 2**25 < before <= peak_bytes() < free_bytes() + 2**40


def test_buffers_that_do_not_fit_are_refused_before_training(monkeypatch):
    own = dict(self_demonstrations__use="alone", self_demonstrations__capacity=3, reward__replay=10)
    method = tiny("gail", rollout__num_envs=2, **own)
    sizes = method.on(make_env("hopper", "mujoco_c")).buffer_bytes()
    assert list(sizes) == ["own episodes", "replay"]
    # Pairs of 11 + 3 numbers: five slots of 1000 steps and little beside them; ten rows.
    assert 5 * 1000 * 14 * 4 < sizes["own episodes"] < 5 * 1000 * 14 * 4 + 200
    assert 10 * 14 * 4 <= sizes["replay"] < 10 * 14 * 4 + 20
    monkeypatch.setattr(plan, "free_bytes", lambda: 2.0 * sum(sizes.values()) - 1)
    with pytest.raises(GailfeError, match=r"^memory: the buffers of 2 seed\(s\) need .*own episodes 1 MiB.* are free"):
        train(method, "hopper", RunSettings(steps=16, seeds=2, quiet=True))
