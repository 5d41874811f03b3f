"""Whole trajectories of different lengths on the device, written once and never copied.

The pool has one slot for each trajectory held and one for each environment, each long enough for a whole trajectory.
Environment `b` always owns one slot, its working slot, and writes every step straight into it. When an episode ends and
is to be kept, the slot itself joins the trajectories held, and the slot that is given up for it (or one never used)
becomes the environment's new working slot; otherwise the environment starts over in the slot it has. So a trajectory is
written once, kept or not, and keeping it moves two integers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from gailfe_jax.errors import GailfeError
from gailfe_jax.parallel.phases import at_most
from gailfe_jax.types import Array, Metrics, PyTree


@struct.dataclass
class StorageState:
    """Trajectories of one seed. `N` capacity, `B` environments, `L` longest episode.

    Attributes:
      storage: `[N + B, L, o + a]` f32, observation and action of every step (`[N, ...]` if nothing is collected); one
        row more, whose observation is where the last action led, in what `follows`.
      order: `[N]` int32, the slot at each position.
      lengths: `[N]` int32, steps of the trajectory at each position; 0 where there is none yet.
      slot: `[B]` int32, each environment's working slot.
      step: `[B]` int32, steps of the running episode so far.
      episode_return: `[B]` f32, undiscounted true return of the running episode so far.
    """

    storage: Array
    order: Array
    lengths: Array
    slot: Array
    step: Array
    episode_return: Array


@struct.dataclass
class RingState(StorageState):
    """Trajectories of one seed whose positions are those of a ring.

    Attributes:
      head: `[]` int32, the ring position to be overwritten next (the oldest trajectory once the ring is full).
    """

    head: Array


@struct.dataclass
class PaddedTrajectories:
    """Trajectories of different lengths as one array, oldest first; what a buffer is preloaded with under `jit`.

    Attributes:
      data: `[k, L', o + a]` f32, observation and action of every step, zeros past the end; for what `follows`, the
        row behind the last step's holds where its action led.
      lengths: `[k]` int32.
    """

    data: Array
    lengths: Array


@dataclasses.dataclass(frozen=True)
class TrajectoryStorage:
    """What buffers of whole trajectories share; `vmap` its methods over seeds.

    Adding updates the pool in place where the state is donated to `jit` or carried by `scan`. Within one iteration
    sample from the state that came out: reading the old one beside the new one keeps both alive, and XLA then copies
    the pool.

    Attributes:
      capacity: `N`, trajectories held.
      max_length: `L`, the time limit of an episode. Steps beyond it are not stored.
      num_envs: `B`.
      obs_size, action_size: `o` and `a`.
      follows: whether where each action led is kept, too: it stands in the next step's row.

    Raises:
      GailfeError: a size that is not positive.
    """

    capacity: int
    max_length: int
    num_envs: int
    obs_size: int
    action_size: int
    follows: bool = dataclasses.field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("capacity", "max_length", "num_envs", "obs_size", "action_size"):
            if getattr(self, name) < 1:
                raise GailfeError(f"{self._name}: {name} is {getattr(self, name)}, expected 1 or more")

    @property
    def _name(self) -> str:
        return "trajectories"

    @property
    def _num_slots(self) -> int:
        return self.capacity + self.num_envs

    @property
    def _slot_length(self) -> int:
        return self.max_length + self.follows

    def _empty(self) -> StorageState:
        # An array of its own for every field: a buffer that two fields share cannot be donated.
        return StorageState(
            storage=jnp.zeros((self._num_slots, self._slot_length, self.obs_size + self.action_size), jnp.float32),
            order=jnp.arange(self.capacity, dtype=jnp.int32),
            lengths=jnp.zeros((self.capacity,), jnp.int32),
            slot=self.capacity + jnp.arange(self.num_envs, dtype=jnp.int32),
            step=jnp.zeros((self.num_envs,), jnp.int32),
            episode_return=jnp.zeros((self.num_envs,), jnp.float32),
        )

    def _write(self, state: StorageState, row: Array, next_obs: Array | None = None) -> tuple[Array, Array]:
        """Every environment's `row [B, o + a]`, and where it led, into its working slot: `(pool, length of the episode
        so far [B])`."""
        # Working slots are distinct by construction; saying so spares XLA a sequential scatter on some backends.
        pool = state.storage.at[state.slot, state.step].set(row, mode="drop", unique_indices=True)
        if self.follows:
            # The next step's row overwrites it by the same, but where there is none.
            after = pool.at[state.slot, state.step + 1, : self.obs_size]
            pool = after.set(next_obs, mode="drop", unique_indices=True)
        return pool, jnp.minimum(state.step + 1, self.max_length)

    def _effective_lengths(self, state: StorageState) -> Array:
        """`[N]` steps of each trajectory, counted from its end, that `sample` draws from."""
        return state.lengths

    @property
    def memory_bytes(self) -> int:
        """Bytes of the pool on the device, per seed: `(N + B) * L * (o + a) * 4`."""
        return self._num_slots * self._slot_length * (self.obs_size + self.action_size) * 4

    def num_trajectories(self, state: StorageState) -> Array:
        """`[]` int32, trajectories held."""
        return jnp.sum(state.lengths > 0, dtype=jnp.int32)

    def num_transitions(self, state: StorageState) -> Array:
        """`[]` int32, transitions that `sample` draws from."""
        return jnp.sum(self._effective_lengths(state), dtype=jnp.int32)

    def metrics(self, state: StorageState) -> Metrics:
        """How full it is: `episodes` and `transitions`, `[]` each."""
        return {
            "episodes": self.num_trajectories(state).astype(jnp.float32),
            "transitions": self.num_transitions(state).astype(jnp.float32),
        }

    def sample(self, state: StorageState, key: Array, n: int) -> tuple[Array, ...]:
        """`n` pairs drawn uniformly, with replacement, from the transitions held.

        Returns:
          obs `[n, o]` and action `[n, a]`, and next_obs `[n, o]` of what `follows`; zeros while the buffer is empty.
        """
        position, step = self._draw(state, key, n)
        found = self.num_transitions(state) > 0
        rows = jnp.where(found, state.storage[state.order[position], step], 0.0)
        pairs = rows[:, : self.obs_size], rows[:, self.obs_size :]
        if not self.follows:
            return pairs
        after = state.storage[state.order[position], step + 1, : self.obs_size]
        return *pairs, jnp.where(found, after, 0.0)

    def _draw(self, state: StorageState, key: Array, n: int) -> tuple[Array, Array]:
        """`(position [n], step [n])` of `n` transitions drawn uniformly; any while the buffer is empty."""
        ends = jnp.cumsum(self._effective_lengths(state))
        draw = jax.random.randint(key, (n,), 0, jnp.maximum(ends[-1], 1))
        position = jnp.minimum(jnp.searchsorted(ends, draw, side="right"), self.capacity - 1)
        # Counted back from the end of the trajectory, because a part of it is its end.
        step = state.lengths[position] - (ends[position] - draw)
        return position, jnp.maximum(step, 0)

    def _trajectories(self, state: StorageState, positions: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
        """On the host, those of `positions` that hold one: `(obs [l, o], action [l, a])`."""
        order, lengths, pool = np.asarray(state.order), np.asarray(state.lengths), np.asarray(state.storage)
        # Copies, because the caller may donate the state next.
        trajectories = [pool[order[p], : lengths[p]].copy() for p in positions if lengths[p] > 0]
        return [(rows[:, : self.obs_size], rows[:, self.obs_size :]) for rows in trajectories]


@dataclasses.dataclass(frozen=True)
class TrajectoryRing(TrajectoryStorage):
    """What buffers of the last `capacity` trajectories of a kind share."""

    def _commit(self, state: RingState, chosen: Array, length: Array) -> tuple[Array, Array, Array, Array]:
        """Swaps the working slots of the `chosen [B]` environments with those the ring evicts.

        Returns:
          `(order, lengths, head, slot)` as they are then.
        """
        rank, count, env_of_rank = ranks(chosen)
        # The j-th commit evicts what is at its ring position; with more commits than positions, that is the slot
        # which commit j - N of this very step has put there.
        position = (state.head + rank) % self.capacity
        lapped = state.slot[env_of_rank[jnp.maximum(rank - self.capacity, 0)]]
        evicted = jnp.where(rank < self.capacity, state.order[position], lapped)
        survives = chosen & (rank >= count - self.capacity)
        target = jnp.where(survives, position, self.capacity)
        return (
            state.order.at[target].set(state.slot, mode="drop"),
            state.lengths.at[target].set(length, mode="drop"),
            (state.head + count) % self.capacity,
            jnp.where(chosen, evicted, state.slot),
        )

    def _oldest_first(self, state: RingState) -> list[int]:
        """On the host, all positions, the oldest trajectory's first."""
        return [(int(state.head) + i) % self.capacity for i in range(self.capacity)]


MOST_AT_ONCE = 256
"""Episodes that ended together and are looked at whole in one pass."""


def for_chosen(chosen: Array, fn: Callable[[PyTree, Array], PyTree], carry: PyTree) -> PyTree:
    """`carry` after `fn(carry, index [m])` for all the chosen among `B`, at most `MOST_AT_ONCE` at a time.

    A loop whose passes are few: thousands of environments end their episodes at the same step, and one by one they
    would keep an accelerator waiting. Where nothing is chosen `fn` does not run.

    Args:
      chosen: `[B]` bool.
      fn: gets indices of the chosen, and `B` in places that are left over: it must write with `mode="drop"`.
      carry: any tree of arrays.
    """
    size = chosen.shape[0]
    width = min(size, MOST_AT_ONCE)

    def some(state: tuple[Array, PyTree]) -> tuple[Array, PyTree]:
        remaining, carry = state
        _, count, found = ranks(remaining)
        index = jnp.where(jnp.arange(width) < count, found[:width], size)
        return remaining.at[index].set(False, mode="drop"), fn(carry, index)

    with at_most(-(-size // width)):
        return jax.lax.while_loop(lambda state: jnp.any(state[0]), some, (chosen, carry))[1]


def ranks(chosen: Array) -> tuple[Array, Array, Array]:
    """Of the chosen among `B`: each one's rank `[B]`, their count `[]`, and the index with rank `j` `[B]`."""
    order = jnp.cumsum(chosen, dtype=jnp.int32)
    rank = order - 1
    size = chosen.shape[0]
    index = jnp.arange(size, dtype=jnp.int32)
    inverse = jnp.zeros((size,), jnp.int32).at[jnp.where(chosen, rank, size)].set(index, mode="drop")
    return rank, order[-1], inverse
