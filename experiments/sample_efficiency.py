"""How many environment steps imitation takes: steps from replay beside steps on the newest unroll.

    python experiments/sample_efficiency.py             train what has no result yet (many hours), then draw
    python experiments/sample_efficiency.py --draw      only draw what there is
    python experiments/sample_efficiency.py --only hopper-thinned-gail-replay-0

HalfCheetah, Hopper and Walker2d from nothing, with 4 demonstrations thinned 1 in 20 and with 4 whole ones, of the
shipped expert's mean actions; its failures are left out. A third kind shows its samples: on HalfCheetah the noise
costs a fifth of the return. 10 seeds in two halves. Settings are the presets', which were tuned on other seeds and
other demonstrations. Every 10,000 steps the deterministic policy plays 10 fresh episodes on MuJoCo's C engine, which
is Gymnasium's; at the end 20 in Gymnasium itself. A seed has reached the expert at the first of five evaluations in a
row whose mean is at least 0.9 of it. Steps on the newest unroll get three times the budget.
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

EXPERIMENT = "sample_efficiency"
# Task: its name in print, steps from replay.
TASKS = {
    "halfcheetah": ("HalfCheetah-v5", 200_000),
    "hopper": ("Hopper-v5", 300_000),
    "walker2d": ("Walker2d-v5", 600_000),
}
# How the demonstrations are shown: in print, one pair in so many, whether without the expert's noise.
SHOWN = {
    "thinned": ("4 thinned 1 in 20", 20, True),
    "whole": ("4 whole", 1, True),
    "noisy": ("4 thinned 1 in 20, with the expert's noise", 20, False),
}
# Method, policy step (None: its own), name in print, share of the budget.
METHODS = {
    "gail-replay": ("gail", "sac", "GAIL from replay (SAC; HalfCheetah: TD3)", 1),
    "mail-replay": ("gail", "svg", "MAIL from replay (SVG)", 1),
    "gail": ("gail", None, "GAIL (TRPO)", 3),
    "mail": ("mail", None, "MAIL", 3),
}
# The policy step that the preset's settings were chosen with, where it is another.
STEP_ON = {("halfcheetah", "gail-replay"): "td3"}
TRAJECTORIES, EVAL_EVERY, EVAL_EPISODES, EPISODES = 4, 10_000, 10, 20
# Ten seeds in halves, so that less is lost where a machine stops. Those before 100 belong to other experiments.
FIRST_SEED, HALF, SEEDS = 100, 5, 10
GOAL, IN_A_ROW = 0.9, 5


def _cell(task: str, shown: str, name: str, half: int) -> Cell:
    algo, policy, label, share = METHODS[name]
    method, _ = preset(algo, task, policy=STEP_ON.get((task, name), policy))
    in_print, subsample, deterministic = SHOWN[shown]
    return Cell(
        f"{task}-{shown}-{name}-{half}", f"{label}, {in_print}, seeds from {FIRST_SEED + half}", method, task,
        share * TASKS[task][1], HALF, eval_every=EVAL_EVERY, trajectories=TRAJECTORIES, subsample=subsample,
        final_episodes=EPISODES, first_seed=FIRST_SEED + half, failures=0, keep_failed=False,
        eval_episodes=EVAL_EPISODES, deterministic=deterministic,
    )  # fmt: skip


# The most telling first.
CELLS = [
    _cell(task, shown, name, half)
    for shown in SHOWN
    for name in METHODS
    for task in TASKS
    for half in range(0, SEEDS, HALF)
    if shown != "noisy" or name in ("gail-replay", "gail")
]


def reached(steps: np.ndarray, shares: np.ndarray) -> float | None:
    """Steps `[k]` at the first of `IN_A_ROW` evaluations whose mean of `shares [k]` is `GOAL` or more; None if none."""
    if len(shares) < IN_A_ROW:
        return None
    means = np.lib.stride_tricks.sliding_window_view(shares, IN_A_ROW).mean(axis=1)
    there = np.flatnonzero(means >= GOAL)
    return float(steps[there[0]]) if len(there) else None


def _together(results: dict[str, dict[str, Any]], task: str, shown: str, name: str) -> list[dict[str, Any]]:
    """The records of a row, one for each half that has run."""
    names = [f"{task}-{shown}-{name}-{half}" for half in range(0, SEEDS, HALF)]
    return [results[name] for name in names if name in results]


def draw(results: dict[str, dict[str, Any]]) -> None:
    """A Markdown table, summary.json and a figure from the result files alone."""
    folder = cells.RESULTS / EXPERIMENT
    lines = [
        "| task | demonstrations | method | seeds | steps to a sustained 0.9 (median) | seeds that get there "
        "| end, of the expert (IQM, 95%) | worst seed | minutes a seed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    summary: dict[str, Any] = {}
    panels: dict[str, Any] = {}
    for shown, (in_print, _, _) in SHOWN.items():
        for task, (title, _) in TASKS.items():
            for name, (_, _, label, _) in METHODS.items():
                records = _together(results, task, shown, name)
                if not records:
                    continue
                steps = cells.curve(records[0])[0]
                curves = np.concatenate([cells.curve(record, normalise=True)[1] for record in records])
                scores = np.concatenate([cells.final_scores(record) for record in records])
                each = [reached(steps, row) for row in curves]
                value = bootstrap_interval(scores)
                seconds = sum(record["train_seconds_last_session"] for record in records) / len(scores)
                summary[f"{task}-{shown}-{name}"] = {
                    "seeds": scores.tolist(), "iqm": [value.estimate, value.low, value.high],
                    "steps_to_sustained_goal": each, "seconds_a_seed": seconds,
                }  # fmt: skip
                there = [x for x in each if x is not None]
                # A seed that never gets there takes longer than any that does.
                middle = float(np.median([np.inf if x is None else x for x in each]))
                row = (
                    title, in_print, label, len(scores), f"{middle:,.0f}" if np.isfinite(middle) else "never",
                    f"{len(there)} of {len(each)}", f"{value.estimate:.2f} [{value.low:.2f}, {value.high:.2f}]",
                    f"{scores.min():.2f}", f"{seconds / 60:.1f}",
                )  # fmt: skip
                lines.append("| " + " | ".join(map(str, row)) + " |")
                panels.setdefault(f"{title}, {in_print}", {})[label] = (steps, curves)
    cells.write_table(folder, lines, summary)
    learning_curve_panels(
        panels, folder / f"{EXPERIMENT}.png", ylabel="share of the expert (IQM)", columns=3,
        expert_returns=dict.fromkeys(panels, 1.0),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(cells.main(EXPERIMENT, CELLS, draw, __doc__))
