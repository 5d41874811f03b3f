"""Settings and fixtures of all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

# Before the first import of jax: the tests are written for the CPU unless the caller says otherwise.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest


def pytest_configure(config: pytest.Config) -> None:
    # Shared by the workers of xdist and by later runs, on the machine that compiled: .pytest_cache is never committed.
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and getattr(config, "cache", None) is not None:
        jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture
def key() -> jax.Array:
    """A typed key."""
    return jax.random.key(0)


@pytest.fixture
def strict_promotion() -> Iterator[None]:
    """Implicit promotion of dtypes and ranks raises; for code of our own that calls no simulator in JAX."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield
