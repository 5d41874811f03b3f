"""SMILe on Hopper: what asking the expert is worth where each stage trains a policy of its own.

    python experiments/smile.py             train what has no result yet (minutes), then draw
    python experiments/smile.py --draw      only draw what there is

The shipped expert labels as many steps as 4 and 25 whole demonstrations have: a thousand in each of 4 and 25
iterations, which is one episode, or several short ones. 5 seeds, 50 Gymnasium episodes each. What is judged is the
mixture that SMILe leaves: of its policies one is drawn at every step, and acts without noise. The expert is no longer
among them.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import time
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import cells
import jax
import jax.numpy as jnp
import numpy as np

from gailfe_jax.analysis.evaluation import evaluate_policies
from gailfe_jax.analysis.plots import learning_curve_panels
from gailfe_jax.analysis.statistics import bootstrap_interval
from gailfe_jax.artifacts.policy import load_expert
from gailfe_jax.config.tree import set_values
from gailfe_jax.envs import make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.atomic import write_json_atomic
from gailfe_jax.io.provenance import provenance
from gailfe_jax.learners.record import part_record
from gailfe_jax.learners.smile import Smile, smile
from gailfe_jax.learners.stagewise import Stagewise

EXPERIMENT = "smile"
TASK, TITLE = "hopper", "Hopper-v5"
# Demonstrations that have as many steps, which are the iterations.
SIZES = (4, 25)
# What is left of the expert's probability when it leaves decides how fast it goes.
LEFT, UNROLL, SEEDS, EPISODES, FIT_STEPS = 0.01, 1000, 5, 50, 1000


def settings() -> Stagewise:
    """How each policy is trained."""
    values = {"rollout.num_envs": 1, "rollout.unroll_length": UNROLL, "fit_steps": FIT_STEPS}
    return set_values(Stagewise(), values)


def run(size: int) -> dict[str, Any]:
    """The record of one size."""
    started = time.perf_counter()
    env, expert = make_env(TASK), load_expert(TASK)
    alpha = 1 - LEFT ** (1 / size)
    left = smile(env, expert, settings(), iterations=size, alpha=alpha, seeds=range(SEEDS))
    jax.block_until_ready(left.policies)
    seconds = time.perf_counter() - started
    finals = [_evaluated(left, seed) for seed in range(SEEDS)]
    return {
        "task": TASK, "labels": size * UNROLL, "iterations": size, "alpha": alpha, "seeds": list(range(SEEDS)),
        "settings": part_record(settings()),
        "expert_return": float(expert.metadata["expert_return"]),
        "expert_distance": np.asarray(left.metrics["expert_distance"]).tolist(),
        "final_gymnasium_returns": [returns for returns, _ in finals],
        "final_lengths": [lengths for _, lengths in finals],
        "train_seconds": seconds, "provenance": provenance(),
    }  # fmt: skip


def _evaluated(left: Smile, seed: int) -> tuple[list[float], list[int]]:
    """`(returns, lengths)` of a seed's mixture in Gymnasium."""
    act = jax.jit(lambda obs, key: left.act(obs, key, seed))
    calls = iter(range(10**9))

    def drawn(obs: np.ndarray) -> np.ndarray:
        key = jax.random.fold_in(jax.random.key(seed), next(calls))
        return np.asarray(act(jnp.asarray(obs, jnp.float32), key))

    (found,) = evaluate_policies([drawn], TITLE, episodes=EPISODES, seed=1)
    return found.returns.tolist(), found.lengths.tolist()


def draw(results: dict[int, dict[str, Any]]) -> None:
    """A Markdown table, summary.json and a figure from the result files alone."""
    folder = cells.RESULTS / EXPERIMENT
    lines = [
        "| steps the expert labelled | of the expert (IQM, 95%) | each seed | distance of the last policy's actions |",
        "|---|---|---|---|",
    ]
    summary: dict[str, Any] = {}
    curves: dict[str, Any] = {}
    for record in results.values():
        scores = cells.final_scores(record)
        value = bootstrap_interval(scores)
        distances = np.array(record["expert_distance"])
        summary[f"{record['labels']}"] = {"seeds": scores.tolist(), "iqm": [value.estimate, value.low, value.high]}
        figures = f"{value.estimate:.2f} [{value.low:.2f}, {value.high:.2f}]"
        each = ", ".join(f"{x:.2f}" for x in scores)
        lines.append(f"| {record['labels']:,} | {figures} | {each} | {distances[:, -1].mean():.2f} |")
        curves[f"{record['labels']:,} labels"] = (np.arange(1, distances.shape[1] + 1), distances)
    cells.write_table(folder, lines, summary)
    learning_curve_panels(
        {TITLE: curves}, folder / f"{EXPERIMENT}.png", xlabel="iteration",
        ylabel="distance of actions from the expert's", per_seed=True,
    )  # fmt: skip


def main() -> int:
    """Trains what has no result yet, then draws; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", action="store_true", help="train nothing")
    asked = parser.parse_args()
    results: dict[int, dict[str, Any]] = {}
    try:
        for size in SIZES:
            path = cells.RESULTS / EXPERIMENT / f"{TASK}-{size}-smile.json"
            if not path.exists() and not asked.draw:
                print(f"{EXPERIMENT}/{path.stem}", file=sys.stderr, flush=True)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json_atomic(path, run(size))
            if path.exists():
                results[size] = json.loads(path.read_text())
        if not results:
            raise GailfeError(f"{cells.RESULTS / EXPERIMENT}: no results to draw yet")
        draw(results)
    except GailfeError as error:
        print(f"{EXPERIMENT}: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
