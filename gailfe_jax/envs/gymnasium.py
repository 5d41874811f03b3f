"""Our environments for Gymnasium users: `GymnasiumVectorEnv` (the fast way), `GymnasiumEnv` (one at a time).

`register_gymnasium_envs()` makes them known to `gymnasium.make` and `gymnasium.make_vec` as `gailfe_jax/<task>`.
"""

from __future__ import annotations

import functools
from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from gailfe_jax.envs import MujocoEnv, as_env, task_names
from gailfe_jax.envs.base import GuardedState
from gailfe_jax.envs.delayed import DEFAULT_DELAY, DelayedState
from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Env, EnvSpec, EnvState

OURS = "gailfe_jax/"
"""Before the name of an environment of this package, where Gymnasium's ids stand."""


@functools.lru_cache(maxsize=16)
def _compiled(env: Env):
    """`(reset, step)` over a batch, compiled once per environment however many adapters share it."""
    return jax.jit(jax.vmap(env.reset)), jax.jit(jax.vmap(env.step))


def _spaces(env: Env) -> tuple[gymnasium.spaces.Box, gymnasium.Space[Any]]:
    spec = env.spec
    observation = gymnasium.spaces.Box(-np.inf, np.inf, (spec.obs_size,), np.float32)
    if spec.discrete:
        return observation, gymnasium.spaces.Discrete(spec.action_size)
    # A single bound holds for every dimension.
    low, high = (np.full(spec.action_size, bound, np.float32) for bound in (spec.action_low, spec.action_high))
    return observation, gymnasium.spaces.Box(low, high)


def _keys(rng: np.random.Generator, n: int) -> jax.Array:
    return jax.random.split(jax.random.key(int(rng.integers(2**31))), n)


def _check_actions(actions: Any, spec: EnvSpec, batch: tuple[int, ...]) -> np.ndarray:
    """`[*batch, a]` float32, numbers of choices as their rows."""
    actions = np.asarray(actions) if spec.discrete else np.asarray(actions, np.float32)
    shape = batch if spec.discrete else (*batch, spec.action_size)
    if actions.shape != shape:
        raise GailfeError(f"actions: got shape {actions.shape}; expected {shape}")
    if not spec.discrete:
        return actions
    if actions.dtype.kind not in "iu" or ((actions < 0) | (actions >= spec.action_size)).any():
        raise GailfeError(f"actions: got {actions.tolist()}; expected whole numbers from 0 to {spec.action_size - 1}")
    return np.eye(spec.action_size, dtype=np.float32)[actions]


class GymnasiumVectorEnv(gymnasium.vector.VectorEnv):
    """`num_envs` copies of one of our environments as a `gymnasium.vector.VectorEnv`, stepped in one compiled call.

    Autoreset is `SAME_STEP`: where an episode ends, `step` returns the next episode's first observation and
    `infos["final_obs"]` (masked by `infos["_final_obs"]`) holds the last one of the episode that ended.

    Args:
      env: an `Env`, or a name for `make_env`.
      num_envs: how many.
      engine: for `make_env` where `env` is a name.

    Raises:
      GailfeError: unknown name, an object that is no `Env`, fewer than one environment, or actions of the wrong shape.
    """

    def __init__(self, env: Env | str, num_envs: int = 1, *, engine: str = "auto"):
        if num_envs < 1:
            raise GailfeError(f"num_envs: got {num_envs}; expected at least 1")
        self.env = as_env(env, engine)
        self.num_envs = num_envs
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space, self.single_action_space = _spaces(self.env)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._reset, self._step = _compiled(self.env)
        self._state: EnvState | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts new episodes everywhere; returns `(obs [num_envs, o], {})`. Equal seeds give equal episodes."""
        super().reset(seed=seed)
        state = self._reset(_keys(self.np_random, self.num_envs))
        self._state = state
        return np.array(state.obs), {}

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step under `actions [num_envs, a]`, or choices `[num_envs]`.

        Returns:
          `(obs, rewards, terminations, truncations, infos)`.
        """
        if self._state is None:
            raise gymnasium.error.ResetNeeded("Call reset() before step().")
        actions = _check_actions(actions, self.env.spec, (self.num_envs,))
        self._state, step = self._step(self._state, actions)
        # Copies: JAX's arrays are read-only in NumPy's hands, and callers may write to what they get.
        obs, next_obs = np.array(step.obs), np.asarray(step.next_obs)
        terminated, truncated = np.array(step.terminated), np.array(step.truncated)
        infos: dict[str, Any] = {}
        for i in np.flatnonzero(terminated | truncated):
            infos = self._add_info(infos, {"final_obs": next_obs[i].copy(), "final_info": {}}, int(i))
        return obs, np.array(step.reward, np.float64), terminated, truncated, infos

    def close_extras(self, **kwargs: Any) -> None:
        self._state = None


