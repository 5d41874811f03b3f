"""GAIL, GAILFE and BC on a robot of one's own: the arm of examples/arm, with its demonstrations and failures.

    python experiments/own_robot.py             train what has no result yet, then draw
    python experiments/own_robot.py --draw      only draw what there is

5 seeds, 1, 4 and 20 whole demonstrations, 200,000 steps (BC takes none of the environment), from nothing and, in rows
that say so, from a clone. Gymnasium does not have the task: the final 50 episodes of each seed are played on this
package's C engine, by the deterministic policy.
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
from gailfe_jax.config.tree import set_values
from gailfe_jax.learners.presets import preset

EXPERIMENT = "own_robot"
ENV, DEMOS = "examples/arm/arm.toml", "examples/arm/demos.npz"
_CLONE: dict[str, Any] = {"start.steps": 300, "schedule.warmup_iterations": 8}
# Name, label, method, changes to its preset.
METHODS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("bc", "BC", "bc", {}),
    ("gail", "GAIL (TRPO)", "gail", {}),
    ("gailfe", "GAILFE", "gailfe", {}),
    ("gail-clone", "GAIL from a clone", "gail", _CLONE),
    ("gailfe-clone", "GAILFE from a clone", "gailfe", _CLONE),
]
SHOWN = (1, 4, 20)
STEPS, SEEDS, EPISODES, TIME_LIMIT = 200_000, 5, 50, 150


def _cell(name: str, label: str, algo: str, changes: dict[str, Any], trajectories: int) -> Cell:
    method, run = preset(algo, ENV)
    steps, eval_every = (run.steps, run.eval_every) if algo == "bc" else (STEPS, STEPS / 10)
    return Cell(
        f"arm-{trajectories}-{name}", label, set_values(method, changes), ENV, steps, SEEDS, eval_every=eval_every,
        trajectories=trajectories, final_episodes=EPISODES, demos=DEMOS,
    )  # fmt: skip


CELLS = [_cell(*row, trajectories) for trajectories in SHOWN for row in METHODS]


def falls(record: dict[str, Any]) -> np.ndarray:
    """`[seeds]` share of the final episodes in which the arm touched the table."""
    return np.array([np.mean(np.array(lengths) < TIME_LIMIT) for lengths in record["final_lengths"]])


def draw(results: dict[str, dict[str, Any]]) -> None:
    """A Markdown table, summary.json and a figure from the result files alone."""
    folder = cells.RESULTS / EXPERIMENT
    lines = [
        "| demonstrations | method | return / demonstrations' (IQM, 95%) | worst seed | final episodes that fail |",
        "|---|---|---|---|---|",
    ]
    summary: dict[str, Any] = {}
    panels: dict[str, Any] = {}
    for cell in CELLS:
        if cell.name not in results:
            continue
        record = results[cell.name]
        scores, fallen = cells.final_scores(record), falls(record)
        value = bootstrap_interval(scores)
        summary[cell.name] = {
            "seeds": scores.tolist(),
            "iqm": [value.estimate, value.low, value.high],
            "falls": fallen.tolist(),
        }
        curves = panels.setdefault(f"{cell.trajectories} demonstration{'s' * (cell.trajectories > 1)}", {})
        if cell.method.name == "bc":
            # It takes no steps of the environment: its end stands beside the others' whole way.
            curves[cell.label] = np.array([0, STEPS]), np.repeat(scores[:, None], 2, axis=1)
        else:
            curves[cell.label] = cells.curve(record, normalise=True)
        figures = f"{value.estimate:.2f} [{value.low:.2f}, {value.high:.2f}]"
        row = (str(cell.trajectories), cell.label, figures, f"{scores.min():.2f}", f"{fallen.mean():.3f}")
        lines.append("| " + " | ".join(row) + " |")
    cells.write_table(folder, lines, summary)
    learning_curve_panels(
        panels, folder / "own_robot.png", title="The arm, 5 seeds",
        expert_returns=dict.fromkeys(panels, 1.0), ylabel="return / demonstrations' (IQM)",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(cells.main(EXPERIMENT, CELLS, draw, __doc__))
