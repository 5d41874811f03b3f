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
        from gailfe_jax.learners.combinations import COMBINATIONS
        from gailfe_jax.learners.methods import METHODS, about, policy_choices, policy_name

        table = Table("method", "what it does", "source", "policy step")
        for method in METHODS.values():
            choices = policy_choices(method)
            step = f"--policy {' | '.join(choices)}" if choices else policy_name(method)
            table.add_row(method.name, *about(method), step)
        combinations = Table("combination", "what it does", "words of gailfe train")
        for combination in COMBINATIONS:
            combinations.add_row(combination.name, combination.summary, combination.flags)
        Console().print(table, combinations)
        return 0


def run(args: Sequence[str]) -> int:
    return parse(Algorithms, "algorithms", args)()
