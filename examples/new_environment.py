"""A new environment, written in JAX and known by name: a puck on ice that has to come to rest in the middle.

Run it:       python examples/new_environment.py
Command line: gailfe train ppo --env puck --import examples/new_environment.py --out runs/puck
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

import gailfe_jax as gf
from gailfe_jax.envs import EpisodicEnv
from gailfe_jax.envs.rollout import evaluate
from gailfe_jax.types import Array, EnvSpec, StepResult


class Puck(EpisodicEnv):
    """Two thrusters push a puck about a rink of 2 by 2 metres; to hit the board ends the episode.

    An observation is position and velocity, `[4]`. A step is 0.1 s and pays what is left of 1 after the puck's distance
    from the middle. `EpisodicEnv` adds the time limit and starts the next episode.
    """

    spec = EnvSpec("puck", None, "jax", 4, 2, (-1.0, -1.0), (1.0, 1.0), max_episode_steps=100)

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


gf.register_task(Puck, name="puck")


def main(**settings: object) -> None:
    """Trains PPO on the puck, with other `settings` by name, and compares it with doing nothing."""
    setup = gf.build_setup({"algo": "ppo", "env": "puck", "steps": 200_000, "eval_every": 50_000} | settings)
    result = gf.train(setup.method, setup.environment, setup.run)
    idle = evaluate(gf.make_env("puck"), lambda nothing, obs: nothing, jnp.zeros((64, 2)), jax.random.key(0), 64)
    trained = result.metrics["return_mean"][1][0, -1]
    print(f"Return of doing nothing: {idle.returns.mean():.1f}, of PPO: {trained:.1f}")


if __name__ == "__main__":
    main()
