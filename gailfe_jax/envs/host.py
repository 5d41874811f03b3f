"""Any Gymnasium environment as our `Env`, stepped on the host by Gymnasium's own vector environments.

A batch of environments is one vector environment, called back out of the compiled program. What JAX holds of it is a
ticket: which batch, which of its copies, and how many steps this copy has made. So:
- A state can be stepped once. Its successor is another ticket, and the old one is void.
- A state cannot be stored. A ticket read from a file is void too, and `restart` begins a new episode instead.
- Batches of one size are used again, the one that was not stepped for longest first, and their tickets become void.
"""

from __future__ import annotations

import itertools
import os
import threading
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from jax.experimental.buffer_callback import buffer_callback

from gailfe_jax.envs.base import EpisodicEnv, check_limit
from gailfe_jax.envs.physics.model import without_expected_warning
from gailfe_jax.errors import GailfeError, warned_unless_refused
from gailfe_jax.flat_env import (
    LARGEST,
    LaneMaker,
    Maker,
    cause_of,
    check_lane,
    check_numbers,
    join_options,
    split_options,
    time_limit,
)
from gailfe_jax.parallel.devices import computes_on_cpu
from gailfe_jax.types import Array, EnvSpec, EnvState, StepResult

_KEPT = 4
"""Batches of one size that are kept for each device: training and evaluation may have the same."""
_KEPT_PROCESSES = 2
_PREFIX = "gym:"


@struct.dataclass
class HostState:
    """What JAX holds of one environment on the host.

    Attributes:
      ticket: `[3]` int32: the batch, the copy in it, and the steps that this copy has made.
      following: `[o]` what the policy sees next, after a reset where the episode has ended.
    """

    ticket: Array
    following: Array


class HostEnv(EpisodicEnv):
    """`Env` on Gymnasium's vector environments (see `gailfe_jax.types.Env`).

    Args:
      make: makes one copy; with a Box or a Dict of Boxes as its observation, and a Box or Discrete as its action.
      name: what `spec.name` shall say.
      gymnasium_id: what `gymnasium.make` knows it by, with options as in `split_options`; None where it does not.
      max_episode_steps: the time limit; the environment's own if None.
      processes: step each copy in a process of its own, for environments whose step takes a millisecond or more.

    Raises:
      GailfeError: it cannot be made, fails when it is reset or stepped, has spaces of another kind, or no time limit.
    """

    def __init__(
        self,
        make: Callable[[], gymnasium.Env],
        *,
        name: str,
        gymnasium_id: str | None = None,
        max_episode_steps: int | None = None,
        processes: bool = False,
    ):
        if max_episode_steps is not None:
            check_limit(name, max_episode_steps)
        self._make = LaneMaker(make, name, max_episode_steps)
        with warned_unless_refused(), without_expected_warning():
            lane = self._make()
            limit = time_limit(lane)
            if limit is None:
                lane.close()
                raise GailfeError(
                    f"env {name!r}: has no time limit; expected max_episode_steps, as in gym:<id>?max_episode_steps=200"
                )
            check_lane(lane)
            lane.close()
        self._lane = lane
        size, box = lane.observation_space.shape[0], lane.action_space  # type: ignore[index]
        assert isinstance(box, gymnasium.spaces.Box)
        self.spec = EnvSpec(
            name=name,
            gymnasium_id=gymnasium_id,
            engine="gymnasium",
            obs_size=size,
            action_size=box.shape[0],
            action_low=tuple(box.low.tolist()),
            action_high=tuple(box.high.tolist()),
            max_episode_steps=limit,
            discrete=lane.discrete,
        )
        kept = (_KEPT_PROCESSES if processes else _KEPT) * jax.local_device_count()
        self._batches = _Batches(lambda n: self.vector(n, processes=processes), size, kept, name)

    def vector(self, n: int, *, processes: bool = False) -> VectorEnv:
        """A vector environment of `n` new copies with flat observations and actions."""
        lanes = [self._make] * n
        # Not forked: JAX has threads, and a fork of them may never end.
        how: dict[str, Any] = {"context": "spawn"} if processes else {}
        with without_expected_warning():
            # Ours copies what it keeps.
            return (AsyncVectorEnv if processes else SyncVectorEnv)(
                lanes, copy=False, autoreset_mode=AutoresetMode.SAME_STEP, **how
            )

    def bare_vector(self, n: int) -> SyncVectorEnv:
        """Gymnasium's vector environment as a user would make it: what benchmarks compare with."""
        with without_expected_warning():
            return SyncVectorEnv([self._make.make] * n, autoreset_mode=AutoresetMode.SAME_STEP)

    def own_actions(self, actions: np.ndarray) -> np.ndarray:
        """`actions [..., a]` as the environment's own: choices as numbers, boxes in their shape."""
        own = [self._lane.own_action(row) for row in actions.reshape(-1, self.spec.action_size)]
        return np.reshape(own, (*actions.shape[:-1], *np.shape(own[0])))

    def close(self) -> None:
        """Closes the copies and their processes; states that are left over are void."""
        self._batches.close()

    def start(self, key: Array) -> tuple[HostState, Array]:
        out_type = (jax.ShapeDtypeStruct((3,), jnp.int32), jax.ShapeDtypeStruct((self.spec.obs_size,), jnp.float32))
        ticket, obs = _call(self._batches.start, out_type, jax.random.key_data(key))
        return HostState(ticket, obs), obs

    def advance(self, phys: HostState, action: Array) -> tuple[HostState, StepResult]:
        size = self.spec.obs_size
        out_type = (
            jax.ShapeDtypeStruct((3,), jnp.int32),
            *[jax.ShapeDtypeStruct((size,), jnp.float32)] * 2,
            jax.ShapeDtypeStruct((), jnp.float32),
            *[jax.ShapeDtypeStruct((), jnp.bool_)] * 2,
        )
        ticket, obs, following, reward, terminated, truncated = _call(
            self._batches.step, out_type, phys.ticket, jnp.asarray(action, jnp.float32)
        )
        return HostState(ticket, following), StepResult(obs, reward, terminated, truncated)

    def _restart(self, phys: HostState, obs: Array, done: Array, key: Array, episode: Array) -> tuple[HostState, Array]:
        # The vector environment has begun the next episode already, in the same step.
        del obs, done, key, episode
        return phys, phys.following

    def restart(self, state: EnvState) -> EnvState:
        """A new episode where `state` was read from a file; equal states give equal episodes."""
        episode = state.episode + 1
        phys, obs = self.start(jax.random.fold_in(state.key, episode))
        return state.replace(
            phys=phys,
            obs=obs,
            step_count=jnp.zeros_like(state.step_count),
            episode=episode,
            episode_return=jnp.zeros_like(state.episode_return),
        )


