"""`gailfe evaluate`."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from gailfe_jax.cli.parsing import PathWord, parse


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Evaluate a run's policies on fresh episodes. The policies act deterministically."""

    path: PathWord
    """Evaluate this run folder, this policy file (.safetensors), or with --env an expert from elsewhere (.onnx, .zip of
    Stable-Baselines3, module:name)."""
    episodes: int = 50
    """Run this many episodes per seed."""
    backend: Literal["gymnasium", "engine"] | None = None
    """Step Gymnasium itself, or this package's own engine, which is faster. By default Gymnasium where it has the task.
    The physics is the same, bit for bit on the CPU; the engine draws its own initial states."""
    env: str | None = None
    """Evaluate on this task. By default it is the task that the policy was trained on."""
    expert_return: float | None = None
    """Divide by this return. By default it is the expert's that the run recorded, or the shipped expert's."""
    expert: str | None = None
    """Play this expert, too, and divide by its return: a policy file, .onnx, .zip of Stable-Baselines3, module:name."""
    seed: int = 0
    """Seed the episodes."""
    demos: str | None = None
    """Compare what the policies visit with these demonstrations. On a task without a reward they are the run's own by
    default, if they are where they were."""
    json: bool = False
    """Print JSON instead of a table."""
    out: str | None = None
    """Write the JSON to this file. A run folder's default is <run>/evaluation.json."""

    def __call__(self) -> int:
        from gailfe_jax.apps.evaluate_run import evaluate_path
        from gailfe_jax.io.atomic import write_json_atomic

        report = evaluate_path(
            self.path, episodes=self.episodes, backend=self.backend, env=self.env, expert_return=self.expert_return,
            seed=self.seed, demos=self.demos, expert=self.expert,
        )  # fmt: skip
        out = self.out
        if out is None and pathlib.Path(self.path).is_dir():
            out = str(pathlib.Path(self.path) / "evaluation.json")
        if out is not None:
            write_json_atomic(out, report)
        if self.json:
            print(json.dumps(report, indent=1))
            return 0
        _show(report)
        return 0


def _show(report: dict[str, Any]) -> None:
    returns, compared = report["has_reward"], report.get("demos")
    titles = [*(["return", "std"] if returns else []), "length", "falls", *(["of expert"] if returns else [])]
    titles += ["distance", "halves", "told apart"] if compared else []
    table = Table("seed", *titles, title=f"{report['env']}, {report['episodes']} episodes")
    for row in report["seeds"]:
        cells = {"length": f"{row['length']:.0f}", "falls": f"{row['falls']:.2f}"}
        if returns:
            share = "-" if row["expert_normalised"] is None else f"{row['expert_normalised']:.2f}"
            cells |= {"return": f"{row['mean']:.0f}", "std": f"{row['std']:.0f}", "of expert": share}
        if row.get("demos") is not None:
            found = row["demos"]
            cells |= {"distance": f"{found['distance']:.2f}", "halves": f"{found['distance_of_halves']:.2f}"}
            cells["told apart"] = f"{found['accuracy']:.2f}"
        table.add_row(str(row["seed"]), *(cells.get(title, "-") for title in titles))
    Console().print(table)
    if returns and len(report["seeds"]) > 1:
        low, high = report["interval"]
        print(f"IQM over seeds {report['iqm']:.0f}, 95% bootstrap interval [{low:.0f}, {high:.0f}]")
    if returns and report["expert_return"] is None and report["known_expert_return"] is not None:
        print(f"of expert: none, for the expert's return, {report['known_expert_return']:.0f}, is not positive")
    if not returns:
        print(f"{report['env']} has no reward, so there is no return to show")
    if compared:
        print(f"distance to {compared}, beside the one between its halves; told apart: 0.50 is chance")


def run(args: Sequence[str]) -> int:
    return parse(Evaluate, "evaluate", args)()
