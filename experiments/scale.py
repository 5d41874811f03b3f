"""Do the presets for thousands of environments learn? 4,096 environments on HalfCheetah and Hopper.

    python experiments/scale.py             train what has no result yet (hours on two cores), then draw
    python experiments/scale.py --draw      only draw what there is
    python experiments/scale.py --only hopper-gail-ppo

What is learned from a number of environments does not depend on the hardware, so the CPU's engine shows it. 25 whole
demonstrations of the expert's mean actions, 5 seeds, 50 deterministic Gymnasium episodes each at the end. Beside it,
GAIL's preset for few environments on the same demonstrations: its iterations are 1,024 steps, those for thousands
65,536.
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
from gailfe_jax.learners.presets import preset

EXPERIMENT = "scale"
TASKS = {"halfcheetah": "HalfCheetah-v5", "hopper": "Hopper-v5"}
# Method, policy step, its name in print.
METHODS = {
    "gail-ppo": ("gail", "ppo", "GAIL (PPO)"),
    "gail-trpo": ("gail", "trpo", "GAIL (TRPO)"),
    "gailfe-ppo": ("gailfe", "ppo", "GAILFE (PPO)"),
    "gailfe-trpo": ("gailfe", "trpo", "GAILFE (TRPO)"),
    "mail": ("mail", None, "MAIL"),
    "gasil": ("gasil", None, "GASIL"),
    "ppo": ("ppo", None, "PPO (true reward)"),
}
PAID = ("gasil", "ppo")
"""Methods that see the true reward; each task has a panel of its own for them."""
FEW = {"gail-few": ("gail", None, "GAIL (TRPO), 8 environments")}
NUM_ENVS, SEEDS, TRAJECTORIES, EPISODES = 4096, 5, 25, 50
ITERATIONS, EVAL_EVERY = 150, 5
# Some get fewer: an iteration of MAIL takes three times as long, and one on Hopper twice.
FEWER_ITERATIONS = {
    "hopper-gail-ppo": 100, "hopper-gailfe-ppo": 100, "hopper-gailfe-trpo": 100, "hopper-mail": 75,
    "halfcheetah-mail": 75, "halfcheetah-gailfe-trpo": 75,
}  # fmt: skip
FEW_STEPS = 600_000
GOAL = 0.9


def _cell(task: str, name: str) -> Cell:
    algo, policy, label = (METHODS | FEW)[name]
    method, _ = preset(algo, task, policy=policy, num_envs=None if name in FEW else NUM_ENVS)
    batch = method.rollout.batch_size
    iterations = FEWER_ITERATIONS.get(f"{task}-{name}", ITERATIONS)
    steps, every = (FEW_STEPS, FEW_STEPS / 12) if name in FEW else (iterations * batch, EVAL_EVERY * batch)
    return Cell(
        f"{task}-{name}", label, method, task, steps, SEEDS, eval_every=every, trajectories=TRAJECTORIES,
        final_episodes=EPISODES, deterministic=True, keep_failed=False,
    )  # fmt: skip


CELLS = [_cell(task, name) for name in METHODS | FEW for task in TASKS]


def draw(results: dict[str, dict[str, Any]]) -> None:
    """A Markdown table, summary.json and a figure from the result files alone."""
    folder = cells.RESULTS / EXPERIMENT
    lines = [
        "| task | method | iterations | at the end, of the expert (IQM, 95%) | worst seed | iterations to 0.9 "
        "| each seed's | steps to 0.9 |",
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
            experts[title] = record["expert_return"]
            scores = cells.final_scores(record)
            value = bootstrap_interval(scores)
            batch = _batch(record)
            iterations, curves = cells.curve(record, normalise=True)[0] // batch, cells.curve(record)[1]
            of_expert = curves / record["expert_return"]
            together = np.array([bootstrap_interval(column).estimate for column in of_expert.T])
            reached = _first(iterations, together)
            each = [_first(iterations, row) for row in of_expert]
            summary[cell.name] = {
                "seeds": scores.tolist(), "iqm": [value.estimate, value.low, value.high],
                "iterations_to_goal": reached, "each_seeds_iterations_to_goal": each, "steps_per_iteration": batch,
            }  # fmt: skip
            figures = f"{value.estimate:.2f} [{value.low:.2f}, {value.high:.2f}]"
            steps = "-" if reached is None else f"{reached * batch:,}"
            seeds = ", ".join("-" if x is None else str(x) for x in each)
            shown = "-" if reached is None else str(reached)
            lines.append(
                f"| {title} | {cell.label} | {iterations[-1]} | {figures} | {scores.min():.2f} | {shown} | {seeds} "
                f"| {steps} |"
            )
            paid = cell.method.name in PAID
            panels.setdefault(f"{title}, true reward" if paid else title, {})[cell.label] = (iterations, curves)
    cells.write_table(folder, lines, summary)
    learning_curve_panels(
        panels, folder / "scale.png", xlabel="iterations", ylabel="return, deterministic policy (IQM)", columns=2,
        expert_returns={title: experts[title.partition(",")[0]] for title in panels},
    )  # fmt: skip


def _batch(record: dict[str, Any]) -> int:
    rollout = record["cell"]["method"]["rollout"]
    return rollout["num_envs"] * rollout["unroll_length"]


def _first(iterations: np.ndarray, shares: np.ndarray) -> int | None:
    """The first evaluation at which the goal was reached."""
    above = np.flatnonzero(shares >= GOAL)
    return int(iterations[above[0]]) if len(above) else None


if __name__ == "__main__":
    sys.exit(cells.main(EXPERIMENT, CELLS, draw, __doc__))
