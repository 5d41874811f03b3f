"""Where an iteration's time goes: its parts as programs of their own, beside the whole and the bare engine."""

from __future__ import annotations

import functools
import pathlib
import statistics
from collections.abc import Callable
from typing import Any

import jax
from rich.console import Console

from gailfe_jax.analysis.plots import bar_intervals
from gailfe_jax.bench.report import new_table
from gailfe_jax.bench.timing import (
    SolverSetting,
    bare_engine,
    check_counts,
    check_has_bare_engine,
    make_env_as_training,
    seconds,
    settle,
    solver_record,
)
from gailfe_jax.bench.train import Training, check_playing, method_with
from gailfe_jax.envs.rollout import clip_action, unroll
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.provenance import provenance
from gailfe_jax.learners.adversarial import Adversarial
from gailfe_jax.learners.keys import Keys
from gailfe_jax.learners.sources import Drawn
from gailfe_jax.parallel.seeds import per_seed
from gailfe_jax.types import PyTree

Part = Callable[[], Any]


def iteration_parts(training: Training) -> dict[str, Part]:
    """The parts of `Learner.step`, each a function that runs it once on what the parts before it made.

    Compiles them. The sum is not the whole: apart, each reads and writes what together stays where it is.

    Args:
      training: what trains; it may go on, the parts have a copy of its state.

    Raises:
      GailfeError: a method without iterations of play.
    """
    learner = training.trainer.learner
    if not isinstance(learner, Adversarial):
        raise GailfeError(f"algo: {learner.name} has no iteration of play; expected one that learns by playing")
    expert = training.demos.expert
    state = jax.tree.map(lambda x: x.copy(), training.state)  # Training donates its own.
    keys = jax.random.split(jax.random.key(0), len(training.trainer.seeds))

    @jax.jit
    @jax.vmap
    def play(agent: PyTree, env: PyTree, key: Any) -> Any:
        return unroll(learner.env, learner.policy.act, agent, env, key, learner.rollout.unroll_length)[1]

    transition = play(state.agent, state.env, keys)
    parts: dict[str, Part] = {"unroll": lambda: play(state.agent, state.env, keys)}
    fitted = None

    # Buffers are donated, as in training: else filing a step would copy them.
    @functools.partial(jax.jit, donate_argnums=0)
    @jax.vmap
    def file(sources: PyTree, transition: Any, key: Any) -> Any:
        executed = transition.replace(action=clip_action(learner.env, transition.action))
        return learner.sources.add_and_sample(sources, executed, Keys(key).sample)

    held = [state.sources]

    def run_file() -> Drawn:
        held[0], drawn = file(held[0], transition, keys)
        return drawn

    seen = run_file()
    if jax.tree.leaves(seen):
        parts["buffers"] = run_file
    batch, reward = seen.batch, learner.reward
    if reward is not None:

        @jax.jit
        @functools.partial(jax.vmap, in_axes=(0, 0, 0, 0, None))
        def fit(judge: PyTree, batch: Any, dual: Any, key: Any, expert: Any) -> Any:
            batch = batch.replace(expert=learner._shown(expert), multiplier=learner._multiplier(dual))
            return per_seed(reward.fit)(judge, batch, key)[0]

        fitted = fit(state.reward, batch, state.dual, keys, expert)
        parts["discriminator"] = lambda: fit(state.reward, batch, state.dual, keys, expert)

    @jax.jit
    @jax.vmap
    def improve(agent: PyTree, transition: Any, fitted: PyTree, seen: Drawn, key: Any) -> Any:
        def update(agent: PyTree, transition: Any, fitted: PyTree, seen: Drawn, key: Any) -> Any:
            score = None if seen.batch is None else learner._score(fitted, seen.batch)
            objective = seen.objective(score, true_reward=score is not None and learner._adds_reward)
            return learner.policy.update(agent, transition, objective, key)[0]

        return per_seed(update)(agent, transition, fitted, seen, key)

    improve(state.agent, transition, fitted, seen, keys)
    parts["policy and values"] = lambda: improve(state.agent, transition, fitted, seen, keys)
    return parts


