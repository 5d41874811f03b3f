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

from gailfe_jax.config.parts import map_traced, subparts
from gailfe_jax.config.tree import leaves
from gailfe_jax.training.program import Trainer

# XLA's older code generator for fused loops compiles in half of the newer one's time. What it makes of a loop depends
# on the loop's length: a seed among others is then no longer itself alone to the bit.
OPTIONS = {"xla_cpu_use_fusion_emitters": False}
# Settings by which the length of the run becomes a part of the program.
_BY_LENGTH = (".anneal", ".warm_restarts", ".alpha_decay")


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


def shared_trainer(advanced: list[Any] | None = None) -> type[Trainer]:
    """A `Trainer` all of whose instances with the same program share it; `advanced` takes each that advances."""
    programs: dict[Any, tuple[Any, Any]] = {}

    class SharedTrainer(Trainer):
        def advance(self, state: Any, demos: Any) -> Any:
            key = _program(self, demos)
            self._compiled, self._evaluations = programs.get(key, (self._compiled, self._evaluations))
            result = super().advance(state, demos)
            programs[key] = self._compiled, self._evaluations
            if advanced is not None:
                advanced.append(self)
            return result

    return SharedTrainer


def _program(trainer: Trainer, demos: Any) -> Any:
    """All that the trainer's programs depend on beside their arguments' values; environments are made once."""
    learner = trainer.learner
    runs_out = any(leaf.value for name, leaf in leaves(learner).items() if name.endswith(_BY_LENGTH))
    judges = [part.judge.name for _, part in subparts(learner) if getattr(part, "judge", None) is not None]
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), demos)
    return (
        repr(map_traced(learner, lambda marks, value: value.shape)), learner.name, learner.env, repr(judges),
        learner.total_iterations if runs_out else None, trainer.chunk, len(trainer.seeds), trainer._episodes,
        repr(trainer.mesh), repr(shapes),
    )  # fmt: skip


def environment(*flags: str) -> dict[str, str]:
    """This process's environment for one of its own that compiles in haste; `flags` are XLA's, the last one counts."""
    hasty = (f"--{name}={str(value).lower()}" for name, value in OPTIONS.items())
    return os.environ | {
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir or "",
        "XLA_FLAGS": " ".join((os.environ.get("XLA_FLAGS", ""), *hasty, *flags)).strip(),
    }
