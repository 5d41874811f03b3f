"""Gymnasium environments with one flat observation and one flat action: what trains, evaluates and films any of them.

No JAX here: the processes of a vector environment import this module and little else.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from gailfe_jax.errors import GailfeError, one_line, where_raised
from gailfe_jax.io.json_text import parse_json
from gailfe_jax.io.user_modules import (
    SEARCHED,
    check_asked_for,
    import_user_module,
    imported_modules,
    search_this_folder,
)

_MACHINERY = (str(pathlib.Path(__file__).parent), *(str(pathlib.Path(str(x.__file__)).parent) for x in (gymnasium, np)))
"""Folders whose lines say nothing of a user's own mistake."""

LARGEST = float(np.finfo(np.float32).max)
"""The largest reward: what is learned from is in single precision."""


def split_options(name: str, prefix: str = "") -> tuple[str, dict[str, Any]]:
    """`(name, options)` of `CartPole-v1?max_episode_steps=200&sutton_barto_reward=true`.

    A value is a number, true, false or null, or else text.

    Args:
      name: the name with its options.
      prefix: what stood before it, for messages: `gym:`.

    Raises:
      GailfeError: an option without a value, or given twice.
    """
    name, _, query = name.partition("?")
    options: dict[str, Any] = {}
    for word in query.split("&") if query else ():
        key, equals, text = word.partition("=")
        if not key.isidentifier() or not equals:
            raise GailfeError(
                f"env: got option {word!r} behind {prefix}{name}?; expected <option>=<value>, with & between two"
            )
        if key in options:
            raise GailfeError(f"env: option {key} of {prefix}{name} is given twice; expected it once")
        try:
            options[key] = parse_json(text, nonfinite=True)
        except GailfeError:
            options[key] = text
    return name, options


def join_options(name: str, options: dict[str, Any]) -> str:
    """What `split_options` takes apart."""
    words = [f"{key}={x if isinstance(x, str) else json.dumps(x)}" for key, x in options.items()]
    return f"{name}?{'&'.join(words)}" if words else name


def make_gymnasium(name: str, *, prefix: str = "", **options: Any) -> gymnasium.Env:
    """`gymnasium.make`, without the checker that costs time on every step.

    Args:
      name: an id that Gymnasium knows, or `module:id`, with options behind a `?` (see `split_options`).
      prefix: see `split_options`.
      options: further arguments; they come after those of the name.

    Raises:
      GailfeError: there is no such environment, or it cannot be made.
    """
    id, named = split_options(name, prefix)
    module = id.rpartition(":")[0]
    if module:
        # What is imported already runs nothing.
        if module not in sys.modules:
            check_asked_for(module, f"env {prefix + name!r}")
        search_this_folder()
    try:
        return gymnasium.make(id, disable_env_checker=True, **(named | options))
    except Exception as error:  # Whatever a user's constructor raises.
        reason = one_line(error, first=True)
        if isinstance(error, ModuleNotFoundError) and module and _is_missing(module):
            reason = f"no module {module!r} {SEARCHED}"
        raise GailfeError(f"env {prefix + name!r}: expected an environment Gymnasium can make ({reason})") from None


