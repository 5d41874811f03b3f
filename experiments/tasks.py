"""GAIL on Gymnasium's other MuJoCo tasks, from the experts that ship with this package.

    python experiments/tasks.py             train what has no result yet, then draw
    python experiments/tasks.py --draw      only draw what there is

10 whole demonstrations of the expert with its noise, 5 seeds, 50 deterministic Gymnasium episodes each at the end.
On Humanoid the preset begins with a clone; beside it, what the clone is worth, and the same from nothing.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import cells
from cells import Cell

from gailfe_jax.analysis.plots import learning_curve_panels
from gailfe_jax.analysis.statistics import bootstrap_interval
from gailfe_jax.artifacts.policy import load_expert
from gailfe_jax.config.tree import set_values
from gailfe_jax.learners.presets import preset

EXPERIMENT = "tasks"
# Task, its name in print, environment steps.
TASKS = [
    ("inverted_double_pendulum", "InvertedDoublePendulum-v5", 300_000),
    ("swimmer", "Swimmer-v5", 300_000),
    ("reacher", "Reacher-v5", 300_000),
    ("ant", "Ant-v5", 1_000_000),
    ("humanoid", "Humanoid-v5", 500_000),
]
METHODS = {"bc": "BC", "gail": "GAIL (TRPO)"}
SEEDS, TRAJECTORIES, EPISODES = 5, 10, 50


def _cell(task: str, steps: float, algo: str, begins: str = "") -> Cell:
    method, run = preset(algo, task)
    steps, eval_every = (run.steps, run.eval_every) if algo == "bc" else (steps, steps / 10)
    name, label = f"{task}-{algo}", METHODS[algo]
    if begins == "nothing":
        method, name = set_values(method, {"start.steps": 0}), f"{name}-from-nothing"
    if begins == "a clone, one iteration":
        steps, name = method.rollout.batch_size, f"{task}-clone"
        eval_every = steps
    label += f", from {begins}" if begins else ""
    return Cell(
        name, label, method, task, steps, SEEDS, eval_every=eval_every,
        trajectories=TRAJECTORIES, final_episodes=EPISODES, failures=0, keep_failed=task != "humanoid",
    )  # fmt: skip


def _begins(task: str, algo: str) -> tuple[str, ...]:
    return ("a clone, one iteration", "a clone", "nothing") if (task, algo) == ("humanoid", "gail") else ("",)


CELLS = [
    _cell(task, steps, algo, begins) for task, _, steps in TASKS for algo in METHODS for begins in _begins(task, algo)
]


def draw(results: dict[str, dict[str, Any]]) -> None:
    """A Markdown table, summary.json and a figure from the result files alone."""
    folder = cells.RESULTS / EXPERIMENT
    lines = [
        "| task | method | environment steps | return (IQM, 95%) | worst seed | expert | share of the expert |",
        "|---|---|---|---|---|---|---|",
    ]
    summary: dict[str, Any] = {}
    panels: dict[str, Any] = {}
    experts: dict[str, float] = {}
    for task, title, _ in TASKS:
        for cell in CELLS:
            if cell.env != task or cell.name not in results:
                continue
            record = results[cell.name]
            expert = experts.setdefault(title, float(load_expert(task).metadata["expert_return"]))
            scores = cells.final_returns(record)
            value = bootstrap_interval(scores)
            digits = 0 if abs(expert) >= 10 else 1
            worst, best = f"{scores.min():.{digits}f}", f"{expert:.{digits}f}"
            figures = f"{value.estimate:.{digits}f} [{value.low:.{digits}f}, {value.high:.{digits}f}]"
            summary[cell.name] = {
                "seeds": scores.tolist(),
                "iqm": [value.estimate, value.low, value.high],
                "expert": expert,
            }
            spent = "none" if cell.method.name == "bc" else f"{record['steps'][-1]:,}"
            # A share of a negative return means nothing.
            share = f"{value.estimate / expert:.2f}" if expert > 0 else "-"
            lines.append("| " + " | ".join((title, cell.label, spent, figures, worst, best, share)) + " |")
            if cell.method.name != "bc" and len(record["steps"]) > 1:
                panels.setdefault(title, {})[cell.label] = cells.curve(record)
    cells.write_table(folder, lines, summary)
    learning_curve_panels(
        panels, folder / "tasks.png", ylabel="return, deterministic policy (IQM)", columns=2,
        expert_returns={title: experts[title] for title in panels},
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(cells.main(EXPERIMENT, CELLS, draw, __doc__))
