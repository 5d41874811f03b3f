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
from gailfe_jax.bench.timing import bare_engine, check_has_bare_engine, check_repeats, seconds
from gailfe_jax.bench.train import Training, check_playing
from gailfe_jax.config.flat import Config
from gailfe_jax.envs.rollout import clip_action, unroll
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.provenance import provenance
from gailfe_jax.learners.adversarial import Learner
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
    learner, hyper = training.trainer.learner, training.trainer.hyper
    if not isinstance(learner, Learner):
        raise GailfeError(f"algo: {learner.config.algo} has no iteration of play; expected one that learns by playing")
    config, expert = learner.config, training.demos.expert
    state = jax.tree.map(lambda x: x.copy(), training.state)  # Training donates its own.
    keys = jax.random.split(jax.random.key(0), len(training.trainer.seeds))

    @jax.jit
    @jax.vmap
    def play(agent: PyTree, env: PyTree, key: Any) -> Any:
        return unroll(learner.env, learner.generator.act, agent, env, key, config.unroll_length)[1]

    transition = play(state.generator, state.env, keys)
    parts: dict[str, Part] = {"unroll": lambda: play(state.generator, state.env, keys)}
    data = moves = fitted = None

    # Buffers are donated, as in training: else filing a step would copy them.
    @functools.partial(jax.jit, donate_argnums=0)
    @jax.vmap
    def file(held: PyTree, transition: Any, key: Any) -> Any:
        executed = transition.replace(action=clip_action(learner.env, transition.action))
        failures, own, replay, data = learner._select(held, executed, key)
        experience, moves = learner._remember(held.experience, executed, key)
        return held.replace(failures=failures, own=own, replay=replay, experience=experience), data, moves

    kept = dict.fromkeys(("key", "env", "generator", "cost", "dual", "episodes"))
    held = [state.replace(**kept)]
    if learner.cost is not None:

        def run_file() -> Any:
            held[0], *drawn = file(held[0], transition, keys)
            return drawn

        data, moves = run_file()
        parts["buffers"] = run_file
        cost = learner.cost

        @jax.jit
        @functools.partial(jax.vmap, in_axes=(0, 0, 0, 0, None))
        def fit(judge: PyTree, data: Any, dual: Any, key: Any, expert: Any) -> Any:
            multiplier = learner._multiplier(dual, hyper)
            return per_seed(cost.fit)(judge, learner._shown(expert), data, multiplier, key, hyper)[0]

        fitted = fit(state.cost, data, state.dual, keys, expert)
        parts["discriminator"] = lambda: fit(state.cost, data, state.dual, keys, expert)

    @jax.jit
    @jax.vmap
    def improve(agent: PyTree, transition: Any, fitted: PyTree, data: Any, moves: Any, key: Any) -> Any:
        def update(agent: PyTree, transition: Any, fitted: PyTree, data: Any, moves: Any, key: Any) -> Any:
            score = None if data is None else learner._score(fitted, data, hyper)
            return learner.generator.update(agent, transition, score, key, hyper, moves, None)[0]

        return per_seed(update)(agent, transition, fitted, data, moves, key)

    improve(state.generator, transition, fitted, data, moves, keys)
    parts["policy and values"] = lambda: improve(state.generator, transition, fitted, data, moves, keys)
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
    env: str = "halfcheetah", *, algo: str = "gail", engine: str = "auto", num_envs: int = 256, repeats: int = 5
) -> dict[str, Any]:
    """Measures seconds of each part of an iteration of 32 steps in `num_envs` environments, and names the largest.

    Args:
      env: Measure on this task.
      algo: Train with this method.
      engine: Run this physics engine.
      num_envs: Step this many environments side by side.
      repeats: Report the median of this many repeats.

    Raises:
      GailfeError: an unknown task, method or engine, or a count below 1.
    """
    check_repeats(repeats)
    check_playing([algo])
    check_has_bare_engine(env)
    training = Training.make(Config(algo=algo, env=env, engine=engine, num_envs=num_envs, unroll_length=32))
    learner = training.trainer.learner
    training.advance()
    bare = bare_engine(learner.env, num_envs, learner.config.unroll_length)
    bare()
    rows = time_parts(training, iteration_parts(training), bare, repeats)
    what = {"env": learner.env.spec.name, "engine": learner.env.spec.engine, "algo": algo, "num_envs": num_envs}
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
