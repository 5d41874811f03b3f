"""Which of a run's policies is taken: the best by evaluation, or the one of a seed."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.json_text import read_json
from gailfe_jax.training.logger import read_metrics
from gailfe_jax.training.run_folder import JUDGED_BY, policy_files

EVALUATION = "evaluation.json"
"""What `gailfe evaluate` writes into a run folder."""
_LOWER_IS_BETTER = ("demo_distance",)


class Chosen(NamedTuple):
    """A policy, where it lies, and why it was taken.

    Attributes:
      policy: the policy.
      file: its file.
      seed: of the run; None of a single file.
      why: in words.
    """

    policy: Policy
    file: pathlib.Path
    seed: int | None
    why: str


def choose_policy(path: str | pathlib.Path, seed: int | None = None) -> Chosen:
    """The policy of a file, or one of a run folder's.

    Of a run it is by default the best: by `gailfe evaluate`'s report in the folder, if that is not older than the
    policies, else by the run's own last evaluation.

    Args:
      path: run folder or policy file.
      seed: take this seed's.

    Raises:
      GailfeError: nothing is there, a file is damaged, or the run has no such seed.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        if seed is not None:
            raise GailfeError(f"seed: got {seed}; nothing reads it: {path} is one policy's file")
        return Chosen(Policy.load(path), path, None, f"{path.name}")
    files = policy_files(path)
    if seed is not None:
        if seed not in files:
            raise GailfeError(f"seed: got {seed}; expected one of {', '.join(map(str, files))}")
        return Chosen(Policy.load(files[seed]), files[seed], seed, f"seed {seed}, as asked for")
    if len(files) == 1:
        ((only, file),) = files.items()
        return Chosen(Policy.load(file), file, only, f"seed {only}, the only one")
    best, why = _best(path, files)
    return Chosen(Policy.load(files[best]), files[best], best, why)


def _best(run_dir: pathlib.Path, files: Mapping[int, pathlib.Path]) -> tuple[int, str]:
    records = read_metrics(run_dir / "metrics.jsonl") if (run_dir / "metrics.jsonl").is_file() else []
    last: dict[int, Mapping[str, Any]] = {record["seed"]: record for record in records}
    # A seed that has diverged left a policy from before that.
    files = {seed: file for seed, file in files.items() if "diverged" not in last.get(seed, ())} or files
    report = fresh_evaluation(run_dir)
    if report is not None:
        column = "mean" if report.get("has_reward", True) else "length"
        scores = {row.get("seed"): row.get(column) for row in report["seeds"]}
        if _complete(scores, files):
            word = "mean return" if column == "mean" else "length"
            return _highest(scores, files, word, f"{report.get('episodes')} episodes of {EVALUATION}")
    for name, word in JUDGED_BY.items():
        scores = {seed: record.get(name) for seed, record in last.items()}
        if _complete(scores, files):
            return _highest(scores, files, word, "the run's last evaluation", lower=name in _LOWER_IS_BETTER)
    raise GailfeError(
        f"{run_dir}: nothing says which of its seeds is best; expected --seed with one of "
        f"{', '.join(map(str, files))}, or a report by gailfe evaluate {run_dir}"
    )


def _complete(scores: Mapping[Any, Any], files: Mapping[int, pathlib.Path]) -> bool:
    return all(isinstance(scores.get(seed), int | float) and math.isfinite(scores[seed]) for seed in files)


def _highest(
    scores: Mapping[Any, Any], files: Mapping[int, pathlib.Path], word: str, where: str, lower: bool = False
) -> tuple[int, str]:
    best = (min if lower else max)(files, key=lambda seed: scores[seed])
    return best, f"seed {best}, the best of {len(files)} by {word} ({scores[best]:.4g}, {where})"


def fresh_evaluation(run_dir: pathlib.Path) -> dict[str, Any] | None:
    """What `gailfe evaluate` wrote into a run folder; None where it did not, or before the policies were last saved."""
    file = run_dir / EVALUATION
    try:
        report = read_json(file)
        saved = max(path.stat().st_mtime for path in policy_files(run_dir).values())
        if file.stat().st_mtime < saved:
            return None
    except (OSError, ValueError):
        return None
    rows = report.get("seeds") if isinstance(report, dict) else None
    return report if isinstance(rows, list) and all(isinstance(row, dict) for row in rows) else None
