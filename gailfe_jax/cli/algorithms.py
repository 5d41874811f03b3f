"""`gailfe algorithms`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from gailfe_jax.cli.parsing import parse


@dataclasses.dataclass(frozen=True)
class Algorithms:
    """List the methods, and show which parts go together."""

    def __call__(self) -> int:
        from gailfe_jax.methods.table import ALGORITHMS, COMBINATIONS

        table = Table("--algo", "what it does", "source", "policy step")
        for a in ALGORITHMS.values():
            table.add_row(a.name, a.summary, a.source, a.generator or f"--generator {' | '.join(a.generators)}")
        combinations = Table("combination", "what it does", "flags of gailfe train")
        for c in COMBINATIONS:
            combinations.add_row(c.name, c.summary, c.flags)
        Console().print(table, combinations)
        return 0


def run(args: Sequence[str]) -> int:
    return parse(Algorithms, "algorithms", args)()
