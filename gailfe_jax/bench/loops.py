"""Sequential depth of a traced program: how many loop steps have to run one after the other, and what they belong to.

A loop of `n` steps counts `n` times the depth of its body, and `n` where its body has no loop. What stands in sequence
adds up, of a branch the deepest side counts, and a map over a batch (`vmap`) adds nothing. A loop whose length the data
decide counts with the bound that the code states (`gailfe_jax.parallel.phases.at_most`); without one its body counts
once and the loop is reported as unbounded.

The depth is a property of the program: it hangs on no device, and nothing is compiled to know it. It is what an
accelerator cannot spread over its cores.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr
from jax.interpreters.partial_eval import dce_jaxpr

from gailfe_jax.parallel.phases import read_bound, read_phase


@dataclasses.dataclass(frozen=True)
class Depth:
    """Sequential loop steps of a program.

    Attributes:
      steps: `part -> steps`, of the parts that loop. A loop step belongs to the innermost loop.
      unbounded: `part -> loops` whose length is unknown; `steps` holds one step of each.
    """

    steps: dict[str, int] = dataclasses.field(default_factory=dict)
    unbounded: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def total(self) -> int:
        """Of all parts."""
        return sum(self.steps.values())

    def of(self, parts: Iterable[str]) -> int:
        """Of some parts together."""
        return sum(self.steps.get(part, 0) for part in parts)


def program_depth(fn: Callable[..., Any], *args: Any) -> Depth:
    """The depth of `fn` at `args`, arrays or their shapes. What no phase is named around is part `rest`."""
    return jaxpr_depth(jax.make_jaxpr(fn)(*args).jaxpr)


def jaxpr_depth(jaxpr: Jaxpr, part: str = "rest", bound: int | None = None) -> Depth:
    """The depth of a traced program.

    Args:
      jaxpr: the program.
      part: what its loops belong to where they name no phase.
      bound: how often loops of unknown length run at most, where they name no bound; None if unknown.
    """
    # As the compiler does, leave out what nothing reads.
    live, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return _in_sequence(_equation(eqn, part, bound) for eqn in live.eqns)


def _in_sequence(depths: Iterable[Depth]) -> Depth:
    steps, unbounded = collections.Counter[str](), collections.Counter[str]()
    for depth in depths:
        steps.update(depth.steps)
        unbounded.update(depth.unbounded)
    return Depth(dict(steps), dict(unbounded))


def _looped(length: int, body: Depth, part: str) -> Depth:
    if length == 0:
        return Depth()
    if not body.steps:
        return Depth({part: length}, body.unbounded)
    return Depth({name: length * steps for name, steps in body.steps.items()}, body.unbounded)


def _equation(eqn: Any, part: str, bound: int | None) -> Depth:
    stack = str(eqn.source_info.name_stack)
    part, stated = read_phase(stack) or part, read_bound(stack)
    bound = bound if stated is None else stated
    name = eqn.primitive.name
    # A bound is of the loop that it stands around, not of loops inside that.
    inner = [jaxpr_depth(jaxpr, part, None if name == "while" else bound) for jaxpr in _inner(eqn.params.values())]
    if name == "scan":
        return _looped(eqn.params["length"], _in_sequence(inner), part)
    if name == "while":
        body = _in_sequence(inner)
        if bound is not None:
            return _looped(bound, body, part)
        once = _looped(1, body, part)
        return dataclasses.replace(once, unbounded=once.unbounded | {part: once.unbounded.get(part, 0) + 1})
    if name == "cond":
        # Of sides that are equally deep, one with a loop of unknown length.
        return max(inner, key=lambda depth: (depth.total, sum(depth.unbounded.values())))
    return _in_sequence(inner)


def _inner(params: Iterable[Any]) -> Iterator[Jaxpr]:
    """The programs inside an operation, as its parameters hold them."""
    for value in params:
        if isinstance(value, ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, Jaxpr):
            yield value
        elif isinstance(value, tuple | list):
            yield from _inner(value)
