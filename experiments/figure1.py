"""Figure 1 of GAILFE (Zhu et al. 2020): does learning from failures speed GAIL up on HalfCheetah and Hopper?

    python experiments/figure1.py            train what has no result yet, then draw
    python experiments/figure1.py --draw     only draw what there is

The paper's settings: 30 trajectories, iterations of 1024 steps, 2x100 tanh, TRPO, N = 1500, Z_F = log(1/2). The main
comparison has 20 vmapped seeds; further cells ask in which settings failures could matter.
"""

from __future__ import annotations

import math
import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import cells
import numpy as np
from cells import Cell, earlier_preset

from gailfe_jax.analysis.plots import bar_intervals, learning_curve_panels
from gailfe_jax.analysis.statistics import (
    bootstrap_interval,
    iqm,
    mean_difference,
    minimum_detectable_difference,
    probability_of_improvement,
)
from gailfe_jax.config.tree import set_values

EXPERIMENT = "figure1"
TASKS = {"hopper": "Hopper-v5", "halfcheetah": "HalfCheetah-v5"}
STEPS = {"hopper": 400_000, "halfcheetah": 500_000}
MAIN_SEEDS, SIDE_SEEDS = 20, 5
PAPER: dict[str, Any] = {
    "rollout.num_envs": 8, "rollout.unroll_length": 128, "schedule.anneal": False, "policy.average": 0.0,
}  # fmt: skip


def _cell(
    name: str,
    label: str,
    algo: str,
    task: str,
    seeds: int,
    settings: dict[str, Any] | None = None,
    *,
    demos: dict[str, Any] | None = None,
    steps: float | None = None,
) -> Cell:
    # Of what the paper does not say (discount, trust region, discriminator's steps) the presets are taken.
    method = set_values(earlier_preset(algo, task), PAPER | (settings or {}))
    return Cell(name, label, method, task, steps=steps or STEPS[task], seeds=seeds, **(demos or {}))


MAIN = [
    _cell(f"{task}-{algo}", algo.upper(), algo, task, MAIN_SEEDS)
    for task in ("hopper", "halfcheetah")
    for algo in ("gail", "gailfe")
]

_FIXED: dict[str, Any] = {"constraint.multiplier": "fixed", "constraint.weight": 1.0}
_LAST = _FIXED | {"failures.last_steps": 20}
_COLLECTED: dict[str, Any] = {"failures.source": "collected", "failures.capacity": 100}
_FEW = {"trajectories": 4, "subsample": 20}
SIDE = [
    _cell("hopper-fixed", "fixed lambda = 1", "gailfe", "hopper", SIDE_SEEDS, _FIXED),
    _cell("hopper-fixed-last20", "fixed, last 20 steps", "gailfe", "hopper", SIDE_SEEDS, _LAST),
    _cell("hopper-few-gail", "GAIL, 4 demos 1 in 20", "gail", "hopper", MAIN_SEEDS, demos=_FEW),
    _cell("hopper-few-gailfe", "dual, 4 demos 1 in 20", "gailfe", "hopper", SIDE_SEEDS, demos=_FEW),
    _cell(
        "hopper-few-fixed-last20", "fixed, last 20 steps, 4 demos 1 in 20", "gailfe", "hopper", MAIN_SEEDS, _LAST,
        demos=_FEW,
    ),
    _cell("hopper-collected", "dual, collected failures only", "gailfe", "hopper", SIDE_SEEDS, _COLLECTED),
    _cell(
        "hopper-zf97", "dual, Z_F = log 0.97", "gailfe", "hopper", SIDE_SEEDS,
        {"constraint.threshold": math.log(0.97)},
    ),
    _cell(
        "hopper-fixed-collected", "fixed, collected failures only", "gailfe", "hopper", SIDE_SEEDS,
        _COLLECTED | _FIXED,
    ),
]  # fmt: skip
# Not about failures: whose statistics should standardise the policy's observations.
CONTROL = [
    _cell(
        "hopper-gail-running", "GAIL, running normaliser", "gail", "hopper", MAIN_SEEDS,
        {"policy.obs_normaliser": "running"}, steps=600_000,
    ),
    _cell(
        "halfcheetah-gail-demonstrations", "GAIL, demonstrations' normaliser", "gail", "halfcheetah", MAIN_SEEDS,
        {"policy.obs_normaliser": "demonstrations"}, steps=400_000,
    ),
]  # fmt: skip
# The regime of the code that the paper started from (OpenAI baselines): a discriminator that lags behind, by one step
# on an iteration's whole batch and no penalty, and a smaller trust region. Failures are sorted out of expert runs.
_LAGGING: dict[str, Any] = {
    "reward.steps": 1, "reward.minibatch": 1024, "reward.lr": 3e-4, "reward.gradient_penalty": False,
    "policy.max_kl": 0.01,
}  # fmt: skip
LAGGING = [
    _cell(f"{task}-lagging-{name}", f"{label}, lagging D", algo, task, MAIN_SEEDS, _LAGGING | more,
          demos={"keep_failed": False})
    for task in ("hopper", "halfcheetah")
    for name, label, algo, more in (
        ("gail", "GAIL", "gail", {}),
        ("gailfe", "dual", "gailfe", {}),
        ("fixed", "fixed lambda = 1", "gailfe", _FIXED),
    )
]  # fmt: skip
CELLS = MAIN + SIDE + CONTROL + LAGGING


