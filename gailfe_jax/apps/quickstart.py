"""Quickstart: demonstrations and failures, GAIL and GAILFE, evaluation in Gymnasium, a table and a picture."""

from __future__ import annotations

import pathlib
import shutil
import time
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from gailfe_jax.analysis.plots import learning_curve_panels
from gailfe_jax.apps.collection import collect_demonstrations
from gailfe_jax.apps.evaluate_run import evaluate_path
from gailfe_jax.artifacts.policy import load_expert
from gailfe_jax.config.run import RunSettings
from gailfe_jax.config.tree import set_values
from gailfe_jax.envs import make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.atomic import write_json_atomic
from gailfe_jax.io.provenance import provenance
from gailfe_jax.learners.presets import preset
from gailfe_jax.training.loop import train

METHODS = ("gail", "gailfe")
TRAJECTORIES, FAILURES = 30, 100
STEPS, EVAL_EVERY, EVAL_EPISODES = 245_760, 16_384, 4
# Three seeds do not learn to walk from nothing in minutes on a laptop (experiments/figure1.py starts there); from a
# clone they do. The first evaluation shows the clone itself: until then only the discriminator and the values learn.
# Small steps that fade away, a long horizon and an average over many policies keep what the clone can do.
SETTINGS: dict[str, Any] = {
    "rollout.num_envs": 16,
    "start.steps": 8000,
    "schedule.warmup_iterations": 8,
    "schedule.anneal": True,
    "policy.average": 0.98,
    "policy.gamma": 0.997,
    "policy.gae_lambda": 0.98,
    # As in the recorded run; the default's many small steps were found for policies from nothing.
    "reward.steps": 5,
    "reward.minibatch": 1024,
}
DETERMINISTIC, NOISY = "deterministic policy", "with its exploration noise"


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
      GailfeError: `out` holds something else, there is no expert for `env`, or a number is out of range.
      KeyboardInterrupt: training was interrupted.
    """
    started = time.perf_counter()
    if episodes < 1:
        raise GailfeError(f"episodes: got {episodes}; expected at least 1")
    steps = STEPS if steps is None else steps
    asked = {"steps": steps, "seeds": seeds, "eval_every": min(EVAL_EVERY, steps), "eval_episodes": EVAL_EPISODES}
    budget = set_values(RunSettings(), asked)
    task = make_env(env)
    expert = load_expert(task.spec.name)
    # The report is written first. It marks a folder that quickstart may empty.
    report_file, demos_file = out / "quickstart.json", out / "demos.npz"
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not report_file.exists())):
        raise GailfeError(f"{out}: exists and holds no quickstart; choose another --out")
    write_json_atomic(report_file, {"finished": False, "provenance": provenance()})
    for name in METHODS:
        shutil.rmtree(out / name, ignore_errors=True)
    console = Console()

    console.print(f"[bold]1/3[/bold] {TRAJECTORIES} demonstrations and {FAILURES} failures from the shipped expert")
    # Every episode is kept, as the committed result was made.
    demonstrations = collect_demonstrations(
        task,
        expert,
        trajectories=TRAJECTORIES,
        failures=FAILURES,
        seed=0,
        keep_failed=True,
        expert_name=f"shipped expert for {env}",
    )
    demonstrations.save(demos_file)

    reports: dict[str, dict[str, Any]] = {}
    panels: dict[str, dict[str, Any]] = {DETERMINISTIC: {}, NOISY: {}}
    for number, algo in enumerate(METHODS):
        console.print(f"[bold]2/3[/bold] training {algo} ({number + 1} of {len(METHODS)}), {seeds} seeds side by side")
        method = set_values(preset(algo, env)[0], SETTINGS)
        result = train(method, env, budget, demos=str(demos_file), out=out / algo)
        if result.interrupted:
            raise KeyboardInterrupt(f"{out}: interrupted; run quickstart again")
        panels[DETERMINISTIC][algo.upper()] = result.metrics["return_mean"]
        panels[NOISY][algo.upper()] = result.metrics["train_return"]

    console.print("[bold]3/3[/bold] evaluating in Gymnasium")
    for algo in METHODS:
        reports[algo] = evaluate_path(out / algo, episodes=episodes)
    # A share of a return that is not positive means nothing: such a task is shown by its returns.
    scale: float | None = reports[METHODS[0]]["expert_return"]
    expert_return = float(expert.metadata["expert_return"]) if scale is None else scale

    def share(value: float | None, otherwise: str) -> str:
        return otherwise if value is None else f"{value:.2f}"

    table = Table(title=f"{task.spec.gymnasium_id}, {episodes} Gymnasium episodes per seed, deterministic policy")
    for heading in ("method", "mean return", "of expert", "each seed"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    table.add_row("expert", f"{expert_return:.0f}", "1.00", "")
    for algo, report in reports.items():
        each = "  ".join(share(row["expert_normalised"], f"{row['mean']:.0f}") for row in report["seeds"])
        table.add_row(algo, f"{report['mean']:.0f}", share(report["expert_normalised"], "-"), each)
    console.print(table)
    # Both ends of each curve, `[seeds]`: where cloning left the policy and where adversarial training took it.
    unit, digits = (1.0, 0) if scale is None else (scale, 2)
    ends = {
        panel: {
            label: {"first": (values[:, 0] / unit).tolist(), "last": (values[:, -1] / unit).tolist()}
            for label, (_, values) in curves.items()
        }
        for panel, curves in panels.items()
    }
    console.print(
        "Every seed starts from a clone of the demonstrations. "
        f"{'Returns' if scale is None else 'Shares of the expert return'}, first and last "
        f"evaluation ({EVAL_EPISODES} episodes per seed; with noise: the training episodes before it):"
    )
    for panel, labels in ends.items():
        for label, end in labels.items():
            console.print(
                f"  {label}, {panel}: {np.mean(end['first']):.{digits}f} -> {np.mean(end['last']):.{digits}f}"
            )
    learning_curve_panels(
        panels,
        out / "quickstart.png",
        title=f"{task.spec.gymnasium_id}: {TRAJECTORIES} demonstrations, from a clone of them",
        expert_returns=dict.fromkeys(panels, expert_return),
        shown_returns=dict.fromkeys(panels, float(demonstrations.expert.returns.mean())),
        ylabel="return",
        per_seed=True,
        columns=2,
    )
    summary = {
        "finished": True,
        "env": task.spec.gymnasium_id,
        "expert_return": expert_return,
        "methods": reports,
        "start_and_end": ends,
        "seconds": time.perf_counter() - started,
        "provenance": provenance(),
    }
    write_json_atomic(report_file, summary)
    console.print(f"{summary['seconds']:.0f} s in all; see {out / 'quickstart.png'} and {out}/<method>/")
    return summary
