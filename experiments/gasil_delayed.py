"""Delayed rewards: does imitating one's own best help (GASIL, Guo et al. 2018)?

    python experiments/gasil_delayed.py             train what has no result yet, then draw
    python experiments/gasil_delayed.py --draw      only draw what there is
    python experiments/gasil_delayed.py --only hopper-gasil hopper-ppo

HalfCheetah, Hopper and Walker2d with the reward summed and paid every 20 steps. PPO, PPO+BC (4 demonstrations), PPO+SIL
and GASIL+PPO share PPO's settings, those the experts were made with, and the budget; of the weight of what each adds,
`gasil_tuning.py` tried four values.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import cells
from cells import Cell, earlier_preset

from gailfe_jax.analysis.plots import learning_curve_panels
from gailfe_jax.analysis.statistics import bootstrap_interval, mean_difference
from gailfe_jax.config.tree import set_values
from gailfe_jax.learners.base import Learner
from gailfe_jax.learners.combinations import COMBINATIONS

EXPERIMENT = "gasil_delayed"
TASKS = {"hopper": "Hopper-v5", "halfcheetah": "HalfCheetah-v5", "walker2d": "Walker2d-v5"}
METHODS = {"gasil": "GASIL+PPO", "ppo": "PPO", "sil": "PPO+SIL", "bc": "PPO+BC"}
STEPS, SEEDS, DELAY = 600_000, 5, 20
WEIGHTS = {
    "gasil": {"true_reward.alpha": 0.1},
    "sil": {"self_imitation.weight": 0.1},
    "bc": {"likelihood.weight": 0.3},
}
"""Of what each adds to PPO; chosen by gasil_tuning.py."""


def delayed(task: str) -> str:
    """`task` with delayed rewards."""
    return f"delayed{DELAY}:{task}"


def method_of(task: str, method: str) -> Learner:
    """What `method` runs with on the delayed `task`, before the weight of what it adds to PPO is chosen."""
    combination = next(c for c in COMBINATIONS if c.name == METHODS[method])
    return combination.build(earlier_preset(combination.method, delayed(task)))


def _cell(task: str, method: str) -> Cell:
    label = f"{METHODS[method]}, {TASKS[task]}"
    learner = set_values(method_of(task, method), WEIGHTS.get(method, {}))
    return Cell(f"{task}-{method}", label, learner, delayed(task), STEPS, SEEDS, trajectories=4, final_episodes=20)


CELLS = [_cell(task, method) for task in TASKS for method in METHODS]


def draw(results: dict[str, dict[str, Any]]) -> None:
    """A Markdown table, summary.json and learning curves from the result files alone."""
    folder = cells.RESULTS / EXPERIMENT
    lines = [
        "| task | method | final return / expert (IQM, 95%) | each seed | over training (IQM, 95%) | "
        "GASIL+PPO less this, at the end |",
        "|---|---|---|---|---|---|",
    ]
    summary: dict[str, Any] = {}
    panels: dict[str, dict[str, Any]] = {}
    for task, title in TASKS.items():
        best = results.get(f"{task}-gasil")
        for method, label in METHODS.items():
            record = results.get(f"{task}-{method}")
            if record is None:
                continue
            scores = cells.final_scores(record)
            final, area = bootstrap_interval(scores), bootstrap_interval(cells.area_scores(record))
            entry: dict[str, Any] = {
                "final": [final.estimate, final.low, final.high],
                "area": [area.estimate, area.low, area.high],
                "seeds": scores.tolist(),
            }
            against = "-"
            if best is not None and method != "gasil":
                gain = mean_difference(scores, cells.final_scores(best))
                entry["gasil_less_this"] = [gain.estimate, gain.low, gain.high]
                against = f"{gain.estimate:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]"
            summary[f"{task}-{method}"] = entry
            row = (
                title,
                label,
                f"{final.estimate:.2f} [{final.low:.2f}, {final.high:.2f}]",
                "  ".join(f"{x:.2f}" for x in scores),
                f"{area.estimate:.2f} [{area.low:.2f}, {area.high:.2f}]",
                against,
            )
            lines.append("| " + " | ".join(row) + " |")
            panels.setdefault(title, {})[label] = cells.curve(record, normalise=True)
    cells.write_table(folder, lines, summary)
    learning_curve_panels(
        panels, folder / "gasil_delayed.png", title=f"Rewards paid every {DELAY} steps",
        ylabel="return / expert (IQM)",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(cells.main(EXPERIMENT, CELLS, draw, __doc__))
