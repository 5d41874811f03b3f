"""Learners' states side by side: runs of a few iterations, kept on the host and compared bit for bit."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gailfe_jax.config.parts import as_arrays
from gailfe_jax.config.tree import put
from gailfe_jax.learners.base import Learner
from gailfe_jax.training.program import Trainer
from gailfe_jax.types import Env, is_key
from tests.tiny import noise_demos

ITERATIONS = 4


class Runner:
    """A trainer that can be run again with other seeds and traced settings."""

    def __init__(self, method: Learner, env: Env, num_seeds: int = 1, expert: Any = None, **judges: Any):
        self.learner = method.on(env, total_iterations=ITERATIONS, **judges)
        shown = method.needs_demonstrations or method.asks_expert
        self.demos = noise_demos(env, expert=expert if method.asks_expert else None) if shown else None
        self.trainer = Trainer(self.learner, np.arange(num_seeds), chunk=1, eval_episodes=2)

    def run(self, seeds, values=None):
        """`[state before each iteration and at the end], [metrics of each iteration, and an evaluation]`, on the host.

        Args:
          seeds: `[S]`.
          values: traced settings by name; those of the method if None.
        """
        self.trainer.seeds = jnp.asarray(seeds, jnp.uint32)
        self.trainer.learner = as_arrays(put(self.learner, values or {}))
        state = self.trainer.init(self.demos)
        states, rows = [on_host(state)], []
        for _ in range(ITERATIONS):
            state, metrics = self.trainer.advance(state, self.demos)
            states.append(on_host(state))
            rows.append(jax.tree.map(lambda x: np.array(x)[0], metrics))
        rows.append(jax.tree.map(np.array, vars(self.trainer.evaluate(state, 7))))
        return states, rows


def on_host(state):
    return jax.tree.map(lambda x: np.array(jax.random.key_data(x) if is_key(x) else x), state)


def from_host(state, template):
    wrap = lambda x, like: jax.random.wrap_key_data(jnp.asarray(x)) if is_key(like) else jnp.asarray(x)  # noqa: E731
    return jax.tree.map(wrap, state, template)


def at_seed(tree, index):
    return jax.tree.map(lambda x: x[index], tree)


def named(tree, index=None):
    """Leaves by name; those of one seed if `index` is given."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): x if index is None else x[index] for path, x in leaves}


def differing(a, b):
    """Names of the leaves whose bits differ; equal names expected."""
    assert a.keys() == b.keys()
    return [name for name in a if a[name].dtype != b[name].dtype or a[name].tobytes() != b[name].tobytes()]


def same(a, b):
    return all(x.tobytes() == y.tobytes() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def assert_same_run(one, many, index):
    """The only seed of `one` went the way of seed number `index` of `many`."""
    for state, states in zip(one[0], many[0], strict=True):
        assert differing(named(state, 0), named(states, index)) == []
    for row, rows in zip(one[1], many[1], strict=True):
        assert differing(named(row, 0), named(rows, index)) == []
