"""Compiling in haste and sharing programs, for tests of what a program does and not of its speed or last bits.

Compiling takes most of their time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from gailfe_jax.apps import collection
from gailfe_jax.config.parts import Part, map_traced, subparts
from gailfe_jax.learners.base import Learner
from gailfe_jax.training import plan, program
from gailfe_jax.training.program import Trainer

# XLA's older code generator for fused loops compiles in half of the newer one's time. What it makes of a loop depends
# on the loop's length: a seed among others is then no longer itself alone to the bit.
OPTIONS = {"xla_cpu_use_fusion_emitters": False}
# What runs of this process have compiled: whole programs, and evaluations by their number of episodes.
_PROGRAMS: dict[Any, Any] = {}


@contextlib.contextmanager
def in_haste(options: dict[str, bool] = OPTIONS) -> Iterator[None]:
    """What is compiled inside is so without most optimisations; what a `Trainer` compiles, with `options` too."""
    plain = program.compiler_options
    before = jax.config.read("jax_disable_most_optimizations")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "compiler_options", lambda spec, **how: plain(spec, **how) | options)
        jax.config.update("jax_disable_most_optimizations", True)
        try:
            yield
        finally:
            jax.config.update("jax_disable_most_optimizations", before)
            # An environment that is kept would go on stepping as it was compiled in haste.
            collection._programs.cache_clear()


@contextlib.contextmanager
def shared_programs(options: dict[str, bool] = OPTIONS) -> Iterator[list[Trainer]]:
    """Inside, `train` compiles in haste, and once for all runs of this process that differ in traced settings alone.

    Yields the trainers that advanced, in order, once per call.
    """
    advanced: list[Trainer] = []

    class SharedTrainer(Trainer):
        def _place(self, what: str, *others: Any) -> Any:
            return (what, tuple(options.items()), len(self.seeds), program_key(self.learner), *others)

        def init(self, demos: Any) -> Any:
            if self.mesh is not None:
                return super().init(demos)
            place = self._place("init")
            if place not in _PROGRAMS:
                _PROGRAMS[place] = OfFirst(self._jit(self._init_all, None, None), self.learner)
            return _PROGRAMS[place](self.seeds, self.learner, demos)

        def advance(self, state: Any, demos: Any) -> Any:
            advanced.append(self)
            return super().advance(state, demos)

        def compiled(self, state: Any, demos: Any) -> Any:
            if self.mesh is not None:
                return super().compiled(state, demos)
            place = self._place("advance", self.chunk, str(jax.tree.map(jax.typeof, (state, demos))))
            self._compiled = _PROGRAMS.get(place)
            found = super().compiled(state, demos)
            _PROGRAMS.setdefault(place, OfFirst(found, self.learner))
            return found

        def evaluate(self, state: Any, step: int, episodes: int | None = None) -> Any:
            if self.mesh is None:
                self._evaluations = _PROGRAMS.setdefault(self._place("evaluate"), {})
            return super().evaluate(state, step, episodes)

    with pytest.MonkeyPatch.context() as patch, in_haste(options):
        patch.setattr(plan, "Trainer", SharedTrainer)
        yield advanced


class OfFirst:
    """A program for any learner like the one that it was traced for, told apart from it by its annotators alone."""

    def __init__(self, program: Any, learner: Learner):
        self._program, self._structure = program, jax.tree.structure(learner)

    def __call__(self, first: Any, learner: Learner, demos: Any) -> Any:
        return self._program(first, jax.tree.unflatten(self._structure, jax.tree.leaves(learner)), demos)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._program, name)


def program_key(learner: Learner) -> Any:
    """Equal for learners that one program can train, as far as tests need it: annotators are compared by name."""
    parts = list(_parts(learner))
    scheduled = any(getattr(part, name, False) for part in parts for name in ("anneal", "warm_restarts", "alpha_decay"))
    judges = tuple(getattr(getattr(part, "judge", None), "name", None) for part in parts)
    env = learner.env
    # A toy environment has no state: one object is as good as another.
    place = (type(env), env.spec) if not vars(env) else env
    return (
        repr(map_traced(learner, lambda marks, value: jnp.ndim(value))),
        tuple(map(type, parts)),
        judges,
        place,
        learner.total_iterations if scheduled else None,
    )


def _parts(part: Part) -> Iterator[Part]:
    yield part
    for _, inner in subparts(part):
        yield from _parts(inner)


def environment(*flags: str) -> dict[str, str]:
    """This process's environment for one of its own that compiles in haste; `flags` are XLA's, the last one counts."""
    hasty = (f"--{name}={str(value).lower()}" for name, value in OPTIONS.items())
    return os.environ | {
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir or "",
        "XLA_FLAGS": " ".join((os.environ.get("XLA_FLAGS", ""), *hasty, *flags)).strip(),
    }
