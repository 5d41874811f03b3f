"""What the learners' bits rest on is tested there; here, that unwanted work is skipped."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from gailfe_jax.parallel.seeds import computed_where


def test_computed_where_runs_once_for_the_whole_batch_or_not_at_all():
    shapes = []

    def host(x):
        shapes.append(x.shape)
        return np.asarray(x) + 1

    def add_one(x, key):
        noise = 0.0 * jax.random.uniform(key)
        return jax.pure_callback(host, jax.ShapeDtypeStruct((), jnp.float32), x + noise, vmap_method="broadcast_all")

    guarded = computed_where(add_one)
    x, key = jnp.arange(6.0).reshape(2, 3), jax.random.key(0)
    # Two nested maps, one of them over `wanted` and `x` only: the key is shared.
    run = jax.jit(jax.vmap(jax.vmap(guarded, (0, 0, None)), (0, 0, None)))
    nothing = run(jnp.zeros((2, 3), bool), x, key)
    assert nothing.shape == (2, 3) and shapes == []
    wanted = jnp.zeros((2, 3), bool).at[1, 2].set(True)
    assert run(wanted, x, key)[1, 2] == 6.0
    assert shapes == [(6,)]


def test_computed_where_without_a_batch():
    guarded = jax.jit(computed_where(lambda x: 2 * x))
    assert guarded(jnp.array(True), jnp.float32(3.0)) == 6.0
    assert guarded(jnp.array(False), jnp.float32(3.0)).shape == ()
