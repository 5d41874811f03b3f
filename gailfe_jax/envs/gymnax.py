"""Environments in gymnax's style as our `Env`: `reset(key, params)` and `step(key, state, action, params)`.

Differences from gymnax's own `step`, which is not used where the environment has `step_env`:
- It resets by itself and gives the observation after the reset; ours keeps the one before it, too.
- The time limit is ours, and truncates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gailfe_jax.envs.base import EpisodicEnv, check_limit, does_not_run, in_shape_of
from gailfe_jax.errors import GailfeError
from gailfe_jax.flat_env import split_options
from gailfe_jax.types import Array, EnvSpec, PyTree, StepResult


def _import_gymnax() -> Any:
    try:
        import gymnax  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise GailfeError(
            f"env: package gymnax does not import ({error}); expected `pip install 'gailfe-jax[gymnax]'`"
        ) from error
    return gymnax


def registration_of(name: str) -> Any:
    """What gymnax knows an id by; another object after registering again. None where it knows none."""
    return _import_gymnax().registration._registry.get(split_options(name, "gymnax:")[0])


def gymnax_env(name: str) -> GymnaxEnv:
    """The environment that gymnax calls `name` (`CartPole-v1`), with options behind a `?`.

    `max_episode_steps` and the fields of its parameters are options (`CartPole-v1?gravity=3.7`), others go to its
    constructor.

    Raises:
      GailfeError: gymnax has no such environment or is not installed, or see `GymnaxEnv`.
    """
    gymnax = _import_gymnax()
    id, options = split_options(name, "gymnax:")
    if id not in gymnax.registered_envs:
        raise GailfeError(
            f"env: unknown gymnax environment {id!r}; expected one of {', '.join(gymnax.registered_envs)}"
        )
    limit = options.pop("max_episode_steps", None)
    fields = gymnax.make(id)[1]
    chosen = {key: options.pop(key) for key in list(options) if hasattr(fields, key)}
    try:
        env, params = gymnax.make(id, **options)
    except TypeError as error:
        raise GailfeError(f"env 'gymnax:{name}': expected options that it takes ({error})") from error
    return GymnaxEnv(env, params.replace(**chosen), name=f"gymnax:{name}", max_episode_steps=limit)


class GymnaxEnv(EpisodicEnv):
    """`Env` for an object with gymnax's functions (see `gailfe_jax.types.Env`).

    Args:
      env: `reset_env(key, params) -> (obs, state)` and `step_env(key, state, action, params) -> (obs, state, reward,
        terminated, info)`, with `is_truncated(state, params)` where it has a limit of its own; or `reset` and `step`
        alike, where `step` does not reset by itself and may also give `(obs, state, reward, terminated, truncated,
        info)`. Its `action_space(params)` has `n`, or `low`, `high` and `shape`.
      params: its parameters; `env.default_params` if None.
      name: what `spec.name` shall say; the object's own name by default.
      max_episode_steps: the time limit; `params.max_steps_in_episode` if None.

    Raises:
      GailfeError: no time limit, observations that are not one vector, another kind of action, or it does not run.
    """

    def __init__(self, env: Any, params: Any = None, *, name: str | None = None, max_episode_steps: int | None = None):
        name = name or str(getattr(env, "name", type(env).__name__))
        params = getattr(env, "default_params", None) if params is None else params
        own = getattr(params, "max_steps_in_episode", None)
        limit = own if max_episode_steps is None else max_episode_steps
        if max_episode_steps is not None:
            check_limit(name, max_episode_steps)
        if limit is None or int(limit) < 1:
            raise GailfeError(f"env {name!r}: max_episode_steps is {limit}; expected a time limit of at least 1")
        if own is not None:
            params = params.replace(max_steps_in_episode=limit)
        self.env, self.params = env, params
        self._reset = getattr(env, "reset_env", None) or env.reset
        self._step = getattr(env, "step_env", None) or env.step
        space = env.action_space(params)
        self._discrete, self._shape = hasattr(space, "n"), tuple(getattr(space, "shape", None) or ())
        if not self._discrete and not (hasattr(space, "low") and hasattr(space, "high")):
            raise GailfeError(f"env {name!r}: action space is {space}; expected a Box, or Discrete")
        size = int(space.n) if self._discrete else int(np.prod(self._shape))
        sides = (0.0, 1.0) if self._discrete else (space.low, space.high)
        low, high = (np.broadcast_to(np.asarray(x, np.float32).reshape(-1), size).tolist() for x in sides)
        phys, obs = _traced(name, self.start, jax.random.key(0))
        if not hasattr(obs, "shape") or len(obs.shape) != 1:
            shapes = jax.tree.map(lambda x: x.shape, obs)
            raise GailfeError(f"env {name!r}: observation has shape {shapes}; expected one vector")
        _traced(name, self.advance, phys, jax.ShapeDtypeStruct((size,), jnp.float32))
        self.spec = EnvSpec(
            name=name,
            gymnasium_id=None,
            engine="gymnax",
            obs_size=obs.shape[0],
            action_size=size,
            action_low=tuple(low),
            action_high=tuple(high),
            max_episode_steps=int(limit),
            discrete=self._discrete,
        )

    def start(self, key: Array) -> tuple[PyTree, Array]:
        key_start, key = jax.random.split(key)
        obs, state = self._reset(key_start, self.params)
        # Some set fields to Python numbers; a loop's carry needs arrays of one type throughout.
        return (jax.tree.map(jnp.asarray, state), key), jax.tree.map(_number, obs)

    def advance(self, phys: PyTree, action: Array) -> tuple[PyTree, StepResult]:
        before, key = phys
        key_step, key = jax.random.split(key)
        own = jnp.argmax(action) if self._discrete else jnp.reshape(action, self._shape)
        obs, state, reward, terminated, *rest = self._step(key_step, before, own, self.params)
        terminated, truncated = jnp.asarray(terminated) > 0, None
        if len(rest) == 2:
            truncated = jnp.asarray(rest[0]) > 0
        elif hasattr(self.env, "is_truncated"):
            truncated = jnp.asarray(self.env.is_truncated(state, self.params)) > 0
        result = StepResult(jax.tree.map(_number, obs), _number(reward), terminated, truncated)
        return (in_shape_of(before, state), key), result


def _number(x: Any) -> Array:
    return jnp.asarray(x, jnp.float32)


def _traced(name: str, function: Callable[..., Any], *args: Any) -> Any:
    try:
        return jax.eval_shape(function, *args)
    except (TypeError, AttributeError, ValueError) as error:
        raise does_not_run(name, error) from error
