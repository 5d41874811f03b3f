"""The weight of what each method of `gasil_delayed.py` adds to PPO: four values each, on seeds of their own.

    python experiments/gasil_tuning.py             train what has no result yet, then draw
    python experiments/gasil_tuning.py --draw      only draw what there is

Hopper with delayed rewards, 400,000 steps, 3 seeds. The value with the best mean is the one that `gasil_delayed.py`
takes, on all its tasks.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import cells
from cells import Cell
from gasil_delayed import METHODS, delayed, method_of

from gailfe_jax.config.tree import set_values

EXPERIMENT = "gasil_tuning"
WEIGHTS = {
    "gasil": ("alpha", "true_reward.alpha", (0.003, 0.01, 0.03, 0.1)),
    "sil": ("sil_weight", "self_imitation.weight", (0.03, 0.1, 0.3, 1.0)),
    "bc": ("bc_weight", "likelihood.weight", (0.03, 0.1, 0.3, 1.0)),
}
TASK = "hopper"
STEPS, SEEDS, FIRST_SEED = 400_000, 3, 100


def _cell(task: str, method: str, value: float) -> Cell:
    label, name, _ = WEIGHTS[method]
    learner = set_values(method_of(task, method), {name: value})
    return Cell(
        f"{task}-{method}-{value}", f"{METHODS[method]}, {label} {value}", learner, delayed(task), STEPS, SEEDS,
        trajectories=4, final_episodes=20, first_seed=FIRST_SEED,
    )  # fmt: skip


CELLS = [_cell(TASK, method, value) for method, (_, _, values) in WEIGHTS.items() for value in values]


def draw(results: dict[str, dict[str, Any]]) -> None:
    """A Markdown table and summary.json from the result files alone."""
    folder = cells.RESULTS / EXPERIMENT
    lines = ["| method | weight | final return / expert (mean) | each seed |", "|---|---|---|---|"]
    summary: dict[str, Any] = {}
    for cell in CELLS:
        if cell.name not in results:
            continue
        scores = cells.final_scores(results[cell.name])
        summary[cell.name] = {"mean": float(scores.mean()), "seeds": scores.tolist()}
        each = "  ".join(f"{x:.2f}" for x in scores)
        lines.append("| " + " | ".join((*cell.label.split(", "), f"{scores.mean():.2f}", each)) + " |")
    cells.write_table(folder, lines, summary)


if __name__ == "__main__":
    sys.exit(cells.main(EXPERIMENT, CELLS, draw, __doc__))
