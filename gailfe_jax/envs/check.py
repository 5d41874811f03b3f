"""Whether a user's environment or MuJoCo task is usable, found before minutes of training are spent on it."""

from __future__ import annotations

import contextlib
import functools
import numbers
import types
from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from gailfe_jax.data.annotators import parse_annotator
from gailfe_jax.errors import GailfeError, failed
from gailfe_jax.flat_env import FlatEnv, make_gymnasium, time_limit
from gailfe_jax.types import MOST_STEPS, Env, EnvSpec, EnvState, Fields, Task, TimeStep, is_key


def check_env(env: Any, given: str = "got") -> None:
    """Holds that `env` is an `Env` as `gailfe_jax.types` describes it; traces its functions and runs nothing.

    Args:
      env: what may be one.
      given: how a line that says what stands in its place begins.

    Raises:
      GailfeError: it is a class, a function or a Gymnasium environment, or names the first field that is missing, or of
        another type, size, shape or dtype than promised.
    """
    _check_kind(env, given)
    kind = type(env).__name__
    for field in ("spec", "reset", "step"):
        if not hasattr(env, field):
            raise GailfeError(f"env: {kind} has no {field}; expected an object with spec, reset and step")
    if not isinstance(env.spec, EnvSpec):
        raise GailfeError(f"env: spec of {kind} is a {type(env.spec).__name__}; expected a gailfe_jax.types.EnvSpec")
    _check_spec(env.spec)
    _check_functions(env, env.reset, env.step, (), "")
    _check_functions(env, jax.vmap(env.reset), jax.vmap(env.step), (2,), " under vmap")


def _check_kind(env: Any, given: str) -> None:
    """Refuses what makes an `Env` in the place of one, and says how to come by it."""
    if isinstance(env, type):
        is_gymnasium = issubclass(env, gymnasium.Env)
        expected = f"gymnasium_env({env.__name__})" if is_gymnasium else "one of its objects"
        raise GailfeError(f"env: {given} the class {env.__name__}; expected {expected}")
    if isinstance(env, gymnasium.Env):
        raise GailfeError(
            f"env: {given} a Gymnasium environment, {type(env.unwrapped).__name__}; expected gymnasium_env(FUNCTION), "
            "with a function or class that makes one"
        )
    if isinstance(env, types.FunctionType | types.MethodType | functools.partial) and not hasattr(env, "spec"):
        raise GailfeError(
            f"env: {given} a function, {getattr(env, '__name__', 'partial')}; expected the Env that it makes, or "
            "gymnasium_env(FUNCTION) of one that makes a Gymnasium environment"
        )


def _check_spec(spec: EnvSpec) -> None:
    if not isinstance(spec.name, str) or not spec.name:
        raise GailfeError(f"env: spec.name is {spec.name!r}; expected the task's name")
    where = f"env {spec.name!r}"
    for field in ("engine", "annotator"):
        if not isinstance(getattr(spec, field), str):
            raise GailfeError(f"{where}: spec.{field} is {getattr(spec, field)!r}; expected text")
    if not isinstance(spec.gymnasium_id, str | None):
        raise GailfeError(f"{where}: spec.gymnasium_id is {spec.gymnasium_id!r}; expected a Gymnasium id or None")
    for field in ("obs_size", "action_size", "max_episode_steps"):
        _check_count(f"{where}: spec.{field}", getattr(spec, field))
    for field in ("action_low", "action_high"):
        bound = getattr(spec, field)
        if not isinstance(bound, tuple) or not all(isinstance(x, numbers.Real) and x == x for x in bound):
            raise GailfeError(f"{where}: spec.{field} is {bound!r}; expected a tuple of numbers")
        if len(bound) not in (1, spec.action_size):
            raise GailfeError(
                f"{where}: spec.{field} has {len(bound)} numbers; expected action_size, {spec.action_size}, or 1"
            )
    if not np.all(np.asarray(spec.action_low) < np.asarray(spec.action_high)):
        raise GailfeError(f"{where}: spec.action_low is {spec.action_low}; expected bounds below {spec.action_high}")

    if spec.discrete and (spec.action_size < 2 or any(spec.action_low) or not all(x == 1 for x in spec.action_high)):
        raise GailfeError(
            f"{where}: spec.discrete is set, and an action has {spec.action_size} entries in {spec.action_low} to "
            f"{spec.action_high}; expected two choices or more, between 0 and 1"
        )


def _check_functions(env: Env, reset: Any, step: Any, batch: tuple[int, ...], how: str) -> None:
    what, size = f"env {env.spec.name!r}: reset{how}", env.spec.obs_size
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), batch))
    state = trace(what, reset, keys)
    _check_state(what, state, batch, size)
    what = what.replace("reset", "step")
    result = trace(what, step, state, jax.ShapeDtypeStruct((*batch, env.spec.action_size), jnp.float32))
    _check_step(what, state, result, batch, size)


def _check_count(what: str, value: Any) -> None:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        raise GailfeError(f"{what} is {value!r}; expected a whole number of at least 1")
    if int(value) > MOST_STEPS:
        raise GailfeError(f"{what} is {value!r}; expected at most {MOST_STEPS}")


