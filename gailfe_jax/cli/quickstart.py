"""`gailfe quickstart`."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from gailfe_jax.cli.parsing import parse


@dataclasses.dataclass(frozen=True)
class Quickstart:
    """Show the whole package at work on one task.

    Quickstart shows few demonstrations of the shipped expert, on which cloning fails. It trains BC, GAIL and GAILFE on
    them side by side, evaluates them in Gymnasium, and ends with a table, a picture, a page and films. After Ctrl-C the
    same command goes on.
    """

    out: str = "quickstart"
    """Write everything to this folder."""
    env: str = "halfcheetah"
    """Choose the task."""
    seeds: int = 3
    """Train this many seeds of each method."""
    steps: float | None = None
    """Train each seed of GAIL and GAILFE for this many environment steps. The default takes a few minutes on two
    cores."""
    episodes: int = 5
    """Run this many Gymnasium episodes per seed for the final table."""

    def __call__(self) -> int:
        from gailfe_jax.apps.quickstart import POLICY, quickstart
        from gailfe_jax.report.page import NAME, write_report

        out = pathlib.Path(self.out)
        summary = quickstart(out, env=self.env, seeds=self.seeds, steps=self.steps, episodes=self.episodes)
        write_report([out / algo for algo in POLICY], out / NAME, title=f"quickstart on {summary['env']}")
        print(f"wrote {out / NAME}, with curves, health and settings of all three")
        return 0


def run(args: Sequence[str]) -> int:
    return parse(Quickstart, "quickstart", args)()
