"""Compiling in haste, for tests of what a program does and not of its speed or last bits.

Compiling takes most of their time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import jax
import pytest

from gailfe_jax.training.program import Trainer

# XLA's older code generator for fused loops compiles in half of the newer one's time. What it makes of a loop depends
# on the loop's length: a seed among others is then no longer itself alone to the bit.
OPTIONS = {"xla_cpu_use_fusion_emitters": False}


@contextlib.contextmanager
def in_haste(options: dict[str, bool] = OPTIONS) -> Iterator[None]:
    """What is compiled inside is so without most optimisations; what a `Trainer` compiles, with `options` too."""
    plain = Trainer._jit

    def hasty(self: Trainer, *args: Any, **others: Any) -> Any:
        return plain(self, *args, compiler_options=options, **others)

    before = jax.config.read("jax_disable_most_optimizations")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_jit", hasty)
        jax.config.update("jax_disable_most_optimizations", True)
        try:
            yield
        finally:
            jax.config.update("jax_disable_most_optimizations", before)


def environment(*flags: str) -> dict[str, str]:
    """This process's environment for one of its own that compiles in haste; `flags` are XLA's, the last one counts."""
    hasty = (f"--{name}={str(value).lower()}" for name, value in OPTIONS.items())
    return os.environ | {
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir or "",
        "XLA_FLAGS": " ".join((os.environ.get("XLA_FLAGS", ""), *hasty, *flags)).strip(),
    }
