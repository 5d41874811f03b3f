"""Whether failures help where they should matter most: from a clone of few demonstrations, with failures near them.

    python experiments/from_clones.py           train what has no result yet (some hours of one core a task); draw
    python experiments/from_clones.py --draw    only draw what there is
    python experiments/from_clones.py --only hopper-4-1-gail hopper-4-1-dual hopper-4-1-last

The last sentence of Zhu et al. 2020 promises to avoid "repeatedly exploring some failed behaviors". So what counts here
is the way as much as the end: falls while training, the return of the policy as it explores, the worst seed, and what
is left of the return where the robot is pushed. GAIL, GAILFE as in the paper (a dual variable, whole failures), and the
one variant that looked best in trials on other seeds and demonstrations: lambda fixed at 1, and the last 20 steps of
each failure. All start from a clone of 4 whole demonstrations, or of 1, of the shipped expert with its noise; the 100
failures are of that expert under more noise, which falls. Five sets of demonstrations, ten seeds each, the same for all
three, so that differences are paired.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import cells
import gymnasium
import numpy as np
from cells import Cell

from gailfe_jax.analysis.plots import bar_intervals
from gailfe_jax.analysis.statistics import bootstrap_interval
from gailfe_jax.config.tree import set_values
from gailfe_jax.learners.presets import preset

EXPERIMENT = "from_clones"
TASKS = {"hopper": "Hopper-v5", "walker2d": "Walker2d-v5"}
SHOWN = (4, 1)
STEPS, EVAL_EVERY, EPISODES = 163_840, 16_384, 10
# Those before 200 belong to other experiments; what was tried before had other seeds and demonstrations.
SETS, SEEDS, FIRST_SEED, FIRST_DEMOS = 5, 10, 200, 11
START: dict[str, Any] = {"start.steps": 8000, "schedule.warmup_iterations": 8}
METHODS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gail": ("GAIL", "gail", {}),
    "dual": ("GAILFE, dual variable, whole failures", "gailfe", {}),
    "last": (
        "GAILFE, lambda = 1, last 20 steps", "gailfe",
        {"constraint.multiplier": "fixed", "constraint.weight": 1.0, "failures.last_steps": 20},
    ),
}  # fmt: skip
# Metres per second, standard deviation of what a push adds to the torso's velocity: such that the shipped expert falls
# about as often as not. Steps between pushes.
PUSH = {"hopper": 0.2, "walker2d": 0.7}
BETWEEN = 100


class Pushed(gymnasium.Wrapper):
    """A MuJoCo task in a plane whose robot's torso is pushed at random, back and forth and up and down."""

    def __init__(self, env: gymnasium.Env, push: float):
        super().__init__(env)
        self._push = push

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As of a wrapper; pushes follow from the seed."""
        self._rng, self._step = np.random.default_rng(seed), 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As of a wrapper."""
        self._step += 1
        if self._step % BETWEEN == 0:
            simulator: Any = self.env.unwrapped
            velocity = simulator.data.qvel.copy()
            velocity[:2] += self._rng.normal(0, self._push, 2)
            simulator.set_state(simulator.data.qpos.copy(), velocity)
        return self.env.step(action)


def pushed(task: str) -> str:
    """The Gymnasium id of a task with pushes, which it registers."""
    name = f"Pushed{TASKS[task]}"
    if name not in gymnasium.registry:

        def make(**options: Any) -> gymnasium.Env:
            bare: Any = gymnasium.make(TASKS[task], **options)
            return Pushed(bare.env, PUSH[task])  # Without the time limit, which is set anew.

        gymnasium.register(name, make, max_episode_steps=1000)
    return name


def _cell(task: str, shown: int, number: int, name: str) -> Cell:
    label, algo, settings = METHODS[name]
    return Cell(
        f"{task}-{shown}-{number}-{name}", f"{label}, {shown} shown, set {number}",
        set_values(preset(algo, task)[0], START | settings), task, STEPS, SEEDS, eval_every=EVAL_EVERY,
        trajectories=shown, final_episodes=EPISODES, first_seed=FIRST_SEED + SEEDS * (number - 1), keep_failed=False,
        demos_seed=FIRST_DEMOS + number, also=pushed(task),
    )  # fmt: skip


CELLS = [
    _cell(task, shown, number, name)
    for task in TASKS
    for shown in SHOWN
    for number in range(1, SETS + 1)
    for name in METHODS
]


