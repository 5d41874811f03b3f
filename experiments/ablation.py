"""What MAIL's settings are worth: Hopper from nothing, 4 demonstrations, one change at a time.

    python experiments/ablation.py             train what has no result yet, then draw
    python experiments/ablation.py --draw      only draw what there is
    python experiments/ablation.py --only base horizon-4

The seeds are not those of the other experiments, so what is chosen here is reported on others. Returns are those of
training episodes, under the policy's own noise: so early in training they say more than the deterministic policy's.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import cells
import numpy as np
from cells import Cell, earlier_preset

from gailfe_jax.analysis.plots import bar_intervals
from gailfe_jax.analysis.statistics import bootstrap_interval, iqm, mean_difference
from gailfe_jax.config.tree import set_values

EXPERIMENT = "ablation"
STEPS, SEEDS, FIRST_SEED, TRAJECTORIES = 102_400, 5, 100, 4
LAST = 0.25  # Share of training, at its end, over which a seed's return is averaged.

_FREE = {"policy.rollouts": "model", "policy.model.ensemble": 3, "policy.disagreement_limit": 1.0}
# Name, label, changes to MAIL's preset.
CHANGES: list[tuple[str, str, dict[str, Any]]] = [
    ("base", "MAIL's preset", {}),
    ("gail", "GAIL", {"algo": "gail"}),
    ("pathwise-0", "no gradient through the model", {"policy.pathwise": 0.0}),
    ("pathwise-1", "only the gradient through the model (the paper's)", {"policy.pathwise": 1.0}),
    ("horizon-4", "H = 4", {"policy.horizon": 4}),
    ("horizon-1", "H = 1", {"policy.horizon": 1}),
    ("horizon-128", "H = 128, the whole unroll", {"policy.horizon": 128}),
    ("no-value", "no value at the window's end", {"policy.terminal_value": False}),
    ("reward-d", "1 - D for -log D (the paper's)", {"reward.form": "1-d"}),
    ("disc-wide", "discriminator twice as wide", {"reward.hidden": (200, 200)}),
    ("disc-fast", "discriminator's learning rate 1e-3, decaying", {"reward.lr": 1e-3, "schedule.warm_restarts": 1}),
    ("restarts", "4 warm restarts", {"schedule.warm_restarts": 4}),
    ("policy-1", "one policy step per iteration", {"policy.steps": 1}),
    ("noise", "noise on the demonstrations", {"reward.expert_noise": 0.1}),
    ("replay", "discriminator sees the last 10 iterations", {"reward.replay": 10}),
    ("model-worse", "model fitted 4 steps for 40", {"policy.model.fit_steps": 4}),
    ("gated", "gated forward model", {"policy.model.kind": "gated"}),
    ("free", "rolls out in 3 models", _FREE),
]  # fmt: skip


def _cell(name: str, label: str, changes: dict[str, Any]) -> Cell:
    method = earlier_preset(changes.get("algo", "mail"), "hopper")
    method = set_values(method, {key: value for key, value in changes.items() if key != "algo"})
    return Cell(
        name, label, method, "hopper", STEPS, SEEDS, eval_every=STEPS / 10, trajectories=TRAJECTORIES,
        final_episodes=1, first_seed=FIRST_SEED,
    )  # fmt: skip


CELLS = [_cell(*change) for change in CHANGES]


def scores(record: dict[str, Any]) -> np.ndarray:
    """`[seeds]` share of the expert's return in the training episodes of the last quarter."""
    values = cells.curve(record, "train_return", normalise=True)[1]
    return np.nanmean(values[:, -max(1, round(LAST * values.shape[1])) :], axis=1)


def draw(results: dict[str, dict[str, Any]]) -> None:
    """A Markdown table, summary.json and a figure from the result files alone."""
    folder = cells.RESULTS / EXPERIMENT
    there = [cell for cell in CELLS if cell.name in results]
    found = {cell.label: scores(results[cell.name]) for cell in there}
    lines = [
        "| change | return with its noise / expert (IQM, 95%) | against the preset | model's error over a window | "
        "unexplained by one step |",
        "|---|---|---|---|---|",
    ]
    summary: dict[str, Any] = {}
    base = results.get("base")
    for cell in there:
        record = results[cell.name]
        value = bootstrap_interval(found[cell.label])
        entry: dict[str, Any] = {
            "seeds": found[cell.label].tolist(),
            "iqm": [value.estimate, value.low, value.high],
        }
        against = "-"
        if base is not None and cell.name != "base":
            difference = mean_difference(scores(base), found[cell.label])
            entry["against_base"] = [difference.estimate, difference.low, difference.high]
            against = f"{difference.estimate:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}]"
        errors = ["-", "-"]
        if "model_error_h" in record["evaluations"]:
            # The end of training: a model's errors fall as it sees more.
            last = [float(np.nanmean(cells.curve(record, name)[1][:, -1])) for name in cells.RAW_MODEL[1:]]
            entry |= dict(zip(cells.RAW_MODEL[1:], last, strict=True))
            errors = [f"{x:.2f}" for x in last]
        summary[cell.name] = entry
        row = (cell.label, f"{value.estimate:.2f} [{value.low:.2f}, {value.high:.2f}]", against, *errors)
        lines.append("| " + " | ".join(row) + " |")
    cells.write_table(folder, lines, summary)
    bar_intervals(
        found, folder / "ablation.png", title=f"MAIL on Hopper from nothing, after {STEPS:,} steps",
        xlabel="return with its noise / expert", reference=float(iqm(scores(base))) if base else None,
        reference_label="preset",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(cells.main(EXPERIMENT, CELLS, draw, __doc__))
