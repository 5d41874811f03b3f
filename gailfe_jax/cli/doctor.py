"""`gailfe doctor`, and the line that training ends with."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gailfe_jax.cli.parsing import PathWords, parse
from gailfe_jax.errors import GailfeError, GailfeWarning

if TYPE_CHECKING:
    from gailfe_jax.report.health import Examined


@dataclasses.dataclass(frozen=True)
class Doctor:
    """Say what stands out in a run's metrics, and which settings to try.

    Each finding has the seeds and steps in which it is seen, a number, and settings of that method to try. It reads
    metrics.jsonl, config.json and summary.json, and trains nothing. docs/diagnostics.md explains each finding.
    """

    paths: PathWords
    """Run folders or sweep folders."""
    json: bool = False
    """Print JSON: a list with one object for each run."""

    def __call__(self) -> int:
        from gailfe_jax.report.health import examine_folder, run_folders

        if not self.paths:
            raise GailfeError("paths: got none; expected a run folder or a sweep folder")
        # All are read before one is printed: bad input is one line.
        found = [examine_folder(folder) for folder in run_folders(self.paths)]
        if self.json:
            print(json.dumps([examined.record() for examined in found], indent=2, allow_nan=False))
        else:
            print("\n\n".join(map(_text, found)))
        return 0


def print_line(folder: str | pathlib.Path) -> None:
    """Prints one line on a run that has ended, if it was evaluated at all.

    What goes wrong is a warning: the run itself is done.
    """
    from gailfe_jax.report.health import examine_folder, line_of

    metrics = pathlib.Path(folder) / "metrics.jsonl"
    if not metrics.is_file() or not metrics.stat().st_size:
        return
    try:
        print(line_of(examine_folder(folder)))
    except GailfeError as error:
        warnings.warn(f"doctor: {error}", GailfeWarning, stacklevel=2)


def _text(examined: Examined) -> str:
    from gailfe_jax.report.health import WELL, seeds_in_words, steps_in_words

    seeds = f"{examined.seeds} seed{'s' if examined.seeds > 1 else ''}"
    lines = [f"{examined.folder}: {examined.algo} on {examined.env}, {seeds}, up to step {examined.step:,}"]
    if not examined.findings or examined.note:
        lines.append(f"  {examined.note or WELL}")
    for finding in examined.findings:
        where = f"{seeds_in_words(finding, examined.seeds)}, {steps_in_words(finding)}"
        lines += [f"  {finding.severity}: {finding.title} [{finding.name}; {where}]", f"    {finding.seen}"]
        lines.append(f"    {finding.attempt}")
    return "\n".join(lines)


def run(args: Sequence[str]) -> int:
    """Carries the command out; returns the exit code."""
    return parse(Doctor, "doctor", args)()
