"""What an accelerator's cheaper matrix products would give, emulated in float32: their factors are rounded before.

TF32 and bfloat16 units multiply rounded factors exactly and add in float32, so rounding the factors is all that is
lost; the order of the sums aside, which differs from chip to chip.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from gailfe_jax.types import Array

MANTISSA_BITS = {"tf32": 10, "bfloat16": 7}
"""`format -> bits of the mantissa that are stored`; both have float32's exponent."""
_PRODUCTS = ("dot_general", "conv_general_dilated")
_CONTROL = ("scan", "while", "cond")
# Nested functions, by the names that JAX's versions give them. Other operations hold programs too, such as a scatter's
# sum, in which there are no products.
_CALLS = (
    "jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2", "custom_jvp_call", "custom_vjp_call",
    "custom_vjp_call_jaxpr", "custom_vmap_call",
)  # fmt: skip


def rounded_products(fn: Callable[..., Any], mantissa_bits: int) -> Callable[..., Any]:
    """`fn` with the factors of every matrix product rounded to the nearest number with so many bits.

    Products inside loops, branches and nested functions count, and those of derivatives that `fn` takes. The result
    itself is not to be differentiated: that would leave the derivative's own products unrounded.

    Args:
      fn: a function of arrays and pytrees of arrays.
      mantissa_bits: see `MANTISSA_BITS`; 23 changes nothing.
    """
    round_to = functools.partial(jax.lax.reduce_precision, exponent_bits=8, mantissa_bits=mantissa_bits)

    @functools.wraps(fn)
    def rounded(*args: Any) -> Any:
        closed, out = jax.make_jaxpr(fn, return_shape=True)(*args)
        leaves = _run(closed.jaxpr, closed.consts, jax.tree.leaves(args), round_to)
        return jax.tree.unflatten(jax.tree.structure(out), leaves)

    return rounded


def _run(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any], round_to: Callable[[Array], Array]) -> list[Any]:
    """The results of a traced program, operation by operation, with products' factors rounded."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))
    for eqn in jaxpr.eqns:
        given = [x.val if isinstance(x, Literal) else values[x] for x in eqn.invars]
        name, params = eqn.primitive.name, eqn.params
        called = _called(params.values()) if name in _CALLS else None
        if called is not None:
            # A nested function; if it had a rule for derivatives, that has been applied already.
            results = _run(called.jaxpr, called.consts, given, round_to)
        else:
            if name in _PRODUCTS:
                given = [round_to(x) if x.dtype == jnp.float32 else x for x in given]
            if name in _CONTROL:
                params = {key: _rounded_inside(value, round_to) for key, value in params.items()}
            results = eqn.primitive.bind(*given, **params)
            results = results if eqn.primitive.multiple_results else [results]
        values |= dict(zip(eqn.outvars, results, strict=True))
    return [x.val if isinstance(x, Literal) else values[x] for x in jaxpr.outvars]


def _called(params: Iterable[Any]) -> ClosedJaxpr | None:
    """The program that an operation stands for: of a nested function."""
    for value in params:
        if isinstance(value, ClosedJaxpr):
            return value
        if isinstance(value, Jaxpr):
            return ClosedJaxpr(value, ())
    return None


def _rounded_inside(value: Any, round_to: Callable[[Array], Array]) -> Any:
    """A parameter of a loop or branch with the programs in it rewritten."""
    if isinstance(value, ClosedJaxpr):
        run = lambda *args: _run(value.jaxpr, value.consts, args, round_to)  # noqa: E731
        return jax.make_jaxpr(run)(*value.in_avals)
    if isinstance(value, tuple | list):
        return type(value)(_rounded_inside(part, round_to) for part in value)
    return value
