"""Throughput beside the bare engine, measured in one run; compile time is reported apart."""

from __future__ import annotations

import dataclasses
import functools
import math
import pathlib
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import rich.box
from rich.console import Console
from rich.table import Table

from gailfe_jax.analysis.plots import bar_intervals, log_panels
from gailfe_jax.buffers.storage import PaddedTrajectories
from gailfe_jax.config.flat import Config, Hyper, hyper_arrays
from gailfe_jax.envs import TASKS, make_env
from gailfe_jax.envs.rollout import clip_action
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.provenance import provenance
from gailfe_jax.learners.adversarial import Demos, Learner
from gailfe_jax.methods.table import find_algorithm, make_learner
from gailfe_jax.policies.mail import MAIL, Windows
from gailfe_jax.policies.ppo import PPO
from gailfe_jax.rewards.discriminator import Discriminator
from gailfe_jax.training.loop import Trainer
from gailfe_jax.types import Env, PyTree, StateAction

_PHYSICS_STEPS = 100
_DEMO_PAIRS = 30_000
_FAILURE_STEPS = 50  # Of each failure that a buffer is filled with.


def seconds(fn: Callable[[], Any]) -> float:
    """Wall time of one call, results waited for."""
    start = time.perf_counter()
    jax.block_until_ready(fn())
    return time.perf_counter() - start


@functools.lru_cache(maxsize=8)
def _fresh_policy(env: Env) -> tuple[PPO, PyTree]:
    policy = PPO(Config(), env.spec)
    return policy, jax.jit(policy.init)(jax.random.key(0))


def scan_with_policy(env: Env, num_envs: int, length: int) -> tuple[Callable[[PyTree], Any], PyTree]:
    """A jitted scan of the environment under a fresh 2x100 Gaussian policy, and its first state."""
    policy, agent = _fresh_policy(env)

    @jax.jit
    def run(state: PyTree) -> Any:
        def step(state, key):
            action = clip_action(env, policy.act(agent, state.obs, key)[0])
            state, time_step = jax.vmap(env.step)(state, action)
            return state, (action, time_step.terminated | time_step.truncated)

        return jax.lax.scan(step, state, jax.random.split(jax.random.key(1), length))

    return run, jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(2), num_envs))


def _bare_c(env: Any, num_envs: int, actions: np.ndarray, done: np.ndarray) -> Callable[[], Any]:
    """`mujoco.batch.Batch` stepped alone over the same actions, with the same episodes cut at the same steps."""
    batch = env.physics.bare_batch(num_envs)
    start = batch.state.copy()
    ctrl, skip = batch.bind("ctrl"), env.task.frame_skip
    cut = [np.flatnonzero(row) for row in done]

    def run() -> None:
        batch.state[:] = start
        for t in range(len(actions)):
            ctrl[:] = actions[t]
            batch.step(nstep=skip)
            if cut[t].size:
                batch.state[cut[t]] = start[cut[t]]

    return run


def _bare_jax(env: Any, num_envs: int, actions: np.ndarray) -> Callable[[], Any]:
    """The engine's own step, vmapped in a jitted scan, without policy, rewards' use or resets."""
    state = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(2), num_envs)).phys

    @jax.jit
    def run(phys: PyTree, actions: Any) -> Any:
        return jax.lax.scan(lambda p, a: (jax.vmap(env.physics.step)(p, a)[0], None), phys, actions)[0]

    traced = jnp.asarray(actions)
    return lambda: run(state, traced)


def bare_engine(
    env: Any, num_envs: int, length: int | None = None, rollout: tuple[Callable[[PyTree], Any], PyTree] | None = None
) -> Callable[[], Any]:
    """A function that steps the bare engine in `num_envs` environments, as a fresh policy would.

    Args:
      env: the environment.
      num_envs: how many side by side.
      length: steps of each; 100 if None.
      rollout: what `scan_with_policy` made for these, where that is at hand: compiling it can take a minute.
    """
    run, state = rollout or scan_with_policy(env, num_envs, length or _PHYSICS_STEPS)
    actions, done = (np.asarray(x) for x in run(state)[1])
    if env.spec.engine == "mujoco_c":
        return _bare_c(env, num_envs, actions, done)
    return _bare_jax(env, num_envs, actions)


def check_repeats(repeats: int) -> None:
    """Refuses a number of repeats that is none.

    Raises:
      GailfeError: it is below 1.
    """
    if repeats < 1:
        raise GailfeError(f"repeats: got {repeats}; expected at least 1")


