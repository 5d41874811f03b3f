"""Returns of trained policies, measured in Gymnasium itself.

Nothing of ours but the policy takes part: the environments are those `gymnasium.make` gives, with their own time limit.
Many of them step in lockstep, so that one NumPy call acts for all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np

from gailfe_jax.analysis.statistics import bootstrap_interval, iqm
from gailfe_jax.artifacts.host_policy import AnyPolicy, HostBatch, HostPolicy, batch_of, stackable
from gailfe_jax.artifacts.policy import Policy, PolicyBatch
from gailfe_jax.envs.gymnasium import OURS, GymnasiumEnv
from gailfe_jax.envs.physics import model
from gailfe_jax.errors import GailfeError
from gailfe_jax.flat_env import FlatEnv, is_flat, make_gymnasium
from gailfe_jax.foreign.registry import as_expert
from gailfe_jax.types import EnvSpec

_MAX_ENVS = 256
"""Environments alive at once; a multiple of the rows of a policy's matrix products, so chunks change no rounding."""


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationResult:
    """The episodes of one policy.

    Attributes:
      returns: `[episodes]` float64, undiscounted true return.
      lengths: `[episodes]` int64, steps.
      terminated: `[episodes]` bool, the task ended the episode (a fall); False where the time limit did.
      gymnasium_id: the environment.
      seed: episode `i` started from `episode_seed(seed, i)`.
      deterministic: whether the policy's deterministic action was taken, or draws from it.
    """

    returns: np.ndarray
    lengths: np.ndarray
    terminated: np.ndarray
    gymnasium_id: str
    seed: int
    deterministic: bool

    def to_dict(self, *, expert_return: float | None = None, random_return: float = 0.0) -> dict[str, Any]:
        """Everything as JSON types: the raw episodes and mean, standard deviation, interquartile mean, 95% interval.

        Args:
          expert_return: adds `normalised_score`, the mean return on the scale of `normalised_score`.
          random_return: what counts as 0 on that scale.
        """
        interval = bootstrap_interval(self.returns)
        summary: dict[str, Any] = {
            "gymnasium_id": self.gymnasium_id,
            "episodes": len(self.returns),
            "seed": self.seed,
            "deterministic": self.deterministic,
            "mean": float(self.returns.mean()),
            "std": float(self.returns.std(ddof=1)) if len(self.returns) > 1 else 0.0,
            "iqm": float(iqm(self.returns)),
            "iqm_interval": [interval.low, interval.high],
            "min": float(self.returns.min()),
            "max": float(self.returns.max()),
            "mean_length": float(self.lengths.mean()),
            "terminated_fraction": float(self.terminated.mean()),
        }
        if expert_return is not None:
            score = normalised_score(self.returns.mean(), expert_return, random_return)
            summary |= {"expert_return": float(expert_return), "normalised_score": float(score)}
        return summary | {
            "returns": self.returns.tolist(),
            "lengths": self.lengths.tolist(),
            "terminated": self.terminated.tolist(),
        }


def normalised_score(returns: Any, expert_return: float, random_return: float = 0.0) -> Any:
    """`(returns - random_return) / (expert_return - random_return)`: 1 is as good as the expert.

    With `random_return` left at 0 it is the share of the expert's mean return, which is what this project reports as
    expert-normalised; a positive score then needs no skill where rewards are positive, so say which of the two it is.

    Args:
      returns: one return or `[...]` of them.
      expert_return: the expert's mean return, measured the same way.
      random_return: the mean return of random actions.

    Raises:
      GailfeError: the expert is no better than `random_return`, or a number is not finite.
    """
    if not (np.isfinite(expert_return) and np.isfinite(random_return) and expert_return > random_return):
        raise GailfeError(f"expert_return: expected more than random_return {random_return}, got {expert_return}")
    return (np.asarray(returns, np.float64) - random_return) / (expert_return - random_return)


def episode_seed(seed: int, episode: int) -> int:
    """What episode number `episode` of an evaluation passes to `env.reset`; 64 bits, so episodes do not collide."""
    if seed < 0:
        raise GailfeError(f"seed: expected a number from 0, got {seed}")
    return int(np.random.SeedSequence([seed, episode]).generate_state(1, np.uint64)[0])


