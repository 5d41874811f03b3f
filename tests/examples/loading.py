"""The examples as modules, so that contracts hold for what they register."""

from __future__ import annotations

import contextlib
import importlib.util
import pathlib
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from gailfe_jax.envs import registry
from gailfe_jax.policies.registry import POLICY_UPDATES
from gailfe_jax.rewards.registry import REWARDS

FOLDER = pathlib.Path(__file__).parents[2] / "examples"


def load_example(name: str) -> ModuleType:
    """Runs `examples/NAME.py` as a module, which registers what it brings."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Where dataclasses look their annotations up.
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def own_registries() -> Iterator[None]:
    """What is registered inside is forgotten afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_REGISTERED", {})
        for table in (REWARDS, POLICY_UPDATES):
            patch.setattr(table, "_added", {})
        yield
