"""GASIL's own best: the `K` trajectories with the highest undiscounted returns, on device.

Source: GASIL (Guo et al. 2018), algorithm 1, the good trajectory buffer.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from gailfe_jax.buffers.storage import StorageState, TrajectoryStorage, ranks
from gailfe_jax.types import Array, Metrics, Transition

_PRIME = 16777619  # FNV's.


@struct.dataclass
class TopKState(StorageState):
    """The top-K buffer of one seed. `K` capacity, `B` environments.

    Attributes:
      returns: `[K]` f32, undiscounted true return at each position; -inf where there is none yet.
      stamp: `[K]` int32, which episode it was, counted in the order they ended.
      digest: `[K]` uint32, of the trajectory's contents.
      running: `[B]` uint32, digest of the running episode so far.
      num_episodes: `[]` int32, episodes that have finished since `init`.
    """

    returns: Array
    stamp: Array
    digest: Array
    running: Array
    num_episodes: Array


@dataclasses.dataclass(frozen=True)
class TopK(TrajectoryStorage):
    """The `capacity` best finished trajectories of one seed by undiscounted return; `vmap` its methods over seeds.

    Of equal returns the newer trajectory is the better, so that what is stale is replaced first. A trajectory that is
    held already, step by step the same, is not held twice. A return that is not a number is never kept.
    """

    @property
    def _name(self) -> str:
        return "best trajectories"

    def init(self) -> TopKState:
        """An empty buffer, every environment at the start of an episode."""
        return TopKState(
            **vars(self._empty()),
            returns=jnp.full((self.capacity,), -jnp.inf, jnp.float32),
            stamp=jnp.full((self.capacity,), -1, jnp.int32),
            digest=jnp.zeros((self.capacity,), jnp.uint32),
            running=jnp.zeros((self.num_envs,), jnp.uint32),
            num_episodes=jnp.zeros((), jnp.int32),
        )

    def add(self, state: TopKState, transition: Transition) -> TopKState:
        """Writes an unroll of `B` environments and keeps every episode that ended in it and is good enough.

        Episodes go on from one unroll to the next. Those that end at the same step are compared all at once; the one
        whose environment has the higher number counts as newer. Actions are stored as given: pass what the environment
        received, clipped to its bounds.

        Args:
          state: the buffer.
          transition: `[T, B, ...]`.
        """
        row = jnp.concatenate([transition.obs, transition.action], axis=-1).astype(jnp.float32)
        steps = (row, transition.next_obs if self.follows else None, transition.reward, transition.done)
        return jax.lax.scan(lambda carry, step: (self._add_step(carry, *step), None), state, steps)[0]

    def _add_step(self, state: TopKState, row: Array, next_obs: Array | None, reward: Array, done: Array) -> TopKState:
        pool, length = self._write(state, row, next_obs)
        episode_return = state.episode_return + reward
        running = _mix(state.running, row)
        rank, count, _ = ranks(done)
        stamp = jnp.where(done, state.num_episodes + rank, -1)
        candidate = jnp.where(done & ~jnp.isnan(episode_return), episode_return, -jnp.inf)
        held, entering = self._best(
            jnp.concatenate([state.returns, candidate]),
            jnp.concatenate([state.stamp, stamp]),
            jnp.concatenate([state.digest, running]),
            jnp.concatenate([state.lengths, length]),
        )
        # The first to enter takes the place of the worst that leaves.
        free = jnp.lexsort((state.stamp, jnp.where(held, jnp.inf, state.returns)))
        place = free[jnp.minimum(ranks(entering)[0], self.capacity - 1)]
        target = jnp.where(entering, place, self.capacity)
        put = lambda old, new: old.at[target].set(new, mode="drop")  # noqa: E731
        return TopKState(
            storage=pool,
            order=put(state.order, state.slot),
            lengths=put(state.lengths, length),
            slot=jnp.where(entering, state.order[place], state.slot),
            step=jnp.where(done, 0, state.step + 1),
            episode_return=jnp.where(done, 0.0, episode_return),
            returns=put(state.returns, episode_return),
            stamp=put(state.stamp, stamp),
            digest=put(state.digest, running),
            running=jnp.where(done, jnp.uint32(0), running),
            num_episodes=state.num_episodes + count,
        )

    def _best(self, returns: Array, stamp: Array, digest: Array, lengths: Array) -> tuple[Array, Array]:
        """Which of `K` trajectories held and `B` candidates (`[K + B]` each) are to be held: bool `[K]` and `[B]`."""
        # Of twins, which lie side by side in this order, the older stays.
        order = jnp.lexsort((stamp, lengths, digest, returns))
        same = jnp.array(True)
        for column in (returns, digest, lengths):
            same &= column[order][1:] == column[order][:-1]
        twin = jnp.zeros_like(returns, bool).at[order[1:]].set(same)
        returns = jnp.where(twin, -jnp.inf, returns)
        best = jnp.lexsort((stamp, returns))[-self.capacity :]
        chosen = jnp.zeros_like(twin).at[best].set(True) & (returns > -jnp.inf)
        return chosen[: self.capacity], chosen[self.capacity :]

    def best_return(self, state: TopKState) -> Array:
        """`[]` the highest return held, NaN while there is none."""
        return jnp.where(self.num_trajectories(state) > 0, jnp.max(state.returns), jnp.nan)

    def metrics(self, state: TopKState) -> Metrics:
        """How full it is, and the highest return held."""
        return super().metrics(state) | {"best_return": self.best_return(state)}

    def contents(self, state: TopKState) -> list[tuple[np.ndarray, np.ndarray]]:
        """The trajectories on the host, best first, of equals the newer first: `(obs [l, o], action [l, a])`."""
        positions = np.lexsort((-np.asarray(state.stamp), -np.asarray(state.returns)))
        return self._trajectories(state, positions.tolist())


def _mix(digest: Array, row: Array) -> Array:
    """`digest [B]` with the bits of `row [B, k]` taken in, one number after the other (FNV-1a on words)."""
    # Both zeros are one number.
    words = jax.lax.bitcast_convert_type(row + 0.0, jnp.uint32)
    for i in range(row.shape[-1]):
        digest = (digest ^ words[:, i] ^ (words[:, i] >> 15)) * jnp.uint32(_PRIME)
    return digest
