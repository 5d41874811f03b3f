"""Environments out of their dynamics, with time limit and self-reset: `EpisodicEnv`, `MujocoEnv` on an engine, and what
the adapters to other packages share."""

from __future__ import annotations

import abc
import copy
import numbers
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from gailfe_jax.envs.physics.failures import traced
from gailfe_jax.errors import GailfeError, one_line
from gailfe_jax.parallel.seeds import computed_where
from gailfe_jax.types import (
    MOST_STEPS,
    Array,
    EnvSpec,
    EnvState,
    Fields,
    Physics,
    PyTree,
    Starts,
    StepResult,
    Task,
    TimeStep,
)


class EpisodicEnv(abc.ABC):
    """An `Env` out of two functions of one environment; adds the time limit, fresh episodes and the counting.

    A subclass has a `spec`, `start` and `advance`, the functions pure JAX. Their state may be any tree of arrays.
    """

    spec: EnvSpec

    @abc.abstractmethod
    def start(self, key: Array) -> tuple[PyTree, Array]:
        """`(state, obs [o])` of a fresh episode, drawn from `key []`."""

    @abc.abstractmethod
    def advance(self, phys: PyTree, action: Array) -> tuple[PyTree, StepResult]:
        """One step of the state under `action [a]`, as if no episode ever ended."""

    def _restart(self, phys: PyTree, obs: Array, done: Array, key: Array, episode: Array) -> tuple[PyTree, Array]:
        """`(phys, obs)`, or the start of the `episode`-th episode where `done`."""
        fresh = self.start(jax.random.fold_in(key, episode))
        return jax.tree.map(lambda new, old: jnp.where(done, new, old), fresh, (phys, obs))

    def reset(self, key: Array) -> EnvState:
        episode = jnp.int32(0)
        phys, obs = self.start(jax.random.fold_in(key, episode))
        return EnvState(
            phys=phys,
            obs=obs,
            step_count=jnp.int32(0),
            episode=episode,
            episode_return=jnp.float32(0.0),
            key=key,
        )

    def _advance_from(self, state: EnvState, action: Array) -> tuple[PyTree, StepResult]:
        """`advance`, for environments that look at more than the physics."""
        return self.advance(state.phys, action)

    def step(self, state: EnvState, action: Array) -> tuple[EnvState, TimeStep]:
        phys, result = self._advance_from(state, action)
        step_count = state.step_count + 1
        truncated = step_count >= self.spec.max_episode_steps
        if result.truncated is not None:
            truncated = truncated | result.truncated
        # A fall on the last allowed step is a fall: Gymnasium reports both, we keep the two apart.
        truncated = truncated & ~result.terminated
        done = result.terminated | truncated
        episode = state.episode + done
        phys, obs = self._restart(phys, result.obs, done, state.key, episode)
        after = EnvState(
            phys=phys,
            obs=obs,
            step_count=jnp.where(done, 0, step_count),
            episode=episode,
            episode_return=jnp.where(done, 0.0, state.episode_return + result.reward),
            key=state.key,
        )
        return after, TimeStep(
            obs=obs,
            next_obs=result.obs,
            reward=result.reward,
            terminated=result.terminated,
            truncated=truncated,
        )


def check_limit(name: str, limit: Any) -> None:
    """Holds that what is given as the time limit of the environment called `name` is one.

    Raises:
      GailfeError: it is no whole number, or one out of range.
    """
    if not isinstance(limit, numbers.Integral) or isinstance(limit, bool) or not 1 <= int(limit) <= MOST_STEPS:
        raise GailfeError(
            f"env {name!r}: max_episode_steps is {limit!r}; expected a whole number from 1 to {MOST_STEPS}"
        )


def does_not_run(name: str, error: Exception) -> GailfeError:
    """What the user is told of another package's environment that fails when it is traced."""
    cause = one_line(error, first=True)
    return GailfeError(
        f"env {name!r}: does not run on jax {jax.__version__} ({cause}); expected another task or backend"
    )


