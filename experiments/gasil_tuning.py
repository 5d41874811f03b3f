"""The weight of what each method of `gasil_delayed.py` adds to PPO: three values each, on seeds of their own.

    python experiments/gasil_tuning.py             train what has no result yet, then draw
    python experiments/gasil_tuning.py --draw      only draw what there is

Hopper and HalfCheetah with delayed rewards, 400,000 steps, 3 seeds. The value with the best mean over both tasks is the
one that `gasil_delayed.py` takes for all three.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import cells
import numpy as np
from cells import Cell
from gasil_delayed import METHODS, TASKS, settings_of

EXPERIMENT = "gasil_tuning"
WEIGHTS = {
    "gasil": ("alpha", (0.003, 0.01, 0.03)),
    "sil": ("sil_weight", (0.03, 0.1, 0.3)),
    "bc": ("bc_weight", (0.03, 0.1, 0.3)),
}
TUNED_ON = ("hopper", "halfcheetah")
STEPS, SEEDS, FIRST_SEED = 400_000, 3, 100


def _cell(task: str, method: str, value: float) -> Cell:
    name = WEIGHTS[method][0]
    config, hyper = settings_of(task, method)
    return Cell(
        f"{task}-{method}-{value}", f"{METHODS[method]}, {name} {value}", config, hyper.replace(**{name: value}),
        STEPS, SEEDS, trajectories=4, final_episodes=20, first_seed=FIRST_SEED,
    )  # fmt: skip


CELLS = [_cell(task, method, value) for task in TUNED_ON for method, (_, values) in WEIGHTS.items() for value in values]


def draw(results: dict[str, dict[str, Any]]) -> None:
    """A Markdown table and summary.json from the result files alone."""
    folder = cells.RESULTS / EXPERIMENT
    lines = [
        "| method | weight | " + " | ".join(f"{TASKS[task]} (mean; each seed)" for task in TUNED_ON) + " | mean |",
        "|---|---|" + "---|" * (len(TUNED_ON) + 1),
    ]
    summary: dict[str, Any] = {}
    for method, (name, values) in WEIGHTS.items():
        for value in values:
            scores = {
                task: cells.final_scores(results[key])
                for task in TUNED_ON
                if (key := f"{task}-{method}-{value}") in results
            }
            if len(scores) < len(TUNED_ON):
                continue
            mean = float(np.mean([s.mean() for s in scores.values()]))
            summary[f"{method}-{value}"] = {"mean": mean} | {task: s.tolist() for task, s in scores.items()}
            cols = [f"{s.mean():.2f}; " + " ".join(f"{x:.2f}" for x in s) for s in scores.values()]
            lines.append("| " + " | ".join((METHODS[method], f"{name} {value}", *cols, f"{mean:.2f}")) + " |")
    (folder / "table.md").write_text("\n".join(lines) + "\n")
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(cells.main(EXPERIMENT, CELLS, draw, __doc__))
