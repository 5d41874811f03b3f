"""CartPole-v1: a cart is pushed left or right to keep the pole on it upright (Barto, Sutton & Anderson 1983)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from gailfe_jax.envs.base import EpisodicEnv
from gailfe_jax.envs.meaning import Meaning
from gailfe_jax.types import Array, EnvSpec, StepResult

GRAVITY = 9.8
POLE_MASS, TOTAL_MASS = 0.1, 1.1
HALF_LENGTH = 0.5
"""Half of the pole's length, in metres."""
FORCE = 10.0
"""Of a push, in newtons."""
STEP_SECONDS = 0.02
MOST_POSITION, MOST_ANGLE = 2.4, math.radians(12)
"""Metres and radians beyond which the episode ends."""


class CartPole(EpisodicEnv):
    """Choices: push left, push right. `obs [4]` is the state: position, velocity, angle, angular velocity.

    Every step pays 1. The episode ends where the cart or the pole is too far out. CartPole-v1's limit is 500 steps;
    Ho & Ermon 2016 used v0, whose is 200.
    """

    spec = EnvSpec(
        "cartpole", "CartPole-v1", "jax", obs_size=4, action_size=2, action_low=(0.0, 0.0), action_high=(1.0, 1.0),
        max_episode_steps=500, discrete=True,
    )  # fmt: skip
    meaning = Meaning(
        (("cart position", "m"), ("cart velocity", "m/s"), ("pole angle", "rad"), ("pole angular velocity", "rad/s")),
        (("push left", "1"), ("push right", "1")),
        STEP_SECONDS,
    )

    def start(self, key: Array) -> tuple[Array, Array]:
        state = jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)
        return state, state

    def advance(self, phys: Array, action: Array) -> tuple[Array, StepResult]:
        x, x_dot, theta, theta_dot = phys
        force = jnp.where(jnp.argmax(action) == 1, FORCE, -FORCE)
        cos, sin = jnp.cos(theta), jnp.sin(theta)
        push = (force + POLE_MASS * HALF_LENGTH * jnp.square(theta_dot) * sin) / TOTAL_MASS
        turn = (GRAVITY * sin - cos * push) / (HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * jnp.square(cos) / TOTAL_MASS))
        accelerate = push - POLE_MASS * HALF_LENGTH * turn * cos / TOTAL_MASS
        # Explicit Euler steps: positions move by the old velocities.
        x, x_dot = x + STEP_SECONDS * x_dot, x_dot + STEP_SECONDS * accelerate
        theta, theta_dot = theta + STEP_SECONDS * theta_dot, theta_dot + STEP_SECONDS * turn
        state = jnp.stack([x, x_dot, theta, theta_dot])
        out = (jnp.abs(x) > MOST_POSITION) | (jnp.abs(theta) > MOST_ANGLE)
        return state, StepResult(obs=state, reward=jnp.float32(1.0), terminated=out)
