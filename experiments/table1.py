"""Table 1 of MAIL (Baram et al. 2016): BC, GAIL and MAIL on few demonstrations, and what each asks of the environment.

    python experiments/table1.py             train what has no result yet, then draw
    python experiments/table1.py --draw      only draw what there is
    python experiments/table1.py --only hopper-4-mail hopper-4-gail

Hopper and Walker2d, 4, 11, 18 and 25 whole demonstrations, 5 seeds, 50 deterministic Gymnasium episodes each. All
start from the same clone, which is the row BC; GAIL and MAIL go on from there with the same budget and settings, on
Hopper the quickstart's. How many steps each needs where there is no clone to start from is another question; on
Hopper with 4 demonstrations two more cells ask it.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import cells
import numpy as np
from cells import Cell, earlier_preset

from gailfe_jax.analysis.plots import learning_curve_panels
from gailfe_jax.analysis.statistics import bootstrap_interval
from gailfe_jax.config.tree import set_values

EXPERIMENT = "table1"
TASKS = {"hopper": "Hopper-v5", "walker2d": "Walker2d-v5"}
SIZES = (4, 25, 11, 18)
SEEDS, EPISODES = 5, 50
STEPS = {"hopper": 122_880, "walker2d": 163_840}
# The quickstart's: small steps that fade away, from a clone, once the discriminator and the values have begun to learn.
CLONED: dict[str, Any] = {
    "rollout.num_envs": 16, "start.steps": 8000, "schedule.warmup_iterations": 4, "schedule.anneal": True,
    "policy.average": 0.98, "policy.gamma": 0.997, "policy.gae_lambda": 0.98,
}  # fmt: skip
# Walker2d's clones are better for wider layers, and its discriminator is behind unless it learns faster. Found on other
# seeds and demonstrations, for MAIL; GAIL has the same.
ON_TASK: dict[str, dict[str, Any]] = {
    "hopper": {},
    "walker2d": {
        "policy.hidden": (256, 256), "reward.steps": 15, "schedule.anneal": False, "policy.average": 0.99,
        "reward.lr": 1e-3,
    },
}  # fmt: skip
# Hopper's clones were evaluated before there were averages.
CLONE: dict[str, dict[str, Any]] = {"hopper": {"policy.average": 0.0}, "walker2d": {}}
# A clone asks for fewer of MAIL's steps than a policy from nothing.
MAIL = {"policy.steps": 2}
NOTHING_STEPS = 409_600
METHODS = {
    "bc": "BC",
    "gail": "GAIL",
    "mail": "MAIL",
    "gail-nothing": "GAIL from nothing",
    "mail-nothing": "MAIL from nothing",
}


def _cell(task: str, size: int, method: str) -> Cell:
    learner = earlier_preset("mail" if method.startswith("mail") else "gail", task)
    steps, eval_every = STEPS[task], 8192
    if method.endswith("-nothing"):
        steps, eval_every = NOTHING_STEPS, 16_384
    else:
        learner = set_values(learner, CLONED | ON_TASK[task] | (MAIL if method == "mail" else {}))
    if method == "bc":
        # The clone, and one iteration in which the policy does not move; an average of it is the clone again.
        learner = set_values(learner, {"schedule.warmup_iterations": 1} | CLONE[task])
        steps = eval_every = learner.rollout.batch_size
    return Cell(
        f"{task}-{size}-{method}", f"{METHODS[method]}, {size} demonstrations", learner, task, steps, SEEDS,
        eval_every=eval_every, trajectories=size, final_episodes=EPISODES,
    )  # fmt: skip


CELLS = [
    *(_cell(task, size, method) for task in TASKS for size in SIZES for method in ("mail", "gail", "bc")),
    *(_cell("hopper", 4, method) for method in ("mail-nothing", "gail-nothing")),
]


def steps_to(record: dict[str, Any], share: float, name: str = "return_mean") -> list[float | None]:
    """Steps of each seed up to its first evaluation at `share` of the expert; None where it never got there."""
    steps, values = cells.curve(record, name, normalise=True)
    reached = values >= share
    return [float(steps[row.argmax()]) if row.any() else None for row in reached]


def median_steps(steps: list[float | None]) -> str:
    """The median over the seeds that got there, and how many did."""
    there = [x for x in steps if x is not None]
    return f"{np.median(there):,.0f} ({len(there)} of {len(steps)})" if there else "none"


def draw(results: dict[str, dict[str, Any]]) -> None:
    """A Markdown table, summary.json and learning curves from the result files alone."""
    folder = cells.RESULTS / EXPERIMENT
    summary: dict[str, Any] = {}
    lines = [
        "| task | demonstrations | method | final return / expert (IQM, 95%) | each seed | "
        "with its noise, first to last | steps to 0.9 of the expert | steps to 0.6 with its noise |",
        "|---|---|---|---|---|---|---|---|",
    ]
    panels: dict[str, dict[str, Any]] = {}
    experts: dict[str, float] = {}
    for task, title in TASKS.items():
        for size in sorted(SIZES):
            for method, label in METHODS.items():
                record = results.get(f"{task}-{size}-{method}")
                if record is None:
                    continue
                scores = cells.final_scores(record)
                final = bootstrap_interval(scores)
                # Too few episodes end within the row BC's single iteration.
                noisy = None
                if method != "bc":
                    noisy = np.nanmean(cells.curve(record, "train_return", normalise=True)[1], axis=0)
                asked = steps_to(record, 0.9), steps_to(record, 0.6, "train_return")
                summary[f"{task}-{size}-{method}"] = {
                    "final": [final.estimate, final.low, final.high],
                    "seeds": scores.tolist(),
                    "with_noise": None if noisy is None else [float(noisy[0]), float(noisy[-1])],
                    "steps_to_0.9_of_expert": asked[0],
                    "steps_to_0.6_with_noise": asked[1],
                }
                each = "  ".join(f"{x:.2f}" for x in scores)
                whole = f"{final.estimate:.2f} [{final.low:.2f}, {final.high:.2f}]"
                effort = ("-", "-") if method == "bc" else tuple(median_steps(x) for x in asked)
                span = "-" if noisy is None else f"{noisy[0]:.2f} to {noisy[-1]:.2f}"
                row = (title, size, label, whole, each, span, *effort)
                lines.append("| " + " | ".join(map(str, row)) + " |")
                if method != "bc":
                    for name, what in (("return_mean", "deterministic"), ("train_return", "with noise")):
                        start = ", from nothing" if method.endswith("-nothing") else ""
                        panel = f"{title}, {size} demonstrations{start}\n{what}"
                        panels.setdefault(panel, {})[label.split()[0]] = cells.curve(record, name)
                        experts[panel] = record["expert_return"]
    cells.write_table(folder, lines, summary)
    if panels:
        learning_curve_panels(
            panels, folder / "table1.png", expert_returns=experts, ylabel="return (IQM)",
            columns=2,
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(cells.main(EXPERIMENT, CELLS, draw, __doc__))
