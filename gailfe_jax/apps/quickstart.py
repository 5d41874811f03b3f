"""Quickstart: few demonstrations on which cloning fails, GAIL and GAILFE from nothing, a table, a picture and films."""

from __future__ import annotations

import pathlib
import shutil
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from gailfe_jax.analysis.plots import learning_curve_panels
from gailfe_jax.analysis.video import record_video
from gailfe_jax.apps.collection import collect_demonstrations
from gailfe_jax.apps.evaluate_run import evaluate_path
from gailfe_jax.apps.side_by_side import Training, train_side_by_side
from gailfe_jax.artifacts.policy import Policy, load_expert
from gailfe_jax.config.run import DemoSettings, RunSettings
from gailfe_jax.config.tree import set_values
from gailfe_jax.envs import make_env
from gailfe_jax.envs.gymnasium import OURS
from gailfe_jax.errors import GailfeError, refusal
from gailfe_jax.io.atomic import write_json_atomic
from gailfe_jax.io.json_text import read_json
from gailfe_jax.io.provenance import provenance
from gailfe_jax.learners.base import Learner
from gailfe_jax.learners.presets import preset
from gailfe_jax.training.run_folder import load_policies, recorded_curves
from gailfe_jax.training.start import from_the_start
from gailfe_jax.types import Env

POLICY = {"bc": None, "gail": "td3", "gailfe": "td3"}
"""The methods, and how their policies step: from replay, which takes the fewest interactions."""
# In a run this short step sizes that fade away would only make it slower.
_SHORT: dict[str, Any] = {"schedule.anneal": False}
TRAJECTORIES, SUBSAMPLE, FAILURES = 4, 40, 20
STEPS, EVAL_EVERY, EVAL_EPISODES = 40_960, 4_096, 4
# Pairs that cloning fits: on so few it is done much earlier, and stops by itself.
CLONE_PAIRS, CLONE_EVERY = 400_000, 100_000
FILM_STEPS = 400


