"""`gailfe evaluate`."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Literal

from rich.console import Console
from rich.table import Table

from gailfe_jax.cli.parsing import PathWord, parse


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Evaluate a run's policies on fresh episodes. The policies act deterministically."""

    path: PathWord
    """Evaluate this run folder, or this policy file (.safetensors)."""
    episodes: int = 50
    """Run this many episodes per seed."""
    backend: Literal["gymnasium", "engine"] | None = None
    """Step Gymnasium itself, or this package's own engine, which is faster. By default Gymnasium where it has the task.
    The physics is the same, bit for bit on the CPU; the engine draws its own initial states."""
    env: str | None = None
    """Evaluate on this task. By default it is the task that the policy was trained on."""
    expert_return: float | None = None
    """Divide by this return. By default it is the expert's that the run recorded, or the shipped expert's."""
    seed: int = 0
    """Seed the episodes."""
    json: bool = False
    """Print JSON instead of a table."""
    out: str | None = None
    """Write the JSON to this file. A run folder's default is <run>/evaluation.json."""

    def __call__(self) -> int:
        from gailfe_jax.apps.evaluate_run import evaluate_path
        from gailfe_jax.io.atomic import write_json_atomic

        report = evaluate_path(
            self.path, episodes=self.episodes, backend=self.backend, env=self.env, expert_return=self.expert_return,
            seed=self.seed,
        )  # fmt: skip
        out = self.out
        if out is None and pathlib.Path(self.path).is_dir():
            out = str(pathlib.Path(self.path) / "evaluation.json")
        if out is not None:
            write_json_atomic(out, report)
        if self.json:
            print(json.dumps(report, indent=1))
            return 0
        table = Table(
            "seed", "return", "std", "length", "of expert", title=f"{report['env']}, {self.episodes} episodes"
        )
        for row in report["seeds"]:
            share = "-" if row["expert_normalised"] is None else f"{row['expert_normalised']:.2f}"
            cells = (f"{row['mean']:.0f}", f"{row['std']:.0f}", f"{row['length']:.0f}", share)
            table.add_row(str(row["seed"]), *cells)
        Console().print(table)
        if len(report["seeds"]) > 1:
            low, high = report["interval"]
            print(f"IQM over seeds {report['iqm']:.0f}, 95% bootstrap interval [{low:.0f}, {high:.0f}]")
        return 0


def run(args: Sequence[str]) -> int:
    return parse(Evaluate, "evaluate", args)()
