"""GASIL's own best: the `K` trajectories with the highest undiscounted returns, on device.

Source: GASIL (Guo et al. 2018), algorithm 1, the good trajectory buffer.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from gailfe_jax.buffers.storage import StorageState, TrajectoryStorage
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

    A tie with the worst goes to the newer trajectory, and of several that are equally bad the oldest leaves, so that
    what is stale is replaced first. A trajectory that is held already, step by step the same, is not held twice. A
    return that is not a number is never kept.
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

        Episodes go on from one unroll to the next. Those that end at the same step are taken in the order of their
        environments. Actions are stored as given: pass what the environment received, clipped to its bounds.

        Args:
          state: the buffer.
          transition: `[T, B, ...]`.
        """
        row = jnp.concatenate([transition.obs, transition.action], axis=-1).astype(jnp.float32)
        steps = (row, transition.reward, transition.done)
        return jax.lax.scan(lambda carry, step: (self._add_step(carry, *step), None), state, steps)[0]

    def _add_step(self, state: TopKState, row: Array, reward: Array, done: Array) -> TopKState:
        pool, length = self._write(state, row)
        episode_return = state.episode_return + reward
        running = _mix(state.running, row)
        kept = (state.order, state.lengths, state.slot, state.returns, state.stamp, state.digest, state.num_episodes)

        # A loop over the episodes that ended, usually none; each must see what the one before it has replaced.
        def keep_next(carry):
            remaining, (order, lengths, slot, returns, stamp, digest, count) = carry
            env = jnp.argmax(remaining)
            worst = jnp.min(returns)
            place = jnp.argmin(jnp.where(returns == worst, stamp, count))
            held = jnp.any((digest == running[env]) & (lengths == length[env]))
            keep = (episode_return[env] >= worst) & ~held
            evicted = order[place]
            put = lambda old, new: old.at[place].set(jnp.where(keep, new, old[place]))  # noqa: E731
            kept = (
                put(order, slot[env]),
                put(lengths, length[env]),
                slot.at[env].set(jnp.where(keep, evicted, slot[env])),
                put(returns, episode_return[env]),
                put(stamp, count),
                put(digest, running[env]),
                count + 1,
            )
            return remaining.at[env].set(False), kept

        _, kept = jax.lax.while_loop(lambda carry: jnp.any(carry[0]), keep_next, (done, kept))
        order, lengths, slot, returns, stamp, digest, num_episodes = kept
        return TopKState(
            storage=pool,
            order=order,
            lengths=lengths,
            slot=slot,
            step=jnp.where(done, 0, state.step + 1),
            episode_return=jnp.where(done, 0.0, episode_return),
            returns=returns,
            stamp=stamp,
            digest=digest,
            running=jnp.where(done, jnp.uint32(0), running),
            num_episodes=num_episodes,
        )

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
