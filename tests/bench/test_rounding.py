from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.bench.rounding import MANTISSA_BITS, rounded_products
from gailfe_jax.parallel.seeds import isolated_compilation, per_seed

A, B = jax.random.normal(jax.random.key(0), (2, 5, 5))
BF16 = MANTISSA_BITS["bfloat16"]


def short(x):
    return x.astype(jnp.bfloat16).astype(jnp.float32)


def test_the_factors_are_those_of_the_format():
    np.testing.assert_array_equal(rounded_products(jnp.matmul, BF16)(A, B), short(A) @ short(B))
    # 1 + 2^-10 is TF32's next number after 1; what lies beyond its last bit is lost, exactly in the middle to even.
    one = jnp.ones((1, 1))
    for excess, kept in ((2**-10, 2**-10), (2**-11, 0.0), (3 * 2**-11, 2**-9), (2**-12, 0.0)):
        found = rounded_products(jnp.matmul, MANTISSA_BITS["tf32"])(one + excess, one)
        assert float(found[0, 0]) == 1 + kept
    np.testing.assert_array_equal(rounded_products(jnp.matmul, 23)(A, B), A @ B)


def test_nothing_but_products_is_rounded():
    fn = lambda x: (jnp.sum(x), x * 3 + 1, jnp.exp(x))  # noqa: E731
    for mine, exact in zip(rounded_products(fn, BF16)(A), fn(A), strict=True):
        np.testing.assert_array_equal(mine, exact)


@jax.custom_vjp
def doubled(x):
    return x @ B


doubled.defvjp(lambda x: (x @ B, None), lambda _, g: (g @ (2 * B).T,))


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (jax.jit(lambda x: x @ B), lambda x: short(x) @ short(B)),
        (lambda x: jax.lax.scan(lambda c, _: (c @ B, None), x, None, length=1)[0], lambda x: short(x) @ short(B)),
        (lambda x: jax.lax.cond(x[0, 0] > -9, lambda x: x @ B, lambda x: x, x), lambda x: short(x) @ short(B)),
        (
            lambda x: jax.lax.while_loop(lambda c: c[0] < 1, lambda c: (c[0] + 1, c[1] @ B), (0, x))[1],
            lambda x: short(x) @ short(B),
        ),
        (isolated_compilation(lambda x: x @ B), lambda x: short(x) @ short(B)),
        (doubled, lambda x: short(x) @ short(B)),
        (jax.nn.relu, jax.nn.relu),
        (jax.checkpoint(lambda x: x @ B), lambda x: short(x) @ short(B)),
        (per_seed(lambda x: x @ B), lambda x: short(x) @ short(B)),
        # An operation with a program in it that is no product.
        (lambda x: x.at[jnp.array([0, 0])].add(x[:2]), lambda x: x.at[jnp.array([0, 0])].add(x[:2])),
        (jax.vmap(lambda row: row @ B), lambda x: short(x) @ short(B)),
        # Derivatives, of a product and of one with a rule of its own.
        (jax.grad(lambda x: jnp.sum(A * (x @ B))), lambda x: short(A) @ short(B).T),
        (jax.grad(lambda x: jnp.sum(A * doubled(x))), lambda x: short(A) @ short(2 * B).T),
    ],
)
def test_products_are_found_wherever_they_stand(fn, expected):
    np.testing.assert_allclose(rounded_products(fn, BF16)(A), expected(A), rtol=1e-6)
    np.testing.assert_allclose(jax.jit(rounded_products(fn, BF16))(A), expected(A), rtol=1e-6)


def test_arguments_and_results_keep_their_structure():
    fn = lambda tree, n: {"product": tree["x"] @ tree["y"], "n": n}  # noqa: E731
    found = rounded_products(fn, BF16)({"x": A, "y": B}, jnp.int32(3))
    assert set(found) == {"product", "n"} and int(found["n"]) == 3