def _is_missing(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is None
    except (ImportError, ValueError):
        return True


@dataclasses.dataclass(frozen=True)
class Maker:
    """Makes an environment by name, in this process or in one that has imported nothing yet.

    Attributes:
      name: see `make_gymnasium`.
      imports: modules that register it; those that this process was told to import by default.
      prefix: see `split_options`.
    """

    name: str
    imports: tuple[str, ...] = dataclasses.field(default_factory=imported_modules)
    prefix: str = ""

    def __call__(self) -> gymnasium.Env:
        for module in self.imports:
            import_user_module(module)
        return make_gymnasium(self.name, prefix=self.prefix)


def time_limit(env: gymnasium.Env) -> int | None:
    """Most steps of an episode, as the environment or a wrapper around it says."""
    at = env
    while isinstance(at, gymnasium.Wrapper):
        if isinstance(at, gymnasium.wrappers.TimeLimit):
            return int(at._max_episode_steps)
        at = at.env
    return None if env.spec is None else env.spec.max_episode_steps


def is_flat(env: gymnasium.Env) -> bool:
    """Whether observations and actions are vectors of numbers already."""
    action = env.action_space
    plain = isinstance(action, spaces.Box) and len(action.shape) == 1 and np.issubdtype(action.dtype, np.floating)
    return plain and isinstance(env.observation_space, spaces.Box) and len(env.observation_space.shape) == 1


class FlatEnv(gymnasium.Wrapper):
    """An environment whose observation is one vector and whose action is one row.

    A Dict of Boxes becomes one vector in Gymnasium's own order (that of `FlattenObservation`). A choice among `n` is a
    row of `n` numbers whose largest one counts.

    Args:
      env: observations a Box, or a Dict of Boxes; actions a Box of floats, or Discrete.
      name: opens the messages.

    Attributes:
      discrete: whether an action is a choice.
      leaves: the Boxes that make an observation, in their order, by the keys that lead there; a Box alone under `()`.

    Raises:
      GailfeError: another kind of space, named with the space.
    """

    def __init__(self, env: gymnasium.Env, name: str = "gymnasium"):
        super().__init__(env)
        self.name = name
        self.leaves = _leaves(env.observation_space, f"env {name!r}: observation")
        if not sum(math.prod(box.shape) for _, box in self.leaves):
            raise GailfeError(f"env {name!r}: observation is empty; expected at least one number")
        # The most common kind takes a shorter way: this runs at every step of every copy.
        self._vector = env.observation_space.shape if isinstance(env.observation_space, spaces.Box) else None
        if self._vector is not None and len(self._vector) != 1:
            self._vector = None
        low, high = (np.concatenate([getattr(box, side).ravel() for _, box in self.leaves]) for side in ("low", "high"))
        self.observation_space = spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)
        action = env.action_space
        self.discrete = isinstance(action, spaces.Discrete)
        if isinstance(action, spaces.Discrete):
            if action.n < 2:
                raise GailfeError(f"env {name!r}: action space is {_said(action)}; expected two choices or more")
            self._start = int(action.start)
            self.action_space = spaces.Box(0.0, 1.0, (int(action.n),), np.float32)
        elif isinstance(action, spaces.Box) and np.issubdtype(action.dtype, np.floating):
            if math.prod(action.shape) == 0:
                raise GailfeError(f"env {name!r}: action is empty; expected at least one number")
            self._shape, self._dtype = action.shape, action.dtype
            low, high = (bound.ravel().astype(np.float32) for bound in (action.low, action.high))
            self.action_space = spaces.Box(low, high, dtype=np.float32)
        else:
            raise GailfeError(f"env {name!r}: action space is {_said(action)}; expected a Box of floats, or Discrete")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        obs, info = self.env.reset(seed=seed, options=options)
        return self.flat_observation(obs), info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        obs, reward, terminated, truncated, info = self.env.step(self.own_action(action))
        return self.flat_observation(obs), float(reward), terminated, truncated, info

    def flat_observation(self, obs: Any) -> np.ndarray:
        """`[o]` float32.

        Raises:
          GailfeError: it has not the shape that the space promised.
        """
        if self._vector is not None:
            vector = np.asarray(obs, np.float32)
            if vector.shape == self._vector:
                return vector
        parts = []
        for path, box in self.leaves:
            part = obs
            for key in path:
                part = part[key]
            part = np.asarray(part, np.float32)
            if part.shape != box.shape:
                where = "".join(f"[{key!r}]" for key in path)
                raise GailfeError(
                    f"env {self.name!r}: observation{where} has shape {part.shape}; expected its space's, {box.shape}"
                )
            parts.append(part.ravel())
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def own_action(self, action: Any) -> Any:
        """The wrapped environment's action for a row `[a]`, or for a choice, counted from 0."""
        if self.discrete:
            return int(np.argmax(action) if np.ndim(action) else action) + self._start
        return np.asarray(action, self._dtype).reshape(self._shape)


class Lane(FlatEnv):
    """A copy in a vector environment, which starts its episodes anew by itself.

    `reset(seed=s)` begins episode 0, and every `reset()` the next one. Episode `i` is seeded by `(s, i)`, so it does
    not depend on how the ones before it went. What `info` says is left out: merging it costs more than many a step.
    """

    def __init__(self, env: gymnasium.Env, name: str = "gymnasium"):
        super().__init__(env, name)
        self._seed, self._episode = 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        self._seed, self._episode = (self._seed, self._episode + 1) if seed is None else (seed, 0)
        drawn = np.random.SeedSequence([self._seed, self._episode]).generate_state(1)[0]
        # Some environments seed NumPy's old generator, which takes no more bits.
        obs, _ = self.env.reset(seed=int(drawn) >> 1, options=options)
        return self.flat_observation(obs), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        obs, reward, terminated, truncated, _ = self.env.step(self.own_action(action))
        return self.flat_observation(obs), float(reward), terminated, truncated, {}


