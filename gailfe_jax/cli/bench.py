"""`gailfe bench`: one command for each benchmark in the table, whose flags are the arguments of its `run`."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import tyro

from gailfe_jax.bench.registry import BENCHMARKS, load
from gailfe_jax.cli.commands import IMPORT_HELP
from gailfe_jax.cli.parsing import Flat, parse

_OUT_HELP = "Write the result to this JSON file, and a figure (.png) beside it."


def run(args: Sequence[str]) -> int:
    if not args or args[0] in ("-h", "--help"):
        print(_help())
        raise SystemExit(0)
    name, *words = args
    benchmark = load(name)
    settings: Any = parse(_settings(benchmark.run, BENCHMARKS[name].summary), f"bench {name}", words)
    report = settings.measurement()
    benchmark.show(report)
    if settings.out:
        from gailfe_jax.io.atomic import write_json_atomic

        write_json_atomic(settings.out, report)
        benchmark.draw(report, pathlib.Path(settings.out).with_suffix(".png"))
    return 0


def _settings(measure: Callable[..., dict[str, Any]], summary: str) -> type[Any]:
    """A dataclass whose `measurement` calls `measure` with the flags that stand for its arguments."""

    @functools.wraps(measure)
    def later(*args: Any, **options: Any) -> Callable[[], dict[str, Any]]:
        return functools.partial(measure, *args, **options)

    measurement: Any = Annotated[Any, tyro.conf.arg(constructor=later), Flat]
    out: Any = Annotated[str | None, tyro.conf.arg(help=_OUT_HELP)]
    kind = dataclasses.make_dataclass("Settings", [("measurement", measurement), ("out", out, None)], frozen=True)
    kind.__doc__ = summary
    return kind


def _help() -> str:
    width = max(map(len, BENCHMARKS))
    return "\n".join(
        [
            "usage: gailfe bench BENCHMARK [OPTIONS]",
            "",
            "Measure speed and memory, beside the bare engine where that can be. Compilation is timed apart.",
            "",
            "benchmarks:",
            *(f"  {name:{width}}  {benchmark.summary}" for name, benchmark in BENCHMARKS.items()),
            "",
            "gailfe bench BENCHMARK --help explains a benchmark and its options.",
            IMPORT_HELP,
        ]
    )
