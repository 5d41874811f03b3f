"""`gailfe report`."""

from __future__ import annotations

import dataclasses
import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

from gailfe_jax.cli.parsing import PathWords, parse
from gailfe_jax.errors import GailfeError, GailfeWarning, refusal

Found = TypeVar("Found")
_QUICK_BYTES = 4_000_000
"""Of metrics: a report about more may take longer than a second, and is left to the command."""


@dataclasses.dataclass(frozen=True)
class Report:
    """Write one page about runs, sweeps or experiments: curves, results, diagnostics, settings and provenance.

    The page is a single file. It loads nothing, so it can be mailed and opened anywhere. For a run with demonstrations
    its best policy plays some episodes, to show where the discriminator tells it from the expert.
    """

    paths: PathWords
    """Run folders, sweep folders, or experiments' result files and folders of them."""
    out: str | None = None
    """Write this file. The default is report.html, in the folder where there is one only."""
    title: str | None = None
    """Call the page so. The default is the names of the folders."""
    videos: bool = False
    """Film the best, the median and the worst episode of each run's best policy, which takes minutes."""
    episodes: int = 20
    """Choose these from so many episodes."""
    demos: str | None = None
    """Compare the policy's pairs with these demonstrations. The default is those of the run."""
    states: bool = True
    """Play the policy to show where the discriminator tells it from the expert; --no-states does not."""

    def __call__(self) -> int:
        from gailfe_jax.report.page import write_report
        from gailfe_jax.report.read import read_series

        if not self.paths:
            raise GailfeError("paths: got none; expected a run folder, a sweep folder or an experiment's results")
        if self.episodes < 1:
            raise GailfeError(f"episodes: got {self.episodes}; expected at least 1")
        out = pathlib.Path(self.out or _default_out(self.paths))
        if out.suffix.lower() not in (".html", ".htm") or out.is_dir():
            raise GailfeError(f"out: got {out}; expected a file name that ends in .html")
        # A sweep's settings and an experiment's cells are compared, and not looked at one by one.
        alone = {pathlib.Path(path) for path in self.paths if (pathlib.Path(path) / "config.json").is_file()}
        imitating = [run for run in sorted(alone) if self.states and (run / "discriminators").is_dir()]
        read_series(self.paths)  # Before minutes are spent on what cannot be read.
        spaces, films = {}, {}
        if imitating or (self.videos and alone):
            from gailfe_jax.apps import closer_look

            spaces = {run: _or_why(lambda run=run: closer_look.state_space_of(run, self.demos)) for run in imitating}
            if self.videos:
                films = {
                    run: _or_why(lambda run=run: closer_look.films_of(run, self.episodes)) for run in sorted(alone)
                }
        write_report(self.paths, out, title=self.title, spaces=spaces, films=films)
        print(f"wrote {out}")
        return 0


def write_quick_report(folder: str | pathlib.Path) -> None:
    """Writes report.html into the folder of a run or a sweep that has ended, where that takes no time worth mentioning.

    What goes wrong is a warning: the run itself is done.
    """
    from gailfe_jax.report.page import NAME, write_report
    from gailfe_jax.report.read import metrics_size

    out = pathlib.Path(folder) / NAME
    try:
        if metrics_size(folder) > _QUICK_BYTES:
            print(f"gailfe report {folder} writes a page about it")
            return
        write_report([folder], out)
    except (GailfeError, OSError) as error:
        warnings.warn(f"report: {refusal(error)}", GailfeWarning, stacklevel=2)


def _default_out(paths: Sequence[str]) -> str:
    from gailfe_jax.report.page import NAME

    return str(pathlib.Path(paths[0]) / NAME) if len(paths) == 1 and pathlib.Path(paths[0]).is_dir() else NAME


def _or_why(look: Callable[[], Found]) -> Found | str:
    """What is found, or why nothing is; the page says so, and so does a warning."""
    try:
        return look()
    except GailfeError as error:
        warnings.warn(f"not on the page: {error}", GailfeWarning, stacklevel=2)
        return f"Not shown: {error}."


def run(args: Sequence[str]) -> int:
    """Carries the command out; returns the exit code."""
    return parse(Report, "report", args)()