def _call(function: Callable[..., None], out_type: tuple[jax.ShapeDtypeStruct, ...], *args: Array) -> Any:
    """Calls `function(out, *args)` on the host, with NumPy arrays of any number of leading dimensions."""
    if computes_on_cpu():

        def in_place(_context: Any, out: Any, *args: Any) -> None:
            function([np.asarray(x) for x in out], *(np.asarray(x) for x in args))

        # Two resets from one key are two batches: a call is never merged with an equal one.
        call = buffer_callback(in_place, out_type, vmap_method="broadcast_all", has_side_effect=True)
        return call(*args)

    def in_arrays(*args: Any) -> tuple[np.ndarray, ...]:
        args = tuple(np.asarray(x) for x in args)
        lead = args[0].shape[:-1]
        out = tuple(np.empty((*lead, *x.shape), x.dtype) for x in out_type)
        function(out, *args)
        return out

    return jax.pure_callback(in_arrays, out_type, *args, vmap_method="broadcast_all")


class _Batch:
    """One vector environment, and the tickets `[n, 3]` that are good now."""

    def __init__(self, vector: VectorEnv, n: int):
        self.vector, self.lock = vector, threading.Lock()
        self.serial = self.used = 0
        self.tickets = np.zeros((n, 3), np.int32)
        self.tickets[:, 1] = np.arange(n)


