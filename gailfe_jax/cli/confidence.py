"""`gailfe confidence`."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from gailfe_jax.cli.parsing import PathWord, parse


@dataclasses.dataclass(frozen=True)
class Confidence:
    """Calibrate an imitation run's discriminators as a measure of confidence, and draw how reliable they are.

    The command writes confidence.json and confidence.png into the run folder. From then on `gailfe_jax.confidence`
    returns the calibrated probability that the expert would have taken an action.
    """

    path: PathWord
    """Calibrate the discriminators in this run folder."""
    demos: str
    """Read demonstrations that the run was not trained on; gailfe demos makes them with another --seed."""
    episodes: int = 10
    """Run this many fresh episodes of each policy. One half fits the calibration, the other half judges it."""
    seed: int = 0
    """Seed these episodes."""

    def __call__(self) -> int:
        from gailfe_jax.apps.calibrate import calibrate

        report = calibrate(self.path, self.demos, episodes=self.episodes, seed=self.seed)
        table = Table("", "calibration error", "Brier score", "log loss", "accuracy", title="on unseen data, all seeds")
        for name in ("before", "after"):
            row = report[name]
            cells = (f"{row[key]:.3f}" for key in ("calibration_error", "brier_score", "log_loss", "accuracy"))
            table.add_row(name, *cells)
        Console().print(table)
        print(f"wrote {pathlib.Path(self.path) / 'confidence.png'}")
        return 0


def run(args: Sequence[str]) -> int:
    return parse(Confidence, "confidence", args)()
