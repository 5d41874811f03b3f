"""The failure buffer `beta_F` of GAILFE: the last `N` failed trajectories, on device, never copied.

The buffer is a pool of `N + B` slots, each long enough for a whole trajectory. Environment `b` always owns one slot,
its working slot, and writes every step straight into it. When an episode ends and the annotator calls it a failure,
the slot itself joins the ring of failures and the slot that the ring evicts (or one never used) becomes the
environment's new working slot; otherwise the environment starts over in the slot it has. So a trajectory is written
once, whether it fails or not, and committing it moves two integers.

Source: GAILFE, section 4 (the buffer of the last `N = 1500` failed trajectories).
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from gailfe_jax.data.annotators import Annotator, EpisodeSummary, EpisodeView
from gailfe_jax.data.demonstrations import Trajectories
from gailfe_jax.types import Array, GailfeError, Transition


@struct.dataclass
class FailureState:
    """The failure buffer of one seed. `N` capacity, `B` environments, `L` longest episode, `K` annotator history.

    Attributes:
      pool: `[N + B, L, o + a]` f32, observation and action of every step (`[N, ...]` if nothing is collected).
      order: `[N]` int32, the slot at each ring position.
      lengths: `[N]` int32, steps of the failure at each ring position; 0 where there is none yet.
      head: `[]` int32, the ring position to be overwritten next (the oldest failure once the ring is full).
      slot: `[B]` int32, each environment's working slot.
      step: `[B]` int32, steps of the running episode so far.
      episode_return: `[B]` f32, undiscounted true return of the running episode so far.
      flagged, streak: `[B]` int32, see `EpisodeSummary`.
      recent_returns: `[K]` f32, returns of the episodes that finished last; NaN where there is none yet.
      recent_head: `[]` int32, the position in `recent_returns` to be overwritten next.
      num_episodes: `[]` int32, episodes that have finished since `init`.
      num_failures: `[]` int32, those of them that failed.
    """

    pool: Array
    order: Array
    lengths: Array
    head: Array
    slot: Array
    step: Array
    episode_return: Array
    flagged: Array
    streak: Array
    recent_returns: Array
    recent_head: Array
    num_episodes: Array
    num_failures: Array


@struct.dataclass
class PaddedTrajectories:
    """Trajectories of different lengths as one array, oldest first; what `FailureBuffer.preload` takes under `jit`.

    Attributes:
      data: `[k, L', o + a]` f32, observation and action of every step, zeros past the end.
      lengths: `[k]` int32.
    """

    data: Array
    lengths: Array


@dataclasses.dataclass(frozen=True)
class FailureBuffer:
    """A ring of the last `capacity` failed trajectories of one seed; `vmap` its methods over seeds.

    `add` updates the pool in place where the state is donated to `jit` or carried by `scan`, and costs the same for
    any capacity. Within one iteration sample from the state that `add` returned: reading the old one beside the new
    one keeps both alive, and XLA then copies the pool.

    Attributes:
      capacity: `N`, trajectories held. With `collect=False` the number preloaded is enough.
      max_length: `L`, the time limit of an episode. Steps beyond it are not stored.
      num_envs: `B`.
      obs_size, action_size: `o` and `a`.
      annotator: decides which finished episode failed.
      last_steps: sample only the last so many steps of each failure; 0 samples whole trajectories.
      collect: whether `add` collects the agent's own failures; False keeps to what was preloaded.

    Raises:
      GailfeError: a size that is not positive, or a negative `last_steps`.
    """

    capacity: int
    max_length: int
    num_envs: int
    obs_size: int
    action_size: int
    annotator: Annotator
    last_steps: int = 0
    collect: bool = True

    def __post_init__(self) -> None:
        for name in ("capacity", "max_length", "num_envs", "obs_size", "action_size"):
            if getattr(self, name) < 1:
                raise GailfeError(f"failure buffer: {name} is {getattr(self, name)}, expected 1 or more")
        if self.last_steps < 0:
            raise GailfeError(f"failure buffer: last_steps is {self.last_steps}, expected 0 (all) or more")

    @property
    def _num_slots(self) -> int:
        return self.capacity + (self.num_envs if self.collect else 0)

    @property
    def memory_bytes(self) -> int:
        """Bytes of the pool on the device, per seed: `(N + B) * L * (o + a) * 4`."""
        return self._num_slots * self.max_length * (self.obs_size + self.action_size) * 4

    def init(self) -> FailureState:
        """An empty buffer, every environment at the start of an episode."""

        # An array of its own for every field: a buffer that two fields share cannot be donated.
        def zeros(*shape: int) -> Array:
            return jnp.zeros(shape, jnp.int32)

        return FailureState(
            pool=jnp.zeros((self._num_slots, self.max_length, self.obs_size + self.action_size), jnp.float32),
            order=jnp.arange(self.capacity, dtype=jnp.int32),
            lengths=zeros(self.capacity),
            head=zeros(),
            slot=self.capacity + jnp.arange(self.num_envs, dtype=jnp.int32),
            step=zeros(self.num_envs),
            episode_return=jnp.zeros((self.num_envs,), jnp.float32),
            flagged=zeros(self.num_envs),
            streak=zeros(self.num_envs),
            recent_returns=jnp.full((self.annotator.history,), jnp.nan, jnp.float32),
            recent_head=zeros(),
            num_episodes=zeros(),
            num_failures=zeros(),
        )

    def pad(self, trajectories: Trajectories) -> PaddedTrajectories:
        """The most recent (last) `capacity` of the trajectories as NumPy arrays for `preload`, on the host.

        Raises:
          GailfeError: other observation or action sizes, or a trajectory longer than `max_length`.
        """
        sizes = (trajectories.obs.shape[1], trajectories.action.shape[1])
        if sizes != (self.obs_size, self.action_size):
            raise GailfeError(
                f"failures: observation and action sizes are {sizes}, expected {(self.obs_size, self.action_size)}"
            )
        count = trajectories.num_trajectories
        first = max(0, count - self.capacity)
        lengths = trajectories.lengths[first:]
        longest = int(lengths.max(initial=1))
        if longest > self.max_length:
            raise GailfeError(f"failures: a trajectory has {longest} steps, expected at most {self.max_length}")
        data = np.zeros((count - first, longest, sum(sizes)), np.float32)
        for row, i in enumerate(range(first, count)):
            steps = slice(int(trajectories.offsets[i]), int(trajectories.offsets[i + 1]))
            data[row, : lengths[row], : self.obs_size] = trajectories.obs[steps]
            data[row, : lengths[row], self.obs_size :] = trajectories.action[steps]
        return PaddedTrajectories(data=data, lengths=lengths.astype(np.int32))  # type: ignore[arg-type]

    def preload(self, state: FailureState, failures: Trajectories | PaddedTrajectories) -> FailureState:
        """Commits stored failures to the ring, oldest first; they count neither as episodes nor as `num_failures`.

        Pass `pad`'s result (not `Trajectories`) where the call is traced, so that the data is an argument.

        Raises:
          GailfeError: see `pad`; or more padded trajectories than `capacity`.
        """
        if isinstance(failures, Trajectories):
            failures = self.pad(failures)
        count, longest = failures.data.shape[:2]
        if count > self.capacity or longest > self.max_length:
            raise GailfeError(
                f"failures: {count} trajectories of up to {longest} steps, "
                f"expected at most {self.capacity} of {self.max_length}"
            )
        position = (state.head + jnp.arange(count, dtype=jnp.int32)) % self.capacity
        return dataclasses.replace(
            state,
            pool=state.pool.at[state.order[position], :longest].set(jnp.asarray(failures.data)),
            lengths=state.lengths.at[position].set(jnp.asarray(failures.lengths)),
            head=(state.head + count) % self.capacity,
        )

    def add(self, state: FailureState, transition: Transition) -> FailureState:
        """Writes an unroll of `B` environments and commits every episode in it that ended and failed.

        Episodes go on from one unroll to the next. Failures are committed in the order in which they end; those that
        end at the same step, in the order of their environments. Actions are stored as given: pass what the
        environment received, clipped to its bounds.

        Args:
          state: the buffer.
          transition: `[T, B, ...]`.
        """
        if not self.collect:
            return state
        row = jnp.concatenate([transition.obs, transition.action], axis=-1).astype(jnp.float32)
        if self.annotator.flag is None:
            flag = jnp.zeros(transition.reward.shape, bool)
        else:
            flag = jax.vmap(jax.vmap(self.annotator.flag))(transition.obs, transition.action, transition.next_obs)
        steps = (row, flag, transition.next_obs, transition.reward, transition.terminated, transition.truncated)
        return jax.lax.scan(lambda carry, step: (self._add_step(carry, *step), None), state, steps)[0]

    def _add_step(
        self,
        state: FailureState,
        row: Array,
        flag: Array,
        next_obs: Array,
        reward: Array,
        terminated: Array,
        truncated: Array,
    ) -> FailureState:
        done = terminated | truncated
        # Working slots are distinct by construction; saying so spares XLA a sequential scatter on some backends.
        pool = state.pool.at[state.slot, state.step].set(row, mode="drop", unique_indices=True)
        length = jnp.minimum(state.step + 1, self.max_length)
        episode_return = state.episode_return + reward
        flagged = state.flagged + flag.astype(jnp.int32)
        streak = jnp.where(flag, state.streak + 1, 0)
        failed = done & self._judge(state, pool, done, length, episode_return, terminated, flagged, streak, next_obs)
        order, lengths, head, slot = self._commit(state, failed, length)
        recent_returns, recent_head = self._remember(state, done, episode_return)
        return dataclasses.replace(
            state,
            pool=pool,
            order=order,
            lengths=lengths,
            head=head,
            slot=slot,
            step=jnp.where(done, 0, state.step + 1),
            episode_return=jnp.where(done, 0.0, episode_return),
            flagged=jnp.where(done, 0, flagged),
            streak=jnp.where(done, 0, streak),
            recent_returns=recent_returns,
            recent_head=recent_head,
            num_episodes=state.num_episodes + jnp.sum(done, dtype=jnp.int32),
            num_failures=state.num_failures + jnp.sum(failed, dtype=jnp.int32),
        )

    def _judge(
        self,
        state: FailureState,
        pool: Array,
        done: Array,
        length: Array,
        episode_return: Array,
        terminated: Array,
        flagged: Array,
        streak: Array,
        next_obs: Array,
    ) -> Array:
        """`[B]` bool, the annotator's verdict; meaningful only where `done`."""
        if self.annotator.verdict is not None:
            verdict = self.annotator.verdict
            return jax.vmap(lambda *episode: verdict(EpisodeSummary(*episode, recent_returns=state.recent_returns)))(
                length, episode_return, terminated, flagged, streak
            )
        judge = self.annotator.trajectory
        assert judge is not None

        # A loop over the episodes that ended, usually none: a `cond` would run for every step once vmapped over seeds,
        # this runs as often as the seed with the most ends needs.
        def judge_next(carry: tuple[Array, Array]) -> tuple[Array, Array]:
            remaining, verdict = carry
            env = jnp.argmax(remaining)
            mask = jnp.arange(self.max_length) < length[env]
            rows = jnp.where(mask[:, None], pool[state.slot[env]], 0.0)
            view = EpisodeView(
                obs=rows[:, : self.obs_size],
                action=rows[:, self.obs_size :],
                final_obs=next_obs[env],
                mask=mask,
                length=length[env],
                episode_return=episode_return[env],
                terminated=terminated[env],
            )
            return remaining.at[env].set(False), verdict.at[env].set(judge(view))

        return jax.lax.while_loop(lambda carry: jnp.any(carry[0]), judge_next, (done, jnp.zeros_like(done)))[1]

    def _commit(self, state: FailureState, failed: Array, length: Array) -> tuple[Array, Array, Array, Array]:
        """Swaps the working slots of the environments that failed with those the ring evicts."""
        rank, count, env_of_rank = _ranks(failed)
        # The j-th commit evicts what is at its ring position; with more commits than positions, that is the slot
        # which commit j - N of this very step has put there.
        position = (state.head + rank) % self.capacity
        lapped = state.slot[env_of_rank[jnp.maximum(rank - self.capacity, 0)]]
        evicted = jnp.where(rank < self.capacity, state.order[position], lapped)
        survives = failed & (rank >= count - self.capacity)
        target = jnp.where(survives, position, self.capacity)
        return (
            state.order.at[target].set(state.slot, mode="drop"),
            state.lengths.at[target].set(length, mode="drop"),
            (state.head + count) % self.capacity,
            jnp.where(failed, evicted, state.slot),
        )

    def _remember(self, state: FailureState, done: Array, episode_return: Array) -> tuple[Array, Array]:
        """Appends the returns of the episodes that ended to the annotator's history."""
        history = self.annotator.history
        if history == 0:
            return state.recent_returns, state.recent_head
        rank, count, _ = _ranks(done)
        survives = done & (rank >= count - history)
        target = jnp.where(survives, (state.recent_head + rank) % history, history)
        recent_returns = state.recent_returns.at[target].set(episode_return, mode="drop")
        return recent_returns, (state.recent_head + count) % history

    def _effective_lengths(self, state: FailureState) -> Array:
        return jnp.minimum(state.lengths, self.last_steps) if self.last_steps else state.lengths

    def num_trajectories(self, state: FailureState) -> Array:
        """`[]` int32, failures in the buffer."""
        return jnp.sum(state.lengths > 0, dtype=jnp.int32)

    def num_transitions(self, state: FailureState) -> Array:
        """`[]` int32, transitions that `sample` draws from (the last `last_steps` of each failure, if set)."""
        return jnp.sum(self._effective_lengths(state), dtype=jnp.int32)

    def sample(self, state: FailureState, key: Array, n: int) -> tuple[Array, Array]:
        """`n` pairs drawn uniformly, with replacement, from the transitions of the stored failures.

        Returns:
          obs `[n, o]` and action `[n, a]`; zeros while the buffer is empty.
        """
        effective = self._effective_lengths(state)
        ends = jnp.cumsum(effective)
        total = ends[-1]
        draw = jax.random.randint(key, (n,), 0, jnp.maximum(total, 1))
        position = jnp.minimum(jnp.searchsorted(ends, draw, side="right"), self.capacity - 1)
        # Counted back from the end of the trajectory, because `last_steps` keeps the end.
        step = state.lengths[position] - (ends[position] - draw)
        rows = state.pool[state.order[position], jnp.maximum(step, 0)]
        rows = jnp.where(total > 0, rows, 0.0)
        return rows[:, : self.obs_size], rows[:, self.obs_size :]

    def contents(self, state: FailureState) -> list[tuple[np.ndarray, np.ndarray]]:
        """The stored failures on the host, oldest first: whole trajectories `(obs [l, o], action [l, a])`."""
        order, lengths, head = np.asarray(state.order), np.asarray(state.lengths), int(state.head)
        pool = np.asarray(state.pool)
        positions = [(head + i) % self.capacity for i in range(self.capacity)]
        # Copies, because the caller may donate the state next.
        trajectories = [pool[order[p], : lengths[p]].copy() for p in positions if lengths[p] > 0]
        return [(rows[:, : self.obs_size], rows[:, self.obs_size :]) for rows in trajectories]


def _ranks(chosen: Array) -> tuple[Array, Array, Array]:
    """Of the chosen among `B`: each one's rank `[B]`, their count `[]`, and the index with rank `j` `[B]`."""
    order = jnp.cumsum(chosen, dtype=jnp.int32)
    rank = order - 1
    size = chosen.shape[0]
    index = jnp.arange(size, dtype=jnp.int32)
    inverse = jnp.zeros((size,), jnp.int32).at[jnp.where(chosen, rank, size)].set(index, mode="drop")
    return rank, order[-1], inverse