def episode_draws(seed: int, episode: int, size: int) -> Callable[[], np.ndarray]:
    """The standard normal draws `[size]`, one call per step, of episode number `episode` of a stochastic evaluation;
    `size` is the policy's `noise_size`."""
    return functools.partial(np.random.default_rng([seed, episode, 1]).standard_normal, size)


def evaluate_policy(
    policy: Any,
    gymnasium_id: str,
    *,
    episodes: int = 50,
    seed: int = 0,
    deterministic: bool = True,
    max_steps: int | None = None,
) -> EvaluationResult:
    """Fresh episodes of one policy in Gymnasium; see `evaluate_policies`."""
    return evaluate_policies(
        [policy], gymnasium_id, episodes=episodes, seed=seed, deterministic=deterministic, max_steps=max_steps
    )[0]


def evaluate_policies(
    policies: Sequence[Any],
    gymnasium_id: str,
    *,
    episodes: int = 50,
    seed: int = 0,
    deterministic: bool = True,
    max_steps: int | None = None,
) -> list[EvaluationResult]:
    """Fresh episodes of several policies in Gymnasium, side by side.

    Episode `i` starts from `episode_seed(seed, i)` for every policy, and comes out the same to the bit whichever
    policies and however many episodes are evaluated with it.

    Args:
      policies: of any architecture; or functions and models of others, as `gailfe_jax.foreign.registry.as_expert` takes
        them.
      gymnasium_id: an id `gymnasium.make` knows, `module:id` included, perhaps with options behind a `?`; observations
        and actions as `FlatEnv` takes them.
      episodes: per policy.
      seed: of the episodes, and of the draws where not deterministic.
      deterministic: act by the mean, of a mixture the most probable component's, or the most probable choice;
        otherwise draw.
      max_steps: replaces the environment's own time limit; needed where it has none.

    Raises:
      GailfeError: an unknown environment, one that does not fit the policies or has no time limit, a count below 1.
    """
    if episodes < 1:
        raise GailfeError(f"episodes: expected at least 1, got {episodes}")
    if max_steps is not None and max_steps < 1:
        raise GailfeError(f"max_steps: expected at least 1, got {max_steps}")
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, policy in enumerate(policies):
        groups.setdefault(stackable(policy), []).append(index)

    lanes: list[gymnasium.Env] = []
    results: list[EvaluationResult | None] = [None] * len(policies)
    with contextlib.ExitStack() as stack:

        def lane(index: int) -> gymnasium.Env:
            while len(lanes) <= index:
                lanes.append(make_env(gymnasium_id, max_steps=max_steps))
                stack.callback(lanes[-1].close)
            return lanes[index]

        if any(not isinstance(policy, Policy | HostPolicy) for policy in policies):
            spec = _spec_of(lane(0), gymnasium_id)
            policies = [as_expert(policy, spec, "policy") for policy in policies]
        for policy in policies:
            check_fit(policy, lane(0), gymnasium_id)
            limited = lane(0).spec
            if limited is None or limited.max_episode_steps is None:
                raise GailfeError(f"env {gymnasium_id!r}: expected a time limit; give max_steps")
        width = min(episodes, _MAX_ENVS)
        for members in groups.values():
            for start in range(0, len(members), _MAX_ENVS // width):
                chosen = members[start : start + _MAX_ENVS // width]
                batch = batch_of([policies[index] for index in chosen])
                parts = [
                    _run(batch, lane, range(first, min(first + width, episodes)), seed, deterministic)
                    for first in range(0, episodes, width)
                ]
                columns = [np.concatenate(column, axis=1) for column in zip(*parts)]
                for row, index in enumerate(chosen):
                    returns, lengths, terminated = (column[row] for column in columns)
                    results[index] = EvaluationResult(returns, lengths, terminated, gymnasium_id, seed, deterministic)
    return [result for result in results if result is not None]


def make_env(gymnasium_id: str, *, max_steps: int | None = None, **options: Any) -> gymnasium.Env:
    """`gymnasium.make` without the checker that costs time on every step; its time limit stays.

    Args:
      gymnasium_id: as for `evaluate_policies`; or `gailfe_jax/` and a name for this package's `make_env`.
      max_steps: replaces the time limit; not of this package's own.
      options: further arguments of `gymnasium.make`, such as `render_mode`.

    Returns:
      The environment; as a `FlatEnv` where its observations or actions are not flat already.

    Raises:
      GailfeError: no such environment, or one that cannot be made.
    """
    if gymnasium_id.startswith(OURS):
        return GymnasiumEnv(gymnasium_id.removeprefix(OURS), **options)
    if max_steps is not None:
        options["max_episode_steps"] = max_steps
    with model.without_expected_warning():
        env = make_gymnasium(gymnasium_id, **options)
    return env if is_flat(env) else FlatEnv(env, gymnasium_id)


def check_fit(policy: AnyPolicy, env: gymnasium.Env, gymnasium_id: str) -> None:
    """Raises GailfeError unless observations and actions are of the policy's sizes, and both are choices or neither."""
    obs, size = env.observation_space, policy.obs_size
    if not isinstance(obs, gymnasium.spaces.Box) or obs.shape != (size,):
        raise GailfeError(f"env {gymnasium_id!r}: expected an observation space of shape ({size},), got {obs}")
    choices, space, size = _choices(env), env.action_space, policy.action_size
    if choices is not None or policy.discrete:
        fits = policy.discrete and choices == size
    else:
        fits = isinstance(space, gymnasium.spaces.Box) and space.shape == (size,)
    if not fits:
        found = space if choices is None else f"{choices} choices"
        kind = "choices" if policy.discrete else f"numbers, an action space of shape ({size},)"
        raise GailfeError(f"env {gymnasium_id!r}: expected actions of {size} {kind}, got {found}")


def _spec_of(env: gymnasium.Env, gymnasium_id: str) -> EnvSpec:
    """What a function needs to know of an environment to act in it."""
    obs, action, choices = env.observation_space, env.action_space, _choices(env)
    if not isinstance(obs, gymnasium.spaces.Box) or (choices is None and not isinstance(action, gymnasium.spaces.Box)):
        raise GailfeError(f"env {gymnasium_id!r}: expected Boxes, or Discrete actions, got {obs} and {action}")
    low, high = (0.0,) * (choices or 0), (1.0,) * (choices or 0)
    if choices is None and isinstance(action, gymnasium.spaces.Box):
        low, high = tuple(action.low.ravel().tolist()), tuple(action.high.ravel().tolist())
    return EnvSpec(
        gymnasium_id, gymnasium_id, "gymnasium", int(np.prod(obs.shape)), len(low), low, high, 1,
        discrete=choices is not None,
    )  # fmt: skip


def _choices(env: gymnasium.Env) -> int | None:
    """How many choices an action is one of; None where it is none."""
    space = env.action_space
    if isinstance(space, gymnasium.spaces.Discrete):
        return int(space.n)
    return int(np.prod(space.shape or ())) if isinstance(env, FlatEnv) and env.discrete else None


def _run(
    batch: PolicyBatch | HostBatch,
    lane: Callable[[int], gymnasium.Env],
    episodes: range,
    seed: int,
    deterministic: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """These episodes of each policy in lockstep: returns, lengths and terminated, each `[S, episodes]`.

    A finished episode keeps its row: the batch has one shape throughout, so nothing changes for the others.
    """
    shape = (batch.size, len(episodes))
    obs = np.zeros((*shape, batch.obs_size))
    returns, lengths, terminated = np.zeros(shape), np.zeros(shape, np.int64), np.zeros(shape, bool)
    noise = None if deterministic else np.zeros((*shape, batch.noise_size))
    running = []
    for s in range(batch.size):
        for column, episode in enumerate(episodes):
            env = lane(s * len(episodes) + column)
            obs[s, column] = env.reset(seed=episode_seed(seed, episode))[0]
            running.append((s, column, env, episode_draws(seed, episode, batch.noise_size)))
    while running:
        if noise is not None:
            for s, column, _, draw in running:
                noise[s, column] = draw()
        actions = batch.act(obs, noise=noise)
        still = []
        for entry in running:
            s, column, env, _ = entry
            obs[s, column], reward, ended, truncated, _ = env.step(actions[s, column])
            returns[s, column] += float(reward)
            lengths[s, column] += 1
            terminated[s, column] = ended
            if ended or truncated:
                # The observation that ended an episode may be anything, nan included, and the row stays in the batch.
                obs[s, column] = 0.0
            else:
                still.append(entry)
        running = still
    return returns, lengths, terminated
