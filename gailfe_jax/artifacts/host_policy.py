"""Policies that this package did not train: a function of observations on the host, with the face of a `Policy`.

Shapes: `o`, `a` observation and action sizes, `n` observations, `S` policies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gailfe_jax.artifacts.policy import Policy, PolicyBatch, architecture
from gailfe_jax.errors import GailfeError, one_line, where_raised


@dataclasses.dataclass(frozen=True, eq=False)
class HostPolicy:
    """A function on the host that acts.

    It has no distribution: where a draw is asked for, the function's action is taken as it is.

    Attributes:
      function: `obs [n, o]` float32 to actions `[n, a]`; where actions are choices to their numbers `[n]`, or to scores
        `[n, a]` of which the greatest counts.
      obs_size: `o`.
      action_low, action_high: `[a]` bounds that actions are clipped to.
      discrete: whether its actions are choices.
      name: opens the messages.
      digest: tells it from others in a run's record.
      metadata: where it comes from, as text.
    """

    function: Callable[[np.ndarray], Any]
    obs_size: int
    action_low: np.ndarray
    action_high: np.ndarray
    discrete: bool
    name: str
    digest: str
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)

    noise_size = 1
    components = 1

    @property
    def action_size(self) -> int:
        """`a`, the size of an action or the number of choices."""
        return len(self.action_low)

    def act(self, obs: Any, *, deterministic: bool = True, rng: np.random.Generator | None = None) -> np.ndarray:
        """As `Policy.act`: `[..., a]` float32 within the bounds, or `[...]` int64 choices.

        `deterministic` and `rng` are of no effect.

        Raises:
          GailfeError: `obs` has another size or is not finite, the function fails, or gives no such actions.
        """
        del deterministic, rng
        obs = np.asarray(obs, np.float32)
        if obs.ndim == 0 or obs.shape[-1] != self.obs_size:
            raise GailfeError(f"obs: expected shape [..., {self.obs_size}], got {list(obs.shape)}")
        if not np.isfinite(obs).all():
            raise GailfeError("obs: expected finite numbers, got nan or infinity")
        rows = np.array(obs.reshape(-1, self.obs_size))
        # A function need not know what to do with no observation.
        action = self._called(rows) if len(rows) else self._nothing()
        return action.reshape(obs.shape[:-1] + action.shape[1:])

    def act_rows(self, obs: Any, *, deterministic: bool = True, rng: np.random.Generator | None = None) -> np.ndarray:
        """As `Policy.act_rows`: `[..., a]` float32, a choice as a row with 1 there and 0 elsewhere."""
        action = self.act(obs, deterministic=deterministic, rng=rng)
        return np.eye(self.action_size, dtype=np.float32)[action] if self.discrete else action

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[np.ndarray, Any]:
        """As `Policy.predict`."""
        del episode_start
        return self.act(observation, deterministic=deterministic), state

    def _nothing(self) -> np.ndarray:
        return np.zeros(0, np.int64) if self.discrete else np.zeros((0, self.action_size), np.float32)

    def _called(self, obs: np.ndarray) -> np.ndarray:
        try:
            given = self.function(obs)
        except GailfeError:
            raise
        except Exception as error:  # Whatever a user's function raises.
            place = where_raised(error, *_MACHINERY)
            cause = f"{type(error).__name__}: {one_line(error, first=True)}" + (f"; {place}" if place else "")
            raise GailfeError(f"{self.name}: fails on observations {list(obs.shape)} ({cause})") from error
        try:
            action = np.asarray(given)
        except (TypeError, ValueError):
            action = np.empty(0, object)
        n, size = len(obs), self.action_size
        if self.discrete and action.shape == (n,) and action.dtype.kind in "iu":
            if ((action < 0) | (action >= size)).any():
                raise GailfeError(
                    f"{self.name}: gives choice {action.min()} to {action.max()}; expected 0 to {size - 1}"
                )
            return action.astype(np.int64)
        if action.shape != (n, size) or action.dtype.kind not in "fiu":
            expected = (
                f"[{n}] whole numbers, or scores [{n}, {size}]" if self.discrete else f"[{n}, {size}] real numbers"
            )
            found = f"{list(action.shape)} of {action.dtype}" if action.dtype != object else type(given).__name__
            raise GailfeError(f"{self.name}: gives {found} for observations {list(obs.shape)}; expected {expected}")
        if not np.isfinite(action).all():
            raise GailfeError(f"{self.name}: gives nan or infinity; expected finite numbers")
        if self.discrete:
            return action.argmax(axis=1)
        return np.clip(action.astype(np.float32), self.action_low, self.action_high)


_MACHINERY = (__file__, np.__path__[0])

AnyPolicy = Policy | HostPolicy
"""Whatever acts."""


class HostBatch:
    """One `HostPolicy` with the face of a `PolicyBatch`."""

    def __init__(self, policy: HostPolicy):
        self._policy = policy
        self.size, self.obs_size, self.action_size = 1, policy.obs_size, policy.action_size
        self.discrete, self.noise_size = policy.discrete, policy.noise_size

    def act(self, obs: Any, *, noise: np.ndarray | None = None) -> np.ndarray:
        """`[1, n, a]` float32 or `[1, n]` int64 choices at `obs [1, n, o]`."""
        del noise
        return self._policy.act(np.asarray(obs))


def stackable(policy: AnyPolicy) -> tuple[Any, ...]:
    """What policies share that act in one batch; a `HostPolicy` shares it with none."""
    return architecture(policy) if isinstance(policy, Policy) else (id(policy),)


def batch_of(policies: Sequence[AnyPolicy]) -> PolicyBatch | HostBatch:
    """Policies that are `stackable` as one batch."""
    if len(policies) == 1 and isinstance(policies[0], HostPolicy):
        return HostBatch(policies[0])
    return PolicyBatch([policy for policy in policies if isinstance(policy, Policy)])