class _Batches:
    """The vector environments behind a `HostEnv`, by size. Called by XLA's threads; NumPy only.

    Args:
      make: a vector environment of `n` copies.
      size: `o`.
      kept: how many of one size there may be.
      name: opens the messages.
    """

    def __init__(self, make: Callable[[int], VectorEnv], size: int, kept: int, name: str):
        self._make, self._size, self._kept, self._name = make, size, kept, name
        self._by_size: dict[int, list[_Batch]] = {}
        self._by_serial: dict[int, _Batch] = {}
        # From a random number, so that no ticket of another process is mistaken for one of this one's.
        self._serials = itertools.count(int.from_bytes(os.urandom(3), "little") + 1)
        self._clock = itertools.count(1)
        self._lock = threading.Lock()

    def start(self, out: list[np.ndarray], keys: np.ndarray) -> None:
        """New episodes from `keys [..., w]`; fills `(ticket [..., 3], obs [..., o])`."""
        ticket, obs = (x.reshape(-1, x.shape[-1]) for x in out)
        keys = keys.reshape(-1, keys.shape[-1])
        batch = self._take(len(keys))
        with batch.lock:
            # A whole number of any size: the lanes mix it with the number of the episode.
            seeds: Any = [int.from_bytes(row.tobytes(), "little") for row in keys]
            first, _ = self._asked("reset", batch.vector.reset, seed=seeds)
            self._check("reset", first)
            batch.tickets[:, 0], batch.tickets[:, 2] = batch.serial, 0
            obs[...], ticket[...] = first, batch.tickets

    def _asked(self, what: str, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except GailfeError:
            raise
        except Exception as error:  # Whatever a user's environment raises.
            raise GailfeError(f"env {self._name!r}: {what} fails ({cause_of(error)})") from error

    def _check(self, after: str, obs: np.ndarray, reward: Any = 0.0, rows: Any = True, paid: Any = True) -> None:
        """Holds that `obs [n, o]` of `rows [n]`, and `reward [n]` of the rows that are `paid [n]`, are finite."""
        if np.isfinite(obs).all() and (np.abs(reward) <= LARGEST).all():
            return
        rewards, rows, paid = (np.broadcast_to(x, len(obs)) for x in (reward, rows, paid))
        for lane in range(len(obs)):
            seen = obs[lane] if rows[lane] else obs[lane][:0]
            check_numbers(f"env {self._name!r}", after, seen, float(rewards[lane]) if paid[lane] else 0.0)

    def _take(self, n: int) -> _Batch:
        with self._lock:
            batches = self._by_size.setdefault(n, [])
            if len(batches) < self._kept:
                batches.append(_Batch(self._make(n), n))
                batch = batches[-1]
            else:
                batch = min(batches, key=lambda batch: batch.used)
                del self._by_serial[batch.serial]
            batch.serial, batch.used = next(self._serials), next(self._clock)
            self._by_serial[batch.serial] = batch
            return batch

    def step(self, out: list[np.ndarray], tickets: np.ndarray, actions: np.ndarray) -> None:
        """One step; fills `(ticket [..., 3], next_obs [..., o], obs [..., o], reward, terminated, truncated [...])`."""
        out = [x.reshape(-1, x.shape[-1]) for x in out[:3]] + [x.reshape(-1) for x in out[3:]]
        tickets = tickets.reshape(-1, 3)
        # A copy: an environment may keep its action, and this memory is XLA's.
        actions = np.array(actions.reshape(len(tickets), -1))
        batch, serials = self._by_serial.get(int(tickets[0, 0])), tickets[:, 0]
        if batch is not None and np.array_equal(tickets[:, :2], batch.tickets[:, :2]):
            self._step_batch(batch, slice(None), out, tickets, actions)
            return
        for serial in np.unique(serials).tolist():
            rows = np.flatnonzero(serials == serial)
            rows = rows[np.argsort(tickets[rows, 1], kind="stable")]
            batch = self._by_serial.get(serial)
            if batch is None:
                raise GailfeError(
                    f"env {self._name!r}: this state's environments were given to newer episodes, or it is another "
                    "process's; expected a state of the last resets (see restart)"
                )
            if not np.array_equal(tickets[rows, 1], batch.tickets[:, 1]):
                raise GailfeError(
                    f"env {self._name!r}: got {len(rows)} states of a batch of {len(batch.tickets)}; expected all that "
                    "were reset together"
                )
            self._step_batch(batch, rows, out, tickets[rows], actions[rows])

    def _step_batch(self, batch: _Batch, rows: Any, out: list[np.ndarray], tickets: np.ndarray, actions: np.ndarray):
        """Steps one batch, whose copies come in their order, and fills its `rows` of `out`."""
        batch.used = next(self._clock)
        with batch.lock:
            current = tickets[:, 2] == batch.tickets[:, 2]
            if not current.any():
                raise GailfeError(
                    f"env {self._name!r}: a state is stepped twice; expected each once, for its environments move on"
                )
            obs, reward, terminated, truncated, info = self._asked("step", batch.vector.step, actions)
            ended = terminated | truncated
            next_obs = obs
            if ended.any():
                next_obs = obs.copy()
                for lane in np.flatnonzero(ended):
                    next_obs[lane] = info["final_obs"][lane]
                truncated &= ~terminated
            # What a fall led to is never looked at, and what comes of actions that are no numbers is not its fault.
            given = current & np.isfinite(actions).all(axis=1)
            self._check("a step", next_obs, reward, given & ~terminated, given)
            if ended.any():
                self._check("reset", obs, rows=given & ended)
            batch.tickets[:, 2] += current
            ticket = batch.tickets
            # Loops over a batch go on for all while one needs it, and throw away what the others get: their states
            # stay as they are while their environments move on. Nobody shall take these numbers for an episode's.
            if not current.all():
                ticket, next_obs, obs = (
                    np.where(current[:, None], *x) for x in ((ticket, tickets), (next_obs, np.nan), (obs, np.nan))
                )
                reward, terminated, truncated = (
                    np.where(current, reward, np.nan),
                    terminated & current,
                    truncated & current,
                )
            for target, values in zip(out, (ticket, next_obs, obs, reward, terminated, truncated)):
                target[rows] = values

    def close(self) -> None:
        with self._lock:
            for batch in (batch for batches in self._by_size.values() for batch in batches):
                batch.vector.close()
            self._by_size, self._by_serial = {}, {}


def gymnasium_env(
    env: str | Callable[[], gymnasium.Env] | gymnasium.Env,
    *,
    name: str | None = None,
    max_episode_steps: int | None = None,
    processes: bool = False,
) -> HostEnv:
    """Any Gymnasium environment as an `Env`: `train("gail", gymnasium_env(MyEnv, max_episode_steps=200), ...)`.

    Args:
      env: an id (`CartPole-v1`, `my_package:MyEnv-v0`, with options as in `gym:<id>`), a function or class without
        arguments that makes one, or one that `gymnasium.make` has made, of which copies are made.
      name: what records call it; by default `gym:<id>`, or the function's name.
      max_episode_steps: the time limit; the environment's own if None.
      processes: step each copy in a process of its own.

    Raises:
      GailfeError: see `HostEnv`; or an environment that no `gymnasium.make` has made.
    """
    if isinstance(env, str):
        return _from_id(env, name, max_episode_steps, processes)
    if isinstance(env, gymnasium.Env):
        made = env.spec
        if made is None:
            raise GailfeError(
                f"env: {type(env.unwrapped).__name__} was not made by gymnasium.make, so there is no second one; "
                "expected gymnasium_env(FUNCTION), with a function or class that makes one"
            )
        if name is None and not made.additional_wrappers and all(map(_is_plain, made.kwargs.values())):
            options = {key: x for key, x in made.kwargs.items() if key != "render_mode" or x is not None}
            limit = made.max_episode_steps if max_episode_steps is None else max_episode_steps
            if limit is not None and limit != _registered_limit(made.id):
                options["max_episode_steps"] = limit
            return _from_id(join_options(made.id, options), None, None, processes)
        return HostEnv(
            lambda: gymnasium.make(made, disable_env_checker=True),
            name=name or type(env.unwrapped).__name__,
            max_episode_steps=max_episode_steps,
            processes=processes,
        )
    if not callable(env):
        raise GailfeError(
            f"env: got a {type(env).__name__}; expected a Gymnasium id, or a function that makes a gymnasium.Env"
        )
    name = name or str(getattr(env, "__name__", type(env).__name__))
    return HostEnv(env, name=name, max_episode_steps=max_episode_steps, processes=processes)


def _from_id(id: str, name: str | None, max_episode_steps: int | None, processes: bool) -> HostEnv:
    id, options = split_options(id, _PREFIX)
    if max_episode_steps is not None:
        options["max_episode_steps"] = max_episode_steps
    asked = options.pop("processes", processes)
    if not isinstance(asked, bool):
        raise GailfeError(f"env: option processes of {_PREFIX}{id} is {asked!r}; expected true or false")
    known = join_options(id, options)
    name = name or _PREFIX + join_options(id, options | ({"processes": True} if asked else {}))
    if "max_episode_steps" in options:
        # To Gymnasium -1 means none.
        check_limit(name, options["max_episode_steps"])
    return HostEnv(Maker(known, prefix=_PREFIX), name=name, gymnasium_id=known, processes=asked)


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str | None) and not (
        isinstance(value, str) and set(value) & set("?&")
    )


def _registered_limit(id: str) -> int | None:
    try:
        return gymnasium.spec(id).max_episode_steps
    except gymnasium.error.Error:
        return None


def registration_of(id: str) -> Any:
    """What Gymnasium knows an id by now; another object after registering again. None where it knows none."""
    id = split_options(id, _PREFIX)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return gymnasium.spec(id)
        except (gymnasium.error.Error, ImportError):
            return None
