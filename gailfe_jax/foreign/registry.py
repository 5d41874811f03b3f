"""What `--expert` takes, by how it is written: to add a kind of file, write its reader and add its line to `READERS`.

| written as | what it is |
|---|---|
| `expert.safetensors` | a policy file of this package |
| `expert.onnx` | an ONNX file |
| `expert.zip` | a model that Stable-Baselines3 saved |
| `my_module:act`, `folder/my_file.py:act` | a function of the user's own, or an object with `predict` |

No reader runs code from a file; the last kind imports a module that the user names.
"""

from __future__ import annotations

import importlib
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from gailfe_jax.artifacts.host_policy import AnyPolicy, HostPolicy
from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.digests import text_sha256
from gailfe_jax.io.user_modules import check_asked_for, import_user_module
from gailfe_jax.types import EnvSpec

READERS = {
    ".onnx": "gailfe_jax.foreign.onnx:read_onnx",
    ".zip": "gailfe_jax.foreign.sb3:read_sb3",
}
"""Suffix to the function `(path, spec) -> policy` that reads such files."""


def is_foreign(source: str | os.PathLike[str]) -> bool:
    """Whether a source is to be read for an environment: anything but a policy file."""
    return _suffix(source) in READERS or _function(os.fspath(source)) is not None


def read_expert(source: str | os.PathLike[str], spec: EnvSpec) -> AnyPolicy:
    """The policy that a source stands for.

    Args:
      source: see the module's table.
      spec: the environment that it is to act in.

    Raises:
      GailfeError: it is missing, damaged, or not for this environment; the message names it.
    """
    suffix = _suffix(source)
    if suffix in READERS:
        module, _, name = READERS[suffix].partition(":")
        return getattr(importlib.import_module(module), name)(pathlib.Path(source), spec)
    named = _function(os.fspath(source))
    if named is None:
        return Policy.load(source)
    module, name = named
    # Also of one that is imported already: any function of Python's own could be called.
    check_asked_for(module, os.fspath(source))
    import_user_module(module)
    found = sys.modules[pathlib.Path(module).stem if module.endswith(".py") else module]
    if not hasattr(found, name):
        raise GailfeError(f"{os.fspath(source)}: module {found.__name__} has no {name!r}; expected a function of obs")
    return as_expert(getattr(found, name), spec, os.fspath(source))


def as_expert(expert: Any, spec: EnvSpec, name: str = "expert") -> AnyPolicy:
    """A policy out of what a user gives from Python.

    Args:
      expert: a `Policy` or `HostPolicy`, which are returned as they are; an object with `predict(obs,
        deterministic=True)`, such as a Stable-Baselines3 model; or a function `obs [n, o] float32 -> action [n, a]`,
        where actions are choices their numbers `[n]` or scores `[n, a]`.
      spec: the environment that it is to act in.
      name: opens the messages of its failures.

    Raises:
      GailfeError: it is none of these.
    """
    if isinstance(expert, Policy | HostPolicy):
        return expert
    predict = None if isinstance(expert, type) else getattr(expert, "predict", None)
    if callable(predict):
        function = _predicting(predict)
    elif callable(expert) and not isinstance(expert, type):
        function = expert
    else:
        kind = f"the class {expert.__name__}" if isinstance(expert, type) else f"a {type(expert).__name__}"
        raise GailfeError(f"{name}: got {kind}; expected a policy, a function of obs [n, o], or an object with predict")
    low, high = (
        np.broadcast_to(np.asarray(bound, np.float32), (spec.action_size,))
        for bound in (spec.action_low, spec.action_high)
    )
    called = f"{getattr(expert, '__module__', '')}.{getattr(expert, '__qualname__', type(expert).__qualname__)}"
    return HostPolicy(
        function, spec.obs_size, low, high, spec.discrete, name, text_sha256(called), {"algo": "callable"}
    )


def _predicting(predict: Callable[..., Any]) -> Callable[[np.ndarray], Any]:
    """The deterministic actions of Stable-Baselines3's `predict`, which returns them beside a state."""
    return lambda obs: predict(obs, deterministic=True)[0]


def _suffix(source: str | os.PathLike[str]) -> str:
    return pathlib.Path(source).suffix.lower()


def _function(source: str) -> tuple[str, str] | None:
    """`(module, name)` of `module:name`; None of anything else."""
    module, colon, name = source.rpartition(":")
    is_module = module.endswith(".py") or all(part.isidentifier() for part in module.split("."))
    return (module, name) if colon and is_module and name.isidentifier() else None
