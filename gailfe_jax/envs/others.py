"""Environments of other packages, by prefix: to add a package, write its adapter and add its line to `OTHERS`.

An adapter's module is imported when one of its names is made. It has

* `registration_of(name)`: what the package knows the name by now, by which a name that is registered again is noticed;
* a function of the name, with options behind a `?`, that makes the `Env` whose `spec.name` is the whole name.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, NamedTuple

from gailfe_jax.types import Env


class Package(NamedTuple):
    """Where the environments of a package are made.

    Attributes:
      module: the adapter.
      function: in it, makes an environment.
      noun: what stands behind the prefix.
    """

    module: str
    function: str
    noun: str = "name"

    def make(self, name: str) -> Env:
        """The environment that the package calls `name`."""
        return getattr(importlib.import_module(self.module), self.function)(name)

    def known(self, name: str) -> Any:
        """See `registration_of` of the adapters."""
        return importlib.import_module(self.module).registration_of(name)


OTHERS = {
    "brax": Package("gailfe_jax.envs.brax", "brax_env"),
    "gym": Package("gailfe_jax.envs.host", "gymnasium_env", "id"),
    "gymnax": Package("gailfe_jax.envs.gymnax", "gymnax_env", "id"),
    "playground": Package("gailfe_jax.envs.playground", "playground_env"),
}


def prefix_of(name: str) -> str | None:
    """The package that a name is of: `brax` of `brax:ant`; None for any other name."""
    prefix, colon, _ = name.partition(":")
    return prefix if colon and prefix in OTHERS else None


def adapt(env: Any) -> Any:
    """An object of another package as our `Env`, if it is one that we know; anything else as it is.

    What is known: a `gymnasium.Env` that `gymnasium.make` made, a `brax.envs.Env`, an `MjxEnv` of MuJoCo Playground,
    and what has gymnax's functions.
    """
    if _is_of(env, "gymnasium", "Env"):
        from gailfe_jax.envs.host import gymnasium_env

        return gymnasium_env(env)
    if _is_of(env, "brax.envs.base", "Env"):
        from gailfe_jax.envs.brax import BraxEnv

        return BraxEnv(env, name=type(env).__name__)
    if _is_of(env, "mujoco_playground", "MjxEnv"):
        from gailfe_jax.envs.playground import PlaygroundEnv

        return PlaygroundEnv(env, name=type(env).__name__)
    if not isinstance(env, type) and hasattr(env, "default_params") and hasattr(env, "action_space"):
        from gailfe_jax.envs.gymnax import GymnaxEnv

        return GymnaxEnv(env)
    return env


def _is_of(value: Any, module: str, kind: str) -> bool:
    # Whose package is not imported is none of its objects.
    return module in sys.modules and isinstance(value, getattr(sys.modules[module], kind))
