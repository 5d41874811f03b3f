"""The table every newcomer looks for (Figure 1 of Ho & Ermon 2016): all methods on few and thinned demonstrations.

    python experiments/gail_table.py           train what has no result yet and fits three hours of two cores; draw
    python experiments/gail_table.py --all     train all that has no result yet (half a day); draw
    python experiments/gail_table.py --draw    only draw what there is
    python experiments/gail_table.py --only hopper-4-gail hopper-4-bc

HalfCheetah, Hopper and Walker2d, {4, 11, 18, 25} demonstrations of which one pair in 20 is kept at a random phase, 5
seeds, 50 deterministic Gymnasium episodes each. Everything starts from nothing, has its preset and the same budget, but
for BC, which takes no step, DAgger, which asks the expert in every one, and one row of GAIL that starts from a clone of
the demonstrations. A few cells beside the table ask what more steps and larger batches would do. Sizes 4 and 25 come
first.
"""

from __future__ import annotations

import csv
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

EXPERIMENT = "gail_table"
TASKS = {"hopper": "Hopper-v5", "halfcheetah": "HalfCheetah-v5", "walker2d": "Walker2d-v5"}
PUBLISHED_EXPERTS = {"Hopper": 3571, "HalfCheetah": 4464, "Walker2d": 6717}
SIZES = (4, 11, 18, 25)
SEEDS, EPISODES, THINNED = 5, 50, 20
STEPS = {"hopper": 600_000, "halfcheetah": 1_000_000, "walker2d": 2_000_000}
METHODS = {
    "gail": ("GAIL (TRPO)", {"algo": "gail"}),
    # Few steps of cloning: GAIL learned more slowly after more of them, in trials on Walker2d, on other demonstrations
    # and seeds.
    "gail-clone": ("GAIL from a clone", {"algo": "gail", "start.steps": 300, "schedule.warmup_iterations": 8}),
    "bc": ("BC", {"algo": "bc"}),
    "gailfe": ("GAILFE", {"algo": "gailfe"}),
    "mail": ("MAIL", {"algo": "mail"}),
    "gail-ppo": ("GAIL (PPO)", {"algo": "gail", "policy": "ppo"}),
    "fem": ("FEM", {"algo": "fem"}),
    "gtal": ("GTAL", {"algo": "gtal"}),
}
# Questions beside the table, with their own steps on few tasks: are the steps short, or is it something else?
LARGE: dict[str, Any] = {"rollout.num_envs": 64}
SHORT = {task: 3 * STEPS[task] for task in ("halfcheetah", "walker2d")}
# Of the public code of these baselines, what ours leaves out: a reward that is never negative, statistics of the
# demonstrations alone, weights one iteration old, large batches of whole trajectories, and values that see the time.
PUBLIC: dict[str, Any] = {
    "reward.offset": "positive", "reward.normaliser": "demonstrations", "reward.delayed": True, "policy.max_kl": 0.01,
    "policy.timed_value": True, "rollout.num_envs": 25, "rollout.unroll_length": 1000,
}  # fmt: skip
BESIDE = {
    "fem-large": ("FEM, 8192 pairs a fit, 2.2 M steps", {"algo": "fem"} | LARGE, {"hopper": 2_200_000}),
    "gtal-large": ("GTAL, 8192 pairs a fit, 2.2 M steps", {"algo": "gtal"} | LARGE, {"hopper": 2_200_000}),
    "fem-public": ("FEM as in the public code, 5 M steps", {"algo": "fem"} | PUBLIC, {"hopper": 5_000_000}),
    "gtal-public": ("GTAL as in the public code, 5 M steps", {"algo": "gtal"} | PUBLIC, {"hopper": 5_000_000}),
    "gail-long": ("GAIL (TRPO), three times the steps", METHODS["gail"][1], SHORT),
    "gail-clone-long": (
        "GAIL from a clone, three times the steps",
        METHODS["gail-clone"][1],
        {"walker2d": SHORT["walker2d"]},
    ),
    # Not in the paper: it learns from failures besides, by a linear cost.
    "irlf": ("IRLF", {"algo": "irlf"}, {"hopper": STEPS["hopper"]}),
}
# Without demonstrations, so the same whatever their number.
ALWAYS = {"dagger": ("DAgger", {"algo": "dagger"}), "constant": ("constant reward", {"algo": "constant"})}
RANDOM = "random"
# A last step can make a deterministic gait stumble: steps fade away, and the average of the last fifty is judged.
ENDING: dict[str, Any] = {"schedule.anneal": True, "policy.average": 0.98}
# Thinned pairs are soon learned by heart (found likewise).
CLONING: dict[str, Any] = {"policy.weight_decay": 1.0, "patience": 100.0}


def _cell(task: str, method: str, size: int | None = None) -> Cell:
    label, settings, *longer = (METHODS | BESIDE | ALWAYS)[method]
    learner, run = preset(settings["algo"], task, policy=settings.get("policy"))
    values = {key: value for key, value in settings.items() if key not in ("algo", "policy")}
    if method == "bc":
        values |= CLONING
    elif learner.policy.average:
        values |= ENDING
    steps = run.steps if method in ("bc", "dagger") else (longer[0] if longer else STEPS)[task]
    eval_every = run.eval_every if method in ("bc", "dagger") else 50_000
    name = f"{task}-{method}" if size is None else f"{task}-{size}-{method}"
    return Cell(
        name, label, set_values(learner, values), task, steps, SEEDS, eval_every=eval_every, trajectories=size or 30,
        subsample=THINNED, final_episodes=EPISODES,
    )  # fmt: skip


