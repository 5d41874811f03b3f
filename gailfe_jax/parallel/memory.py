"""How much memory there is, and how much arrays, programs and this process take."""

from __future__ import annotations

import math
import pathlib
import re
import sys
from typing import Any

import jax

from gailfe_jax.io.host_memory import free_host_bytes
from gailfe_jax.types import PyTree, is_key


def free_bytes(device: Any = None) -> float:
    """Memory that a program may still take: the accelerator's, or on the CPU the machine's; infinity where unknown.

    Args:
      device: where it runs; JAX's first if None.
    """
    device = jax.local_devices()[0] if device is None else device
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        limit = stats.get("bytes_limit")
        return math.inf if limit is None else float(limit - stats.get("bytes_in_use", 0))
    return free_host_bytes()


def tree_bytes(tree: PyTree) -> int:
    """Bytes of the arrays of a tree, or of those its shapes stand for."""
    return sum(_bytes(leaf) for leaf in jax.tree.leaves(tree))


def _bytes(leaf: Any) -> int:
    if is_key(leaf):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return math.prod(leaf.shape) * leaf.dtype.itemsize


def program_bytes(compiled: Any) -> int | None:
    """What a compiled program takes while it runs, arguments and results included; None where XLA does not say."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return None
    held = analysis.argument_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return int(held + analysis.temp_size_in_bytes)


def further_bytes(compiled: Any) -> int | None:
    """What a compiled program takes beside its arguments, while it runs; None where XLA does not say."""
    held, analysis = program_bytes(compiled), compiled.memory_analysis()
    return None if held is None else held - int(analysis.argument_size_in_bytes)


def peak_bytes() -> int:
    """The most memory this process has held so far: on the accelerator where there is one, else resident."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return int((device.memory_stats() or {}).get("peak_bytes_in_use", 0))
    try:
        # getrusage would be shorter, but Linux counts into it what the parent held when it started this process.
        match = re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())
        if match:
            return int(match[1]) * 1024
    except OSError:
        pass
    import resource  # Not on Windows, where nobody else needs this module to fail.

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