def in_shape_of(before: PyTree, after: PyTree) -> PyTree:
    """`after` with the shapes and dtypes of `before`, as a loop's carry needs them; Python numbers become arrays."""
    return jax.tree.map(lambda new, old: jnp.broadcast_to(jnp.asarray(new, old.dtype), old.shape), after, before)


class _GivenStarts:
    """Given states in which a share of the episodes starts."""

    def __init__(self, starts: Starts, share: float):
        self._starts, self._share = starts, share
        self.pick_where = computed_where(lambda key, episode: self.pick(jax.random.fold_in(key, episode)))

    def pick(self, key: Array) -> tuple[Array, Array]:
        """`(whether to start in a given state [], which [])`; it touches no state, for all environments share them."""
        coin, row = jax.random.split(jax.random.fold_in(key, 1))
        return jax.random.bernoulli(coin, self._share), jax.random.randint(row, (), 0, len(self._starts.qpos))

    def or_usual(self, pick: tuple[Array, Array], usual: tuple[Array, Array]) -> tuple[Array, Array]:
        """`(qpos, qvel)` that were picked, or the `usual` ones."""
        there, row = pick
        given = self._starts.qpos[row], self._starts.qvel[row]
        return jnp.where(there, given[0], usual[0]), jnp.where(there, given[1], usual[1])


class MujocoEnv(EpisodicEnv):
    """`Env` for a `Task` on any `Physics` engine (see `gailfe_jax.types.Env`)."""

    _given: _GivenStarts | None = None

    def __init__(self, task: Task, physics: Physics):
        self.task = task
        self.physics = physics
        self.spec = EnvSpec(
            name=task.name,
            gymnasium_id=task.gymnasium_id,
            engine=physics.name,
            obs_size=task.obs_size,
            action_size=task.action_size,
            action_low=physics.action_low,
            action_high=physics.action_high,
            max_episode_steps=task.max_episode_steps,
            annotator=task.annotator,
            has_reward=task.has_reward,
        )
        self._draw_where = computed_where(lambda key, episode: self._draw(jax.random.fold_in(key, episode)))

    def _draw(self, key: Array) -> tuple[Array, Array]:
        return self.task.start(key, self.physics.init_qpos, self.physics.init_qvel)

    def starts_of(self, states: np.ndarray, obs: np.ndarray) -> Starts:
        """Positions and velocities of stored simulator states, for `starting_from`.

        Args:
          states: `[n, s]` time, positions, velocities, and what else the C engine keeps.
          obs: `[n, o]` what was observed there, by which they are checked where it hangs on these alone.

        Raises:
          GailfeError: states of another model, or actuators that have a state too, which no start sets.
        """
        from gailfe_jax.envs.physics.pools import prefix_size

        model: Any = self.physics.model  # type: ignore[attr-defined]
        least, most = 1 + model.nq + model.nv, prefix_size(model)
        name = self.spec.name
        if not least <= states.shape[1] <= most:
            raise GailfeError(f"has {states.shape[1]} numbers; expected {name}'s {least} to {most}")
        if model.na:
            raise GailfeError(f"cannot be started in: actuators of {name} have a state of their own")
        qpos, qvel = states[:, 1 : 1 + model.nq], states[:, 1 + model.nq : least]
        if not self.task.fields:
            seen = self.task.observe(np, Fields(qpos=qpos, qvel=qvel))
            if not np.allclose(seen, obs, rtol=1e-3, atol=1e-3):
                raise GailfeError(f"is not what was observed; expected states of {name}, each before its action")
        return Starts(jnp.asarray(qpos, jnp.float32), jnp.asarray(qvel, jnp.float32))

    def starting_from(self, starts: Starts, share: float) -> MujocoEnv:
        """The same environment, of whose episodes a `share` starts in a state drawn from `starts [N]` uniformly."""
        env = copy.copy(self)
        env._given = _GivenStarts(starts, share)
        return env

    def start(self, key: Array) -> tuple[PyTree, Array]:
        qpos, qvel = self._fresh(key)
        return self.physics.init(qpos, qvel), self._observe_fresh(jnp.array(True), qpos, qvel)

    def _fresh(self, key: Array) -> tuple[Array, Array]:
        """`(qpos, qvel)` where the episode starts that `key []` draws."""
        usual, given = self._draw(key), self._given
        return usual if given is None else given.or_usual(given.pick(key), usual)

    def _fresh_where(self, wanted: Array, key: Array, episode: Array) -> tuple[Array, Array]:
        """The same of the `episode`-th episode, where it is `wanted`."""
        usual, given = self._draw_where(wanted, key, episode), self._given
        return usual if given is None else given.or_usual(given.pick_where(wanted, key, episode), usual)

    def _observe_fresh(self, done: Array, qpos: Array, qvel: Array) -> Array:
        if not self.task.fields:
            data = Fields(qpos=qpos, qvel=qvel)
            return traced(self.task, "observe", "a start", lambda: self.task.observe(jnp, data))
        return self.physics.observe_fresh(done, qpos, qvel)

    def _restart(self, phys: PyTree, obs: Array, done: Array, key: Array, episode: Array) -> tuple[PyTree, Array]:
        qpos, qvel = self._fresh_where(done, key, episode)
        obs = jnp.where(done, self._observe_fresh(done, qpos, qvel), obs)
        return self.physics.reset(phys, done, qpos, qvel), obs

    def advance(self, phys: PyTree, action: Array) -> tuple[PyTree, StepResult]:
        return self.physics.step(phys, action)


