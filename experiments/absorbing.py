"""What the sign of GAIL's reward teaches by itself, and the absorbing state that takes it away (Kostrikov et al. 2019).

    python experiments/absorbing.py           train what has no result yet (two hours of one core); draw
    python experiments/absorbing.py --draw    only draw what there is

Hopper and Walker2d, each form of the reward without and with `reward.absorbing`, 10 whole demonstrations of the shipped
expert with its noise, 300,000 steps from nothing by TRPO, 5 seeds, 50 deterministic Gymnasium episodes each at the
end. The cells of a task differ in nothing else. No setting was tuned for any of them.
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

EXPERIMENT = "absorbing"
TASKS = {"hopper": "Hopper-v5", "walker2d": "Walker2d-v5"}
# The most telling first: what lives by its sign, what dies by it, what has none.
FORMS = {"log_1-d": "log(1 - D)", "-log_d": "-log D", "logit": "log(1 - D) - log D", "1-d": "1 - D"}
STEPS, SEEDS, TRAJECTORIES, EPISODES = 300_000, 5, 10, 50


def _cell(task: str, form: str, absorbing: bool) -> Cell:
    method, _ = preset("gail", task)
    word = "absorbing" if absorbing else "plain"
    return Cell(
        f"{task}-{form.strip('-')}-{word}", f"{FORMS[form]}, absorbing" if absorbing else FORMS[form],
        set_values(method, {"reward.form": form, "reward.absorbing": absorbing}), task, STEPS, SEEDS,
        eval_every=STEPS / 12, trajectories=TRAJECTORIES, final_episodes=EPISODES, failures=0,
    )  # fmt: skip


CELLS = [_cell(task, form, absorbing) for form in FORMS for task in TASKS for absorbing in (False, True)]


def draw(results: dict[str, dict[str, Any]]) -> None:
    """A Markdown table, summary.json and a figure from the result files alone."""
    folder = cells.RESULTS / EXPERIMENT
    lines = [
        "| task | reward | absorbing | return (IQM, 95%) | worst seed | mean length | expert | share of the expert |",
        "|---|---|---|---|---|---|---|---|",
    ]
    summary: dict[str, Any] = {}
    panels: dict[str, Any] = {}
    experts: dict[str, float] = {}
    for task, title in TASKS.items():
        for cell in CELLS:
            if cell.env != task or cell.name not in results:
                continue
            record = results[cell.name]
            expert = float(load_expert(task).metadata["expert_return"])
            scores = cells.final_returns(record)
            value, length = bootstrap_interval(scores), float(np.mean(record["final_lengths"]))
            summary[cell.name] = {
                "seeds": scores.tolist(),
                "iqm": [value.estimate, value.low, value.high],
                "mean_length": length,
                "expert": expert,
            }
            form, _, absorbing = cell.label.partition(", ")
            figures = f"{value.estimate:.0f} [{value.low:.0f}, {value.high:.0f}]"
            row = (title, form, "yes" if absorbing else "no", figures, f"{scores.min():.0f}", f"{length:.0f}")
            lines.append("| " + " | ".join((*row, f"{expert:.0f}", f"{value.estimate / expert:.2f}")) + " |")
            panel = f"{title}, {absorbing or 'plain'}"
            panels.setdefault(panel, {})[form] = cells.curve(record)
            experts[panel] = expert
    cells.write_table(folder, lines, summary)
    learning_curve_panels(
        panels, folder / "absorbing.png", ylabel="return, deterministic policy (IQM)", columns=2,
        expert_returns=experts,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(cells.main(EXPERIMENT, CELLS, draw, __doc__))