def quickstart(
    out: pathlib.Path, *, env: str = "halfcheetah", seeds: int = 3, steps: float | None = None, episodes: int = 5
) -> dict[str, Any]:
    """Shows the whole package at work; everything goes into `out`.

    A quickstart that was cut off there goes on if it was asked for the same; one that has ended is replaced.

    Args:
      out: folder.
      env: task with a shipped expert.
      seeds: of each method.
      steps: environment steps of each seed of GAIL and GAILFE.
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
    steps = float(STEPS if steps is None else steps)
    budget = set_values(RunSettings(), {"steps": steps, "seeds": seeds, "eval_episodes": EVAL_EPISODES})
    task = make_env(env)
    expert = load_expert(task.spec.name)
    asked = {"env": env, "seeds": seeds, "steps": steps, "episodes": episodes}
    _begin(out, asked)
    console = Console()

    pairs = TRAJECTORIES * task.spec.max_episode_steps // SUBSAMPLE
    console.print(
        f"[bold]1/4[/bold] {TRAJECTORIES} demonstrations of the shipped expert, of which one pair in {SUBSAMPLE} is "
        f"shown (at most {pairs}), and {FAILURES} failures"
    )
    demos_file = _demonstrations(out / "demos.npz", task, expert)

    console.print(
        f"[bold]2/4[/bold] cloning (BC), GAIL and GAILFE, {seeds} seeds each, side by side; compiling takes about "
        "half a minute, then each line is an evaluation"
    )
    if not train_side_by_side([_training(algo, env, budget, demos_file, out) for algo in POLICY]):
        raise KeyboardInterrupt(f"{out}: interrupted; run quickstart again to go on")

    console.print("[bold]3/4[/bold] evaluating in Gymnasium")
    reports = {algo: evaluate_path(out / algo, episodes=episodes) for algo in POLICY}
    expert_return = float(expert.metadata["expert_return"])
    console.print(_table(task, reports, expert_return, episodes))

    console.print("[bold]4/4[/bold] picture and films")
    title = f"{task.spec.gymnasium_id}, {TRAJECTORIES} demonstrations thinned 1 in {SUBSAMPLE}"
    _draw(out, reports, title, expert_return)
    films = _films(out, task, console)
    summary = {
        "finished": True,
        "asked": asked,
        "env": task.spec.gymnasium_id,
        "expert_return": expert_return,
        "methods": reports,
        "seconds": time.perf_counter() - started,
        "provenance": provenance(),
    }
    write_json_atomic(out / "quickstart.json", summary)
    console.print(_next_steps(out, films, summary["seconds"]), soft_wrap=True)
    return summary


def _begin(out: pathlib.Path, asked: dict[str, Any]) -> None:
    """Makes `out` ready: what a quickstart of the same words left there when it was cut off stays."""
    # The report is written first. It marks a folder that quickstart may empty.
    report_file = out / "quickstart.json"
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not report_file.exists())):
        raise GailfeError(f"{out}: exists and holds no quickstart; choose another --out")
    if _unfinished(report_file) == asked:
        return
    write_json_atomic(report_file, {"finished": False, "asked": asked, "provenance": provenance()})
    (out / "demos.npz").unlink(missing_ok=True)
    for name in POLICY:
        shutil.rmtree(out / name, ignore_errors=True)


def _unfinished(report_file: pathlib.Path) -> Any:
    """What a quickstart was asked for that has not come to its end; None if there is none."""
    try:
        record = read_json(report_file)
    except GailfeError:
        return None
    return record.get("asked") if isinstance(record, dict) and not record.get("finished") else None


def _demonstrations(path: pathlib.Path, task: Env, expert: Policy) -> str:
    """The demonstration file, made if it is not there."""
    if not path.exists():
        collect_demonstrations(
            task, expert, trajectories=TRAJECTORIES, failures=FAILURES, seed=0, deterministic=True,
            expert_name=f"shipped expert for {task.spec.name}",
        ).save(path)  # fmt: skip
    return str(path)


def method_of(algo: str, env: str) -> Learner:
    """A method as quickstart trains it on a task."""
    method, _ = preset(algo, env, policy=POLICY[algo])
    return method if POLICY[algo] is None else set_values(method, _SHORT)


def _training(algo: str, env: str, budget: RunSettings, demos_file: str, out: pathlib.Path) -> Training:
    """What a process trains."""
    method = method_of(algo, env)
    batch = method.rollout.batch_size
    if algo == "bc":
        run = set_values(budget, {"steps": CLONE_PAIRS, "eval_every": CLONE_EVERY})
    else:
        # An interval that divides the whole, which is then taken as it was given.
        iterations = -(-budget.steps // batch)
        looks = max(1, round(budget.steps / EVAL_EVERY))
        run = set_values(budget, {"eval_every": float(batch * -(-iterations // looks))})
    shown = DemoSettings(demos=demos_file, trajectories=TRAJECTORIES, subsample=SUBSAMPLE)
    return Training(method, env, run, shown, out / algo)


def _table(task: Env, reports: Mapping[str, dict[str, Any]], expert_return: float, episodes: int) -> Table:
    """Each method's returns, and as shares of the expert's where that is positive: else a share means nothing."""
    table = Table(title=f"{task.spec.gymnasium_id}, {episodes} Gymnasium episodes per seed, deterministic policy")
    for heading in ("method", "mean return", "of expert", "each seed"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    table.add_row("expert", f"{expert_return:.0f}", "1.00", "")
    for algo, report in reports.items():
        shares = [row["expert_normalised"] for row in report["seeds"]]
        each = [f"{row['mean']:.0f}" if x is None else f"{x:.2f}" for row, x in zip(report["seeds"], shares)]
        share = report["expert_normalised"]
        table.add_row(algo, f"{report['mean']:.0f}", "-" if share is None else f"{share:.2f}", "  ".join(each))
    return table


def _draw(out: pathlib.Path, reports: Mapping[str, dict[str, Any]], title: str, expert_return: float) -> None:
    """The learning curves from nothing, the clone's return as a line."""
    curves: dict[str, Any] = {}
    for algo in ("gail", "gailfe"):
        curves[algo.upper()] = from_the_start(out / algo, "return_mean", *recorded_curves(out / algo)["return_mean"])
    last = max(steps[-1] for steps, _ in curves.values())
    clone = np.array([[row["mean"]] * 2 for row in reports["bc"]["seeds"]])
    curves["BC"] = (np.array([0, last]), clone)
    learning_curve_panels(
        {title: curves}, out / "quickstart.png", expert_returns={title: expert_return}, ylabel="return", per_seed=True
    )


def _films(out: pathlib.Path, task: Env, console: Console) -> list[pathlib.Path]:
    """A film of GAIL's first seed and one of the clone's; none, and a line, where nothing renders."""
    films, task_id = [], task.spec.gymnasium_id or f"{OURS}{task.spec.name}"
    try:
        for algo in ("gail", "bc"):
            path = out / f"{algo}.mp4"
            record_video(load_policies(out / algo)[0], task_id, path, max_steps=FILM_STEPS, plain=True)
            films.append(path)
    except (GailfeError, OSError) as error:
        console.print(f"no film: {refusal(error)}")
    return films


def _next_steps(out: pathlib.Path, films: list[pathlib.Path], seconds: float) -> str:
    """What there is to look at, and what to do next."""
    seen = [out / "quickstart.png", *films]
    program = _program()
    return "\n".join(
        (
            f"{seconds:.0f} s in all; look at {', '.join(map(str, seen))}",
            f"next: {program} evaluate {out / 'gail'} --episodes 50",
            f"      {program} export {out / 'gail'} --to onnx",
            f"      {program} demos import YOUR_DATA --out demos.npz; {program} train gail --help",
        )
    )


def _program() -> str:
    """What this shell calls the command line: a path where it was run by one, as make does, and would not be found."""
    called = pathlib.Path(sys.argv[0])
    return str(called) if called.name == "gailfe" and not shutil.which("gailfe") else "gailfe"