@struct.dataclass
class GuardedState:
    """What a `GuardedEnv` keeps beside its engine's state.

    Attributes:
      phys: the engine's state.
      resets: `[]` int32, how often it was reset because its physics was not finite.
    """

    phys: PyTree
    resets: Array


class GuardedEnv(MujocoEnv):
    """A `MujocoEnv` that begins a new episode where its physics is not finite, and counts that.

    The step that led there pays nothing and cuts the episode as a time limit does, at the observation before it: what
    is not finite reaches nobody. Positions and velocities beyond `LARGEST_STATE` count as not finite, as in MuJoCo's
    own check. That check would put the simulation into the model's initial state and tell nobody, so it is off where a
    task is guarded (see `MujocoC`).
    """

    resets_nonfinite = True

    def start(self, key: Array) -> tuple[PyTree, Array]:
        phys, obs = super().start(key)
        return GuardedState(phys, jnp.int32(0)), obs

    def _restart(self, phys: PyTree, obs: Array, done: Array, key: Array, episode: Array) -> tuple[PyTree, Array]:
        inner, obs = super()._restart(phys.phys, obs, done, key, episode)
        return phys.replace(phys=inner), obs

    def advance(self, phys: PyTree, action: Array) -> tuple[PyTree, StepResult]:
        inner, result = super().advance(phys.phys, action)
        return phys.replace(phys=inner), result

    def _advance_from(self, state: EnvState, action: Array) -> tuple[PyTree, StepResult]:
        phys, result = self.advance(state.phys, action)
        good = self.physics.is_finite(phys.phys)
        held = StepResult(
            obs=jnp.where(good, result.obs, state.obs),
            reward=jnp.where(good, result.reward, 0.0),
            terminated=result.terminated & good,
            truncated=~good,
        )
        return phys.replace(resets=phys.resets + ~good), held


def resets_nonfinite(state: EnvState) -> Array | None:
    """`[...]` how often environments `[...]` were reset because their physics was not finite; None where none is."""
    phys = state.phys
    while phys is not None and not isinstance(phys, GuardedState):
        phys = getattr(phys, "phys", None)
    return None if phys is None else phys.resets
