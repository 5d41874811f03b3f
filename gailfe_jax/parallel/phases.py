"""What a program says of its own loops: which part of an iteration they belong to, and how often they run at most.

Both are names in JAX's name stack. They change no operation; `gailfe_jax.bench.loops` reads them off a traced program,
and a profiler shows them beside each operation.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from typing import Literal

import jax

Phase = Literal["engine", "unroll", "reward", "policy", "value", "model", "buffers", "rest"]
"""The parts of an iteration."""

_PHASE, _MOST = re.compile(r"phase:(\w+)"), re.compile(r"at_most:(\d+)")


def phase(name: Phase) -> AbstractContextManager[object]:
    """Operations traced inside belong to this part of an iteration; the innermost name counts."""
    return jax.named_scope(f"phase:{name}")


def at_most(times: int) -> AbstractContextManager[object]:
    """Loops traced inside whose length the data decide run at most so often; the innermost bound counts."""
    return jax.named_scope(f"at_most:{times}")


def read_phase(stack: str) -> str | None:
    """The innermost part that a name stack names; None where it names none."""
    found = _PHASE.findall(stack)
    return found[-1] if found else None


def read_bound(stack: str) -> int | None:
    """The innermost bound that a name stack names; None where it names none."""
    found = _MOST.findall(stack)
    return int(found[-1]) if found else None
