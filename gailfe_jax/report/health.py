"""The doctor's findings on run folders, from metrics.jsonl, config.json and summary.json alone."""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from gailfe_jax.analysis.doctor import examine, too_few
from gailfe_jax.analysis.health import Finding, Run, bound, printable, seeds_of, settings_of
from gailfe_jax.config.run import RunSettings
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.base import Learner
from gailfe_jax.learners.record import flat_values, read_method
from gailfe_jax.training.logger import read_metrics
from gailfe_jax.training.outcome import read_summary
from gailfe_jax.training.run_folder import JUDGED_BY, load_run
from gailfe_jax.training.sweep_record import is_sweep

LOWER_IS_BETTER = ("demo_distance",)
WELL = "nothing stands out"
HOW = (
    "Read off the metrics alone, by fixed bounds. A warning often goes with a run that does not learn; a note may go "
    "with one that does. gailfe doctor says the same on the terminal."
)


@dataclasses.dataclass(frozen=True)
class Examined:
    """A run folder that was looked at.

    Attributes:
      folder: its path.
      algo, env: the method and the task.
      seeds: how many there are.
      evaluations: of the seed that has most.
      step: the last one that was evaluated.
      findings: the gravest first.
      note: why there may be less to find than there is; empty where there is no reason.
    """

    folder: pathlib.Path
    algo: str
    env: str
    seeds: int
    evaluations: int
    step: int
    findings: tuple[Finding, ...]
    note: str = ""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return found | {"folder": str(self.folder), "findings": [finding.record() for finding in self.findings]}


def run_folders(paths: Sequence[str | os.PathLike[str]]) -> list[pathlib.Path]:
    """The run folders at `paths`: themselves, or the settings of a sweep.

    Raises:
      GailfeError: neither a run nor a sweep.
    """
    found: list[pathlib.Path] = []
    for path in map(pathlib.Path, paths):
        if is_sweep(path):
            points = [folder for folder in sorted(path.glob("settings/*")) if (folder / "metrics.jsonl").is_file()]
            if not points:
                raise GailfeError(f"{path}: no setting has metrics yet; expected a sweep with results")
            found += points
        elif (path / "config.json").is_file():
            found.append(path)
        else:
            raise GailfeError(f"{path}: holds no run (config.json) and no sweep (sweep.json); expected one")
    return found


def examine_folder(folder: str | os.PathLike[str]) -> Examined:
    """What stands out in a run folder. Nothing is trained, and no policy is loaded.

    Raises:
      GailfeError: no run is there, it has no metrics, or a record is damaged or cut.
    """
    folder = pathlib.Path(folder)
    try:
        return _examined(folder)
    except OSError as error:
        raise GailfeError(f"{error.filename or folder}: {error.strerror or error}; expected a readable file") from None
    except GailfeError:
        raise
    except (ValueError, RecursionError, OverflowError):
        # JSON with numbers of thousands of digits, or nested thousands deep.
        raise GailfeError(f"{folder}: a record is damaged; expected what gailfe train wrote") from None


def _examined(folder: pathlib.Path) -> Examined:
    record = load_run(folder)
    file = folder / "metrics.jsonl"
    if not file.is_file() or not file.stat().st_size:
        raise GailfeError(f"{file}: no metrics yet; expected those of at least one evaluation")
    records = read_metrics(file)
    if not file.read_bytes().endswith(b"\n"):
        raise GailfeError(
            f"{file}, line {len(records) + 1}: is cut; expected a whole line (gailfe train --resume drops a cut one)"
        )
    run = run_of(folder, record, records)
    evaluations = max((seed.count for seed in run.seeds), default=0)
    counted = f"{evaluations} evaluation{'' if evaluations == 1 else 's'}"
    few = f"only {counted}; it takes {bound('evaluations'):.0f} to judge (--eval-every)" if too_few(run) else ""
    return Examined(
        folder=folder,
        algo=printable(record.get("algo", "unknown")),
        env=printable(record["environment"].get("env", "unknown")),
        seeds=len(run.seeds),
        evaluations=evaluations,
        step=max(line["step"] for line in records),
        findings=tuple(examine(run)),
        note=few,
    )


def run_of(folder: pathlib.Path, record: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> Run:
    """A run as the doctor sees it.

    Args:
      folder: the run folder.
      record: what `load_run` returns.
      records: the lines of its metrics.
    """
    seeds, diverged = seeds_of(records)
    judged = next((name for name in JUDGED_BY if any(seed.has(name) for seed in seeds)), "return_mean")
    method = _method(record)
    settings = settings_of(method, RunSettings())
    settings |= {name: value for name, value in record["run"].items() if name in settings}
    if method is None:
        settings |= flat_values(record["method"])
    return Run(
        seeds=seeds,
        judged=judged,
        lower_is_better=judged in LOWER_IS_BETTER,
        settings=settings,
        expert_return=_expert(folder, record),
        bias=getattr(getattr(method, "reward", None), "bias", None),
        diverged=diverged,
    )


def _method(record: Mapping[str, Any]) -> Learner | None:
    """The method; None where its record needs a module of the user's, or is of another release: its settings are then
    read as they stand."""
    try:
        return read_method(str(record.get("algo")), record["method"])
    except GailfeError:
        return None


def _expert(folder: pathlib.Path, record: Mapping[str, Any]) -> float | None:
    """The expert's return that config.json knows, or summary.json."""
    for value in (record["demos"].get("expert_return"), read_summary(folder).get("expert_return")):
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    return None


def line_of(examined: Examined) -> str:
    """One line for the end of training."""
    if not examined.findings:
        return f"doctor: {examined.note or WELL}"
    first, more = examined.findings[0], len(examined.findings) - 1
    others = f" and {more} more" if more else ""
    return f"doctor: {first.severity}: {first.title} ({seeds_in_words(first, examined.seeds)}){others}; " + (
        f"gailfe doctor {examined.folder}"
    )


def seeds_in_words(finding: Finding, count: int) -> str:
    """Which seeds, of so many, a finding is about."""
    if len(finding.seeds) == count:
        return "all seeds" if count > 1 else f"seed {finding.seeds[0]}"
    return f"seed{'s' if len(finding.seeds) > 1 else ''} {', '.join(map(str, finding.seeds))}"


def steps_in_words(finding: Finding) -> str:
    """Between which steps a finding is seen."""
    first, last = finding.steps
    return f"step {first:,}" if first == last else f"steps {first:,} to {last:,}"
