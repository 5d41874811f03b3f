"""The benchmarks of `gailfe bench`: to add one, write its module and add its line here.

A benchmark's module has

* `run(...) -> report`: measures. Its arguments are the command's flags, with their defaults and the lines of its
  docstring as help; the report can be written as JSON and names its benchmark under `what`;
* `show(report)`: prints it as a table;
* `draw(report, path)`: draws it.

Only the module of the benchmark asked for is imported; this table imports none.
"""

from __future__ import annotations

import importlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, cast

from gailfe_jax.errors import GailfeError


class Benchmark(NamedTuple):
    """Where a benchmark lives, and the line that says what it measures."""

    module: str
    summary: str


class Module(Protocol):
    """What a benchmark's module has."""

    run: Callable[..., dict[str, Any]]
    show: Callable[[dict[str, Any]], None]
    draw: Callable[[dict[str, Any], str | pathlib.Path], None]


BENCHMARKS = {
    "physics": Benchmark("gailfe_jax.bench.physics", "Steps/s of the engine inside a jitted scan with a policy."),
    "train": Benchmark("gailfe_jax.bench.train", "Steps/s of whole training iterations."),
    "sweep": Benchmark("gailfe_jax.bench.sweep", "Seeds in one program, alone, and in processes of their own."),
    "scaling": Benchmark("gailfe_jax.bench.scaling", "Speed and memory of training along an axis, and its knee."),
    "profile": Benchmark("gailfe_jax.bench.profile", "Where the time of a training iteration goes."),
    "fidelity": Benchmark("gailfe_jax.bench.fidelity", "What MJX's cheaper settings save, and how far off they are."),
    "horizon": Benchmark("gailfe_jax.bench.horizon", "Time and memory of the gradient through MAIL's model."),
    "evaluation": Benchmark("gailfe_jax.bench.evaluation", "What share of a run's time its evaluations take."),
    "depth": Benchmark("gailfe_jax.bench.depth", "Loop steps of a training iteration, one after the other."),
    "replay": Benchmark("gailfe_jax.bench.replay", "An update from replay beside its matrix products."),
    "precision": Benchmark("gailfe_jax.bench.precision", "How far rounded matrix products move gradients."),
}

MOVED = {"peers": "left the package; from a checkout run: python -m benchmarks.peers"}
"""Benchmarks that have been here, and where they went."""


def load(name: str, table: Mapping[str, Benchmark] = BENCHMARKS) -> Module:
    """The module of a benchmark.

    Raises:
      GailfeError: there is none of this name.
    """
    if name not in table:
        why = MOVED.get(name) or f"is no benchmark; expected one of {', '.join(table)}"
        raise GailfeError(f"bench: {name!r} {why}")
    return cast(Module, importlib.import_module(table[name].module))
