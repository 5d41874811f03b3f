"""Settings and fixtures of all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

# Before the first import of jax: the tests are written for the CPU unless the caller says otherwise.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import pytest


def pytest_configure(config: pytest.Config) -> None:
    # Shared by the workers of xdist and by later runs, on the machine that compiled: .pytest_cache is never committed.
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and getattr(config, "cache", None) is not None:
        jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture
def key() -> jax.Array:
    """A typed key."""
    return jax.random.key(0)


@pytest.fixture
def strict_promotion() -> Iterator[None]:
    """Implicit promotion of dtypes and ranks raises; for code of our own that calls no simulator in JAX."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def compiled_in_haste() -> Iterator[None]:
    """See `tests.haste`."""
    from tests.haste import in_haste

    with in_haste():
        yield


@pytest.fixture(scope="module")
def haste_options() -> dict[str, bool]:
    """XLA's options of `quick_programs`; a module can have its own."""
    from tests.haste import OPTIONS

    return OPTIONS


@pytest.fixture(scope="module")
def quick_programs(haste_options: dict[str, bool]) -> Iterator[list[Any]]:
    """For tests of what happens around the training program: it is compiled in haste, and once per configuration.

    Compiling takes nearly all of a tiny run's time. Yields the trainers that advanced, in order, once per call.
    """
    from gailfe_jax.training import loop as train
    from tests.haste import in_haste

    programs: dict[Any, Any] = {}
    advanced: list[Any] = []

    class SharedTrainer(train.Trainer):
        def advance(self, state: Any, demos: Any) -> Any:
            config = self.learner.config
            length = self.learner.total_iterations if config.anneal or config.warm_restarts else None
            key = (repr(config), length, self.chunk, len(self.seeds), repr(self._hyper_axes))
            self._compiled = programs.get(key)
            result = super().advance(state, demos)
            programs[key] = self._compiled
            advanced.append(self)
            return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "Trainer", SharedTrainer)
        with in_haste(haste_options):
            yield advanced


@pytest.fixture(scope="session")
def drift_env() -> Any:
    """A deterministic toy task of six steps: `obs' = 0.9 obs + 0.5 action`, reward `-|obs'|^2`; two of each."""
    from gailfe_jax.types import EnvSpec, EnvState, TimeStep

    class Drift:
        spec = EnvSpec("drift", None, "none", 2, 2, (-1.0, -1.0), (1.0, 1.0), 6)

        def _start(self, key: jax.Array, episode: jax.Array) -> jax.Array:
            return jax.random.uniform(jax.random.fold_in(key, episode), (2,), minval=-1.0)

        def reset(self, key: jax.Array) -> EnvState:
            zero = jnp.int32(0)
            obs = self._start(key, zero)
            return EnvState(phys=(), obs=obs, step_count=zero, episode=zero, episode_return=jnp.float32(0.0), key=key)

        def step(self, state: EnvState, action: jax.Array) -> tuple[EnvState, TimeStep]:
            next_obs = 0.9 * state.obs + 0.5 * action
            reward = -jnp.sum(jnp.square(next_obs))
            done = state.step_count + 1 >= self.spec.max_episode_steps
            episode = state.episode + done
            obs = jnp.where(done, self._start(state.key, episode), next_obs)
            new = EnvState(
                phys=(), obs=obs, step_count=jnp.where(done, 0, state.step_count + 1), episode=episode,
                episode_return=jnp.where(done, 0.0, state.episode_return + reward), key=state.key,
            )  # fmt: skip
            return new, TimeStep(obs, next_obs, reward, jnp.array(False), done)

    return Drift()


@pytest.fixture(scope="session")
def linear_expert() -> Any:
    """An expert on the toy task whose action is linear in the observation, and never at its bounds there."""
    from gailfe_jax.artifacts.policy import Policy

    return Policy(
        weights=[([[-0.5, 0.3], [0.1, -0.4]], [0.05, -0.1])], activation="tanh", obs_mean=[0, 0], obs_std=[1, 1],
        log_std=[0, 0], action_low=-1, action_high=1, metadata={"env": "drift"},
    )  # fmt: skip
