"""Demonstrations without actions: GAIL on transitions and on states alone, beside GAIL on pairs of state and action.

    python experiments/observation_only.py           train what has no result yet (an hour of one core); draw
    python experiments/observation_only.py --draw    only draw what there is

Hopper and HalfCheetah, 10 whole demonstrations of the shipped expert with its noise, half a million steps from nothing
by TRPO, 5 seeds, 50 deterministic Gymnasium episodes each at the end. The three discriminators differ in
`reward.inputs` alone; the two of observations never read the actions of the file. No setting was tuned for them.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import cells
import numpy as np
from cells import Cell

from gailfe_jax.analysis.plots import learning_curve_panels
from gailfe_jax.analysis.statistics import bootstrap_interval
from gailfe_jax.artifacts.policy import load_expert
from gailfe_jax.config.tree import set_values
from gailfe_jax.learners.presets import preset

EXPERIMENT = "observation_only"
TASKS = {"halfcheetah": "HalfCheetah-v5", "hopper": "Hopper-v5"}
INPUTS = {
    "transitions": "transitions (s, s')",
    "states": "states s",
    "state-action": "pairs (s, a): GAIL",
}
STEPS, SEEDS, TRAJECTORIES, EPISODES = 500_000, 5, 10, 50


def _cell(task: str, inputs: str) -> Cell:
    method, _ = preset("gail", task)
    return Cell(
        f"{task}-{inputs}", INPUTS[inputs], set_values(method, {"reward.inputs": inputs}), task, STEPS, SEEDS,
        eval_every=STEPS / 20, trajectories=TRAJECTORIES, final_episodes=EPISODES, failures=0,
    )  # fmt: skip


CELLS = [_cell(task, inputs) for inputs in INPUTS for task in TASKS]


def draw(results: dict[str, dict[str, Any]]) -> None:
    """A Markdown table, summary.json and a figure from the result files alone."""
    folder = cells.RESULTS / EXPERIMENT
    lines = [
        "| task | judged | return (IQM, 95%) | worst seed | mean length | expert | share of the expert |",
        "|---|---|---|---|---|---|---|",
    ]
    summary: dict[str, Any] = {}
    panels: dict[str, Any] = {}
    experts = {title: float(load_expert(task).metadata["expert_return"]) for task, title in TASKS.items()}
    for task, title in TASKS.items():
        for cell in CELLS:
            if cell.env != task or cell.name not in results:
                continue
            record = results[cell.name]
            scores = cells.final_returns(record)
            value, length = bootstrap_interval(scores), float(np.mean(record["final_lengths"]))
            summary[cell.name] = {
                "seeds": scores.tolist(),
                "iqm": [value.estimate, value.low, value.high],
                "mean_length": length,
                "expert": experts[title],
            }
            figures = f"{value.estimate:.0f} [{value.low:.0f}, {value.high:.0f}]"
            share = f"{value.estimate / experts[title]:.2f}"
            worst, best = f"{scores.min():.0f}", f"{experts[title]:.0f}"
            lines.append("| " + " | ".join((title, cell.label, figures, worst, f"{length:.0f}", best, share)) + " |")
            panels.setdefault(title, {})[cell.label] = cells.curve(record)
    cells.write_table(folder, lines, summary)
    learning_curve_panels(
        panels, folder / "observation_only.png", ylabel="return, deterministic policy (IQM)", columns=2,
        expert_returns={title: experts[title] for title in panels},
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(cells.main(EXPERIMENT, CELLS, draw, __doc__))
