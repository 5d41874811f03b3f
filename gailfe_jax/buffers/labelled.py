"""The failure buffer `beta_F` of GAILFE: the last `N` failed trajectories, on device.

Source: GAILFE, section 4 (the buffer of the last `N = 1500` failed trajectories).
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from gailfe_jax.buffers.storage import PaddedTrajectories, RingState, StorageState, TrajectoryRing, for_chosen, ranks
from gailfe_jax.data.annotators import Annotator, EpisodeSummary, EpisodeView
from gailfe_jax.data.trajectories import Trajectories
from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Array, Transition


@struct.dataclass
class LabelledState(RingState):
    """The failure buffer of one seed. `K` annotator history.

    Attributes:
      flagged, streak: `[B]` int32, see `EpisodeSummary`.
      recent_returns: `[K]` f32, returns of the episodes that finished last; NaN where there is none yet.
      recent_head: `[]` int32, the position in `recent_returns` to be overwritten next.
      num_episodes: `[]` int32, episodes that have finished since `init`.
      num_failures: `[]` int32, those of them that failed.
    """

    flagged: Array
    streak: Array
    recent_returns: Array
    recent_head: Array
    num_episodes: Array
    num_failures: Array


@dataclasses.dataclass(frozen=True)
class LabelledTrajectories(TrajectoryRing):
    """A ring of the last `capacity` failed trajectories of one seed; `vmap` its methods over seeds.

    `add` costs the same for any capacity. With `collect=False` a capacity of the number preloaded is enough.

    Attributes:
      annotator: decides which finished episode failed.
      last_steps: sample only the last so many steps of each failure; 0 samples whole trajectories.
      half_life: so many steps before its end a step of a failure is drawn half as often as the last one, and failures
        are drawn alike, however long; 0 draws all steps alike.
      collect: whether `add` collects the agent's own failures; False keeps to what was preloaded.

    Raises:
      GailfeError: a size that is not positive, or a negative `last_steps` or `half_life`.
    """

    annotator: Annotator
    last_steps: int = 0
    half_life: float = 0.0
    collect: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.last_steps < 0:
            raise GailfeError(f"failure buffer: last_steps is {self.last_steps}, expected 0 (all) or more")
        if not self.half_life >= 0:
            raise GailfeError(f"failure buffer: half_life is {self.half_life}, expected 0 (all alike) or more")

    @property
    def _name(self) -> str:
        return "failure buffer"

    @property
    def _num_slots(self) -> int:
        return self.capacity + (self.num_envs if self.collect else 0)

    def init(self) -> LabelledState:
        """An empty buffer, every environment at the start of an episode."""
        return LabelledState(
            **vars(self._empty()),
            head=jnp.zeros((), jnp.int32),
            flagged=jnp.zeros((self.num_envs,), jnp.int32),
            streak=jnp.zeros((self.num_envs,), jnp.int32),
            recent_returns=jnp.full((self.annotator.history,), jnp.nan, jnp.float32),
            recent_head=jnp.zeros((), jnp.int32),
            num_episodes=jnp.zeros((), jnp.int32),
            num_failures=jnp.zeros((), jnp.int32),
        )

    def pad(self, trajectories: Trajectories) -> PaddedTrajectories:
        """The most recent (last) `capacity` of the trajectories as NumPy arrays for `preload`, on the host.

        Actions that nobody recorded are NaN.

        Raises:
          GailfeError: other observation or action sizes, or a trajectory longer than `max_length`.
        """
        sizes = (trajectories.obs.shape[1], trajectories.action.shape[1] or self.action_size)
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
        data = np.zeros((count - first, longest + self.follows, sum(sizes)), np.float32)
        for row, i in enumerate(range(first, count)):
            steps = slice(int(trajectories.offsets[i]), int(trajectories.offsets[i + 1]))
            data[row, : lengths[row], : self.obs_size] = trajectories.obs[steps]
            data[row, : lengths[row], self.obs_size :] = trajectories.action[steps] if trajectories.acted else np.nan
            if self.follows:
                data[row, lengths[row], : self.obs_size] = trajectories.next_obs[steps.stop - 1]
        return PaddedTrajectories(data=data, lengths=lengths.astype(np.int32))  # type: ignore[arg-type]

    def preload(self, state: LabelledState, failures: Trajectories | PaddedTrajectories) -> LabelledState:
        """Commits stored failures to the ring, oldest first; they count neither as episodes nor as `num_failures`.

        Pass `pad`'s result (not `Trajectories`) where the call is traced, so that the data is an argument.

        Raises:
          GailfeError: see `pad`; or more padded trajectories than `capacity`.
        """
        if isinstance(failures, Trajectories):
            failures = self.pad(failures)
        count, longest = failures.data.shape[:2]
        if count > self.capacity or longest > self._slot_length:
            raise GailfeError(
                f"failures: {count} trajectories of up to {longest} steps, "
                f"expected at most {self.capacity} of {self._slot_length}"
            )
        position = (state.head + jnp.arange(count, dtype=jnp.int32)) % self.capacity
        return dataclasses.replace(
            state,
            storage=state.storage.at[state.order[position], :longest].set(jnp.asarray(failures.data)),
            lengths=state.lengths.at[position].set(jnp.asarray(failures.lengths)),
            head=(state.head + count) % self.capacity,
        )

    def add(self, state: LabelledState, transition: Transition) -> LabelledState:
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
        state: LabelledState,
        row: Array,
        flag: Array,
        next_obs: Array,
        reward: Array,
        terminated: Array,
        truncated: Array,
    ) -> LabelledState:
        done = terminated | truncated
        pool, length = self._write(state, row, next_obs)
        episode_return = state.episode_return + reward
        flagged = state.flagged + flag.astype(jnp.int32)
        streak = jnp.where(flag, state.streak + 1, 0)
        failed = done & self._judge(state, pool, done, length, episode_return, terminated, flagged, streak, next_obs)
        order, lengths, head, slot = self._commit(state, failed, length)
        recent_returns, recent_head = self._remember(state, done, episode_return)
        return dataclasses.replace(
            state,
            storage=pool,
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
        state: LabelledState,
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

        def view(env: Array) -> EpisodeView:
            mask = jnp.arange(self.max_length) < length[env]
            rows = jnp.where(mask[:, None], pool[state.slot[env]][: self.max_length], 0.0)
            return EpisodeView(
                obs=rows[:, : self.obs_size],
                action=rows[:, self.obs_size :],
                final_obs=next_obs[env],
                mask=mask,
                length=length[env],
                episode_return=episode_return[env],
                terminated=terminated[env],
            )

        # Whole episodes are looked at where some ended, usually none: a `cond` would run for every step once vmapped
        # over seeds.
        def look(verdict: Array, env: Array) -> Array:
            return verdict.at[env].set(jax.vmap(lambda env: judge(view(env)))(env), mode="drop")

        return for_chosen(done, look, jnp.zeros_like(done))

    def _remember(self, state: LabelledState, done: Array, episode_return: Array) -> tuple[Array, Array]:
        """Appends the returns of the episodes that ended to the annotator's history."""
        history = self.annotator.history
        if history == 0:
            return state.recent_returns, state.recent_head
        rank, count, _ = ranks(done)
        survives = done & (rank >= count - history)
        target = jnp.where(survives, (state.recent_head + rank) % history, history)
        recent_returns = state.recent_returns.at[target].set(episode_return, mode="drop")
        return recent_returns, (state.recent_head + count) % history

    def _effective_lengths(self, state: StorageState) -> Array:
        return jnp.minimum(state.lengths, self.last_steps) if self.last_steps else state.lengths

    def _draw(self, state: StorageState, key: Array, n: int) -> tuple[Array, Array]:
        if not self.half_life:
            return super()._draw(state, key, n)
        key_position, key_step = jax.random.split(key)
        # Positions fill up in their order.
        position = jax.random.randint(key_position, (n,), 0, jnp.maximum(self.num_trajectories(state), 1))
        length = self._effective_lengths(state)[position]
        # Weights 2^(-t / half_life) at t = 0, 1, ... steps before the end, cut off at the length: by inverse sums.
        least = jnp.exp2(-length / self.half_life)
        share = 1.0 - jax.random.uniform(key_step, (n,)) * (1.0 - least)
        before = jnp.minimum(jnp.floor(-self.half_life * jnp.log2(share)).astype(jnp.int32), length - 1)
        return position, jnp.maximum(state.lengths[position] - 1 - before, 0)

    def contents(self, state: LabelledState) -> list[tuple[np.ndarray, np.ndarray]]:
        """The stored failures on the host, oldest first: whole trajectories `(obs [l, o], action [l, a])`."""
        return self._trajectories(state, self._oldest_first(state))