def time_parts(training: Training, parts: dict[str, Part], bare: Part, repeats: int) -> list[dict[str, Any]]:
    """Rows of one iteration: the bare engine over as many steps, each part, and the whole.

    Args:
      training: of one iteration per call, compiled.
      parts: from `iteration_parts`.
      bare: steps the bare engine as far as an iteration does.
      repeats: timed repeats, in turn.
    """

    raw: dict[str, list[float]] = {name: [] for name in ("bare engine", *parts, "whole iteration")}
    for _ in range(repeats):
        raw["bare engine"].append(seconds(bare))
        for name, part in parts.items():
            raw[name].append(seconds(part))
        raw["whole iteration"].append(training.advance())
    whole = statistics.median(raw["whole iteration"])
    medians = {name: statistics.median(values) for name, values in raw.items()}
    return [
        {"part": name, "seconds": value, "share_of_whole": value / whole, "raw_seconds": raw[name]}
        for name, value in medians.items()
    ]


def largest(rows: list[dict[str, Any]]) -> str:
    """The part that takes longest, and whether that is the engine: of the unroll, or what we do around it."""
    parts = {row["part"]: row["seconds"] for row in rows}
    bare, whole = parts.pop("bare engine"), parts.pop("whole iteration")
    name = max(parts, key=lambda part: parts[part])
    text = f"{name}: {parts[name] / whole:.0%} of an iteration"
    return f"{text}, of which the bare engine is {min(1.0, bare / parts[name]):.0%}" if name == "unroll" else text


def run(
    env: str = "halfcheetah",
    *,
    algo: str = "gail",
    engine: str = "auto",
    num_envs: int = 256,
    unroll_length: int = 32,
    repeats: int = 5,
    solver_setting: SolverSetting = None,
) -> dict[str, Any]:
    """Measures seconds of each part of an iteration, and names the largest.

    Args:
      env: Measure on this task.
      algo: Train with this method.
      engine: Run this physics engine.
      num_envs: Step this many environments side by side.
      unroll_length: Step each of them so often in an iteration.
      repeats: Report the median of this many repeats.
      solver_setting: Run MJX with the cheap solver setting, or the model file's own; by default what training takes.

    Raises:
      GailfeError: an unknown task, method or engine, or a count below 1.
    """
    check_counts(repeats=repeats, num_envs=num_envs, unroll_length=unroll_length)
    check_playing([algo])
    check_has_bare_engine(env)
    method = method_with(algo, {"rollout.num_envs": num_envs, "rollout.unroll_length": unroll_length})
    place = settle(env, engine, solver_setting)
    training = Training.make(method, make_env_as_training(place))
    learner = training.trainer.learner
    training.advance()
    bare = bare_engine(learner.env, num_envs, unroll_length)
    bare()
    rows = time_parts(training, iteration_parts(training), bare, repeats)
    what = {"env": learner.env.spec.name, "engine": learner.env.spec.engine, "algo": algo, "num_envs": num_envs}
    what["unroll_length"] = unroll_length
    what |= solver_record(place)
    rows = [what | row for row in rows]
    return {"what": "profile", "rows": rows, "largest": largest(rows), "provenance": provenance()}


def show(report: dict[str, Any]) -> None:
    """Shows a report of `run`."""
    first = report["rows"][0]
    title = f"bench profile: {first['algo']} on {first['env']}, {first['engine']}, {first['num_envs']} environments"
    table = new_table(title, ("part", "ms", "of the whole"), left=("part",))
    for row in report["rows"]:
        table.add_row(row["part"], f"{1e3 * row['seconds']:.1f}", f"{row['share_of_whole']:.0%}")
    Console().print(table)
    print(f"largest: {report['largest']}")


def draw(report: dict[str, Any], path: str | pathlib.Path) -> None:
    """Draws a report of `run`."""
    first = report["rows"][0]
    scores = {row["part"]: [1e3 * value for value in row["raw_seconds"]] for row in report["rows"]}
    bar_intervals(scores, path, title=f"an iteration of {first['algo']} on {first['env']}", xlabel="milliseconds")
