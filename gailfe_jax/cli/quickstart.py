"""`gailfe quickstart`."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from gailfe_jax.cli.parsing import parse


@dataclasses.dataclass(frozen=True)
class Quickstart:
    """The main job: shipped Hopper expert, demonstrations and failures, GAIL and GAILFE, evaluation, table, picture."""

    out: str = "quickstart"
    """Folder for everything."""
    env: str = "hopper"
    """Task."""
    seeds: int = 3
    """Seeds of each method."""
    steps: float | None = None
    """Environment steps of each seed; sized for a few minutes on two cores by default."""
    episodes: int = 20
    """Gymnasium episodes per seed in the final table."""

    def __call__(self) -> int:
        from gailfe_jax.apps.quickstart import quickstart

        quickstart(pathlib.Path(self.out), env=self.env, seeds=self.seeds, steps=self.steps, episodes=self.episodes)
        return 0


def run(args: Sequence[str]) -> int:
    return parse(Quickstart, "quickstart", args)()
