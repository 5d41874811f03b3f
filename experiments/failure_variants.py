"""How failures should enter: a screening of ways in which they constrain the discriminator.

    python experiments/failure_variants.py           train what has no result yet (about an hour of one core); draw
    python experiments/failure_variants.py --draw    only draw what there is

Hopper from a clone of one demonstration, as in from_clones.py, with demonstrations and seeds of its own: 10 seeds of
each way beside 10 of GAIL, paired. It chooses, and shows nothing: of nine ways the best of ten seeds is lucky. What it
chooses is repeated on fresh seeds before anybody believes it. The last way is no constraint: a classifier of its own
tells failures from demonstrations, and its word is added to GAIL's reward.
"""

from __future__ import annotations

import math
import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import cells
from cells import Cell
from from_clones import EPISODES, EVAL_EVERY, MEASURES, START, STEPS, paired, pushed

from gailfe_jax.analysis.plots import bar_intervals
from gailfe_jax.config.tree import set_values
from gailfe_jax.io.user_modules import import_user_module
from gailfe_jax.learners.presets import preset

import_user_module(str(pathlib.Path(__file__).resolve().parents[1] / "examples" / "failure_classifier.py"))

EXPERIMENT = "failure_variants"
TASK, SHOWN, SEEDS, FIRST_SEED, DEMOS = "hopper", 1, 10, 300, 21


def _fixed(weight: float = 1.0) -> dict[str, Any]:
    return {"constraint.multiplier": "fixed", "constraint.weight": weight}


def _dual(probability: float) -> dict[str, Any]:
    """Failures are to be taken for the policy's with that probability; the multiplier follows at a rate of its own."""
    return {"constraint.threshold": math.log(probability), "constraint.dual_lr": 0.2}


_LAST: dict[str, Any] = {"failures.last_steps": 20}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "last20": ("lambda = 1, last 20 steps", _fixed() | _LAST),
    "last5": ("lambda = 1, last 5 steps", _fixed() | {"failures.last_steps": 5}),
    "half10": ("lambda = 1, half-life of 10 steps", _fixed() | {"failures.last_steps": 10, "failures.fade": True}),
    "light": ("lambda = 0.3, last 20 steps", _fixed(0.3) | _LAST),
    "heavy": ("lambda = 3, last 20 steps", _fixed(3.0) | _LAST),
    "own": ("lambda = 1, last 20 steps, own failures only", _fixed() | _LAST | {"failures.source": "own"}),
    "dual75": ("dual, Z_F = log 0.75, last 20 steps", _dual(0.75) | _LAST),
    "dual95": ("dual, Z_F = log 0.95, last 20 steps", _dual(0.95) | _LAST),
}


def _cell(name: str, label: str, algo: str, settings: dict[str, Any]) -> Cell:
    return Cell(
        name, label, set_values(preset(algo, TASK)[0], START | settings), TASK, STEPS, SEEDS, eval_every=EVAL_EVERY,
        trajectories=SHOWN, final_episodes=EPISODES, first_seed=FIRST_SEED, keep_failed=False, demos_seed=DEMOS,
        also=pushed(TASK),
    )  # fmt: skip


CELLS = [
    _cell("gail", "GAIL", "gail", {}),
    *(_cell(name, label, "gailfe", settings) for name, (label, settings) in WAYS.items()),
    _cell("classifier", "a classifier of its own, last 20 steps", "second_opinion", _LAST),
]


def draw(results: dict[str, dict[str, Any]]) -> None:
    """A Markdown table of differences from GAIL, summary.json and a figure, from the result files alone."""
    folder = cells.RESULTS / EXPERIMENT
    if len(results) < 2 or "gail" not in results:
        print("nothing to draw yet; expected GAIL and another way")
        return
    lines = ["| way | " + " | ".join(MEASURES) + " |", "|---" * (len(MEASURES) + 1) + "|"]
    base = {measure: score(results["gail"]) for measure, (score, _) in MEASURES.items()}
    lines.append("| GAIL, mean | " + " | ".join(f"{values.mean():.2f}" for values in base.values()) + " |")
    summary: dict[str, Any] = {"gail": {measure: values.tolist() for measure, values in base.items()}}
    bars = {}
    for cell in CELLS[1:]:
        if cell.name not in results:
            continue
        row, found = [], {}
        for measure, (score, _) in MEASURES.items():
            values = score(results[cell.name])
            less = paired(values - base[measure])
            found[measure] = {"seeds": values.tolist(), "less_gail": list(less)}
            row.append(f"{less[0]:+.3f} [{less[1]:+.3f}, {less[2]:+.3f}]")
        exploring = MEASURES["as it explores"][0]
        bars[cell.label] = exploring(results[cell.name]) - exploring(results["gail"])
        summary[cell.name] = found
        lines.append(f"| {cell.label} | {' | '.join(row)} |")
    cells.write_table(folder, lines, summary)
    bar_intervals(
        bars, folder / f"{EXPERIMENT}.png", title="Exploring return over training, less GAIL's",
        xlabel="share of the expert's", reference=0.0,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(cells.main(EXPERIMENT, CELLS, draw, __doc__))