def _make_envs(names: Sequence[str], engine: str, repeats: int) -> list[Any]:
    check_repeats(repeats)
    envs = [make_env(name, engine) for name in names]
    for env in envs:
        if env.spec.engine == "brax":
            raise GailfeError(f"env: {env.spec.name} has no bare engine to compare with; expected {', '.join(TASKS)}")
    return envs


def bench_physics(
    envs: Sequence[str], *, engine: str = "auto", num_envs: Sequence[int] = (256,), repeats: int = 5
) -> dict[str, Any]:
    """Steps/s of the engine inside a jitted scan with a 2x100 policy, beside the bare engine.

    Returns:
      A JSON-able report: per task and number of environments the medians, their ratio, compile time and raw seconds.

    Raises:
      GailfeError: an unknown task or engine, or a count below 1.
    """
    if min(num_envs, default=0) < 1:
        raise GailfeError(f"num_envs: got {tuple(num_envs)}; expected numbers from 1")
    rows = []
    for env in _make_envs(envs, engine, repeats):
        for count in num_envs:
            run, state = scan_with_policy(env, count, _PHYSICS_STEPS)
            compile_seconds = seconds(lambda: run(state))  # noqa: B023
            bare = bare_engine(env, count, rollout=(run, state))
            bare()
            pairs = [(seconds(bare), seconds(lambda: run(state))) for _ in range(repeats)]  # noqa: B023
            steps = count * _PHYSICS_STEPS
            bare_s, ours_s = (statistics.median(column) for column in zip(*pairs, strict=True))
            rows.append(
                {
                    "env": env.spec.name,
                    "engine": env.spec.engine,
                    "num_envs": count,
                    "bare_steps_per_second": steps / bare_s,
                    "steps_per_second": steps / ours_s,
                    "share_of_bare": statistics.median(b / o for b, o in pairs),
                    "compile_seconds": compile_seconds,
                    "raw_seconds": [{"bare": b, "ours": o} for b, o in pairs],
                }
            )
    return {"what": "physics", "rows": rows, "provenance": provenance()}


@dataclasses.dataclass
class Training:
    """A training program and the state that it moves on.

    Demonstrations are random pairs: their content does not change the arithmetic.

    Attributes:
      trainer: the program.
      demos: what it imitates.
      state: of all seeds.
    """

    trainer: Trainer
    demos: Demos
    state: PyTree

    @classmethod
    def make(cls, config: Config, *, seeds: int = 1, chunk: int = 1) -> Training:
        """Builds the program of `config`; nothing is compiled yet but the first state's."""
        env = make_env(config.env, config.engine, **config.engine_options)
        learner = make_learner(config, env)
        rng = np.random.default_rng(0)
        sizes = (env.spec.obs_size, env.spec.action_size)
        demos = Demos(
            StateAction(*(jnp.asarray(rng.uniform(-1, 1, (_DEMO_PAIRS, size)), jnp.float32) for size in sizes))
        )
        trainer = Trainer(learner, Hyper(), np.arange(seeds), chunk=chunk, eval_episodes=1)
        first = demos
        if isinstance(learner, Learner) and learner.failures is not None:
            # A full buffer, so that what is drawn from it comes from all over it.
            shape = (learner.failures.capacity, _FAILURE_STEPS)
            data = jnp.asarray(rng.uniform(-1, 1, (*shape, sum(sizes))), jnp.float32)
            first = demos.replace(failures=PaddedTrajectories(data, jnp.full(shape[0], shape[1], jnp.int32)))
        return cls(trainer, demos, trainer.init(first))

    @property
    def steps(self) -> int:
        """Environment steps of one call, all seeds together."""
        return self.trainer.chunk * self.trainer.learner.config.batch_size * len(self.trainer.seeds)

    def advance(self, calls: int = 1) -> float:
        """Seconds that `calls` calls take; the first call compiles as well (see `Trainer.compile_seconds`)."""
        start = time.perf_counter()
        metrics: Any = None
        for _ in range(calls):
            self.state, metrics = self.trainer.advance(self.state, self.demos)
        jax.block_until_ready((self.state, metrics))
        return time.perf_counter() - start


_TRAIN_SHAPES = {"1024-step iterations": (8, 128), "8192-step iterations": (256, 32)}