def compare(x: dict[str, Any], y: dict[str, Any]) -> dict[str, Any]:
    """How two cells differ, `y` against `x`: final and mean-over-training expert-normalised returns."""
    out: dict[str, Any] = {}
    for name, score in (("final", cells.final_scores), ("area", cells.area_scores)):
        a, b = score(x), score(y)
        pooled = math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
        difference = mean_difference(a, b)
        improvement = probability_of_improvement(b, a)
        out[name] = {
            "mean_difference": difference.estimate,
            "interval": [difference.low, difference.high],
            "probability_of_improvement": [improvement.estimate, improvement.low, improvement.high],
            "seed_std": pooled,
            "detectable_difference": minimum_detectable_difference(pooled, len(a), len(b)),
        }
    return out


def constraint_activity(record: dict[str, Any]) -> dict[str, float]:
    """Where the multiplier stood over training and how slack the constraint was, means over seeds."""
    steps, multiplier = cells.curve(record, "multiplier")
    log_d = cells.curve(record, "failure_log_d")[1]
    positive = (multiplier > 0).mean(axis=0)
    return {
        "share_of_evaluations_with_positive_multiplier": float(positive.mean()),
        "last_step_with_positive_multiplier": float(steps[positive > 0].max()) if positive.any() else 0.0,
        "multiplier_first": float(np.nanmean(multiplier[:, 0])),
        "multiplier_last": float(np.nanmean(multiplier[:, -1])),
        "failure_log_d_first": float(np.nanmean(log_d[:, 0])),
        "failure_log_d_last": float(np.nanmean(log_d[:, -1])),
    }


