"""Acrobot-v1: a double pendulum with a motor at its elbow alone swings its foot up (Sutton 1996)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from gailfe_jax.envs.base import EpisodicEnv
from gailfe_jax.envs.meaning import Meaning
from gailfe_jax.types import Array, EnvSpec, StepResult

GRAVITY = 9.8
STEP_SECONDS = 0.2
MASS = LENGTH = INERTIA = 1.0
"""Of each link: kilograms, metres, and kilogram square metres."""
CENTRE = 0.5
"""Metres from a link's joint to its centre of mass."""
MOST_SPEEDS = (4 * math.pi, 9 * math.pi)
"""Of the two joints, in radians per second."""


def accelerations(state: Array, torque: Array) -> Array:
    """`[4]` the derivative in time of `state [4]` under `torque []`, by the equations of Sutton & Barto's book."""
    theta1, theta2, speed1, speed2 = state
    coupling = MASS * LENGTH * CENTRE
    d1 = MASS * CENTRE**2 + MASS * (LENGTH**2 + CENTRE**2) + 2 * coupling * jnp.cos(theta2) + 2 * INERTIA
    d2 = MASS * CENTRE**2 + coupling * jnp.cos(theta2) + INERTIA
    # Gravity's share is written by the sine that the cosine of an angle less a quarter turn is.
    weight2 = MASS * CENTRE * GRAVITY * jnp.sin(theta1 + theta2)
    weight1 = (MASS * CENTRE + MASS * LENGTH) * GRAVITY * jnp.sin(theta1)
    whirl = coupling * jnp.sin(theta2)
    phi1 = -whirl * jnp.square(speed2) - 2 * whirl * speed2 * speed1 + weight1 + weight2
    inertia2 = MASS * CENTRE**2 + INERTIA - jnp.square(d2) / d1
    turn2 = (torque + d2 / d1 * phi1 - whirl * jnp.square(speed1) - weight2) / inertia2
    return jnp.stack([speed1, speed2, -(d2 * turn2 + phi1) / d1, turn2])


def wrapped(angle: Array) -> Array:
    """The same angle between -pi and pi, both included."""
    turns = jnp.ceil((jnp.abs(angle) - math.pi) / (2 * math.pi))
    return angle - jnp.sign(angle) * jnp.maximum(turns, 0.0) * 2 * math.pi


class Acrobot(EpisodicEnv):
    """Choices: a torque of -1, 0 or 1 Nm. The state is the two joints' angles, from hanging straight, and their speeds.

    `obs [6]` is cosine and sine of the first angle, of the second, and the speeds. Every step costs 1 but the one that
    lifts the foot a link's length above the shoulder, which ends the episode. Acrobot-v1's limit is 500 steps; Ho &
    Ermon 2016 used v0, whose is 200.
    """

    # An episode that ends early is a success here.
    spec = EnvSpec(
        "acrobot", "Acrobot-v1", "jax", obs_size=6, action_size=3, action_low=(0.0,) * 3, action_high=(1.0,) * 3,
        max_episode_steps=500, annotator="bottom_quantile:0.2", discrete=True,
    )  # fmt: skip
    meaning = Meaning(
        (
            *((f"{function}({joint} angle)", "1") for joint in ("shoulder", "elbow") for function in ("cos", "sin")),
            *((f"{joint} angular velocity", "rad/s") for joint in ("shoulder", "elbow")),
        ),
        (("torque -1 N m", "1"), ("torque 0", "1"), ("torque 1 N m", "1")),
        STEP_SECONDS,
    )

    def start(self, key: Array) -> tuple[Array, Array]:
        state = jax.random.uniform(key, (4,), minval=-0.1, maxval=0.1)
        return state, self._observe(state)

    def _observe(self, state: Array) -> Array:
        angles, speeds = state[:2], state[2:]
        return jnp.concatenate([jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1).ravel(), speeds])

    def advance(self, phys: Array, action: Array) -> tuple[Array, StepResult]:
        torque = jnp.argmax(action).astype(jnp.float32) - 1
        # One step of fourth-order Runge-Kutta.
        half = STEP_SECONDS / 2
        k1 = accelerations(phys, torque)
        k2 = accelerations(phys + half * k1, torque)
        k3 = accelerations(phys + half * k2, torque)
        k4 = accelerations(phys + STEP_SECONDS * k3, torque)
        moved = phys + STEP_SECONDS / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        fastest = jnp.asarray(MOST_SPEEDS)
        state = jnp.concatenate([wrapped(moved[:2]), jnp.clip(moved[2:], -fastest, fastest)])
        up = -jnp.cos(state[0]) - jnp.cos(state[1] + state[0]) > 1.0
        return state, StepResult(obs=self._observe(state), reward=jnp.where(up, 0.0, -1.0), terminated=up)
