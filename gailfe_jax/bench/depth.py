"""How many loop steps of a training iteration have to run one after the other, by part: no accelerator saves them."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Sequence
from typing import Any, get_args

import jax
import jax.numpy as jnp
from rich.console import Console

from gailfe_jax.analysis.plots import bar_intervals
from gailfe_jax.bench.loops import Depth, program_depth
from gailfe_jax.bench.report import new_table
from gailfe_jax.bench.timing import check_counts, check_some
from gailfe_jax.bench.train import check_playing
from gailfe_jax.config.parts import as_arrays
from gailfe_jax.envs import find_task, make_env
from gailfe_jax.envs.rollout import evaluate
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.provenance import provenance
from gailfe_jax.learners.base import Learner
from gailfe_jax.learners.setup import build_setup
from gailfe_jax.learners.sources import Demos
from gailfe_jax.parallel.phases import Phase
from gailfe_jax.policies.replayed import ReplayedUpdate
from gailfe_jax.types import Env, StateAction

PARTS: tuple[str, ...] = get_args(Phase)
"""The parts of an iteration, in the order in which a table shows them."""
LEARNING = ("reward", "policy", "value", "model")
"""The parts whose loop steps are steps of an optimiser or of conjugate gradients."""
MOST_LEARNING = 400
"""What `LEARNING` should take at most at 4096 environments x 32 steps."""
ENGINES: dict[str, tuple[str, dict[str, int]]] = {
    "mujoco_c": ("mujoco_c", {}),
    "mjx": ("mjx", {}),
    "mjx-cheap": ("mjx", {"iterations": 4, "ls_iterations": 8}),
}
"""What can be measured: `name -> (engine, its options)`."""
_PAIRS = 1000  # Demonstrated pairs, of which the depth does not depend.


def run(
    env: Sequence[str] = ("halfcheetah", "hopper"),
    *,
    algo: Sequence[str] = ("gail", "gailfe", "mail", "gasil", "ppo", "gail:td3", "gail:sac"),
    engine: Sequence[str] = ("mujoco_c", "mjx", "mjx-cheap"),
    num_envs: int = 4096,
    unroll_length: int = 32,
) -> dict[str, Any]:
    """Counts sequential loop steps of a training iteration by part. Programs are traced, not compiled and not run.

    A loop whose length the data decide counts with the most that it can take. The C engine is one call and no loop.

    Args:
      env: Count for these tasks.
      algo: Count for the presets of these methods, or of a method and one of its policy steps, as gail:td3.
      engine: Count on these engines: mujoco_c, mjx (the model's own solver settings) or mjx-cheap (four iterations of
        eight line-search steps).
      num_envs: Step this many environments side by side.
      unroll_length: Step each this often per iteration; for a policy step from replay its preset says it.

    Raises:
      GailfeError: an unknown task, method, policy step or engine, or a count below 1.
    """
    check_playing([name.partition(":")[0] for name in algo])
    check_counts(num_envs=num_envs, unroll_length=unroll_length)
    check_some("env", env)
    check_some("engine", engine)
    for name in engine:
        if name not in ENGINES:
            raise GailfeError(f"engine: got {name!r}; expected some of {', '.join(ENGINES)}")
    rows = []
    for task in (find_task(name).name for name in env):
        for place in engine:
            options = ENGINES[place]
            made = make_env(task, options[0], **options[1])
            evaluation = evaluation_depth(made).total
            for name in algo:
                method = _preset(name, task, num_envs, unroll_length)
                depth = iteration_depth(method.on(made))
                rows.append(
                    {
                        "env": task,
                        "engine": place,
                        "algo": name,
                        "num_envs": num_envs,
                        "unroll_length": method.rollout.unroll_length,
                        "steps": {part: depth.steps.get(part, 0) for part in PARTS},
                        "unbounded": depth.unbounded,
                        "learning": depth.of(LEARNING),
                        "total": depth.total,
                        "evaluation": evaluation,
                    }
                )
    return {"what": "depth", "rows": rows, "provenance": provenance()}


def _preset(algo: str, task: str, num_envs: int, unroll_length: int) -> Learner:
    """What `gailfe train` trains with at this size; MAIL's windows divide the unroll, and updates from replay are so
    many for each step that a longer unroll would only have more of them."""
    name, _, policy = algo.partition(":")
    sizes = {"algo": name, "env": task, "rollout.num_envs": num_envs} | ({"policy": policy} if policy else {})
    setup = build_setup(sizes)
    if isinstance(setup.method.policy, ReplayedUpdate):
        return setup.method
    sizes |= {"rollout.unroll_length": unroll_length}
    setup = build_setup(sizes)
    horizon = setup.get("policy.horizon")
    if horizon is not None and unroll_length % horizon:
        setup = build_setup(sizes | {"policy.horizon": math.gcd(horizon, unroll_length)})
    return setup.method


def iteration_depth(learner: Learner) -> Depth:
    """The depth of one iteration of one seed of a method that plays, on its environment."""
    learner = as_arrays(learner)
    demos = _shown(learner.env) if learner.needs_demonstrations else None
    state = jax.eval_shape(learner.init, jax.random.key(0), demos)
    return program_depth(lambda state, demos: learner.step(state, demos), state, demos)


def evaluation_depth(env: Env) -> Depth:
    """The depth of an evaluation: episodes side by side, each up to the time limit."""
    size = env.spec.action_size
    still = lambda agent, obs: jnp.zeros((*obs.shape[:-1], size))  # noqa: E731
    return program_depth(lambda key: evaluate(env, still, None, key, 2), jax.random.key(0))


def _shown(env: Env) -> Demos:
    shape = lambda size: jax.ShapeDtypeStruct((_PAIRS, size), jnp.float32)  # noqa: E731
    obs, action = shape(env.spec.obs_size), shape(env.spec.action_size)
    ended = jax.ShapeDtypeStruct((_PAIRS,), bool)
    return Demos(StateAction(obs, action), next_obs=obs, terminated=ended)  # type: ignore[arg-type]


def show(report: dict[str, Any]) -> None:
    """Shows a report of `run`."""
    first = report["rows"][0]
    title = f"bench depth: sequential loop steps at {first['num_envs']:,} environments x {first['unroll_length']} steps"
    table = new_table(title, ("task", "engine", "method", *PARTS, "learning"), left=("task", "engine", "method"))
    for row in report["rows"]:
        counts = (*(row["steps"][part] for part in PARTS), row["learning"])
        table.add_row(row["env"], row["engine"], row["algo"], *map(count, counts))
    Console(width=120).print(table)
    print(f"learning: {', '.join(LEARNING)}; an unroll whose engine loops is counted there")
    for row in report["rows"]:
        for part, loops in row["unbounded"].items():
            print(f"{row['algo']} on {row['env']}, {row['engine']}: {loops} loop(s) of {part} without a bound")


def count(steps: int) -> str:
    """A number of steps as a table shows it."""
    return f"{steps:,}" if steps else "-"


def draw(report: dict[str, Any], path: str | pathlib.Path) -> None:
    """Draws what learning takes, of each method and task."""
    scores = {}
    for row in report["rows"]:
        scores[f"{row['algo']}, {row['env']}"] = [float(row["learning"])]
    bar_intervals(
        scores, path, title="sequential steps of learning per iteration", xlabel="optimiser and CG steps",
        reference=float(MOST_LEARNING), reference_label="goal",
    )  # fmt: skip
