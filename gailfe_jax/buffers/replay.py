"""A ring of past rows, for learners that are shown more than the newest batch."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct

from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Array, PyTree


@struct.dataclass
class ReplayState:
    """The replay of one seed. `C` is the capacity.

    Attributes:
      rows: whatever is kept, every leaf `[C, ...]`.
      head: `[]` int32, the row to be overwritten next.
      size: `[]` int32, rows in use.
    """

    rows: PyTree
    head: Array
    size: Array


@dataclasses.dataclass(frozen=True)
class Replay:
    """A ring of the last `capacity` rows of one seed; `vmap` its methods over seeds.

    Attributes:
      capacity: `C`, rows held.

    Raises:
      GailfeError: a capacity that is not positive.
    """

    capacity: int

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise GailfeError(f"replay: capacity is {self.capacity}, expected 1 or more")

    def init(self, row: PyTree) -> ReplayState:
        """An empty ring of rows like `row`."""
        rows = jax.tree.map(lambda x: jnp.zeros((self.capacity, *x.shape), x.dtype), row)
        return ReplayState(rows, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def add(self, state: ReplayState, rows: PyTree) -> ReplayState:
        """Appends `rows [n]`, oldest first; of more than `C` only the last `C` stay."""
        count = jax.tree.leaves(rows)[0].shape[0]
        kept = min(count, self.capacity)
        place = (state.head + (count - kept) + jnp.arange(kept, dtype=jnp.int32)) % self.capacity
        return ReplayState(
            rows=jax.tree.map(
                lambda old, new: old.at[place].set(new[count - kept :], unique_indices=True), state.rows, rows
            ),
            head=(state.head + count) % self.capacity,
            size=jnp.minimum(state.size + count, self.capacity),
        )

    def sample(self, state: ReplayState, key: Array, n: int) -> PyTree:
        """`[n]` rows drawn uniformly, with replacement; zeros while the ring is empty."""
        place = jax.random.randint(key, (n,), 0, jnp.maximum(state.size, 1))
        return jax.tree.map(lambda x: x[place], state.rows)
