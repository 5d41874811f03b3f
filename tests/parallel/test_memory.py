from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from gailfe_jax.parallel.memory import free_bytes, peak_bytes, program_bytes, tree_bytes


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


def test_the_free_memory_of_an_accelerator_is_its_own(monkeypatch):
    class Device:
        platform = "gpu"

        def __init__(self, stats):
            self.memory_stats = lambda: stats

    device = Device({"bytes_limit": 1000, "bytes_in_use": 300})
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert free_bytes() == 700
    # A run may stay off it, and not every platform says.
    assert free_bytes(jax.devices("cpu")[0]) > 2**20 and free_bytes(Device(None)) == float("inf")