class GymnasiumEnv(gymnasium.Env):
    """One of our environments as a `gymnasium.Env` (time limit included, so it needs no `TimeLimit` wrapper).

    Args:
      env: an `Env`, or a name for `make_env`.
      engine: for `make_env` where `env` is a name.
      render_mode: `rgb_array` for `render`, which draws MuJoCo tasks; or None.
      width, height: of the picture in pixels.
      camera_name: the model's camera, where it has one of that name; see `gailfe_jax.envs.physics.picture`.

    Raises:
      GailfeError: unknown name, an object that is no `Env`, one that cannot be drawn, or an action of the wrong shape.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 Gymnasium declares it as an instance attribute

    def __init__(
        self,
        env: Env | str,
        *,
        engine: str = "auto",
        render_mode: str | None = None,
        width: int = 480,
        height: int = 480,
        camera_name: str | None = "track",
    ):
        self.env = as_env(env, engine)
        self.observation_space, self.action_space = _spaces(self.env)
        self._reset, self._step = _compiled(self.env)
        self._state: EnvState | None = None
        if render_mode not in (None, "rgb_array"):
            raise GailfeError(f"render_mode: got {render_mode!r}; expected rgb_array or None")
        self.render_mode = render_mode
        self._film = None if render_mode is None else _Film(self.env, width, height, camera_name)
        if self._film is not None:
            self.metadata = self.metadata | {"render_fps": self._film.fps}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts a new episode; returns `(obs [o], {})`."""
        super().reset(seed=seed)
        state = self._reset(_keys(self.np_random, 1))
        self._state = state
        if self._film is not None:
            self._film.see(state.phys)
        return np.array(state.obs[0]), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step under `action [a]`, or a choice; after `terminated` or `truncated`, call `reset`."""
        if self._state is None:
            raise gymnasium.error.ResetNeeded("Call reset() before step().")
        action = _check_actions(action, self.env.spec, ())
        before = self._state
        after, step = self._step(before, action[None])
        terminated, truncated = bool(step.terminated[0]), bool(step.truncated[0])
        if self._film is not None:
            if terminated or truncated:
                self._film.see_end(before.phys, action)
            else:
                self._film.see(after.phys)
        # Ours has begun the next episode by itself; in Gymnasium that waits for reset().
        self._state = None if terminated or truncated else after
        return np.array(step.next_obs[0]), float(step.reward[0]), terminated, truncated, {}

    def render(self) -> np.ndarray | None:
        """`[height, width, 3]` uint8, the state after the last `reset` or `step`; None without a render mode."""
        return None if self._film is None else self._film.draw()

    def close(self) -> None:
        self._state = None
        if self._film is not None:
            self._film.close()


class _Film:
    """Pictures of a MuJoCo environment, which wrappers may surround.

    Raises:
      GailfeError: it is about no MuJoCo task.
    """

    def __init__(self, env: Any, width: int, height: int, camera: str | None):
        name = env.spec.name
        while not isinstance(env, MujocoEnv):
            env = getattr(env, "env", None)
            if env is None:
                raise GailfeError(f"env: {name} draws no picture; expected a MuJoCo task")
        from gailfe_jax.envs.physics.model import seconds_per_step
        from gailfe_jax.envs.physics.picture import Picture

        self.fps = round(1 / seconds_per_step(env.task), 3)
        self._picture = Picture(env.task, width, height, camera)
        self._view, self._advance = _seen(env)
        self._state: tuple[np.ndarray, ...] | None = None

    def see(self, phys: Any) -> None:
        """Remembers where the simulators `[1]` are."""
        while isinstance(phys, DelayedState | GuardedState):
            phys = phys.phys
        self._state = tuple(np.asarray(part)[0] for part in self._view(phys))

    def see_end(self, before: Any, action: np.ndarray) -> None:
        """Remembers where an episode ends that was at `before [1]`: the environment itself has begun the next one."""
        while isinstance(before, DelayedState):
            before = before.phys
        self.see(self._advance(before, action[None]))

    def draw(self) -> np.ndarray:
        if self._state is None:
            raise gymnasium.error.ResetNeeded("Call reset() before render().")
        return self._picture.draw(*self._state)

    def close(self) -> None:
        self._picture.close()


@functools.lru_cache(maxsize=16)
def _seen(env: MujocoEnv) -> tuple[Any, Any]:
    """`(view, advance)` over a batch, compiled once per environment."""
    return jax.jit(jax.vmap(env.physics.view)), jax.jit(jax.vmap(lambda phys, action: env.advance(phys, action)[0]))


class DelayedRewardWrapper(gymnasium.Wrapper):
    """A Gymnasium environment whose rewards are summed and paid every `every` steps, and when the episode ends.

    What `gailfe_jax.envs.DelayedReward` does to ours; the rewards of a whole episode have the same sum.

    Args:
      env: with its time limit inside, so that the last payment is not missed.
      every: steps between payments.

    Raises:
      GailfeError: `every` is not positive.
    """

    def __init__(self, env: gymnasium.Env, every: int = DEFAULT_DELAY):
        if every < 1:
            raise GailfeError(f"every: got {every}; expected at least 1 step between payments")
        super().__init__(env)
        self.every = every
        self._steps, self._pending = 0, 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts a new episode; what the last one had not been paid is gone with it."""
        self._steps, self._pending = 0, 0.0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step; the reward is zero unless it is time to pay."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        earned = self._pending + float(reward)
        due = self._steps % self.every == 0 or terminated or truncated
        self._pending = 0.0 if due else earned
        return obs, earned if due else 0.0, terminated, truncated, info


def register_gymnasium_envs() -> list[str]:
    """Registers `gailfe_jax/<task>` with Gymnasium for every task there is (again does nothing); returns the ids.

    `gymnasium.make_vec("gailfe_jax/hopper", num_envs=64)` then gives a `GymnasiumVectorEnv`.
    """
    names = task_names()
    ids = [f"{OURS}{name}" for name in names]
    for id, name in zip(ids, names):
        if id not in gymnasium.registry:
            gymnasium.register(
                id,
                entry_point="gailfe_jax.envs.gymnasium:GymnasiumEnv",
                vector_entry_point="gailfe_jax.envs.gymnasium:GymnasiumVectorEnv",
                kwargs={"env": name},
            )
    return ids