def falls(record: dict[str, Any]) -> np.ndarray:
    """`[seeds]` how often a seed fell while it trained, for each thousand steps."""
    counts = cells.curve(record, "episodes")[1]
    # Of chunks in which no episode ended there is no share that fell.
    return np.nansum(cells.curve(record, "train_falls")[1] * counts, axis=1) / (STEPS / 1000)


def exploring(record: dict[str, Any]) -> np.ndarray:
    """`[seeds]` mean return, as a share of the expert's, of the episodes of training."""
    counts = cells.curve(record, "episodes")[1]
    returns = cells.curve(record, "train_return", normalise=True)[1]
    return np.nansum(returns * counts, axis=1) / np.nansum(counts, axis=1)


def under_pushes(record: dict[str, Any]) -> np.ndarray:
    """`[seeds]` mean return under pushes at the end, as a share of the expert's without."""
    return np.mean(record["also_gymnasium_returns"], axis=1) / record["expert_return"]


# In print, and whether more is better.
MEASURES = {
    "at the end": (cells.final_scores, True),
    "under pushes": (under_pushes, True),
    "mean over training": (cells.area_scores, True),
    "as it explores": (exploring, True),
    "falls per 1000 steps": (falls, False),
}


def paired(differences: np.ndarray) -> tuple[float, float, float]:
    """`(mean, low, high)` of paired differences `[seeds]`, 95% by resampling seeds."""
    rng = np.random.default_rng(0)
    means = differences[rng.integers(0, len(differences), (10_000, len(differences)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(differences.mean()), float(low), float(high)


def _together(results: dict[str, dict[str, Any]], task: str, shown: int) -> dict[str, dict[str, np.ndarray]]:
    """Method -> measure -> `[seeds]`, of the sets that all methods have."""
    names = {number: [f"{task}-{shown}-{number}-{name}" for name in METHODS] for number in range(1, SETS + 1)}
    whole = [number for number, wanted in names.items() if all(name in results for name in wanted)]
    if not whole:
        return {}
    return {
        name: {
            measure: np.concatenate([score(results[f"{task}-{shown}-{number}-{name}"]) for number in whole])
            for measure, (score, _) in MEASURES.items()
        }
        for name in METHODS
    }


def draw(results: dict[str, dict[str, Any]]) -> None:
    """A Markdown table, summary.json and a figure from the result files alone."""
    folder = cells.RESULTS / EXPERIMENT
    lines = [
        f"| task | shown | method | seeds | {' | '.join(MEASURES)} | worst at the end |",
        "|---" * (len(MEASURES) + 5) + "|",
    ]
    summary: dict[str, Any] = {}
    bars: dict[str, dict[str, np.ndarray]] = {}
    for task, title in TASKS.items():
        for shown in SHOWN:
            scores = _together(results, task, shown)
            for name, measured in scores.items():
                row, found = [], {}
                for measure in MEASURES:
                    mean = bootstrap_interval(measured[measure])
                    text = f"{mean.estimate:.2f} [{mean.low:.2f}, {mean.high:.2f}]"
                    found[measure] = {"seeds": measured[measure].tolist(), "iqm": [mean.estimate, mean.low, mean.high]}
                    if name != "gail":
                        less = paired(measured[measure] - scores["gail"][measure])
                        found[measure]["less_gail"] = list(less)
                        text += f"; {less[0]:+.3f} [{less[1]:+.3f}, {less[2]:+.3f}]"
                    row.append(text)
                ends = measured["at the end"]
                head = (title, str(shown), METHODS[name][0], str(len(ends)))
                lines.append("| " + " | ".join((*head, *row, f"{ends.min():.2f}")) + " |")
                summary[f"{task}-{shown}-{name}"] = found
                bars.setdefault(f"{title}, {shown} shown", {})[METHODS[name][0]] = measured["as it explores"]
    cells.write_table(folder, lines, summary)
    together = {f"{place}: {label}": values for place, row in bars.items() for label, values in row.items()}
    if not together:
        print("nothing to draw yet; expected all methods of a set")
        return
    bar_intervals(
        together, folder / f"{EXPERIMENT}.png", title="Return of the exploring policy over training",
        xlabel="share of the expert's", reference=1.0,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(cells.main(EXPERIMENT, CELLS, draw, __doc__))
