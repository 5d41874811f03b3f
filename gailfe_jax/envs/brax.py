"""Any `brax.envs.Env` as our `Env`: brax's own tasks and other people's train like the built-in ones.

Differences from brax's wrappers, none of which is used (0.14.2's mis-shape typed keys):
- Every episode starts from a fresh random state; brax's auto-reset replays each environment's first one for ever. The
  price is that brax's `reset` runs, and is thrown away, in every step that ends no episode.
- The time limit is ours, and truncates; brax folds it into `done`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from typing import Any

import jax
import jax.numpy as jnp

from gailfe_jax.envs.base import EpisodicEnv, check_limit, does_not_run, in_shape_of
from gailfe_jax.envs.physics.model import without_expected_warning
from gailfe_jax.errors import GailfeError, one_line
from gailfe_jax.flat_env import split_options
from gailfe_jax.types import Array, EnvSpec, PyTree, StepResult


def _import_brax_envs() -> Any:
    # brax is slow to import, hence on demand; and it imports MJX, which announces on stdout that warp-lang is missing.
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            from brax import envs
    except ImportError as error:
        raise GailfeError(f"env: package brax, which has the brax:<name> tasks, does not import ({error})") from error
    return envs


def registration_of(name: str) -> Any:
    """What brax knows a name by now; another object after registering again. None where it knows none."""
    return _import_brax_envs()._envs.get(split_options(name, "brax:")[0])


def brax_env(name: str) -> BraxEnv:
    """`make_brax_env` with its options behind a `?`, as records name it: `ant?backend=mjx`."""
    id, options = split_options(name, "brax:")
    env = make_brax_env(id, **options)
    env.spec = dataclasses.replace(env.spec, name=f"brax:{name}")
    return env


def make_brax_env(name: str, *, max_episode_steps: int = 1000, **options) -> BraxEnv:
    """The environment that brax calls `name` (`ant`, `inverted_pendulum`, ...; also `brax:ant`).

    Args:
      name: a name registered with brax.
      max_episode_steps: the time limit.
      **options: go to the environment's constructor, e.g. `backend="mjx"`.

    Raises:
      GailfeError: brax has no such environment, or is not installed.
    """
    envs = _import_brax_envs()
    name = name.removeprefix("brax:")
    known = sorted(envs._envs)
    if name not in known:
        raise GailfeError(f"env: unknown brax environment {name!r}; expected one of {', '.join(known)}")
    check_limit(f"brax:{name}", max_episode_steps)
    # One of brax's model files is Gymnasium's, with the same notice that nobody can act on.
    with without_expected_warning():
        try:
            env = envs.get_environment(name, **options)
        except Exception as error:  # Whatever brax raises at options that it does not have.
            given = ", ".join(f"{key}={value}" for key, value in options.items())
            raise GailfeError(
                f"env {f'brax:{name}'!r}: brax does not make it with {given} ({one_line(error)})"
            ) from error
    return BraxEnv(env, name=f"brax:{name}", max_episode_steps=max_episode_steps)


class BraxEnv(EpisodicEnv):
    """`Env` for a `brax.envs.Env` (see `gailfe_jax.types.Env`), or for what has the same two functions.

    Actions lie in [-1, 1], as in all of brax's tasks. `EnvState.phys` is brax's own state.

    Args:
      env: one unbatched environment with a flat observation vector.
      name: what `spec.name` shall say.
      max_episode_steps: the time limit.
      engine: what `spec.engine` shall say.

    Raises:
      GailfeError: the environment is batched, its observations are not one vector, or it does not run on this JAX.
    """

    def __init__(self, env: Any, *, name: str = "brax", max_episode_steps: int = 1000, engine: str = "brax"):
        check_limit(name, max_episode_steps)
        self.env = env
        try:
            start, obs = jax.eval_shape(self.start, jax.random.key(0))
        except (TypeError, AttributeError) as error:
            raise does_not_run(name, error) from error
        if not hasattr(obs, "shape") or len(obs.shape) != 1:
            shapes = jax.tree.map(lambda x: x.shape, obs)
            raise GailfeError(f"env {name!r}: observation has shape {shapes}; expected one vector, of one environment")
        self.spec = EnvSpec(
            name=name,
            gymnasium_id=None,
            engine=engine,
            obs_size=obs.shape[0],
            action_size=int(env.action_size),
            action_low=(-1.0,) * int(env.action_size),
            action_high=(1.0,) * int(env.action_size),
            max_episode_steps=max_episode_steps,
        )
        # Found here, not minutes later inside a training program: brax 0.14.2 calls functions that JAX has removed.
        action = jax.ShapeDtypeStruct((self.spec.action_size,), jnp.float32)
        try:
            jax.eval_shape(self.advance, start, action)
        except (TypeError, AttributeError) as error:
            raise does_not_run(name, error) from error

    def start(self, key: Array) -> tuple[PyTree, Array]:
        # brax's environments are written for raw uint32 keys.
        state = self.env.reset(jax.random.key_data(key))
        # Some set fields to Python numbers; a loop's carry needs arrays of one type throughout.
        state = jax.tree.map(jnp.asarray, state)
        return state, self.observation(state)

    def observation(self, phys: Any) -> Array:
        """What the policy sees of brax's state."""
        return phys.obs

    def advance(self, phys: Any, action: Array) -> tuple[PyTree, StepResult]:
        # Some write their metrics into the state they are given: they get a copy of its dictionaries.
        after = in_shape_of(phys, self.env.step(jax.tree.map(lambda x: x, phys), action))
        ended = after.done > 0
        # An environment with a time limit of its own says so here (brax's convention) beside `done`.
        own_limit = jnp.asarray(after.info.get("truncation", False)) > 0
        return after, StepResult(self.observation(after), after.reward, ended & ~own_limit, ended & own_limit)
