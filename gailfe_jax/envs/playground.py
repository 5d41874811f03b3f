"""MuJoCo Playground's environments as our `Env`; they have brax's two functions.

Differences from Playground's own wrappers, none of which is used:
- Every episode starts from a fresh random state. The price is that `reset` runs in every step (see `BraxEnv`).
- MJX steps them in JAX. Playground's own default is Warp, which `?impl=warp` chooses.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

from gailfe_jax.envs.brax import BraxEnv
from gailfe_jax.envs.physics.model import without_expected_warning
from gailfe_jax.errors import GailfeError, one_line
from gailfe_jax.flat_env import split_options
from gailfe_jax.types import Array


def _import_registry() -> Any:
    # It announces on stdout that warp-lang is missing, as MJX does.
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            from mujoco_playground import registry  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise GailfeError(
            f"env: package playground does not import ({error}); expected `pip install 'gailfe-jax[playground]'`"
        ) from error
    return registry


def registration_of(name: str) -> Any:
    """The class that Playground makes of a name; another one after registering again. None where it knows none."""
    registry, name = _import_registry(), split_options(name, "playground:")[0]
    suites = (registry.manipulation, registry.locomotion, registry.dm_control_suite)
    return next((suite._envs[name] for suite in suites if name in suite._envs), None)


def playground_env(name: str) -> PlaygroundEnv:
    """The environment that Playground calls `name` (`CheetahRun`), with options behind a `?`.

    `max_episode_steps` is one (the configuration's `episode_length` by default), others are entries of the
    configuration.

    Raises:
      GailfeError: Playground has no such environment, is not installed or cannot make it, or see `BraxEnv`.
    """
    registry = _import_registry()
    id, options = split_options(name, "playground:")
    if registration_of(id) is None:
        suites = (registry.dm_control_suite, registry.locomotion, registry.manipulation)
        known = sorted(other for suite in suites for other in suite._envs)
        raise GailfeError(f"env: unknown Playground environment {id!r}; expected one of {', '.join(known)}")
    try:
        # Some of its models are as old as Gymnasium's, with the same notice.
        with contextlib.redirect_stdout(io.StringIO()), without_expected_warning():
            config = registry.get_default_config(id)
            limit = options.pop("max_episode_steps", int(config.episode_length))
            env = registry.load(id, config=config, config_overrides={"impl": "jax"} | options)
    except Exception as error:  # Its configurations and downloads raise many kinds.
        raise GailfeError(f"env 'playground:{name}': cannot be made ({one_line(error, first=True)})") from error
    return PlaygroundEnv(env, name=f"playground:{name}", max_episode_steps=limit)


class PlaygroundEnv(BraxEnv):
    """`Env` for an `MjxEnv` of MuJoCo Playground.

    Where a policy and a critic see different things, both are shown `state`, the policy's.
    """

    def __init__(self, env: Any, *, name: str = "playground", max_episode_steps: int = 1000):
        super().__init__(env, name=name, max_episode_steps=max_episode_steps, engine="playground")

    def observation(self, phys: Any) -> Array:
        return phys.obs if hasattr(phys.obs, "shape") or "state" not in phys.obs else phys.obs["state"]
