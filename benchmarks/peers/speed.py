"""Training steps/s of the peers and of ours, in turn and beside the bare engine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from benchmarks.peers.comparisons import IMITATION, STABLE_BASELINES3, Comparison
from benchmarks.peers.inputs import demonstrations, make_envs
from benchmarks.peers.runner import facts, fastest, run_peer, say
from gailfe_jax.analysis.plots import bar_intervals
from gailfe_jax.bench.report import new_table
from gailfe_jax.bench.timing import bare_engine
from gailfe_jax.config.run import DemoSettings
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.io.provenance import provenance
from gailfe_jax.learners.setup import build_setup
from gailfe_jax.training.inputs import prepare_inputs
from gailfe_jax.training.program import Trainer
from gailfe_jax.types import Env

_BARE_STEPS = 25_600  # Per repeat.
_PEER_SECONDS = 10.0

_Rates = list[float]


class _Ours:
    """One of our configurations, compiled and warmed up, beside the bare engine with as many environments."""

    def __init__(self, env: Env, comparison: Comparison, label: str, demos: Demonstrations, repeats: int):
        setup = {"algo": comparison.algo, "env": env.spec.name, **comparison.shapes[label]}
        self.method = build_setup(setup).method
        self.rollout = self.method.rollout
        seeds = comparison.seeds.get(label, 1)
        chunk = max(1, comparison.steps // self.rollout.batch_size)
        self.steps = seeds * chunk * self.rollout.batch_size
        shown = demos if self.method.needs_demonstrations else None
        self.demos = prepare_inputs(self.method, env, DemoSettings(), shown).demos
        learner = self.method.on(env, total_iterations=chunk * (repeats + 1))
        self.trainer = Trainer(learner, np.arange(seeds), chunk=chunk, eval_episodes=1)
        self.state, _ = jax.block_until_ready(self.trainer.advance(self.trainer.init(self.demos), self.demos))
        num_envs = seeds * self.rollout.num_envs
        length = max(1, _BARE_STEPS // num_envs)
        self.bare_steps, self.bare = length * num_envs, bare_engine(env, num_envs, length)
        jax.block_until_ready(self.bare())

    def rates(self) -> tuple[float, float]:
        """Steps/s of the bare engine, and ours of all seeds together."""
        start = time.perf_counter()
        jax.block_until_ready(self.bare())
        between = time.perf_counter()
        self.state, _ = jax.block_until_ready(self.trainer.advance(self.state, self.demos))
        return self.bare_steps / (between - start), self.steps / (time.perf_counter() - between)


def compared(theirs: _Rates, ours: _Rates, bare: _Rates) -> dict[str, Any]:
    """Medians of steps/s and of the ratios within a repeat, with the raw values."""
    return {
        "peer_steps_per_second": statistics.median(theirs),
        "steps_per_second": statistics.median(ours),
        "bare_steps_per_second": statistics.median(bare),
        "ratio": statistics.median(o / t for o, t in zip(ours, theirs, strict=True)),
        "share_of_bare": statistics.median(o / b for o, b in zip(ours, bare, strict=True)),
        "raw": [{"peer": t, "ours": o, "bare": b} for t, o, b in zip(theirs, ours, bare, strict=True)],
    }


def run(env: Sequence[str] = ("halfcheetah",), *, repeats: int = 5) -> dict[str, Any]:
    """Measures training steps/s of both peers and of ours, in turn: peer, ours, peer, ours.

    Of theirs, imports, setup and the first iteration are not counted, and the fastest of environments in turn or as
    processes and one or two threads is taken; of ours, compiling is not.

    Args:
      env: Measure on these tasks.
      repeats: Report the median of this many repeats.

    Returns:
      A JSON-able report: a row for each of ours, and for each peer its configuration, versions and trials.

    Raises:
      GailfeError: another task, a count below 1, or see `run_peer`.
    """
    return beside(env, repeats, (IMITATION, STABLE_BASELINES3), "peers")


def beside(env: Sequence[str], repeats: int, comparisons: Sequence[Comparison], what: str) -> dict[str, Any]:
    """What `run` measures, of `comparisons`; `what` names the report."""
    rows, peers = [], []
    for made in make_envs(env, repeats=repeats):
        name = made.spec.name
        demos, path, shown = demonstrations(made)
        for comparison in comparisons:
            options: dict[str, Any] = {"task": name} | ({"demos": path} if comparison is IMITATION else {})
            say(f"{comparison.peer} on {name}: which settings are fastest")
            settings, trials = fastest(comparison.script, **options)
            ours = {label: _Ours(made, comparison, label, demos, repeats) for label in comparison.shapes}
            results = []
            rates: dict[str, list[tuple[float, float]]] = {label: [] for label in ours}
            for repeat in range(repeats):
                say(f"{comparison.peer} on {name}: repeat {repeat + 1} of {repeats}")
                results.append(run_peer(comparison.script, seconds=_PEER_SECONDS, **settings, **options))
                for label, one in ours.items():
                    rates[label].append(one.rates())
            theirs = [result["steps_per_second"] for result in results]
            for label, one in ours.items():
                bare, mine = map(list, zip(*rates[label], strict=True))
                rows.append(
                    {
                        "env": name,
                        "algo": comparison.algo,
                        "peer": comparison.peer,
                        "configuration": label,
                        "changes": comparison.shapes[label],
                        "engine": made.spec.engine,
                        "num_envs": one.rollout.num_envs,
                        "seeds": comparison.seeds.get(label, 1),
                        "batch": one.rollout.batch_size,
                        "compile_seconds": one.trainer.compile_seconds,
                    }
                    | compared(theirs, mine, bare)
                )
            peers.append({"peer": comparison.peer, **facts(results[0]), **settings, "trials": trials})
            if comparison is IMITATION:
                peers[-1]["demonstrations"] = shown
    return {"what": what, "rows": rows, "peers": peers, "provenance": provenance()}


def show(report: dict[str, Any]) -> None:
    """Shows a report of `run`: a table for each task and peer."""
    rows = report["rows"]
    for env, peer in dict.fromkeys((row["env"], row["peer"]) for row in rows):
        beside = [row for row in rows if (row["env"], row["peer"]) == (env, peer)]
        title = f"{env}, training steps per second; {peer}: {beside[0]['peer_steps_per_second']:,.0f}"
        headings = ("ours", "envs", "ours/s", "bare/s", "ours/peer", "compile")
        table = new_table(title, headings, left=("ours",))
        for row in beside:
            rates = (f"{row['steps_per_second']:,.0f}", f"{row['bare_steps_per_second']:,.0f}", f"{row['ratio']:.1f}")
            seconds = f"{row['compile_seconds']:.1f} s"
            table.add_row(row["configuration"], str(row["num_envs"]), *rates, seconds)
        Console().print(table)


def draw(report: dict[str, Any], path: str | Path) -> None:
    """Draws how many times the peer's steps/s ours are, every repeat."""
    scores = {
        f"{row['configuration']}\n{row['peer']}, {row['env']}": [raw["ours"] / raw["peer"] for raw in row["raw"]]
        for row in report["rows"]
    }
    bar_intervals(
        scores, path, title="training beside the peers", xlabel="times the peer's steps/s", reference=1.0,
        reference_label="the peer",
    )  # fmt: skip