CELLS = [
    *(_cell(task, method, size) for size in (4, 25) for method in METHODS for task in TASKS),
    *(_cell(task, method) for method in ALWAYS for task in TASKS),
    *(_cell(task, method, size) for size in (25, 4) for method in BESIDE for task in BESIDE[method][2]),
    *(_cell(task, method, size) for size in (11, 18) for method in METHODS for task in TASKS),
]
# What would take more than about three hours of two cores together: Walker2d's many steps, but for GAIL's and those of
# the methods that take next to none, what is longer still, and the sizes between.
_QUICK = ("gail", "gail-clone", "bc", *ALWAYS)
LATER = [
    cell.name
    for cell in CELLS
    if cell.trajectories in (11, 18)
    or cell.name.endswith(tuple(BESIDE))
    or (cell.name.startswith("walker2d") and not cell.name.endswith(_QUICK))
]


def published() -> dict[tuple[str, int, str], float]:
    """`(task, size, method) -> mean / expert` of Ho & Ermon 2016."""
    rows = (cells.HERE / "published" / "gail_returns.csv").read_text().splitlines()
    found = {}
    for row in csv.DictReader(line for line in rows if not line.startswith("#")):
        score = float(row["mean"]) / PUBLISHED_EXPERTS[row["env"]]
        found[row["env"].lower(), int(row["trajectories"]), row["method"]] = score
    return found


def draw(results: dict[str, dict[str, Any]]) -> None:
    """A Markdown table, summary.json and a figure over the number of demonstrations, from the result files alone."""
    folder = cells.RESULTS / EXPERIMENT
    theirs, planned = published(), {cell.name for cell in CELLS}
    sizes = [" | ".join(f"{size} demonstrations" for size in SIZES) + " |", "|---|---|" + "---|" * len(SIZES)]
    lines = [f"| task | method | {sizes[0]}", sizes[1]]
    # Their experts' returns are those of what they showed, noise and all: beside published shares stand shares of that.
    noisy = [f"| task | GAIL | {sizes[0]}", sizes[1]]
    summary: dict[str, Any] = {}
    panels: dict[str, dict[str, Any]] = {}

    def share(scores: np.ndarray) -> str:
        final = bootstrap_interval(scores)
        return f"{final.estimate:.2f} [{final.low:.2f}, {final.high:.2f}]"

    def score(key: str, record: dict[str, Any]) -> tuple[np.ndarray, str]:
        scores = cells.final_scores(record)
        final = bootstrap_interval(scores)
        summary[key] = {"final": [final.estimate, final.low, final.high], "seeds": scores.tolist()}
        return scores, share(scores)

    for task, title in TASKS.items():
        shown = cells.demonstrated(EXPERIMENT, task)
        means = [float(np.mean(shown["returns"][:size])) / shown["expert_return"] for size in SIZES]
        noisy_expert = float(np.mean(shown["returns"])) / shown["expert_return"]
        summary[f"{task}-demonstrations"] = means
        summary[f"{task}-noisy-expert"] = noisy_expert
        lines.append("| " + " | ".join((title, "*what is shown*", *(f"*{mean:.2f}*" for mean in means))) + " |")
        wanted = METHODS | {method: longer[:2] for method, longer in BESIDE.items() if task in longer[2]}
        for method, (label, settings) in wanted.items():
            texts, of_noisy, xs, ys = [], [], [], []
            for size in SIZES:
                key = f"{task}-{size}-{method}"
                old = theirs.get((task, size, settings["algo"].upper()))
                text = also = "not run" if key in planned else "-"
                if key in results:
                    scores, text = score(key, results[key])
                    also = share(scores / noisy_expert)
                    xs.append(size)
                    ys.append(scores)
                texts.append(text if old is None else f"{text}; published {old:.2f}")
                of_noisy.append(f"{also}; published {old:.2f}" if old is not None else also)
            lines.append("| " + " | ".join((title, label, *texts)) + " |")
            if method.startswith("gail") and method != "gailfe":
                noisy.append("| " + " | ".join((title, label, *of_noisy)) + " |")
            if xs and method in METHODS:
                panels.setdefault(title, {})[label] = (np.array(xs), np.stack(ys, axis=1))
        floors = {name: (label, results.get(f"{task}-{name}")) for name, (label, _) in ALWAYS.items()}
        floors[RANDOM] = ("random actions", cells.random_floor(EXPERIMENT, task, title, SEEDS, EPISODES))
        for name, (label, record) in floors.items():
            if record is None:
                continue
            scores, text = score(f"{task}-{name}", record)
            lines.append("| " + " | ".join((title, label, *([text] + ["the same"] * (len(SIZES) - 1)))) + " |")
            panels.setdefault(title, {})[label] = (np.array(SIZES), np.repeat(scores[:, None], len(SIZES), axis=1))
    lines += [
        "",
        "The same by what the noisy expert itself gets (the mean of all demonstrations), as published:",
        "",
        *noisy,
    ]
    hours = sum(r["train_seconds_last_session"] * r["provenance"]["hardware"]["cores"] for r in results.values()) / 3600
    lines += [
        "",
        f"{len(results)} of {len(CELLS)} cells have run; their last sessions trained for {hours:.1f} core hours.",
    ]
    cells.write_table(folder, lines, summary)
    learning_curve_panels(
        panels, folder / "gail_table.png", title=f"One demonstrated pair in {THINNED}",
        xlabel="demonstrations", ylabel="return / expert (IQM)",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(cells.main(EXPERIMENT, CELLS, draw, __doc__, later=LATER))