def draw(results: dict[str, dict[str, Any]]) -> None:
    """Figures, a Markdown table and summary.json from the result files alone."""
    folder = cells.RESULTS / EXPERIMENT
    panels, experts = {}, {}
    for task, title in TASKS.items():
        curves = {
            cell.label: cells.curve(results[cell.name]) for cell in MAIN if cell.name in results and cell.env == task
        }
        if curves:
            panels[title] = curves
            experts[title] = results[next(c.name for c in MAIN if c.name in results and c.env == task)]["expert_return"]
    if panels:
        learning_curve_panels(
            panels, folder / "figure1.png", title="GAIL and GAILFE, the paper's settings", expert_returns=experts,
            ylabel="return, deterministic policy (IQM)",
        )  # fmt: skip
    gailfe = {t: results[f"{e}-gailfe"] for e, t in TASKS.items() if f"{e}-gailfe" in results}
    if gailfe:
        learning_curve_panels(
            {
                "multiplier": {t: cells.curve(r, "multiplier") for t, r in gailfe.items()},
                "mean log D on failures (Z_F = -0.69)": {t: cells.curve(r, "failure_log_d") for t, r in gailfe.items()},
            },
            folder / "constraint.png", title="GAILFE: constraint activity", ylabel="", columns=2,
        )  # fmt: skip
    lagging = {
        title: {c.label: cells.curve(results[c.name]) for c in LAGGING if c.name in results and c.env == task}
        for task, title in TASKS.items()
    }
    lagging = {title: curves for title, curves in lagging.items() if curves}
    if lagging:
        learning_curve_panels(
            lagging, folder / "lagging.png", title="A discriminator that lags behind", expert_returns=experts,
            ylabel="return, deterministic policy (IQM)",
        )  # fmt: skip
    side = {c.label: cells.final_scores(results[c.name]) for c in SIDE if c.name in results}
    if side and "hopper-gail" in results:
        scores = {"GAIL": cells.final_scores(results["hopper-gail"])}
        if "hopper-gailfe" in results:
            scores["GAILFE (paper: dual)"] = cells.final_scores(results["hopper-gailfe"])
        bar_intervals(
            scores | side, folder / "settings.png", title="Hopper: settings in which failures could matter",
            xlabel="final / expert", reference=1.0,
        )  # fmt: skip
    summary: dict[str, Any] = {"cells": {}, "comparisons": {}, "constraint": {}}
    lines = [
        "| cell | seeds | steps | final return / expert (IQM, 95%) | mean over training / expert (IQM, 95%) |",
        "|---|---|---|---|---|",
    ]
    for cell in CELLS:
        if cell.name not in results:
            continue
        record = results[cell.name]
        final = bootstrap_interval(cells.final_scores(record))
        area = bootstrap_interval(cells.area_scores(record))
        scores = cells.curve(record, normalise=True)[1]
        reached = iqm(scores, axis=0) >= 0.9
        summary["cells"][cell.name] = {
            "final": [final.estimate, final.low, final.high],
            "area": [area.estimate, area.low, area.high],
            "steps_to_0.9_of_expert": float(np.array(record["steps"])[reached].min()) if reached.any() else None,
        }
        if "multiplier" in record["evaluations"]:
            summary["constraint"][cell.name] = constraint_activity(record)
        text = [f"{i.estimate:.2f} [{i.low:.2f}, {i.high:.2f}]" for i in (final, area)]
        lines.append(f"| {cell.env}: {cell.label} | {cell.seeds} | {cell.steps:,.0f} | {text[0]} | {text[1]} |")
    pairs = [(f"{task}-gail", f"{task}-gailfe") for task in TASKS]
    pairs += [("hopper-few-gail" if "few" in c.name else "hopper-gail", c.name) for c in SIDE if "gail" not in c.name]
    pairs += [("hopper-few-gail", "hopper-few-gailfe")]
    pairs += [(f"{task}-lagging-gail", f"{task}-lagging-{name}") for task in TASKS for name in ("gailfe", "fixed")]
    lines += [
        "",
        "| against GAIL | at the end | over training | detectable at the end (power 0.8) |",
        "|---|---|---|---|",
    ]
    for x, y in pairs:
        if x in results and y in results:
            summary["comparisons"][y] = found = compare(results[x], results[y])
            text = [
                f"{found[k]['mean_difference']:+.2f} [{found[k]['interval'][0]:+.2f}, {found[k]['interval'][1]:+.2f}]"
                for k in ("final", "area")
            ]
            lines.append(f"| {y} | {text[0]} | {text[1]} | {found['final']['detectable_difference']:.2f} |")
    cells.write_table(folder, lines, summary)


if __name__ == "__main__":
    sys.exit(cells.main(EXPERIMENT, CELLS, draw, __doc__))
