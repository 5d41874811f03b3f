"""The folder of one point of a sweep: what `gailfe train` would leave of it, but for checkpoints."""

from __future__ import annotations

import math
import pathlib
import re
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np

from gailfe_jax.artifacts.policy import expert_names, load_expert
from gailfe_jax.envs import base_name
from gailfe_jax.envs.task_record import FOLDER
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.atomic import write_json_atomic
from gailfe_jax.io.json_text import read_json
from gailfe_jax.learners.record import method_record, part_record
from gailfe_jax.sweep.space import Point
from gailfe_jax.training.logger import RunLogger, read_metrics, stack_metric
from gailfe_jax.training.loop import TrainResult
from gailfe_jax.training.run_folder import JUDGED_BY, Curves, load_run, write_run
from gailfe_jax.training.start import copy_start

# What the machine's speed decides is not a result of the point.
_TIMING = ("steps_per_second", "steps_per_second_overall")


def write_point(
    point: Point, number: int, folder: pathlib.Path, program: pathlib.Path, result: TrainResult, position: int
) -> None:
    """Writes a point's folder out of its rows of a program's; its summary, written last, says that it is whole.

    Args:
      point: which.
      number: its number.
      folder: to be written anew.
      program: the run folder of the program that trained it.
      result: what the program left.
      position: of the point among those of the program.
    """
    setup, run, summary = point.setup, point.setup.run, result.summary
    seeds = list(range(run.first_seed, run.first_seed + run.seeds))
    shutil.rmtree(folder, ignore_errors=True)
    rows = slice(position * len(seeds), (position + 1) * len(seeds))
    curves = _until_stopped({name: (s, v[rows]) for name, (s, v) in result.metrics.items() if name not in _TIMING})
    record = {name: value for name, value in load_run(program).items() if name != "seeds"}
    record |= {"method": method_record(setup.method), "run": part_record(run)}
    write_run(folder, record, {"sweep": {"setting": number, "values": point.values}})
    steps = sorted({int(step) for s, _ in curves.values() for step in s})
    with RunLogger(
        folder, num_seeds=len(seeds), total_steps=steps[-1], title=point.label, seeds=seeds, quiet=True,
        use_tensorboard=run.tensorboard,
        expert_return=summary["expert_return"] or shipped_return(setup.environment.env),
    ) as logger:  # fmt: skip
        for step in steps:
            logger.log(step, {name: v[:, list(s).index(step)] for name, (s, v) in curves.items() if step in s})
    _copy_files(program, folder, rows, seeds)
    copy_start(program, folder, rows)
    if (program / FOLDER).is_dir():
        shutil.copytree(program / FOLDER, folder / FOLDER)
    kept = ("algo", "env", "finished", "expert_return", "annotator", "provenance")
    row = {name: summary[name] for name in kept} | {"steps": steps[-1], "values": point.values}
    final = {name: values[:, -1].tolist() for name, (_, values) in curves.items()}
    write_json_atomic(folder / "summary.json", row | {"final": final})


def read_summary(folder: pathlib.Path) -> dict[str, Any]:
    """The summary of a point that is done.

    Raises:
      GailfeError: it is damaged.
    """
    path = folder / "summary.json"
    try:
        summary = read_json(path, "summary.json that gailfe sweep wrote")
    except GailfeError as error:
        raise GailfeError(f"{error}; {_again(folder)}") from None
    expert = summary.get("expert_return", "") if isinstance(summary, dict) else ""
    real = isinstance(expert, int | float) and not isinstance(expert, bool)
    if not (expert is None or real) or not isinstance(summary.get("final"), dict):
        raise GailfeError(f"{path}: damaged; expected what gailfe sweep wrote; {_again(folder)}")
    return summary


def check_point(folder: pathlib.Path, seeds: Sequence[int]) -> None:
    """Holds that the summary and the metrics of a point that is done are whole and of one another.

    Args:
      folder: of the point.
      seeds: that it was trained with.

    Raises:
      GailfeError: one of them is damaged, or lines of metrics.jsonl are missing.
    """
    summary = read_summary(folder)
    name = next((name for name in JUDGED_BY if name in summary["final"]), next(iter(JUDGED_BY)))
    try:
        records = read_metrics(folder)
        steps, values = stack_metric(records, name)
    except GailfeError as error:
        where = "" if str(folder) in str(error) else f"{folder / 'metrics.jsonl'}: "
        raise GailfeError(f"{where}{error}; {_again(folder)}") from None
    lines = {(record["seed"], record["step"]) for record in records}
    whole = lines == {(seed, step) for seed in seeds for _, step in lines} and len(lines) == len(records)
    whole = whole and int(steps[-1]) == max(step for _, step in lines) == summary.get("steps")
    last = [math.nan if value is None else value for value in _listed(summary["final"].get(name))]
    if not whole or not _equal(values[:, -1].tolist(), last):
        raise GailfeError(
            f"{folder / 'metrics.jsonl'}: is not what summary.json is of; expected a line per seed and step, as gailfe "
            f"sweep wrote them; {_again(folder)}"
        )


def _again(folder: pathlib.Path) -> str:
    return f"without {folder} its setting is trained again"


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _equal(one: list[Any], two: list[Any]) -> bool:
    try:
        return np.array_equal(np.array(one, np.float64), np.array(two, np.float64), equal_nan=True)
    except (TypeError, ValueError, OverflowError):
        return False


def _until_stopped(curves: Curves) -> Curves:
    """Cloning that lost patience waits for the points beside it; by itself it would have ended here."""
    if "stopped" not in curves or not curves["stopped"][1].all(axis=0).any():
        return curves
    last = curves["stopped"][0][curves["stopped"][1].all(axis=0).argmax()]
    return {name: (s[s <= last], v[:, s <= last]) for name, (s, v) in curves.items()}


def _copy_files(program: pathlib.Path, folder: pathlib.Path, rows: slice, seeds: list[int]) -> None:
    """Policies and discriminators, which the program names by position, under the names of their seeds."""
    for path in program.glob("*/*seed_*.safetensors"):
        match = re.fullmatch(r"(.*seed_)(\d+)\.safetensors", path.name)
        if match and rows.start <= int(match[2]) < rows.stop:
            target = folder / path.parent.name / f"{match[1]}{seeds[int(match[2]) - rows.start]}.safetensors"
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)


def shipped_return(env: str) -> float | None:
    """Mean return of the expert that is shipped for a task; None without one."""
    task = base_name(env)
    known = load_expert(task).metadata.get("expert_return") if task in expert_names() else None
    return None if known is None else float(known)
