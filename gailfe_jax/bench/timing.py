"""What every benchmark is measured with: a clock that waits for results, and the bare engine beside it."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from gailfe_jax.config.run import EnvSettings, MjxSettings
from gailfe_jax.envs import TASKS, DelayedReward, base_name, canonical_name, engine_of, find_task, make_env
from gailfe_jax.envs.host import HostEnv
from gailfe_jax.envs.physics.solver import settled
from gailfe_jax.envs.rollout import clip_action
from gailfe_jax.errors import GailfeError
from gailfe_jax.parallel.devices import compiler_options
from gailfe_jax.policies.ppo import PPO
from gailfe_jax.types import Env, Problem, PyTree

SolverSetting = Literal["cheap", "model"] | None
"""Which of MJX's solver settings is measured, by name; None for what training would take."""
Rollout = tuple[Callable[[PyTree], Any], PyTree]
"""A jitted scan over a batch of environments, and its first state."""


def seconds(fn: Callable[[], Any]) -> float:
    """Wall time of one call, results waited for."""
    start = time.perf_counter()
    jax.block_until_ready(fn())
    return time.perf_counter() - start


def check_counts(**counts: float) -> None:
    """Refuses numbers below 1, which are given by name.

    Raises:
      GailfeError: names the first.
    """
    for name, count in counts.items():
        if not count >= 1:
            raise GailfeError(f"{name}: got {count}; expected at least 1")


def check_some(field: str, values: Sequence[Any]) -> None:
    """Refuses an empty list of what to measure.

    Raises:
      GailfeError: it is empty.
    """
    if not values:
        raise GailfeError(f"{field}: got none; expected at least one")


def check_has_bare_engine(name: str) -> None:
    """Refuses environments whose engine cannot be stepped by itself: all but MuJoCo tasks.

    Raises:
      GailfeError: it is one of them, or an unknown task.
    """
    base_name(name)  # Raises for an unknown one.
    try:
        find_task(name)
    except GailfeError:
        expected = ", ".join(TASKS)
        raise GailfeError(f"env: {name} has no bare engine to compare with; expected {expected}") from None


def settle(name: str, engine: str, solver_setting: SolverSetting = None) -> EnvSettings:
    """The task on its engine, with the solver setting that training takes there (`gailfe_jax.envs.physics.solver`).

    Args:
      name: of the task.
      engine: for a task that does not bring its own.
      solver_setting: another than training's.

    Raises:
      GailfeError: an unknown task or engine, or the cheap setting where none is known.
    """
    name = canonical_name(name)
    place = EnvSettings(env=name, engine=engine_of(name, engine), mjx=MjxSettings(solver_setting=solver_setting))
    return settled(place, place.engine)


def solver_record(place: EnvSettings) -> dict[str, Any]:
    """What a row of a report says of the solver: `solver`, its setting by name (empty where the engine takes none), and
    `solver_options`, its numbers that are not the model's own."""
    return {"solver": place.mjx.solver_setting or "", "solver_options": place.options}


def make_env_as_training(place: EnvSettings) -> Env:
    """The environment of `settle`."""
    return make_env(place.env, place.engine, **place.options)


def make_envs(
    names: Sequence[str], engine: str, repeats: int, *, host: bool = False, solver_setting: SolverSetting = None
) -> list[tuple[Any, dict[str, Any]]]:
    """The environments of a benchmark that compares with the bare engine, each with its `solver_record`.

    Args:
      names: of the tasks.
      engine: for those that do not bring their own.
      repeats: to be checked, too.
      host: whether Gymnasium's environments on the host may be among them, whose states can be stepped only once.
      solver_setting: another than training's.

    Raises:
      GailfeError: no task, one that is unknown or has no bare engine, an unknown engine, or repeats below 1.
    """
    check_counts(repeats=repeats)
    check_some("env", names)
    for name in names:
        if not (host and base_name(name).startswith("gym:")):
            check_has_bare_engine(name)
    places = [settle(name, engine, solver_setting) for name in names]
    return [(make_env_as_training(place), solver_record(place)) for place in places]


@functools.lru_cache(maxsize=8)
def _fresh_policy(env: Env) -> tuple[PPO, PyTree]:
    policy = PPO().bind(Problem(env.spec, num_envs=1, unroll_length=1))
    return policy, jax.jit(policy.init)(jax.random.key(0))


def scan_with_policy(env: Env, num_envs: int, length: int) -> Rollout:
    """A jitted scan of `length` steps under a fresh 2x100 policy, and its first state.

    Where a state can be stepped only once, the scan begins by a reset whatever state it is given.
    """
    policy, agent = _fresh_policy(env)

    @functools.partial(jax.jit, compiler_options=compiler_options(env.spec))
    def run(state: PyTree) -> Any:
        def step(state, key):
            action = clip_action(env, policy.act(agent, state.obs, key)[0])
            state, time_step = jax.vmap(env.step)(state, action)
            return state, (action, time_step.terminated | time_step.truncated)

        return jax.lax.scan(step, state, jax.random.split(jax.random.key(1), length))

    reset, keys = jax.jit(jax.vmap(env.reset)), jax.random.split(jax.random.key(2), num_envs)
    if isinstance(_inner(env), HostEnv):
        return lambda state: run(reset(keys)), reset(keys)
    return run, reset(keys)


def _inner(env: Any) -> Any:
    """The environment whose rewards are paid at once."""
    return env.env if isinstance(env, DelayedReward) else env


def _bare_host(env: HostEnv, num_envs: int, actions: np.ndarray) -> Callable[[], Any]:
    """Gymnasium's own vector environment stepped in a Python loop over the same actions, reset first as ours is."""
    vector, own = env.bare_vector(num_envs), env.own_actions(actions)

    def run() -> None:
        vector.reset(seed=2)
        for row in own:
            vector.step(row)

    return run


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


def bare_engine(env: Env, num_envs: int, length: int, rollout: Rollout | None = None) -> Callable[[], Any]:
    """A function that steps the bare engine as a fresh policy would.

    Args:
      env: the environment.
      num_envs: environments side by side.
      length: steps of each.
      rollout: from `scan_with_policy` with the same sizes, where it exists already: compiling it can take a minute.
    """
    run, state = rollout or scan_with_policy(env, num_envs, length)
    actions, done = (np.asarray(x) for x in run(state)[1])
    if isinstance(_inner(env), HostEnv):
        return _bare_host(_inner(env), num_envs, actions)
    if env.spec.engine == "mujoco_c":
        return _bare_c(env, num_envs, actions, done)
    return _bare_jax(env, num_envs, actions)
