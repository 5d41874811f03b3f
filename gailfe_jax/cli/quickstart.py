"""`gailfe quickstart`."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from gailfe_jax.cli.parsing import parse


@dataclasses.dataclass(frozen=True)
class Quickstart:
    """Show the whole package at work on one task.

    Quickstart collects demonstrations and failures from the shipped expert, trains GAIL and GAILFE on them, evaluates
    both in Gymnasium, and ends with a table and a picture.
    """

    out: str = "quickstart"
    """Write everything to this folder."""
    env: str = "hopper"
    """Choose the task."""
    seeds: int = 3
    """Train this many seeds of each method."""
    steps: float | None = None
    """Train each seed for this many environment steps. The default takes a few minutes on two cores."""
    episodes: int = 20
    """Run this many Gymnasium episodes per seed for the final table."""

    def __call__(self) -> int:
        from gailfe_jax.apps.quickstart import quickstart

        quickstart(pathlib.Path(self.out), env=self.env, seeds=self.seeds, steps=self.steps, episodes=self.episodes)
        return 0


def run(args: Sequence[str]) -> int:
    return parse(Quickstart, "quickstart", args)()