def _run(what: str, function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except Exception as error:  # Whatever a user's code raises.
        raise failed(what, error) from error


def trace(what: str, function: Callable[..., Any], *args: Any) -> Any:
    """The shapes of what a user's function returns.

    Raises:
      GailfeError: it fails, in one line that begins with `what`.
    """
    return _run(f"{what}, traced by JAX,", jax.eval_shape, function, *args)


def _check_arrays(what: str, holder: Any, expected: dict[str, tuple[tuple[int, ...], Any]]) -> None:
    for field, (shape, dtype) in expected.items():
        value = getattr(holder, field)
        if getattr(value, "shape", None) != shape or value.dtype != dtype:
            raise GailfeError(f"{what} gives {field} of {kind_of(value)}; expected {np.dtype(dtype).name}{list(shape)}")


def kind_of(value: Any) -> str:
    """An array's dtype and shape, or another value's type."""
    return f"{value.dtype}{list(value.shape)}" if hasattr(value, "shape") else type(value).__name__


def _check_state(what: str, state: Any, batch: tuple[int, ...], obs_size: int) -> None:
    if not isinstance(state, EnvState):
        raise GailfeError(f"{what} gives a {type(state).__name__}; expected a gailfe_jax.types.EnvState")
    vector, count, number = ((*batch, obs_size), jnp.float32), (batch, jnp.int32), (batch, jnp.float32)
    _check_arrays(what, state, {"obs": vector, "step_count": count, "episode": count, "episode_return": number})
    if not hasattr(state.key, "dtype") or not is_key(state.key) or state.key.shape != batch:
        raise GailfeError(f"{what} gives key of {kind_of(state.key)}; expected the typed key it was given")


def _check_step(what: str, before: EnvState, result: Any, batch: tuple[int, ...], obs_size: int) -> None:
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], TimeStep):
        raise GailfeError(f"{what} gives {names_of(result)}; expected the pair (EnvState, TimeStep)")
    after, step = result
    _check_state(what, after, batch, obs_size)
    check_same_shapes(what, before, after, "the state's phys", "reset")
    vector, number, flag = ((*batch, obs_size), jnp.float32), (batch, jnp.float32), (batch, jnp.bool_)
    expected = {"obs": vector, "next_obs": vector, "reward": number, "terminated": flag, "truncated": flag}
    _check_arrays(what, step, expected)


def check_same_shapes(what: str, before: Any, after: Any, noun: str, origin: str) -> None:
    """Holds that a state that a loop carries keeps its structure, shapes and dtypes.

    Args:
      what: the function that made `after`.
      before, after: the state, or its shapes.
      noun: what to call what has the structure.
      origin: the function that made `before`.

    Raises:
      GailfeError: names the function, and the first leaf that differs.
    """
    old, new = (jax.tree_util.tree_flatten_with_path(tree) for tree in (before, after))
    if old[1] != new[1]:
        raise GailfeError(f"{what} changes the structure of {noun}; expected the one that {origin} gives")
    for (path, one), (_, two) in zip(old[0], new[0], strict=True):
        if (one.shape, one.dtype) != (two.shape, two.dtype):
            name = jax.tree_util.keystr(path).removeprefix(".") or noun
            raise GailfeError(f"{what} gives {name} of {kind_of(two)}; expected {kind_of(one)}, as {origin} gives")


def names_of(result: Any) -> str:
    """What a function returned, by its types."""
    if isinstance(result, tuple):
        return f"({', '.join(type(part).__name__ for part in result)})"
    return f"a {type(result).__name__}"


def check_task(task: Task) -> None:
    """Holds that a `Task` fits its model file and that its functions work on batches, in NumPy as in JAX.

    Raises:
      GailfeError: names the first field that does not.
    """
    from gailfe_jax.envs.physics.model import action_bounds, fresh_fields, load_model, seconds_per_step

    where = f"task {task.name!r}"
    for field in ("frame_skip", "max_episode_steps", "obs_size", "action_size"):
        _check_count(f"{where}: {field}", getattr(task, field))
    action_bounds(task)
    model, dt, n = load_model(task), seconds_per_step(task), 2
    data, before = (Fields(**fresh_fields(task, names, n)) for names in (task.fields, task.fields_before))
    action = np.zeros((n, task.action_size), np.float32)
    calls: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
        "observe": (lambda xp: task.observe(xp, data), (n, task.obs_size)),
        "reward": (lambda xp: task.reward(xp, before, data, action, dt), (n,)),
        "terminated": (lambda xp: task.terminated(xp, data), (n,)),
    }
    for field, (call, shape) in calls.items():
        dtype = "bool" if field == "terminated" else "float"
        what = f"{where}: {field} of {n} states"
        in_numpy = _run(f"{what}, in NumPy,", call, np)
        in_jax = trace(what, lambda call=call: call(jnp))
        for given in (in_numpy, in_jax):
            if getattr(given, "shape", None) != shape or not str(given.dtype).startswith(dtype):
                raise GailfeError(f"{what} gives {kind_of(given)}; expected {dtype}{list(shape)}")
    state = (np.zeros(size, np.float32) for size in (model.nq, model.nv))
    shapes = [part.shape for part in jax.tree.leaves(trace(f"{where}: start", task.start, jax.random.key(0), *state))]
    if shapes != [(model.nq,), (model.nv,)]:
        raise GailfeError(f"{where}: start gives shapes {shapes}; expected {[(model.nq,), (model.nv,)]}")
    _check_annotator(task, where)
    _check_starts(task, where)
    if task.gymnasium_id is not None:
        _check_gymnasium(task, where)