def check_playing(algos: Sequence[str]) -> None:
    """Refuses methods that have no iteration of play to time.

    Raises:
      GailfeError: an unknown method, or one that learns by likelihood.
    """
    for algo in algos:
        if find_algorithm(algo).generator == "likelihood":
            raise GailfeError(f"algo: {algo} has no policy step to time; expected one that learns by playing")


def bench_train(
    envs: Sequence[str],
    *,
    algos: Sequence[str] = ("gail", "gailfe"),
    engine: str = "auto",
    repeats: int = 5,
    seeds: int = 1,
    steps: int = 65_536,
) -> dict[str, Any]:
    """Training steps/s (unroll, discriminator, policy, values) beside the bare engine with as many environments.

    Args:
      envs, algos: what to measure.
      engine: physics engine.
      repeats: timed repeats, each beside the bare engine.
      seeds: vmapped seeds.
      steps: environment steps per repeat and seed.

    Raises:
      GailfeError: an unknown task, method or engine, or a count below 1.
    """
    check_playing(algos)
    rows = []
    for env in _make_envs(envs, engine, repeats):
        for label, (num_envs, length) in _TRAIN_SHAPES.items():
            bare = bare_engine(env, num_envs * seeds)
            bare()
            bare_256 = bare_engine(env, 256)
            bare_256()
            for algo in algos:
                horizon = math.gcd(Config.horizon, length)
                config = Config(
                    algo=algo, env=env.spec.name, engine=engine, num_envs=num_envs, unroll_length=length,
                    horizon=horizon,
                )  # fmt: skip
                training = Training.make(config, seeds=seeds, chunk=max(1, steps // config.batch_size))
                training.advance()
                timings = [(seconds(bare), seconds(bare_256), training.advance()) for _ in range(repeats)]
                bare_rate = [num_envs * seeds * _PHYSICS_STEPS / t[0] for t in timings]
                bare_256_rate = [256 * _PHYSICS_STEPS / t[1] for t in timings]
                rate = [training.steps / t[2] for t in timings]
                rows.append(
                    {
                        "env": env.spec.name,
                        "engine": env.spec.engine,
                        "algo": algo,
                        "iteration": label,
                        "num_envs": num_envs,
                        "seeds": seeds,
                        "bare_steps_per_second": statistics.median(bare_rate),
                        "bare_256_steps_per_second": statistics.median(bare_256_rate),
                        "steps_per_second": statistics.median(rate),
                        "share_of_bare": statistics.median(r / b for r, b in zip(rate, bare_rate, strict=True)),
                        "share_of_bare_256": statistics.median(r / b for r, b in zip(rate, bare_256_rate, strict=True)),
                        "compile_seconds": training.trainer.compile_seconds,
                        "raw_seconds": [{"bare": b, "bare_256": c, "train": o} for b, c, o in timings],
                    }
                )
    return {"what": "train", "rows": rows, "provenance": provenance()}


def bench_horizon(
    envs: Sequence[str], *, horizons: Sequence[int] = (1, 4, 16, 64, 256), windows: int = 64, repeats: int = 5
) -> dict[str, Any]:
    """What the gradient through the model costs: seconds and bytes of one gradient over `windows` of H steps.

    Args:
      envs: tasks, for their sizes.
      horizons: H.
      windows: how many are differentiated side by side.
      repeats: timed repeats.

    Raises:
      GailfeError: an unknown task, or a count below 1.
    """
    if min((*horizons, windows), default=0) < 1:
        raise GailfeError(f"horizons, windows: got {tuple(horizons)} and {windows}; expected numbers from 1")
    rows = []
    for env in _make_envs(envs, "auto", repeats):
        spec = env.spec
        for horizon in horizons:
            config = Config(algo="mail", generator="backprop", num_envs=windows, unroll_length=horizon, horizon=horizon)
            generator, cost, hyper = MAIL(config, spec), Discriminator(config, spec), hyper_arrays(Hyper())
            keys = jax.random.split(jax.random.key(0), 4)
            obs = jax.random.normal(keys[0], (horizon + 1, windows, spec.obs_size))
            action = jax.random.uniform(keys[1], (horizon, windows, spec.action_size), minval=-1)
            flags = jnp.zeros((horizon, windows), bool)
            cut = Windows(obs[:-1], action, obs[1:], obs[1:], flags, flags)
            state = jax.jit(generator.init)(keys[2])
            judge = cost.init(keys[3], StateAction(obs[0], action[0]))

            def gradient(state, judge, cut):
                score = functools.partial(cost.score, judge)  # noqa: B023
                return jax.grad(generator.real_rollout(state, state.policy, cut, score, hyper))(state.policy)  # noqa: B023

            start = time.perf_counter()
            compiled = jax.jit(gradient).lower(state, judge, cut).compile()
            compile_seconds = time.perf_counter() - start
            compiled(state, judge, cut)
            raw = [seconds(lambda: compiled(state, judge, cut)) for _ in range(repeats)]  # noqa: B023
            memory: Any = compiled.memory_analysis()
            rows.append(
                {
                    "env": spec.name,
                    "engine": spec.engine,
                    "horizon": horizon,
                    "windows": windows,
                    "seconds": statistics.median(raw),
                    "memory_bytes": None if memory is None else int(memory.temp_size_in_bytes),
                    "compile_seconds": compile_seconds,
                    "raw_seconds": raw,
                }
            )
    return {"what": "horizon", "rows": rows, "provenance": provenance()}


def print_horizon(report: dict[str, Any]) -> None:
    """Shows a report of `bench_horizon`."""
    table = Table(title="one gradient through the model", box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("task", "windows", "H", "ms", "us per H", "MiB", "compile"):
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for row in report["rows"]:
        memory = "-" if row["memory_bytes"] is None else f"{row['memory_bytes'] / 2**20:.1f}"
        cost = (f"{1e3 * row['seconds']:.2f}", f"{1e6 * row['seconds'] / row['horizon']:.0f}", memory)
        table.add_row(row["env"], str(row["windows"]), str(row["horizon"]), *cost, f"{row['compile_seconds']:.1f} s")
    Console().print(table)


def draw_horizon(report: dict[str, Any], path: str | pathlib.Path) -> None:
    """Draws a report of `bench_horizon`."""
    panels: dict[str, dict[str, Any]] = {"one gradient, ms": {}, "memory, MiB": {}}
    for env in dict.fromkeys(row["env"] for row in report["rows"]):
        rows = [row for row in report["rows"] if row["env"] == env]
        x = [row["horizon"] for row in rows]
        panels["one gradient, ms"][env] = x, [1e3 * row["seconds"] for row in rows]
        panels["memory, MiB"][env] = x, [(row["memory_bytes"] or math.nan) / 2**20 for row in rows]
    log_panels(panels, path, title="one gradient through the model", xlabel="horizon")


def draw_report(report: dict[str, Any], path: str | pathlib.Path) -> None:
    """Draws ours / bare of a report of `bench_physics` or `bench_train`, every repeat."""
    scores = {}
    for row in report["rows"]:
        ours = "train" if "algo" in row else "ours"
        # What both take per repeat differs, but not from repeat to repeat.
        scale = row["share_of_bare"] / statistics.median(raw["bare"] / raw[ours] for raw in row["raw_seconds"])
        what = f"{row['algo']}, {row['iteration'].split('-')[0]} steps" if "algo" in row else f"{row['num_envs']} envs"
        scores[f"{row['env']}, {what}"] = [scale * raw["bare"] / raw[ours] for raw in row["raw_seconds"]]
    engines = ", ".join(sorted({row["engine"] for row in report["rows"]}))
    bar_intervals(
        scores, path, title=f"bench {report['what']}, {engines}", xlabel="share of the bare engine's steps/s",
        reference=1.0, reference_label="bare engine",
    )  # fmt: skip


def print_report(report: dict[str, Any]) -> None:
    """Shows a report of this module as a table, 80 columns wide."""
    engines = ", ".join(sorted({row["engine"] for row in report["rows"]}))
    table = Table(title=f"bench {report['what']}, engine {engines}", box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("task", "what", "envs", "bare/s", "ours/s", "ours/bare", "compile"):
        table.add_column(heading, justify="left" if heading in ("task", "what") else "right")
    for row in report["rows"]:
        what = f"{row['algo']}, {row['iteration'].split('-')[0]} steps" if "algo" in row else "scan with policy"
        rates = (f"{row['bare_steps_per_second']:,.0f}", f"{row['steps_per_second']:,.0f}")
        share, seconds = f"{row['share_of_bare']:.2f}", f"{row['compile_seconds']:.1f} s"
        table.add_row(row["env"], what, str(row["num_envs"]), *rates, share, seconds)
    Console().print(table)
    print("environment steps per second; bare: the engine alone, as many environments")
