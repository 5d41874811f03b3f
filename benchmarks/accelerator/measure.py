"""The process that measures: reads points from stdin, and answers each with its row."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.accelerator.plan import Point, Sizes

BARE_STEPS = 25
LEARN_TARGET = 0.9
LEARN_DRY = {"rollout.unroll_length": 8, "reward.steps": 1}
Measure = Callable[[], dict[str, Any]]


def missing(point: Point) -> str | None:
    """Why a point cannot run here at all, or None."""
    from gailfe_jax.envs.physics import has_nvidia_gpu

    if point.engine == "warp" and importlib.util.find_spec("warp") is None:
        return "skipped: warp-lang is not installed"
    if point.engine == "warp" and not has_nvidia_gpu():
        return "skipped: JAX sees no NVIDIA GPU"
    return None


def place(point: Point) -> contextlib.AbstractContextManager[Any]:
    """Inside, JAX computes where the point belongs: of the C engine on the host, learner and all."""
    import jax

    from gailfe_jax.parallel.devices import cpu

    return jax.default_device(cpu()) if point.engine == "mujoco_c" else contextlib.nullcontext()


def prepare(point: Point, sizes: Sizes, dry: bool) -> Measure:
    """Compiles what the point needs and runs it once; the function it returns measures."""
    with place(point):
        made = {"physics": physics, "train": train, "profile": profile, "learn": learn}[point.kind](point, sizes, dry)

    def placed() -> dict[str, Any]:
        with place(point):
            return made()

    return placed


def physics(point: Point, sizes: Sizes, dry: bool) -> Measure:
    """The engine alone, and with a policy in the same scan."""
    from gailfe_jax.bench import timing
    from gailfe_jax.envs import make_env

    began = time.perf_counter()
    env = make_env(point.env, point.engine, **point.options)
    rollout = timing.scan_with_policy(env, point.num_envs, BARE_STEPS)
    bare = timing.bare_engine(env, point.num_envs, BARE_STEPS, rollout=rollout)
    runs = {"bare": bare, "with_policy": lambda: rollout[0](rollout[1])}
    for run in runs.values():
        timing.seconds(run)
    compiled = time.perf_counter() - began

    def measure() -> dict[str, Any]:
        raw = {name: [timing.seconds(run) for _ in range(sizes.repeats)] for name, run in runs.items()}
        steps = point.num_envs * BARE_STEPS
        rates = {name: steps / statistics.median(values) for name, values in raw.items()}
        return {
            "bare_steps_per_second": rates["bare"], "steps_per_second": rates["with_policy"],
            "compile_seconds": compiled, "raw_seconds": raw,
        }  # fmt: skip

    return measure


def method_of(point: Point, sizes: Sizes, **others: Any) -> Any:
    """What `gailfe train` trains with in as many environments; few of them with unrolls of a length of their own.

    Args:
      point: what is measured.
      sizes: how much of it.
      **others: settings of thousands of environments.
    """
    from gailfe_jax.bench.train import method_with
    from gailfe_jax.learners.presets import SCALE_FROM
    from gailfe_jax.learners.setup import build_setup

    if point.num_envs >= SCALE_FROM:
        return build_setup({"algo": point.algo, "env": point.env, "num_envs": point.num_envs} | others).method
    settings = {"rollout.num_envs": point.num_envs, "rollout.unroll_length": sizes.unroll}
    return method_with(point.algo, settings)


def _training(point: Point, sizes: Sizes) -> Any:
    from gailfe_jax.bench.train import Training
    from gailfe_jax.envs import make_env

    env = make_env(point.env, point.engine, **point.options)
    training = Training.make(method_of(point, sizes), env, seeds=point.seeds, precision=point.precision)
    training.advance()
    return training


def train(point: Point, sizes: Sizes, dry: bool) -> Measure:
    """Whole iterations."""
    training = _training(point, sizes)

    def measure() -> dict[str, Any]:
        calls = max(1, round(sizes.seconds / training.advance()))
        raw = [training.advance(calls) for _ in range(sizes.repeats)]
        median = statistics.median(raw)
        return {
            "steps_per_second": calls * training.steps / median, "iteration_seconds": median / calls,
            "compile_seconds": training.trainer.compile_seconds, "program_bytes": training.trainer.program_bytes,
            "calls": calls, "raw_seconds": raw,
        }  # fmt: skip

    return measure


def profile(point: Point, sizes: Sizes, dry: bool) -> Measure:
    """The parts of an iteration."""
    from gailfe_jax.bench import timing
    from gailfe_jax.bench.profile import iteration_parts, largest, time_parts

    training = _training(point, sizes)
    parts = iteration_parts(training)
    learner = training.trainer.learner
    bare = timing.bare_engine(learner.env, point.num_envs, learner.rollout.unroll_length)
    bare()

    def measure() -> dict[str, Any]:
        rows = time_parts(training, parts, bare, sizes.repeats)
        return {"parts": rows, "largest": largest(rows)}

    return measure


class _Reached(Exception):
    """Ends a learning run at its target."""


def learn(point: Point, sizes: Sizes, dry: bool) -> Measure:
    """Imitation from nothing until the deterministic policy makes its share of the expert; all of it is measured."""

    def measure() -> dict[str, Any]:
        import jax

        from gailfe_jax.apps.collection import collect_demonstrations
        from gailfe_jax.artifacts.policy import load_expert
        from gailfe_jax.config.run import EnvSettings, MjxSettings, RunSettings
        from gailfe_jax.config.tree import set_values
        from gailfe_jax.envs import make_env
        from gailfe_jax.parallel.devices import cpu
        from gailfe_jax.training.loop import train as train_policy

        began = time.perf_counter()
        few = 1 if dry else 30
        with jax.default_device(cpu()):
            demos = collect_demonstrations(
                make_env(point.env, "mujoco_c"), load_expert(point.env), trajectories=few, deterministic=True
            )
        expert = float(demos.expert.returns.mean())
        # Of the steps on fresh unrolls the one that needs the fewest iterations.
        method = method_of(point, sizes, policy="ppo")
        method = set_values(method, LEARN_DRY) if dry else method
        collected, curve = time.perf_counter() - began, []

        def note(step: int, row: Any) -> None:
            share = float(row["return_mean"].mean()) / expert
            curve.append([time.perf_counter() - began - collected, step, share])
            if share >= LEARN_TARGET:
                raise _Reached

        solver: Any = point.solver or None
        precision: Any = point.precision
        run = RunSettings(
            steps=sizes.learn_steps, eval_every=2 * method.rollout.batch_size, quiet=True, precision=precision,
            eval_episodes=1 if dry else 8,
        )  # fmt: skip
        where = EnvSettings(env=point.env, engine=point.engine, mjx=MjxSettings(solver_setting=solver))
        with contextlib.suppress(_Reached):
            train_policy(method, where, run, demos=demos, on_evaluation=note)
        reached = bool(curve) and curve[-1][2] >= LEARN_TARGET
        # The first stretch holds the compilation; what the others took at the median stands for its training.
        between = [b[0] - a[0] for a, b in itertools.pairwise(curve)]
        stretch = statistics.median(between) if between else curve[0][0]
        return {
            "reached": reached, "share_of_expert": curve[-1][2], "target": LEARN_TARGET, "steps": curve[-1][1],
            "seconds": curve[-1][0], "training_seconds": sum(between) + stretch, "collection_seconds": collected,
            "curve": curve,
        }  # fmt: skip

    return measure


def serve(sizes: Sizes, dry: bool) -> None:
    """Reads waves of points from stdin and answers each with its row; compiles those of a wave side by side."""
    answers, sys.stdout = sys.stdout, sys.stderr
    import jax

    from gailfe_jax.envs import make_env
    from gailfe_jax.errors import one_line
    from gailfe_jax.io.provenance import provenance
    from gailfe_jax.parallel.memory import peak_bytes

    if dry:
        jax.config.update("jax_disable_most_optimizations", True)
    print(json.dumps(provenance()), file=answers, flush=True)
    for line in sys.stdin:
        wave = [Point(**fields) for fields in json.loads(line)]
        for point in wave:
            with contextlib.suppress(Exception):  # `prepare` meets it again. MuJoCo loads models on one thread.
                make_env(point.env, point.engine, **point.options)
        with ThreadPoolExecutor(len(wave)) as pool:
            futures = {point: pool.submit(prepare, point, sizes, dry) for point in wave if missing(point) is None}
            for future in futures.values():
                future.exception()  # Nothing is measured while something compiles.
        for point in wave:
            row: dict[str, Any] = dataclasses.asdict(point)
            try:
                row |= {"error": missing(point)} if point not in futures else futures.pop(point).result()()
            except Exception as error:  # Whatever XLA, Warp or CUDA raise: the next point may still fit.
                row |= {"error": one_line(f"{type(error).__name__}: {error}", first=True)[:300]}
            row["peak_bytes_of_process_so_far"] = peak_bytes()
            print(json.dumps(row), file=answers, flush=True)
