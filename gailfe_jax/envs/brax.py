"""Any `brax.envs.Env` as our `Env`: brax's own tasks and other people's train like the built-in ones.

Differences from brax's wrappers, none of which is used (0.14.2's mis-shape typed keys):
- Every episode starts from a fresh random state; brax's auto-reset replays each environment's first one for ever. The
  price is that brax's `reset` runs, and is thrown away, in every step that ends no episode.
- The time limit is ours, and truncates; brax folds it into `done`.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import jax
import jax.numpy as jnp

from gailfe_jax.envs.physics.model import without_expected_warning
from gailfe_jax.errors import GailfeError, one_line
from gailfe_jax.types import Array, EnvSpec, EnvState, TimeStep


def _import_brax_envs() -> Any:
    # brax is slow to import, hence on demand; and it imports MJX, which announces on stdout that warp-lang is missing.
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            from brax import envs
    except ImportError as error:
        raise GailfeError(f"env: package brax, which has the brax:<name> tasks, does not import ({error})") from error
    return envs


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
    # One of brax's model files is Gymnasium's, with the same notice that nobody can act on.
    with without_expected_warning():
        env = envs.get_environment(name, **options)
    return BraxEnv(env, name=f"brax:{name}", max_episode_steps=max_episode_steps)


def _does_not_run(name: str, error: Exception) -> str:
    cause = one_line(error, first=True)
    return f"env {name!r}: does not run on jax {jax.__version__} ({cause}); expected another task or backend"


class BraxEnv:
    """`Env` for a `brax.envs.Env` (see `gailfe_jax.types.Env`).

    Actions lie in [-1, 1], as in all of brax's tasks. `EnvState.phys` is brax's own state.

    Args:
      env: one unbatched environment with a flat observation vector.
      name: what `spec.name` shall say.
      max_episode_steps: the time limit.

    Raises:
      GailfeError: the environment is batched, its observations are not one vector, or it does not run on this JAX.
    """

    def __init__(self, env: Any, *, name: str = "brax", max_episode_steps: int = 1000):
        if max_episode_steps < 1:
            raise GailfeError(f"max_episode_steps: got {max_episode_steps}; expected at least 1")
        self.env = env
        try:
            start = jax.eval_shape(self._start, jax.random.key(0))
        except (TypeError, AttributeError) as error:
            raise GailfeError(_does_not_run(name, error)) from error
        obs = start.obs
        if not hasattr(obs, "shape") or len(obs.shape) != 1:
            shapes = jax.tree.map(lambda x: x.shape, obs)
            raise GailfeError(f"env {name!r}: observation has shape {shapes}; expected one vector, of one environment")
        self.spec = EnvSpec(
            name=name,
            gymnasium_id=None,
            engine="brax",
            obs_size=obs.shape[0],
            action_size=int(env.action_size),
            action_low=(-1.0,) * int(env.action_size),
            action_high=(1.0,) * int(env.action_size),
            max_episode_steps=max_episode_steps,
        )
        # Found here, not minutes later inside a training program: brax 0.14.2 calls functions that JAX has removed.
        action = jax.ShapeDtypeStruct((self.spec.action_size,), jnp.float32)
        try:
            jax.eval_shape(self._advance, start, action)
        except (TypeError, AttributeError) as error:
            raise GailfeError(_does_not_run(name, error)) from error

    def _start(self, key: Array) -> Any:
        # brax's environments are written for raw uint32 keys.
        state = self.env.reset(jax.random.key_data(key))
        # Some set fields to Python numbers; a loop's carry needs arrays of one type throughout.
        return jax.tree.map(jnp.asarray, state)

    def _advance(self, phys: Any, action: Array) -> Any:
        # Some write their metrics into the state they are given: they get a copy of its dictionaries.
        after = self.env.step(jax.tree.map(lambda x: x, phys), action)
        return jax.tree.map(lambda new, old: jnp.broadcast_to(jnp.asarray(new, old.dtype), old.shape), after, phys)

    def reset(self, key: Array) -> EnvState:
        phys = self._start(jax.random.fold_in(key, 0))
        return EnvState(
            phys=phys,
            obs=phys.obs,
            step_count=jnp.int32(0),
            episode=jnp.int32(0),
            episode_return=jnp.float32(0.0),
            key=key,
        )

    def step(self, state: EnvState, action: Array) -> tuple[EnvState, TimeStep]:
        phys = self._advance(state.phys, action)
        step_count = state.step_count + 1
        ended = phys.done > 0
        # An environment with a time limit of its own says so here (brax's convention) beside `done`.
        own_limit = jnp.asarray(phys.info.get("truncation", False)) > 0
        terminated = ended & ~own_limit
        truncated = ((step_count >= self.spec.max_episode_steps) | (ended & own_limit)) & ~terminated
        done = terminated | truncated
        episode = state.episode + done
        fresh = self._start(jax.random.fold_in(state.key, episode))
        following = jax.tree.map(lambda new, old: jnp.where(done, new, old), fresh, phys)
        after = EnvState(
            phys=following,
            obs=following.obs,
            step_count=jnp.where(done, 0, step_count),
            episode=episode,
            episode_return=jnp.where(done, 0.0, state.episode_return + phys.reward),
            key=state.key,
        )
        return after, TimeStep(
            obs=following.obs,
            next_obs=phys.obs,
            reward=phys.reward,
            terminated=terminated,
            truncated=truncated,
        )