@dataclasses.dataclass(frozen=True)
class LaneMaker:
    """`make()` as a `Lane`, with another time limit where one is given."""

    make: Callable[[], gymnasium.Env]
    name: str
    max_episode_steps: int | None = None

    def __call__(self) -> Lane:
        where = f"env {self.name!r}: the function that makes it"
        env = _run(where, self.make)
        if not isinstance(env, gymnasium.Env):
            kind = f"the class {env.__name__}" if isinstance(env, type) else f"a {type(env).__name__}"
            raise GailfeError(f"{where} gives {kind}; expected a gymnasium.Env")
        if self.max_episode_steps is not None:
            env = gymnasium.wrappers.TimeLimit(env, self.max_episode_steps)
        return Lane(env, self.name)


def check_lane(lane: Lane) -> None:
    """Resets an environment and steps it once, before minutes of training are spent on it.

    Raises:
      GailfeError: its code fails, its spaces change, or what it gives is not what they promise.
    """
    where = f"env {lane.name!r}"
    before = lane.env.observation_space, lane.env.action_space
    obs, _ = _run(f"{where}: reset", lambda: lane.reset(seed=0))
    after = lane.env.observation_space, lane.env.action_space
    for kind, old, new in zip(("observation", "action"), before, after):
        if old != new:
            raise GailfeError(
                f"{where}: the {kind} space is {_said(new)} after reset; expected {_said(old)} throughout"
            )
    check_numbers(where, "reset", obs)
    box = lane.action_space
    assert isinstance(box, spaces.Box)
    action = np.clip(np.zeros(box.shape, np.float32), box.low, box.high)
    obs, reward, terminated, *_ = _run(f"{where}: step", lambda: lane.step(action))
    # What a fall led to is never looked at.
    check_numbers(where, "a step", obs[:0] if terminated else obs, reward)


def check_numbers(where: str, after: str, obs: np.ndarray, reward: float = 0.0) -> None:
    """Holds that an environment gave numbers to learn from.

    Args:
      where: opens the message.
      after: what gave them, `reset` or `a step`.
      obs: `[o]`.
      reward: of the step.

    Raises:
      GailfeError: names the first that is not finite.
    """
    wrong = np.flatnonzero(~np.isfinite(obs))
    if len(wrong):
        raise GailfeError(f"{where}: observation {wrong[0]} is {obs[wrong[0]]} after {after}; expected finite numbers")
    if not abs(reward) <= LARGEST:
        raise GailfeError(f"{where}: the reward is {reward} after {after}; expected a finite number")


def _run(what: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except GailfeError:
        raise
    except Exception as error:  # Whatever a user's code raises.
        raise GailfeError(f"{what} fails ({cause_of(error)})") from error


def cause_of(error: Exception) -> str:
    """What a user's environment raised, and in which line of its own."""
    said, place = str(error), where_raised(error, *_MACHINERY)
    if isinstance(error, ValueError) and not place:
        # Gymnasium unpacks what it was given.
        if "expected 5, got 4" in said:
            return "it returns 4 values, as in Gym's old API; expected obs, reward, terminated, truncated, info"
        if "(expected 2" in said:
            return "it returns no pair, as in Gym's old API; expected obs, info"
    return f"{type(error).__name__}: {one_line(error, first=True)}" + (f"; {place}" if place else "")


def _leaves(space: spaces.Space, what: str, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], spaces.Box]]:
    """The Boxes of a Dict by the keys that lead there; a Box itself under `()`."""
    if isinstance(space, spaces.Dict):
        return [leaf for key, part in space.items() for leaf in _leaves(part, what, (*path, key))]
    where = what + "".join(f"[{key!r}]" for key in path)
    if not isinstance(space, spaces.Box):
        raise GailfeError(f"{where} space is {_said(space)}; expected a Box, or a Dict of Boxes")
    if len(space.shape) > 2 or (space.dtype == np.uint8 and len(space.shape) == 2):
        raise GailfeError(f"{where} is an image of shape {space.shape}; expected numbers of the state")
    return [(path, space)]


def _said(space: Any) -> str:
    return one_line(repr(space))