def _check_annotator(task: Task, where: str) -> None:
    """Holds that the annotator's name is one; what it would do with the expert's return is for later."""
    try:
        annotator = parse_annotator(task.annotator, task=task.name, default="default", expert_return=1.0)
    except GailfeError as error:
        raise GailfeError(f"{where}: {error}") from None
    if annotator.reads_reward and not task.has_reward:
        raise GailfeError(
            f"{where}: annotator {task.annotator!r} reads the reward; expected one that does not, or a reward"
        )


def _check_gymnasium(task: Task, where: str) -> None:
    """Holds that the Gymnasium environment that a task says it is has its sizes, bounds and time limit."""
    from gailfe_jax.envs.physics.model import action_bounds, without_expected_warning

    what = f"{where}: gymnasium_id {task.gymnasium_id!r}"
    try:
        with without_expected_warning(), contextlib.closing(make_gymnasium(str(task.gymnasium_id))) as env:
            flat = FlatEnv(env, str(task.gymnasium_id))
            limit = time_limit(env)
    except GailfeError as error:
        raise GailfeError(f"{where}: gymnasium_id: {error}") from None
    box, (low, high) = flat.action_space, np.asarray(action_bounds(task), np.float32)
    found = (flat.observation_space.shape[0], box.shape[0])  # type: ignore[index]
    if flat.discrete or found != (task.obs_size, task.action_size):
        kind = "choices" if flat.discrete else "numbers"
        raise GailfeError(
            f"{what} observes {found[0]} numbers and acts by {found[1]} {kind}; expected {task.obs_size} and "
            f"{task.action_size} numbers, as the task does"
        )
    if not (np.array_equal(box.low, low) and np.array_equal(box.high, high)):  # type: ignore[union-attr]
        theirs, ours = (f"{a.tolist()} to {b.tolist()}" for a, b in ((box.low, box.high), (low, high)))  # type: ignore[union-attr]
        raise GailfeError(f"{what} has action bounds {theirs}; expected those of the task's model, {ours}")
    if limit != task.max_episode_steps:
        raise GailfeError(
            f"{what} has a time limit of {limit} steps; expected max_episode_steps, {task.max_episode_steps}"
        )


# MuJoCo calls a larger state unstable, and starts the simulation anew by itself.
_LARGEST_START = 1e10


def _check_starts(task: Task, where: str) -> None:
    from gailfe_jax.envs.physics.mujoco_c import MujocoC

    physics = MujocoC(task)
    keys = jax.random.split(jax.random.key(0), 8)
    starts = jax.vmap(lambda key: task.start(key, physics.init_qpos, physics.init_qvel))(keys)
    qpos, qvel = (np.asarray(part, np.float64) for part in starts)
    for name, part in (("qpos", qpos), ("qvel", qvel)):
        if not (np.abs(part) < _LARGEST_START).all():
            raise GailfeError(
                f"{where}: start draws {name} up to {np.abs(part).max():g}; expected less than {_LARGEST_START:g}"
            )
    data = physics.host_start(qpos, qvel)
    if not np.isfinite(task.observe(np, data)).all():
        raise GailfeError(f"{where}: observe is not finite where episodes start")
    if task.terminated(np, data).any():
        raise GailfeError(f"{where}: terminated is already true where episodes start")
    reward = task.reward(np, data, data, np.zeros((len(qpos), task.action_size), np.float32), 1.0)
    if not np.isfinite(reward).all():
        raise GailfeError(f"{where}: reward is not finite where episodes start")
    _check_agreement(task, where, physics.host_start(qpos, qvel + 0.1))


def _check_agreement(task: Task, where: str, data: Fields) -> None:
    """One function in NumPy and in JAX is two: a typing error in one `if xp is np` would train on another task."""
    dt, action = 0.1, np.linspace(-0.5, 0.5, len(data.qpos) * task.action_size, dtype=np.float32)
    action = action.reshape(len(data.qpos), -1)
    calls: dict[str, Callable[[Any], Any]] = {
        "observe": lambda xp: task.observe(xp, data),
        "reward": lambda xp: task.reward(xp, data, data, action, dt),
    }
    for field, call in calls.items():
        in_numpy, in_jax = np.asarray(call(np)), np.asarray(call(jnp))
        if not np.allclose(in_numpy, in_jax, rtol=1e-3, atol=1e-3):
            worst = np.nanmax(np.abs(in_numpy - in_jax))
            raise GailfeError(f"{where}: {field} differs by {worst:.3g} between NumPy and JAX; expected one function")
