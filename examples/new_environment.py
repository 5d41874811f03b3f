"""A new environment, written in JAX and known by name: a puck on ice that has to come to rest in the middle.

Run it: python examples/new_environment.py
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

import gailfe_jax
from gailfe_jax.envs import EpisodicEnv
from gailfe_jax.envs.rollout import evaluate
from gailfe_jax.types import Array, EnvSpec, StepResult


class Puck(EpisodicEnv):
    """Two thrusters push a puck about a rink of 2 by 2 metres; to hit the board ends the episode.

    An observation is position and velocity, `[4]`. A step is 0.1 s and pays what is left of 1 after the puck's distance
    from the middle. `EpisodicEnv` adds the time limit and starts the next episode.
    """

    spec = EnvSpec(
        name="puck", gymnasium_id=None, engine="jax", obs_size=4, action_size=2, action_low=(-1.0, -1.0),
        action_high=(1.0, 1.0), max_episode_steps=100,
    )  # fmt: skip

    def start(self, key: Array) -> tuple[Array, Array]:
        obs = jax.random.uniform(key, (4,), minval=-0.5, maxval=0.5)
        return obs, obs  # The state and what is seen of it, here the same.

    def advance(self, phys: Array, action: Array) -> tuple[Array, StepResult]:
        position, velocity = phys[:2], phys[2:]
        velocity = 0.98 * velocity + 0.1 * action
        position = position + 0.1 * velocity
        obs = jnp.concatenate([position, velocity])
        hit = jnp.any(jnp.abs(position) > 1.0)
        return obs, StepResult(obs=obs, reward=1.0 - jnp.sqrt(jnp.sum(position**2)), terminated=hit)


gailfe_jax.register_task(Puck, name="puck")


def returns(gains: tuple[float, float], episodes: int = 64) -> float:
    """Mean return of the controller `action = -gains[0] * position - gains[1] * velocity`."""
    kernel = jnp.concatenate([-gains[0] * jnp.eye(2), -gains[1] * jnp.eye(2)])
    env = gailfe_jax.make_env("puck")
    return float(evaluate(env, lambda kernel, obs: obs @ kernel, kernel, jax.random.key(0), episodes).returns.mean())


def main() -> None:
    print(f"Return of doing nothing: {returns((0.0, 0.0)):.1f}, of a controller: {returns((1.0, 1.5)):.1f}")


if __name__ == "__main__":
    main()
