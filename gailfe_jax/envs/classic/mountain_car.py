"""MountainCar-v0: a car too weak for the hill swings out of the valley (Moore 1990)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gailfe_jax.envs.base import EpisodicEnv
from gailfe_jax.envs.meaning import Meaning
from gailfe_jax.types import Array, EnvSpec, StepResult

LEFT_WALL, RIGHT_END, GOAL = -1.2, 0.6, 0.5
MOST_SPEED = 0.07
FORCE, GRAVITY = 0.001, 0.0025
"""Changes of the velocity in one step: by the motor, and by the slope at its steepest."""


class MountainCar(EpisodicEnv):
    """Choices: push left, coast, push right. `obs [2]` is the state: position, and its change in a step.

    Every step costs 1 until the car reaches the goal, which ends the episode; there are 200 steps at most.
    """

    # An episode that ends early is a success here.
    spec = EnvSpec(
        "mountain_car", "MountainCar-v0", "jax", obs_size=2, action_size=3, action_low=(0.0,) * 3,
        action_high=(1.0,) * 3, max_episode_steps=200, annotator="truncated", discrete=True,
    )  # fmt: skip
    # The hill has no scale, and a step no length in time.
    meaning = Meaning(
        (("position", "1"), ("change of position in a step", "1")),
        (("push left", "1"), ("coast", "1"), ("push right", "1")),
    )

    def start(self, key: Array) -> tuple[Array, Array]:
        state = jnp.stack([jax.random.uniform(key, minval=-0.6, maxval=-0.4), jnp.float32(0.0)])
        return state, state

    def advance(self, phys: Array, action: Array) -> tuple[Array, StepResult]:
        position, velocity = phys
        push = jnp.argmax(action).astype(jnp.float32) - 1
        velocity = velocity + push * FORCE + jnp.cos(3 * position) * (-GRAVITY)
        velocity = jnp.clip(velocity, -MOST_SPEED, MOST_SPEED)
        position = jnp.clip(position + velocity, LEFT_WALL, RIGHT_END)
        # The wall on the left takes all speed.
        velocity = jnp.where((position == LEFT_WALL) & (velocity < 0), 0.0, velocity)
        state = jnp.stack([position, velocity])
        there = (position >= GOAL) & (velocity >= 0)
        return state, StepResult(obs=state, reward=jnp.float32(-1.0), terminated=there)
