"""Settings and fixtures of all tests."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from typing import Any

# Before the first import of jax: the tests are written for the CPU unless the caller says otherwise.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

# Compiling is most of the tests' time. With XLA's older code generator for fused loops, LLVM's optimisations left
# out, and each program in one piece, it takes half of it.
HASTE = {
    "xla_cpu_use_fusion_emitters": False,
    "xla_backend_optimization_level": 0,
    "xla_cpu_parallel_codegen_split_count": 1,
}
# The selections of `make test` and `make test-slow` that are compiled so. A test of last bits has the mark `exact`.
IN_HASTE = ("not slow", "slow and not exact")
# What a user's program around a step of the host is compiled with.
IN_FULL = {
    "xla_cpu_use_fusion_emitters": True,
    "xla_backend_optimization_level": 1,
    "xla_cpu_parallel_codegen_split_count": 32,
}


def pytest_configure(config: pytest.Config) -> None:
    # XLA reads its flags when the first program is compiled, once per process.
    if config.option.markexpr in IN_HASTE:
        flags = [f"--{name}={str(value).lower()}" for name, value in HASTE.items()]
        os.environ["XLA_FLAGS"] = " ".join((*flags, os.environ.get("XLA_FLAGS", ""))).strip()
    # Tracing makes millions of small objects that live: a collection per 700 of them is a tenth of the tests' time.
    gc.set_threshold(200_000, 20, 100)
    # Shared by the workers of xdist and by later runs, on the machine that compiled: .pytest_cache is never committed.
    # JAX keeps no program that calls the host back, so none that steps `mujoco_c`: what is not physics is tested on
    # the environments of `tests.toy`.
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and getattr(config, "cache", None) is not None:
        jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
        # Even a program that compiles in a tenth of a second is read in less, and there are thousands.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Before pytest's own, which takes out what `-m` leaves out.
    for item in items:
        if "fully_optimised" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.exact)


@pytest.fixture
def key() -> jax.Array:
    """A typed key."""
    return jax.random.key(0)


@pytest.fixture
def strict_promotion() -> Iterator[None]:
    """Implicit promotion of dtypes and ranks raises; for code of our own that calls no simulator in JAX."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def compiled_in_haste() -> Iterator[None]:
    """See `tests.haste`."""
    from tests.haste import in_haste

    with in_haste():
        yield


@pytest.fixture
def fully_optimised() -> Iterator[None]:
    """For a test of what the compiler makes of a program: it becomes `slow` and `exact`."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    # Else JAX takes what it has compiled in haste.
    jax.clear_caches()
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def trained_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a `Trainer` compiles is optimised as for a user, among the quick tests too."""
    from gailfe_jax.training import program

    plain = program.compiler_options
    monkeypatch.setattr(program, "compiler_options", lambda spec, **how: IN_FULL | plain(spec, **how))


@pytest.fixture(scope="module")
def haste_options() -> dict[str, bool]:
    """XLA's options of `quick_programs`; a module can have its own."""
    from tests.haste import OPTIONS

    return OPTIONS


@pytest.fixture(scope="module")
def quick_programs(haste_options: dict[str, bool]) -> Iterator[list[Any]]:
    """For tests of what happens around the training program: see `tests.haste.shared_programs`.

    Yields the trainers that advanced, in order, once per call.
    """
    from tests.haste import shared_programs

    with shared_programs(haste_options) as advanced:
        yield advanced


@pytest.fixture(scope="session")
def drift_env() -> Any:
    """A deterministic toy task of six steps: `obs' = 0.9 obs + 0.5 action`, reward `-|obs'|^2`; two of each."""
    from tests.toy import Drift

    return Drift()


@pytest.fixture(scope="session")
def linear_expert() -> Any:
    """An expert on the toy task whose action is linear in the observation, and never at its bounds there."""
    from tests.toy import drift_expert

    return drift_expert()


@pytest.fixture(scope="module")
def toy_tasks() -> Iterator[None]:
    """The toy tasks are known by their names, `drift` and `cliff`, in this module only."""
    from gailfe_jax.envs import registry
    from tests import toy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_REGISTERED", {})
        toy.register()
        yield


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    from gailfe_jax.envs import registry

    monkeypatch.setattr(registry, "_REGISTERED", {})
