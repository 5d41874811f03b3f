"""Sequential depth, on programs whose loops are counted by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from gailfe_jax.bench.loops import Depth, program_depth
from gailfe_jax.parallel.phases import at_most, phase, read_bound, read_phase
from gailfe_jax.parallel.seeds import computed_where, isolated_compilation, per_seed

X = jnp.ones(3)


def repeat(fn, times):
    return lambda x: jax.lax.scan(lambda x, _: (fn(x), None), x, length=times)[0]


def until(fn, least=9.0):
    """A loop whose length the data decide."""
    return lambda x: jax.lax.while_loop(lambda x: jnp.max(x) < least, fn, x)


def more(x):
    return x + 1.0


def steps(fn, x=X):
    depth = program_depth(fn, x)
    assert not depth.unbounded
    return depth.total


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (more, 0),
        (repeat(more, 5), 5),
        (repeat(more, 0), 0),
        (repeat(repeat(more, 5), 3), 15),
        (lambda x: repeat(more, 5)(repeat(more, 3)(x)), 8),
        (repeat(lambda x: repeat(more, 5)(repeat(more, 3)(x)), 2), 16),
        (lambda x: jax.lax.fori_loop(0, 7, lambda _, x: x + 1, x), 7),
        (lambda x: jax.lax.map(jnp.sin, x), 3),
        (lambda x: jax.lax.cond(x[0] > 0, repeat(more, 5), repeat(more, 4), x), 5),
        (lambda x: jax.lax.switch(jnp.int32(x[0]), [more, repeat(more, 2), repeat(more, 6)], x), 6),
        (jax.vmap(repeat(more, 5)), 5),
        (jax.jit(repeat(jax.jit(repeat(more, 5)), 2)), 10),
        (jax.checkpoint(repeat(more, 5)), 5),
        (per_seed(repeat(more, 5)), 5),
        (isolated_compilation(repeat(more, 5)), 5),
        # Seeds learn one after the other on a CPU.
        (jax.vmap(per_seed(repeat(more, 5))), 15),
        (lambda x: jax.vmap(computed_where(repeat(more, 5)))(x > 0, x), 5),
        # Forwards and backwards.
        (jax.grad(lambda x: jnp.sum(repeat(jnp.sin, 5)(x))), 10),
        # What nobody reads is not computed.
        (lambda x: (repeat(more, 5)(x), x)[1], 0),
        (lambda x: jax.lax.scan(lambda c, _: (c + 1, repeat(more, 9)(c)), x, length=2)[0], 2),
    ],
)
def test_loops_are_counted(fn, expected):
    assert steps(fn) == expected


def test_on_several_devices_each_counts_its_own():
    mesh = Mesh(np.array(jax.devices()[:1]), ("x",))
    spec = PartitionSpec("x")
    assert steps(jax.shard_map(repeat(more, 5), mesh=mesh, in_specs=spec, out_specs=spec)) == 5


def test_a_loop_belongs_to_the_innermost_part():
    def fn(x):
        with phase("policy"):
            x = repeat(more, 2)(x)
            with phase("value"):
                x = repeat(more, 3)(x)
        with phase("unroll"):
            x = repeat(engine, 4)(x)
        return repeat(more, 7)(x)

    @jax.jit
    def engine(x):
        with phase("engine"):
            return repeat(more, 5)(x)

    found = {"policy": 2, "value": 3, "engine": 20, "rest": 7}
    assert program_depth(fn, X) == Depth(found)
    assert program_depth(jax.vmap(fn), X[None]) == Depth(found)
    assert program_depth(fn, X).of(("policy", "value", "model")) == 5 and program_depth(fn, X).total == 32


def test_a_gradient_belongs_to_the_part_that_was_differentiated():
    def loss(x):
        with phase("reward"):
            return jnp.sum(repeat(jnp.sin, 5)(x))

    assert program_depth(jax.grad(loss), X) == Depth({"reward": 10})


def test_a_loop_of_unknown_length_counts_with_its_bound():
    def bounded(x):
        with phase("engine"), at_most(6):
            return jax.vmap(jax.jit(until(repeat(more, 5))))(x)

    assert program_depth(bounded, X) == Depth({"engine": 30})

    def inner_is_unbounded(x):
        with at_most(6):
            return until(until(more))(x)

    assert program_depth(inner_is_unbounded, X) == Depth({"rest": 6}, {"rest": 1})


def test_without_a_bound_that_is_said():
    def fn(x):
        with phase("buffers"):
            return until(repeat(more, 5))(until(more)(x))

    assert program_depth(fn, X) == Depth({"buffers": 6}, {"buffers": 2})
    # Of sides that are equally deep, the one that may be deeper.
    sides = lambda x: jax.lax.cond(x[0] > 0, repeat(more, 1), until(more), x)  # noqa: E731
    assert program_depth(sides, X) == Depth({"rest": 1}, {"rest": 1})


def test_names_are_read_through_transformations():
    assert read_phase("jvp(phase:policy)/vmap(phase:value)/at_most:3") == "value"
    assert read_bound("at_most:12/transpose(jvp(at_most:3))") == 3
    assert read_phase("jit(step)") is None and read_bound("") is None


def test_naming_parts_changes_no_operation():
    def plain(x):
        return until(repeat(jnp.sin, 5))(x)

    def named(x):
        with phase("value"), at_most(3):
            return plain(x)

    assert jax.jit(named).lower(X).as_text().replace("named", "plain") == jax.jit(plain).lower(X).as_text()
