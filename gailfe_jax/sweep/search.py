"""A sweep whose points are chosen as it goes, by Optuna."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gailfe_jax.analysis.statistics import iqm
from gailfe_jax.config.values import show_value
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.setup import ConfigFile
from gailfe_jax.sweep.report import find_pyarrow, sign_of
from gailfe_jax.sweep.space import MOST_SETTINGS, Distribution, build
from gailfe_jax.sweep.study import Study, SweepResult


def search(
    space: Sequence[Distribution],
    base: Mapping[str, Any],
    *,
    trials: int,
    out: str | pathlib.Path,
    parallel: int = 8,
    seed: int = 0,
    resume: bool = False,
    memory_gib: float | None = None,
    baseline: int | None = None,
    parquet: bool = False,
    words: Sequence[str] = (),
    config: ConfigFile | None = None,
) -> SweepResult:
    """A sweep whose settings are chosen as it goes, by Optuna's TPE sampler on the final return (IQM over seeds).

    Rounds ask for `parallel` settings at once, which train side by side where they differ in traced fields alone. A
    resumed search repeats its questions and finds the answers on disk.

    Args:
      space: what settings are drawn from.
      base: settings of all points, by name.
      trials: settings asked for in all; one asked for twice is trained once.
      parallel: settings per round.
      seed: of the sampler.
      out, resume, memory_gib, baseline, parquet, words: as in `sweep`.
      config: as in `gailfe_jax.sweep.space.build`.

    Raises:
      GailfeError: as `sweep`, or Optuna is not installed.
    """
    for name, value in (("optuna", trials), ("parallel", parallel)):
        if not 1 <= value <= MOST_SETTINGS:
            raise GailfeError(f"{name}: got {value}; expected a whole number from 1 to {MOST_SETTINGS}")
    try:
        import optuna  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise GailfeError("optuna: not installed; expected `pip install 'gailfe-jax[sweep]'`") from None
    if parquet:
        find_pyarrow()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = Study(pathlib.Path(out), resume, memory_gib, words, growing=True)
    asked = {part.field.name: _optuna_distribution(optuna, part) for part in space}
    optimiser = optuna.create_study(direction="maximize")
    numbers: dict[str, int] = {}
    interrupted, done = False, 0
    with contextlib.closing(study):
        while done < trials and not interrupted:
            # A sampler of its own for every round: what it asks depends on the answers so far and on nothing else.
            optimiser.sampler = optuna.samplers.TPESampler(seed=(seed + done) % 2**32, constant_liar=True)
            round_of = [optimiser.ask(asked) for _ in range(min(parallel, trials - done))]
            fresh, answers = [], []
            for trial in round_of:
                values = {part.field.name: _optuna_value(part, trial.params[part.field.name]) for part in space}
                (point,) = build([values], base, first=len(numbers), config=config)
                if point.key not in numbers:
                    numbers[point.key] = len(numbers)
                    fresh.append(point)
                answers.append(numbers[point.key])
            study.add([*study.points, *fresh])
            interrupted = study.train()
            done += len(round_of)
            if not interrupted:
                for trial, number in zip(round_of, answers, strict=True):
                    final = study.curves(number)[1][:, -1]
                    if np.isfinite(final).all():
                        optimiser.tell(trial, sign_of(study.judged_by(number)) * float(iqm(final)))
                    else:
                        optimiser.tell(trial, state=optuna.trial.TrialState.FAIL)
        if baseline is not None and not 0 <= baseline < len(study.points):
            raise GailfeError(f"baseline: got {baseline}; expected a setting's number, 0 to {len(study.points) - 1}")
        return SweepResult(study.folder, study.report(baseline, parquet), study.trained, interrupted)


def _optuna_distribution(optuna: Any, part: Distribution) -> Any:
    if part.choices:
        return optuna.distributions.CategoricalDistribution([show_value(choice) for choice in part.choices])
    kind = "IntDistribution" if part.field.kind is int else "FloatDistribution"
    return getattr(optuna.distributions, kind)(part.low, part.high, log=part.log)


def _optuna_value(part: Distribution, value: Any) -> Any:
    if part.choices:
        return {show_value(choice): choice for choice in part.choices}[value]
    return part.rounded(value)
