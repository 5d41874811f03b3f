"""Experiments are cells: a cell is one method with its settings and seeds, and its result file.

Running an experiment trains only the cells that have no result yet, in the order given (most telling first), resumes a
cell that was cut off, and leaves drawing to the experiment. Figures and tables may share cells.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import pathlib
import sys
from collections.abc import Callable, Container
from typing import Any

import gymnasium
import numpy as np

from gailfe_jax.analysis.evaluation import evaluate_policies
from gailfe_jax.apps.collection import collect_demonstrations
from gailfe_jax.apps.evaluate_run import evaluate_on_engine
from gailfe_jax.artifacts.policy import Policy, load_expert
from gailfe_jax.config.run import DemoSettings, RunSettings
from gailfe_jax.config.tree import leaves, set_values
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.envs import base_name, make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.atomic import write_json_atomic
from gailfe_jax.io.digests import file_sha256
from gailfe_jax.io.provenance import provenance
from gailfe_jax.learners.base import Learner
from gailfe_jax.learners.presets import preset
from gailfe_jax.learners.record import method_record
from gailfe_jax.training.loop import train

HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE / "results"
WORK = pathlib.Path("runs") / "experiments"
RAW = ("return_mean", "length_mean", "discriminator_accuracy", "train_return", "train_falls", "episodes")
RAW_FAILURES = ("multiplier", "failure_log_d", "violation", "failures_in_buffer", "failure_transitions")
RAW_MODEL = ("model_error_1", "model_error_h", "model_unexplained")
RAW_OWN = ("own_episodes", "own_best_return", "sil_share")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One method with its settings and seeds.

    Attributes:
      name: of the result file.
      label: in figures and tables.
      method: the method and its settings.
      env: the task.
      steps: environment steps of each seed.
      seeds: how many, from `first_seed` on.
      eval_every: steps between evaluations.
      trajectories: expert trajectories shown (of 30).
      subsample: one pair in so many.
      final_episodes: Gymnasium episodes of each seed at the end.
      first_seed: of the seeds; what is tuned on some is reported on others.
      failures: failed attempts collected beside the demonstrations.
      demos: demonstration file that comes with the task; None for the one made from the task's shipped expert.
      keep_failed: whether what is shown may be an expert's failure. The first results were made before it was usual to
        sort them out, and share their demonstrations.
      eval_episodes: episodes of each seed at each evaluation.
      deterministic: whether the demonstrations are of the expert's mean actions, and not of samples.
      demos_seed: of the demonstrations and failures that are collected.
      also: Gymnasium task in which the policies are judged at the end besides; None for none.
    """

    name: str
    label: str
    method: Learner
    env: str
    steps: float
    seeds: int
    eval_every: float | None = 50_000
    trajectories: int = 30
    subsample: int = 1
    final_episodes: int = 10
    first_seed: int = 0
    failures: int = 100
    demos: str | None = None
    keep_failed: bool = True
    eval_episodes: int = 5
    deterministic: bool = False
    demos_seed: int = 0
    also: str | None = None

    def result_path(self, experiment: str) -> pathlib.Path:
        """Where the cell's result lies."""
        return RESULTS / experiment / f"{self.name}.json"

    def record(self) -> dict[str, Any]:
        """What its result file says of it."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return own | {"algo": self.method.name, "method": method_record(self.method)}


_EARLIER = {"reward.steps": 5, "reward.minibatch": 1024}


def earlier_preset(algo: str, task: str) -> Learner:
    """The preset as it was for the first experiments: the discriminator took 5 steps on up to 1024 pairs."""
    method, _ = preset(algo, task)
    return set_values(method, {name: value for name, value in _EARLIER.items() if name in leaves(method)})


def demonstrations(
    task: str,
    trajectories: int = 30,
    failures: int = 100,
    *,
    keep_failed: bool = True,
    deterministic: bool = False,
    seed: int = 0,
) -> pathlib.Path:
    """The demonstration file all cells of a task share, made from the shipped expert if it is not there yet."""
    number = "" if failures == 100 else f"-{failures}"
    kind = ("" if keep_failed else "-sorted") + ("-deterministic" if deterministic else "")
    kind += f"-seed{seed}" if seed else ""
    path = WORK / f"demos-{task}{number}{kind}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        env = make_env(task)
        collect_demonstrations(
            env,
            load_expert(task),
            trajectories=trajectories,
            failures=failures,
            seed=seed,
            deterministic=deterministic,
            keep_failed=keep_failed,
            expert_name=f"shipped expert for {task}",
        ).save(path)
    return path


def random_floor(experiment: str, task: str, gymnasium_id: str, seeds: int, episodes: int) -> dict[str, Any]:
    """Returns of actions drawn from all actions alike, in Gymnasium; from its file where there is one."""

    def returns(env: gymnasium.Env, seed: int, episode: int) -> float:
        env.reset(seed=1000 * seed + episode)
        total, over = 0.0, False
        while not over:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            total, over = total + float(reward), terminated or truncated
        return total

    def record() -> dict[str, Any]:
        rows = []
        with gymnasium.make(gymnasium_id) as env:
            for seed in range(seeds):
                env.action_space.seed(seed)
                rows.append([returns(env, seed, episode) for episode in range(episodes)])
        return {"final_gymnasium_returns": rows, "final_gymnasium_episodes": episodes}

    return _of_task(experiment, task, "random", record)


def demonstrated(experiment: str, task: str, failures: int = 100) -> dict[str, Any]:
    """Returns of the demonstrations, in the order in which they are shown; from its file where there is one."""

    def record() -> dict[str, Any]:
        file = demonstrations(task, failures=failures)
        return {"returns": Demonstrations.load(file).expert.returns.tolist(), "demos_sha256": file_sha256(file)}

    return _of_task(experiment, task, "demonstrations", record)


def _of_task(experiment: str, task: str, what: str, record: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What no training made, with the expert's return and where it comes from."""
    path = RESULTS / experiment / f"{task}-{what}.json"
    if path.exists():
        return json.loads(path.read_text())
    made = record() | {
        "expert_return": float(load_expert(task).metadata["expert_return"]),
        "provenance": provenance(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomic(path, made)
    return made


def run_cell(cell: Cell, experiment: str) -> dict[str, Any]:
    """The cell's result, from its file or by training it.

    Raises:
      GailfeError: interrupted; run the experiment again to go on.
    """
    path = cell.result_path(experiment)
    if path.exists():
        return json.loads(path.read_text())
    run_dir = WORK / experiment / cell.name
    task = base_name(cell.env)
    demos_file = None
    if cell.method.needs_demonstrations:
        demos_file = _demos_file(cell, task)
    settings = RunSettings(
        steps=cell.steps, seeds=cell.seeds, first_seed=cell.first_seed, eval_every=cell.eval_every,
        eval_episodes=cell.eval_episodes, checkpoint_seconds=300, keep=1, tensorboard=False,
    )  # fmt: skip
    shown = DemoSettings()
    if demos_file is not None:
        shown = DemoSettings(demos=str(demos_file), trajectories=cell.trajectories, subsample=cell.subsample)
    result = train(cell.method, cell.env, settings, out=run_dir, demos=shown, resume=True)
    if result.interrupted:
        raise GailfeError(f"{cell.name}: interrupted; run the experiment again to go on")
    raw = {
        name: result.metrics[name][1].tolist()
        for name in (*RAW, *RAW_FAILURES, *RAW_MODEL, *RAW_OWN)
        if name in result.metrics
    }
    finals = _final_episodes(result.policies, cell)
    record = {
        "cell": cell.record(),
        "demos_sha256": None if demos_file is None else file_sha256(demos_file),
        "annotator": result.summary.get("annotator"),
        "expert_return": result.summary["expert_return"] or float(load_expert(task).metadata["expert_return"]),
        "steps": result.metrics["return_mean"][0].tolist(),
        "evaluations": raw,
        "final_gymnasium_returns": [returns.tolist() for returns, _ in finals],
        "final_gymnasium_episodes": cell.final_episodes,
        "final_lengths": [lengths.tolist() for _, lengths in finals],
        **_also(result.policies, cell),
        "train_seconds_last_session": result.summary["train_seconds"],
        "compile_seconds": result.summary["compile_seconds"],
        "provenance": provenance(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomic(path, record)
    return record


def _demos_file(cell: Cell, task: str) -> pathlib.Path:
    if cell.demos is not None:
        return pathlib.Path(cell.demos)
    return demonstrations(
        task, failures=cell.failures, keep_failed=cell.keep_failed, deterministic=cell.deterministic,
        seed=cell.demos_seed,
    )  # fmt: skip


def _final_episodes(policies: list[Policy], cell: Cell) -> list[tuple[np.ndarray, np.ndarray]]:
    """`(returns, lengths)` of each policy's episodes, in Gymnasium where it has the task."""
    env, episodes = make_env(cell.env), cell.final_episodes
    if env.spec.gymnasium_id is None:
        return [evaluate_on_engine(policy, env, episodes, seed=1)[:2] for policy in policies]
    finals = evaluate_policies(policies, env.spec.gymnasium_id, episodes=episodes, seed=1)
    return [(final.returns, final.lengths) for final in finals]


def _also(policies: list[Policy], cell: Cell) -> dict[str, Any]:
    if cell.also is None:
        return {}
    finals = evaluate_policies(policies, cell.also, episodes=cell.final_episodes, seed=2)
    return {"also_gymnasium_returns": [final.returns.tolist() for final in finals]}


def run_cells(cells: list[Cell], experiment: str, *, train_missing: bool = True) -> dict[str, dict[str, Any]]:
    """Results by cell name: all of them, or only those there are where `train_missing` is False."""
    results = {}
    for index, cell in enumerate(cells):
        if not train_missing and not cell.result_path(experiment).exists():
            continue
        print(f"[{index + 1}/{len(cells)}] {experiment}/{cell.name}", file=sys.stderr, flush=True)
        results[cell.name] = run_cell(cell, experiment)
    return results


def curve(record: dict[str, Any], name: str = "return_mean", *, normalise: bool = False) -> tuple[Any, Any]:
    """`(steps [k], values [seeds, k])` of a metric, as shares of the expert's return if `normalise`."""
    values = np.array(record["evaluations"][name], dtype=float)
    return np.array(record["steps"]), values / record["expert_return"] if normalise else values


def final_returns(record: dict[str, Any]) -> np.ndarray:
    """`[seeds]` mean returns over the final Gymnasium episodes."""
    return np.array([np.mean(returns) for returns in record["final_gymnasium_returns"]])


def final_scores(record: dict[str, Any]) -> np.ndarray:
    """`[seeds]` expert-normalised mean returns over the final Gymnasium episodes."""
    return final_returns(record) / record["expert_return"]


def area_scores(record: dict[str, Any]) -> np.ndarray:
    """`[seeds]` mean expert-normalised return over all evaluations: how fast a seed learned."""
    return curve(record, normalise=True)[1].mean(axis=1)


def write_table(folder: pathlib.Path, lines: list[str], summary: dict[str, Any]) -> None:
    """Writes the `lines` of a Markdown table and its numbers into an experiment's folder, and prints the table."""
    (folder / "table.md").write_text("\n".join(lines) + "\n")
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    print("\n".join(lines))


def main(
    experiment: str, cells: list[Cell], draw: Callable[[dict[str, dict[str, Any]]], None], doc: str | None,
    *, later: Container[str] = (),
) -> int:  # fmt: skip
    """The command line of an experiment: trains what has no result yet, then draws; the exit code.

    Cells whose names are in `later` are too long for a first table: they train only if named or asked for by `--all`.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", action="store_true", help="train nothing")
    parser.add_argument("--only", nargs="*", metavar="CELL", help="names of cells to train")
    parser.add_argument("--all", action="store_true", help="train also what a first table leaves out, if anything")
    args = parser.parse_args()
    try:
        names = [cell.name for cell in cells]
        for name in args.only or ():
            if name not in names:
                near = difflib.get_close_matches(name, names, n=3)
                raise GailfeError(
                    f"--only: no cell is called {name!r}; expected a name such as {', '.join(near or names[:3])}"
                )
        wanted = args.only or [name for name in names if args.all or name not in later]
        if not args.draw:
            run_cells([cell for cell in cells if cell.name in wanted], experiment)
        results = run_cells(cells, experiment, train_missing=False)
        if not results:
            raise GailfeError(f"{RESULTS / experiment}: no results to draw yet")
        draw(results)
    except GailfeError as error:
        print(f"{experiment}: error: {error}", file=sys.stderr)
        return 2
    return 0
