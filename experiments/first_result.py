"""How reliable the quickstart is: its methods and settings on 20 fresh seeds.

    python experiments/first_result.py             train what has no result yet (half an hour of two cores), then draw
    python experiments/first_result.py --draw      only draw what there is

HalfCheetah, 4 demonstrations thinned 1 in 40 of the shipped expert's mean actions, its failures left out; 20 failures
for GAILFE; 20 deterministic Gymnasium episodes of each seed. The settings were chosen on other seeds and other
demonstrations, after two earlier forms of the quickstart had run on these 20.
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
from gailfe_jax.apps import quickstart

EXPERIMENT = "first_result"
TASK, TITLE = "halfcheetah", "HalfCheetah-v5"
LABELS = {"gail": "GAIL (TD3)", "gailfe": "GAILFE (TD3)", "bc": "BC"}
SEEDS, FIRST_SEED, EPISODES = 20, 1000, 20


def _cell(algo: str) -> Cell:
    method = quickstart.method_of(algo, TASK)
    steps, every = quickstart.STEPS, quickstart.EVAL_EVERY
    if algo == "bc":
        steps, every = quickstart.CLONE_PAIRS, quickstart.CLONE_EVERY
    return Cell(
        f"{TASK}-{algo}", LABELS[algo], method, TASK, steps, SEEDS, eval_every=every,
        trajectories=quickstart.TRAJECTORIES, subsample=quickstart.SUBSAMPLE, final_episodes=EPISODES,
        first_seed=FIRST_SEED, failures=quickstart.FAILURES, keep_failed=False,
        eval_episodes=quickstart.EVAL_EPISODES, deterministic=True,
    )  # fmt: skip


CELLS = [_cell(algo) for algo in LABELS]


def draw(results: dict[str, dict[str, Any]]) -> None:
    """A Markdown table, summary.json and a figure from the result files alone."""
    folder = cells.RESULTS / EXPERIMENT
    lines = [
        "| method | environment steps | of the expert (IQM, 95%) | worst seed | best seed | seeds |",
        "|---|---|---|---|---|---|",
    ]
    summary: dict[str, Any] = {}
    curves: dict[str, Any] = {}
    expert = 0.0
    for cell in CELLS:
        if cell.name not in results:
            continue
        record = results[cell.name]
        expert, scores = record["expert_return"], cells.final_scores(record)
        value = bootstrap_interval(scores)
        summary[cell.name] = {"seeds": scores.tolist(), "iqm": [value.estimate, value.low, value.high]}
        clones = cell.method.name == "bc"
        figures = f"{value.estimate:.2f} [{value.low:.2f}, {value.high:.2f}]"
        row = (cell.label, "none" if clones else f"{record['steps'][-1]:,}", figures, f"{scores.min():.2f}")
        lines.append("| " + " | ".join((*row, f"{scores.max():.2f}", str(len(scores)))) + " |")
        if not clones:
            curves[cell.label] = cells.curve(record)
    cells.write_table(folder, lines, summary)
    learning_curve_panels(
        {TITLE: curves or {"BC": cells.curve(next(iter(results.values())))}}, folder / f"{EXPERIMENT}.png",
        expert_returns={TITLE: expert}, ylabel="return, deterministic policy (IQM)", per_seed=True,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(cells.main(EXPERIMENT, CELLS, draw, __doc__))
