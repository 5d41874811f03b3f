"""Which combination learns best from 4 demonstrations and failures? Hopper, from nothing.

    python experiments/combinations.py             train what has no result yet, then draw
    python experiments/combinations.py --draw      only draw what there is
    python experiments/combinations.py --only gailfe gailfe-mail

GAIL and MAIL are Table 1's cells from nothing; the others have the same budget, demonstrations and seeds. GASIL x MAIL
has neither demonstrations nor the true reward in its step: only which of its own episodes were best.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import cells
import table1
from cells import Cell, earlier_preset

from gailfe_jax.analysis.plots import learning_curve_panels
from gailfe_jax.analysis.statistics import bootstrap_interval, mean_difference
from gailfe_jax.learners.combinations import COMBINATIONS

EXPERIMENT = "combinations"
METHODS = {
    "gailfe": "GAILFE",
    "gailfe-successes": "GAILFE+successes",
    "gailfe-mail": "GAILFE x MAIL",
    "gasil-mail": "GASIL x MAIL",
}
SHARED = {"hopper-4-gail-nothing": "GAIL", "hopper-4-mail-nothing": "MAIL"}


def _cell(name: str, label: str) -> Cell:
    combination = next(c for c in COMBINATIONS if c.name == label)
    # The shared cells' parts: what differs is where the positives come from, and the constraint.
    shared = earlier_preset("mail" if combination.policy == "mail" else "gail", "hopper")
    method = combination.build().replace(rollout=shared.rollout, policy=shared.policy, reward=shared.reward)
    return Cell(
        name, label, method, "hopper", table1.NOTHING_STEPS, table1.SEEDS, eval_every=16_384, trajectories=4,
        final_episodes=table1.EPISODES,
    )  # fmt: skip


CELLS = [_cell(name, label) for name, label in METHODS.items()]


def draw(results: dict[str, dict[str, Any]]) -> None:
    """A Markdown table, summary.json and learning curves from the result files alone."""
    folder = cells.RESULTS / EXPERIMENT
    shared = {cell.name: cell for cell in table1.CELLS if cell.name in SHARED}
    found = cells.run_cells(list(shared.values()), table1.EXPERIMENT, train_missing=False)
    rows = {SHARED[name]: record for name, record in sorted(found.items())}
    rows |= {METHODS[name]: record for name, record in results.items()}
    lines = [
        "| method | final return / expert (IQM, 95%) | each seed | over training (IQM, 95%) | "
        "steps to 0.9 of the expert | against GAIL, at the end |",
        "|---|---|---|---|---|---|",
    ]
    summary: dict[str, Any] = {}
    for label, record in rows.items():
        scores = cells.final_scores(record)
        final, area = bootstrap_interval(scores), bootstrap_interval(cells.area_scores(record))
        steps = table1.steps_to(record, 0.9)
        entry: dict[str, Any] = {
            "final": [final.estimate, final.low, final.high],
            "area": [area.estimate, area.low, area.high],
            "seeds": scores.tolist(),
            "steps_to_0.9_of_expert": steps,
        }
        against = "-"
        if "GAIL" in rows and label != "GAIL":
            gain = mean_difference(cells.final_scores(rows["GAIL"]), scores)
            entry["against_gail"] = [gain.estimate, gain.low, gain.high]
            against = f"{gain.estimate:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]"
        summary[label] = entry
        row = (
            label,
            f"{final.estimate:.2f} [{final.low:.2f}, {final.high:.2f}]",
            "  ".join(f"{x:.2f}" for x in scores),
            f"{area.estimate:.2f} [{area.low:.2f}, {area.high:.2f}]",
            table1.median_steps(steps),
            against,
        )
        lines.append("| " + " | ".join(row) + " |")
    cells.write_table(folder, lines, summary)
    curves = {label: cells.curve(record, normalise=True) for label, record in rows.items()}
    learning_curve_panels(
        {"Hopper-v5, 4 demonstrations": curves}, folder / "combinations.png",
        ylabel="return / expert, deterministic policy (IQM)",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(cells.main(EXPERIMENT, CELLS, draw, __doc__))
