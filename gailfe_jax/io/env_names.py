"""When two names mean one environment: Gymnasium's ids stand with and without `gym:` and the module behind them."""

from __future__ import annotations

import pathlib
from collections.abc import Collection
from typing import TYPE_CHECKING

from gailfe_jax.io.user_modules import imported_modules

if TYPE_CHECKING:
    # Its module imports JAX; a policy acts without.
    from gailfe_jax.types import EnvSpec

_PREFIX = "gym:"


def means(name: str | None, spec: EnvSpec, also: Collection[str] = ()) -> bool:
    """Whether `name` is one of an environment's: `gym:my_env:MyEnv-v0`, `my_env:MyEnv-v0` and `MyEnv-v0` are one.

    Options (`?max_episode_steps=200`) are part of a name. A module before the id of an environment that is known
    without one counts where the user imported that very module.

    Args:
      name: what a file says.
      spec: of the environment.
      also: other names of its task.
    """
    if name is None or name in (spec.name, spec.gymnasium_id, *also):
        return name is not None
    if spec.gymnasium_id is None:
        return False
    theirs, own = _split(name), _split(spec.gymnasium_id)
    return theirs[1] == own[1] and theirs[0] in ("", own[0], *([] if own[0] else _imported()))


def _split(name: str) -> tuple[str, str]:
    """`(module, id)` of a Gymnasium id; options stay behind the id."""
    id, mark, options = name.removeprefix(_PREFIX).partition("?")
    module, _, id = id.rpartition(":")
    return module, id + mark + options


def _imported() -> list[str]:
    return [pathlib.Path(name).stem if name.endswith(".py") else name for name in imported_modules()]
