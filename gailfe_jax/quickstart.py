"""The main job: demonstrations and failures, GAIL and GAILFE, evaluation in Gymnasium, a table and a picture."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import time
from typing import Any

from rich.console import Console
from rich.table import Table

from gailfe_jax.collect import collect_demonstrations
from gailfe_jax.envs import make_env
from gailfe_jax.logging import write_json_atomic
from gailfe_jax.plotting import learning_curves
from gailfe_jax.policy import load_expert
from gailfe_jax.presets import QUICKSTART_STEPS, preset
from gailfe_jax.provenance import provenance
from gailfe_jax.runs import evaluate_path
from gailfe_jax.train import DemoSettings, train
from gailfe_jax.types import GailfeError

METHODS = ("gail", "gailfe")
TRAJECTORIES, FAILURES = 30, 100


def quickstart(
    out: pathlib.Path, *, env: str = "hopper", seeds: int = 3, steps: float | None = None, episodes: int = 20
) -> dict[str, Any]:
    """Shows the whole package at work; everything goes into `out`, and earlier results there are replaced.

    Args:
      out: folder.
      env: task with a shipped expert.
      seeds: of each method.
      steps: environment steps of each seed.
      episodes: Gymnasium episodes per seed in the final table.

    Returns:
      What `out/quickstart.json` holds.

    Raises:
      GailfeError: `out` holds something else.
    """
    started = time.perf_counter()
    marker = out / "demos.npz"
    if out.exists() and any(out.iterdir()) and not marker.exists():
        raise GailfeError(f"{out}: exists and holds no quickstart; choose another --out")
    for name in METHODS:
        shutil.rmtree(out / name, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    task = make_env(env)
    expert = load_expert(task.spec.name)

    console.print(f"[bold]1/3[/bold] {TRAJECTORIES} demonstrations and {FAILURES} failures from the shipped expert")
    demonstrations = collect_demonstrations(
        task, expert, trajectories=TRAJECTORIES, failures=FAILURES, seed=0, expert_name=f"shipped expert for {env}"
    )
    demonstrations.save(marker)

    reports, curves = {}, {}
    for number, algo in enumerate(METHODS):
        console.print(f"[bold]2/3[/bold] training {algo} ({number + 1} of {len(METHODS)}), {seeds} seeds side by side")
        config, hyper, settings = preset(algo, env)
        settings = dataclasses.replace(settings, steps=steps or QUICKSTART_STEPS, seeds=seeds, eval_every=50_000)
        result = train(config, hyper, settings, out=out / algo, demos=DemoSettings(str(marker)))
        if result.interrupted:
            raise GailfeError(f"{out}: interrupted; run quickstart again")
        curves[algo.upper()] = result.metrics["return_mean"]

    console.print("[bold]3/3[/bold] evaluating in Gymnasium")
    for algo in METHODS:
        reports[algo] = evaluate_path(out / algo, episodes=episodes)
    expert_return = reports[METHODS[0]]["expert_return"]
    table = Table(title=f"{task.spec.gymnasium_id}, {episodes} Gymnasium episodes per seed, deterministic policy")
    for heading in ("method", "mean return", "of expert", "each seed"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    table.add_row("expert", f"{expert_return:.0f}", "1.00", "")
    for algo, report in reports.items():
        each = "  ".join(f"{row['expert_normalised']:.2f}" for row in report["seeds"])
        table.add_row(algo, f"{report['mean']:.0f}", f"{report['expert_normalised']:.2f}", each)
    console.print(table)
    learning_curves(
        curves,
        out / "quickstart.png",
        title=f"{task.spec.gymnasium_id}: imitation from {TRAJECTORIES} demonstrations",
        expert_return=expert_return,
        ylabel="return of the deterministic policy",
        per_seed=True,
    )
    summary = {
        "env": task.spec.gymnasium_id,
        "expert_return": expert_return,
        "methods": reports,
        "seconds": time.perf_counter() - started,
        "provenance": provenance(),
    }
    write_json_atomic(out / "quickstart.json", summary)
    console.print(f"{summary['seconds']:.0f} s in all; see {out / 'quickstart.png'} and {out}/<method>/")
    return summary
