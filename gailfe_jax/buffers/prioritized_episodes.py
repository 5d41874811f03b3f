"""Self-imitation's replay: the last `N` finished episodes with their Monte-Carlo returns and priorities, on device.

Sources: Self-Imitation Learning (Oh et al. 2018), section 3; Prioritized Experience Replay (Schaul et al. 2016),
section 3.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from gailfe_jax.buffers.storage import RingState, TrajectoryRing, for_chosen
from gailfe_jax.errors import GailfeError
from gailfe_jax.parallel.seeds import per_seed
from gailfe_jax.types import Array, Scalar, Transition

_LEAST_PRIORITY = 1e-6


@struct.dataclass
class PrioritizedState(RingState):
    """The replay of one seed. `S = N + B` slots, `L` longest episode.

    Attributes:
      returns: `[S, L]` f32, discounted return from every step of an episode held; in working slots, rewards so far.
      priorities: `[S, L]` f32, of every step of an episode held.
      max_priority: `[]` f32, the largest priority ever set, 1 or more; what fresh steps get.
    """

    returns: Array
    priorities: Array
    max_priority: Array


@struct.dataclass
class PrioritizedSample:
    """Steps drawn by priority.

    Attributes:
      obs: `[n, o]`; action: `[n, a]`; zeros while the replay is empty.
      returns: `[n]` discounted Monte-Carlo return from the step on; zeros while the replay is empty.
      weight: `[n]` importance weight in (0, 1]; zeros while the replay is empty.
      index: `[n]` int32, what `reprioritise` knows the step by.
    """

    obs: Array
    action: Array
    returns: Array
    weight: Array
    index: Array


@dataclasses.dataclass(frozen=True)
class PrioritizedEpisodes(TrajectoryRing):
    """A ring of the last `capacity` finished episodes of one seed, good or bad; `vmap` its methods over seeds.

    Attributes:
      alpha: how much priorities count; 0 draws uniformly.

    Raises:
      GailfeError: a size that is not positive, or a negative `alpha`.
    """

    alpha: float = 0.6

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.alpha >= 0:
            raise GailfeError(f"{self._name}: alpha is {self.alpha}, expected 0 or more")

    @property
    def _name(self) -> str:
        return "episode replay"

    @property
    def memory_bytes(self) -> int:
        """Bytes of the replay on the device, per seed: `(N + B) * L * (o + a + 2) * 4`."""
        return super().memory_bytes + 2 * self._num_slots * self.max_length * 4

    def init(self) -> PrioritizedState:
        """An empty replay, every environment at the start of an episode."""
        return PrioritizedState(
            **vars(self._empty()),
            head=jnp.zeros((), jnp.int32),
            returns=jnp.zeros((self._num_slots, self.max_length), jnp.float32),
            priorities=jnp.zeros((self._num_slots, self.max_length), jnp.float32),
            max_priority=jnp.ones((), jnp.float32),
        )

    def add(self, state: PrioritizedState, transition: Transition, gamma: Scalar) -> PrioritizedState:
        """Writes an unroll of `B` environments and commits every episode that ended in it.

        Episodes go on from one unroll to the next and are committed in the order in which they end; those that end at
        the same step, in the order of their environments. The return of an episode that the time limit cut is the sum
        up to the cut. Actions are stored as given.

        Args:
          state: the replay.
          transition: `[T, B, ...]`, with the reward that returns are made of.
          gamma: `[]` discount of the episodes that end in this unroll, over their whole length.
        """
        row = jnp.concatenate([transition.obs, transition.action], axis=-1).astype(jnp.float32)
        steps = (row, transition.reward.astype(jnp.float32), transition.done)
        head = state.head
        state = jax.lax.scan(lambda carry, step: (self._add_step(carry, *step), None), state, steps)[0]
        # Returns wait for the end of the unroll: a loop among its steps would copy them at every step once vmapped.
        age = (jnp.arange(self.capacity, dtype=jnp.int32) - head) % self.capacity
        fresh = age < jnp.sum(transition.done, dtype=jnp.int32)
        returns, priorities = per_seed(self._finish)(
            state.returns, state.priorities, state.order, state.lengths, fresh, state.max_priority,
            jnp.asarray(gamma, jnp.float32),
        )  # fmt: skip
        return dataclasses.replace(state, returns=returns, priorities=priorities)

    def _add_step(self, state: PrioritizedState, row: Array, reward: Array, done: Array) -> PrioritizedState:
        pool, length = self._write(state, row)
        rewards = state.returns.at[state.slot, state.step].set(reward, mode="drop", unique_indices=True)
        order, lengths, head, slot = self._commit(state, done, length)
        return dataclasses.replace(
            state,
            storage=pool,
            order=order,
            lengths=lengths,
            slot=slot,
            step=jnp.where(done, 0, state.step + 1),
            episode_return=jnp.where(done, 0.0, state.episode_return + reward),
            head=head,
            returns=rewards,
        )

    def _finish(
        self,
        returns: Array,
        priorities: Array,
        order: Array,
        lengths: Array,
        fresh: Array,
        max_priority: Array,
        gamma: Array,
    ) -> tuple[Array, Array]:
        """Returns for rewards and the largest priority, in the slots of the positions that are `fresh [N]`."""

        def finish(carry: tuple[Array, Array], position: Array) -> tuple[Array, Array]:
            returns, priorities = carry
            # Past the end, where nothing is set, for positions that are none.
            slot = order.at[position].get(mode="fill", fill_value=self._num_slots)
            length = lengths.at[position].get(mode="fill", fill_value=0)
            # Behind the end are leftovers of a longer episode.
            rewards = jnp.where(jnp.arange(self.max_length) < length[:, None], returns[slot], 0.0)
            return (
                returns.at[slot].set(_discounted_sums(rewards, gamma), mode="drop"),
                priorities.at[slot].set(max_priority, mode="drop"),
            )

        return for_chosen(fresh, finish, (returns, priorities))

    def sample(self, state: PrioritizedState, key: Array, n: int, beta: Scalar) -> PrioritizedSample:
        """`n` steps drawn with replacement, step `i` with probability `P(i) ~ priority_i ** alpha`.

        Args:
          state: the replay.
          key: `[]`.
          n: steps to draw.
          beta: `[]` how far the weights undo the priorities: `(num_transitions * P(i)) ** -beta` over the largest of
            the batch (Schaul et al. 2016, section 3.4); 1 undoes them fully.
        """
        draw = per_seed(functools.partial(self._draw, n=n))
        ring = (state.priorities, state.order, state.lengths)
        position, step, weight = draw(*ring, key, jnp.asarray(beta, jnp.float32))
        slot = state.order[position]
        empty = self.num_transitions(state) == 0
        rows = jnp.where(empty, 0.0, state.storage[slot, step])
        return PrioritizedSample(
            obs=rows[:, : self.obs_size],
            action=rows[:, self.obs_size :],
            returns=jnp.where(empty, 0.0, state.returns[slot, step]),
            weight=jnp.where(empty, 0.0, weight),
            # Past the end, where `reprioritise` finds nothing to set.
            index=jnp.where(empty, self._num_slots * self.max_length, slot * self.max_length + step),
        )

    def _draw(
        self, priorities: Array, order: Array, lengths: Array, key: Array, beta: Array, *, n: int
    ) -> tuple[Array, Array, Array]:
        """`(position [n], step [n], importance weight [n])`; without meaning while the replay is empty."""
        held = jnp.arange(self.max_length) < lengths[:, None]
        mass = jnp.where(held, priorities[order] ** self.alpha, 0.0)
        # First the episode and then the step in it: one sum over all steps would be too long for float32 to tell
        # the rare ones apart.
        within = jnp.cumsum(mass, axis=1)
        across = jnp.cumsum(within[:, -1])
        draw_across, draw_within = jax.random.uniform(key, (2, n))
        position = jnp.searchsorted(across, draw_across * across[-1], side="right")
        # Rounding must not lead past what is held, which is at the front of the ring and of each slot.
        position = jnp.clip(position, 0, jnp.maximum(jnp.sum(lengths > 0) - 1, 0))
        search = functools.partial(jnp.searchsorted, side="right")
        step = jax.vmap(search)(within[position], draw_within * within[position, -1])
        step = jnp.clip(step, 0, jnp.maximum(lengths[position] - 1, 0))
        # The number of steps and the sum of masses drop out when the largest weight becomes 1.
        drawn = mass[position, step]
        return position, step, (jnp.min(drawn) / drawn) ** beta

    def reprioritise(self, state: PrioritizedState, index: Array, priority: Array) -> PrioritizedState:
        """New priorities for steps drawn since the last `add`.

        Args:
          state: the replay.
          index: `[n]` from `sample`; of a step that is there more than once the largest priority counts.
          priority: `[n]`, raised to 1e-6 where it is less, or not finite.
        """
        priority = jnp.maximum(jnp.where(jnp.isfinite(priority), priority, 0.0), _LEAST_PRIORITY)
        flat = state.priorities.reshape(-1)
        # In two steps, because a scatter of different values to one place has no order on accelerators.
        flat = flat.at[index].set(0.0, mode="drop").at[index].max(priority, mode="drop")
        largest = jnp.max(jnp.where(index < flat.size, priority, 0.0))
        return dataclasses.replace(
            state,
            priorities=flat.reshape(state.priorities.shape),
            max_priority=jnp.maximum(state.max_priority, largest),
        )

    def contents(self, state: PrioritizedState) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The episodes on the host, oldest first: `(obs [l, o], action [l, a], returns [l])`."""
        positions = self._oldest_first(state)
        order, lengths, returns = np.asarray(state.order), np.asarray(state.lengths), np.asarray(state.returns)
        held = [returns[order[p], : lengths[p]].copy() for p in positions if lengths[p] > 0]
        return [(*pair, r) for pair, r in zip(self._trajectories(state, positions), held, strict=True)]


def _discounted_sums(reward: Array, gamma: Array) -> Array:
    """`[..., L]` `sum_k gamma^k reward[t + k]`, in about log2(L) sweeps that each double the span summed."""
    size = reward.shape[-1]
    place = jnp.arange(size)

    def double(_, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        total, span, discount = carry
        later = jnp.where(place + span < size, jnp.roll(total, -span, axis=-1), 0.0)
        return total + discount * later, 2 * span, discount * discount

    carry = (reward, jnp.ones((), jnp.int32), gamma)
    return jax.lax.fori_loop(0, (size - 1).bit_length(), double, carry)[0]
