"""The random keys of one iteration, each by name.

Every key is derived in a way of its own, so that one more leaves the others, and all results, alone.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax

from gailfe_jax.types import Array


@dataclasses.dataclass(frozen=True)
class SampleKeys:
    """Keys of one iteration's draws.

    Attributes:
      key: `[]` of the reward's draws.
      make_transitions: makes the key of a forward model's.
    """

    key: Array
    make_transitions: Callable[[], Array]

    @functools.cached_property
    def _three(self) -> Array:
        return jax.random.split(self.key, 3)

    @property
    def policy(self) -> Array:
        """`[]` of the policy's fresh pairs."""
        return self._three[0]

    @property
    def replay(self) -> Array:
        """`[]` of its past pairs."""
        return self._three[1]

    @property
    def failures(self) -> Array:
        """`[]` of failures."""
        return self._three[2]

    @property
    def transitions(self) -> Array:
        """`[]` of a forward model's transitions."""
        return self.make_transitions()

    @property
    def experience(self) -> Array:
        """`[]` of the steps that are replayed."""
        return jax.random.fold_in(self.key, 2)

    @property
    def demonstrations(self) -> Array:
        """`[]` of the demonstrated steps among them."""
        return jax.random.fold_in(self.key, 3)

    @property
    def self_demonstrations(self) -> Array:
        """`[]` of the agent's own good episodes."""
        return jax.random.fold_in(self.key, 1)


@dataclasses.dataclass(frozen=True)
class Keys:
    """Keys of one iteration, each drawn from `key []` in a way of its own, so that one more leaves the others alone."""

    key: Array

    @classmethod
    def of(cls, key: Array, iteration: Array) -> Keys:
        """Those of an iteration `[]` of the seed with `key []`."""
        return cls(jax.random.fold_in(key, iteration))

    @functools.cached_property
    def _four(self) -> list[Array]:
        keys = jax.random.split(self.key, 4)
        return [keys[i] for i in range(4)]

    @property
    def unroll(self) -> Array:
        """`[]` of the actions."""
        return self._four[0]

    @property
    def sample(self) -> SampleKeys:
        """Of what is drawn from the sources."""
        return SampleKeys(self._four[1], functools.partial(jax.random.fold_in, self.key, 4))

    @property
    def reward(self) -> Array:
        """`[]` of the reward's fit."""
        return self._four[2]

    @property
    def policy(self) -> Array:
        """`[]` of the policy's step."""
        return self._four[3]

    @property
    def self_imitation(self) -> Array:
        """`[]` of what is drawn from past episodes."""
        return jax.random.fold_in(self.key, 5)
