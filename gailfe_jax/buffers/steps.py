"""A ring of consecutive steps, for learners that learn again from what was seen before.

Shapes: `R` steps kept of each of `B` environments, `T` steps of an unroll, `H` steps of a window, `n` windows.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct

from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Array, PyTree


@struct.dataclass
class StepReplayState:
    """The steps of one seed.

    Attributes:
      steps: whatever is kept of a step, every leaf `[R, B, ...]`; later steps of an environment stand behind earlier
        ones, and at the end of the ring they go on at its beginning.
      head: `[]` int32, the row to be overwritten next.
      size: `[]` int32, rows in use.
    """

    steps: PyTree
    head: Array
    size: Array


@dataclasses.dataclass(frozen=True)
class StepReplay:
    """A ring of whole unrolls of one seed; `vmap` its methods over seeds.

    An unroll takes a stretch of it, so adding moves no more than the unroll, and windows of consecutive steps need no
    book-keeping.

    Attributes:
      capacity: steps held at most, of all environments together; whole unrolls of them are.
      num_envs: `B`.
      unroll_length: `T`.

    Raises:
      GailfeError: less than one unroll.
    """

    capacity: int
    num_envs: int
    unroll_length: int

    def __post_init__(self) -> None:
        least = self.num_envs * self.unroll_length
        if self.capacity < least:
            raise GailfeError(f"replay: capacity is {self.capacity}, expected an unroll's {least} or more")

    @property
    def rows(self) -> int:
        """`R`."""
        return self.capacity // (self.num_envs * self.unroll_length) * self.unroll_length

    def init(self, step: PyTree) -> StepReplayState:
        """An empty ring of steps like `step`, which is of one environment."""
        shape = self.rows, self.num_envs
        steps = jax.tree.map(lambda x: jnp.zeros((*shape, *x.shape), x.dtype), step)
        return StepReplayState(steps, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def add(self, state: StepReplayState, unroll: PyTree) -> StepReplayState:
        """Takes an unroll `[T, B, ...]` in the place of the oldest one."""

        def put(old: Array, new: Array) -> Array:
            return jax.lax.dynamic_update_slice_in_dim(old, new, state.head, axis=0)

        return StepReplayState(
            steps=jax.tree.map(put, state.steps, unroll),
            head=(state.head + self.unroll_length) % self.rows,
            size=jnp.minimum(state.size + self.unroll_length, self.rows),
        )

    def sample(self, state: StepReplayState, key: Array, n: int, length: int = 1, newest: int | None = None) -> PyTree:
        """`[n, H, ...]` windows of consecutive steps, drawn uniformly, with replacement.

        A window may go beyond an episode's end. While the ring holds no window, what is drawn means nothing.

        Args:
          state: the ring.
          key: `[]`.
          n: windows.
          length: `H`, at most an unroll's steps.
          newest: only from the last so many steps, of all environments together and rounded up to whole rows of them;
            None for all that are held.
        """
        key_row, key_env = jax.random.split(key)
        starts = jnp.maximum(state.size - length + 1, 1)
        if newest is None:
            start = jax.random.randint(key_row, (n, 1), 0, starts)
        else:
            rows = max(-(-newest // self.num_envs), length)
            start = starts - 1 - jax.random.randint(key_row, (n, 1), 0, jnp.minimum(starts, rows - length + 1))
        row = (state.head - state.size + start + jnp.arange(length)) % self.rows
        env = jax.random.randint(key_env, (n, 1), 0, self.num_envs)
        return jax.tree.map(lambda x: x[row, env], state.steps)
