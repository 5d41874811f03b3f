"""A ring of the policy's last transitions, for a discriminator that is shown more than the newest batch."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct

from gailfe_jax.types import Array, GailfeError


@struct.dataclass
class ReplayState:
    """The replay of one seed. `C` is the capacity.

    Attributes:
      obs: `[C, o]` f32.
      action: `[C, a]` f32.
      head: `[]` int32, the row to be overwritten next.
      size: `[]` int32, rows in use.
    """

    obs: Array
    action: Array
    head: Array
    size: Array


@dataclasses.dataclass(frozen=True)
class Replay:
    """A ring of the last `capacity` (obs, action) pairs of one seed; `vmap` its methods over seeds.

    Attributes:
      capacity: `C`, pairs held.
      obs_size, action_size: `o` and `a`.

    Raises:
      GailfeError: a size that is not positive.
    """

    capacity: int
    obs_size: int
    action_size: int

    def __post_init__(self) -> None:
        for name in ("capacity", "obs_size", "action_size"):
            if getattr(self, name) < 1:
                raise GailfeError(f"replay: {name} is {getattr(self, name)}, expected 1 or more")

    def init(self) -> ReplayState:
        """An empty ring."""
        return ReplayState(
            obs=jnp.zeros((self.capacity, self.obs_size), jnp.float32),
            action=jnp.zeros((self.capacity, self.action_size), jnp.float32),
            head=jnp.zeros((), jnp.int32),
            size=jnp.zeros((), jnp.int32),
        )

    def add(self, state: ReplayState, obs: Array, action: Array) -> ReplayState:
        """Appends `obs [n, o]` and `action [n, a]`, oldest first; of more than `C` only the last `C` stay."""
        count = obs.shape[0]
        kept = min(count, self.capacity)
        row = (state.head + (count - kept) + jnp.arange(kept, dtype=jnp.int32)) % self.capacity
        return ReplayState(
            obs=state.obs.at[row].set(obs[count - kept :], unique_indices=True),
            action=state.action.at[row].set(action[count - kept :], unique_indices=True),
            head=(state.head + count) % self.capacity,
            size=jnp.minimum(state.size + count, self.capacity),
        )

    def sample(self, state: ReplayState, key: Array, n: int) -> tuple[Array, Array]:
        """`n` pairs drawn uniformly, with replacement: obs `[n, o]`, action `[n, a]`; zeros while the ring is empty."""
        row = jax.random.randint(key, (n,), 0, jnp.maximum(state.size, 1))
        return state.obs[row], state.action[row]
