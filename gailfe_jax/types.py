"""Types that every part shares. Shapes: `T` unroll length, `B` environments, `o`/`a` observation and action sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import jax
import jax.numpy as jnp
from flax import struct

Array: TypeAlias = jax.Array
PyTree: TypeAlias = Any
Scalar: TypeAlias = jax.Array | float
"""A traced setting: a `[]` array inside a program, a plain number in Python."""
Metrics: TypeAlias = dict[str, Array]
AuxiliaryFn: TypeAlias = Callable[[Callable[[Array], Any], jax.Array | None], Array]
"""What a policy maximises besides its reward: `(obs [..., o] -> its distribution, rows) -> []`; `rows [m]` of a batch
name the minibatch it goes beside, None the whole batch."""


class ScoreFn(Protocol):
    """A fitted reward, as policy steps are given it."""

    def __call__(self, obs: Array, action: Array, next_obs: Array | None = None, /) -> Array:
        """`[...]` what is paid for `action [..., a]` at `obs [..., o]`, which led to `next_obs [..., o]` before any
        reset; a reward that does not ask where actions lead needs no `next_obs`."""
        ...


def is_key(x: Any) -> bool:
    """Whether an array, or the shape of one, holds typed keys."""
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


@struct.dataclass
class TimeStep:
    """What one `Env.step` returns, for one environment.

    Attributes:
      obs: `[o]` what the policy sees next; after a reset if the episode ended.
      next_obs: `[o]` the observation the step led to, *before* any reset.
      reward: `[]` the environment's true reward.
      terminated: `[]` bool, the task ended here (a fall); never bootstrap through it.
      truncated: `[]` bool, the time limit cut the episode here; bootstrap through it.
    """

    obs: Array
    next_obs: Array
    reward: Array
    terminated: Array
    truncated: Array


@struct.dataclass
class Transition:
    """A batch of consecutive steps, `[T, B, ...]` out of an unroll and `[n, ...]` out of a source.

    Attributes:
      obs: `[T, B, o]` observation the action was chosen on.
      action: `[T, B, a]` action as the policy drew it (the environment receives it clipped to its bounds).
      log_prob: `[T, B]` log-density of `action` under the policy that drew it.
      next_obs: `[T, B, o]` observation after the step, before any reset.
      reward: `[T, B]` the environment's true reward.
      terminated: `[T, B]` bool.
      truncated: `[T, B]` bool.
      step: `[T, B]` int32 steps of the episode before this one; None where nothing asks.
    """

    obs: Array
    action: Array
    log_prob: Array
    next_obs: Array
    reward: Array
    terminated: Array
    truncated: Array
    step: Array | None = None

    @property
    def done(self) -> Array:
        """`[T, B]` bool: the episode ended with this step, for either reason."""
        return self.terminated | self.truncated


@struct.dataclass
class StateAction:
    """State-action pairs, e.g. demonstrations on the device.

    Attributes:
      obs: `[..., o]`.
      action: `[..., a]` as the environment executed it, inside its bounds; `[..., 0]` where nobody recorded actions.
      next_obs: `[..., o]` where it led, before any reset; None where nothing asks.
    """

    obs: Array
    action: Array
    next_obs: Array | None = None


@struct.dataclass
class ForwardTransitions:
    """What a forward model learns from: `action` taken at `obs` led to `next_obs`.

    Attributes:
      obs: `[..., o]`.
      action: `[..., a]` as the environment executed it.
      next_obs: `[..., o]` before any reset.
    """

    obs: Array
    action: Array
    next_obs: Array


@struct.dataclass
class StepResult:
    """What a physics engine returns beside its state: the task's functions at the state the step led to.

    Attributes:
      obs: `[o]`.
      reward: `[]`.
      terminated: `[]` bool.
      truncated: `[]` bool, an environment's own time limit cut the episode here; None where it has none.
    """

    obs: Array
    reward: Array
    terminated: Array
    truncated: Array | None = None


class Fields:
    """Arrays of the simulator under MuJoCo's names: `data.qpos [..., nq]`, `data.xpos [..., nbody, 3]`.

    Only those that the task names are there; another one raises AttributeError.
    """

    def __init__(self, **arrays: Any):
        self.__dict__.update(arrays)

    def __getattr__(self, name: str) -> Any:
        known = ", ".join(self.__dict__)
        raise AttributeError(f"{name} is not among the fields that the task reads ({known}); add it to the task")


MOST_EPISODES = 10**6
"""Of one evaluation or collection, side by side."""
MOST_STEPS = 10**9
"""The longest time limit of an episode; steps are counted in 32 bits."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A MuJoCo task, written once for all engines.

    Its functions take the array module first (`numpy` inside the C engine's callback, where they run in float64 and
    give Gymnasium's own numbers; `jax.numpy` elsewhere) and work on any leading batch shape. They read the simulator
    through `data`, whose arrays have MuJoCo's names. As after MuJoCo's `mj_step`, arrays that follow from position and
    velocity (`xpos`, `sensordata`, ...) are those of the last simulator step's beginning.

    Attributes:
      name: short name, e.g. `hopper`.
      gymnasium_id: the Gymnasium environment whose model, observation, reward and termination these are, or None where
        Gymnasium has no such task.
      model_file: file name in Gymnasium's MuJoCo assets, or the absolute path of another MJCF file; loaded unchanged.
        Its actuators' control ranges are the action bounds.
      frame_skip: simulator steps per environment step.
      max_episode_steps: the time limit.
      obs_size, action_size: `o` and `a`.
      observe: `(xp, data) -> obs [..., o]`.
      reward: `(xp, before, data, action [..., a], dt) -> [...]`; `before` holds `qpos`, `qvel` and `fields_before` as
        they were before the step; `dt` in seconds per environment step.
      terminated: `(xp, data) -> bool [...]`.
      start: `(key, qpos [nq], qvel [nv]) -> (qpos, qvel)`, where an episode starts, drawn around the model's initial
        state, which it is given.
      fields: which arrays of MuJoCo's `mjData` the functions read; `qpos` and `qvel` are always there.
      fields_before: those among them whose values before the step the reward reads.
      annotator: which episodes are failures where the user names no annotator (see `gailfe_jax.data.annotators`).
      has_reward: whether `reward` means anything; False where it is zero for want of one.
      source: absolute path of the file that the task was read from, or None.
      observed: `(text, how many numbers)` of each part of the observation as that file has it; empty without one.
    """

    name: str
    gymnasium_id: str | None
    model_file: str
    frame_skip: int
    max_episode_steps: int
    obs_size: int
    action_size: int
    observe: Callable[..., Any]
    reward: Callable[..., Any]
    terminated: Callable[..., Any]
    start: Callable[[Array, Array, Array], tuple[Array, Array]]
    fields: tuple[str, ...] = ()
    fields_before: tuple[str, ...] = ()
    annotator: str = "terminated"
    has_reward: bool = True
    source: str | None = None
    observed: tuple[tuple[str, int], ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """What messages call each number of an observation, or nothing."""
        return tuple(text for text, numbers in self.observed for _ in range(numbers))


LARGEST_STATE = 1e10
"""Of positions and velocities: beyond it MuJoCo takes a simulation for lost."""


class Physics(Protocol):
    """One engine on one task. Functions are for one environment; batching is `vmap`, nested as deep as you like.

    Attributes:
      name: `mujoco_c`, `mjx` or `warp`.
      init_qpos, init_qvel: `[nq]`, `[nv]` the model's initial state, float32 NumPy.
      action_low, action_high: `a` numbers each, the actuators' control ranges.
    """

    name: str
    init_qpos: Any
    init_qvel: Any
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]

    def init(self, qpos: Array, qvel: Array) -> PyTree:
        """A fresh engine state at `(qpos [nq], qvel [nv])`, as Gymnasium's `set_state` leaves it."""
        ...

    def step(self, phys: PyTree, action: Array) -> tuple[PyTree, StepResult]:
        """One environment step (`frame_skip` simulator steps) under `action [a]`, held constant."""
        ...

    def view(self, phys: PyTree) -> tuple[Array, Array]:
        """`(qpos [nq], qvel [nv])` in float32."""
        ...

    def is_finite(self, phys: PyTree) -> Array:
        """`[]` bool, whether position and velocity of a stepped state are finite, and within `LARGEST_STATE`."""
        ...

    def reset(self, phys: PyTree, done: Array, qpos: Array, qvel: Array) -> PyTree:
        """Where `done []`, a fresh state at `(qpos, qvel)`; elsewhere `phys` unchanged."""
        ...

    def observe_fresh(self, done: Array, qpos: Array, qvel: Array) -> Array:
        """`[o]`, what the task observes at a fresh state at `(qpos, qvel)`; unspecified numbers where not `done`."""
        ...


@dataclasses.dataclass(frozen=True)
class EnvSpec:
    """What a learner needs to know of an environment.

    Attributes:
      name: task name.
      gymnasium_id: id for evaluation in Gymnasium, perhaps with options behind a `?`, or None where Gymnasium has no
        such task.
      engine: engine name (`mujoco_c`, `mjx`, `warp`, `brax`, or what an environment calls its own).
      obs_size, action_size: `o` and `a`.
      action_low, action_high: action bounds, one number each or one per dimension.
      max_episode_steps: the time limit.
      annotator: see `Task`.
      discrete: whether an action is one of `a` choices: a row with 1 at the choice and 0 elsewhere, bounds 0 and 1.
      has_reward: whether `TimeStep.reward` means anything; False where it is zero for want of one.
    """

    name: str
    gymnasium_id: str | None
    engine: str
    obs_size: int
    action_size: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    max_episode_steps: int
    annotator: str = "terminated"
    discrete: bool = False
    has_reward: bool = True


@dataclasses.dataclass(frozen=True)
class Problem:
    """What the parts of a method work on.

    Attributes:
      spec: the environment's sizes, bounds and time limit.
      num_envs: `B`, environments of one seed.
      unroll_length: `T`, steps of each per iteration.
    """

    spec: EnvSpec
    num_envs: int
    unroll_length: int

    @property
    def batch_size(self) -> int:
        """`T * B`, environment steps of one seed per iteration."""
        return self.num_envs * self.unroll_length

    @property
    def pair_size(self) -> int:
        """`o + a`, of an observation and an action in one row."""
        return self.spec.obs_size + self.spec.action_size

    @property
    def action_bounds(self) -> tuple[Array, Array]:
        """`(low, high)`, each `[a]` or `[1]`."""
        return jnp.asarray(self.spec.action_low), jnp.asarray(self.spec.action_high)


@struct.dataclass
class EnvState:
    """State of one environment; everything a bit-exact continuation needs.

    Attributes:
      phys: the engine's state.
      obs: `[o]` current observation.
      step_count: `[]` int32, steps taken in this episode.
      episode: `[]` int32, episodes finished so far.
      episode_return: `[]` undiscounted true return of the running episode so far.
      key: `[]` typed key; the i-th reset draws from `fold_in(key, i)`.
    """

    phys: PyTree
    obs: Array
    step_count: Array
    episode: Array
    episode_return: Array
    key: Array


@struct.dataclass
class Starts:
    """`N` states of a simulator that episodes can start in.

    Attributes:
      qpos: `[N, nq]` f32.
      qvel: `[N, nv]` f32.
    """

    qpos: Array
    qvel: Array


class Env(Protocol):
    """An environment as two pure functions for one environment; batching is `vmap`. Resets itself when done.

    One whose state lives outside JAX has a third, `restart(state) -> EnvState`: what a state that was read from a file
    goes on as, which is the start of a new episode. One whose simulator can be set has two more:
    `starts_of(states [n, s], obs [n, o]) -> Starts`, which reads stored simulator states on the host, and
    `starting_from(starts, share) -> Env`, the same environment with that share of its episodes starting there.
    """

    spec: EnvSpec

    def reset(self, key: Array) -> EnvState:
        """A fresh episode drawn from `key []`."""
        ...

    def step(self, state: EnvState, action: Array) -> tuple[EnvState, TimeStep]:
        """One step under `action [a]`; if the episode ends, the returned state is a fresh one."""
        ...
