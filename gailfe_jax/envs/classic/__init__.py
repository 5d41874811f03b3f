"""The classic control tasks with choices for actions, as Gymnasium defines them, in pure JAX: a file each, listed here.

Step for step they are Gymnasium's, whose own states are in float64 and these in float32.
"""

from __future__ import annotations

from gailfe_jax.envs.base import EpisodicEnv
from gailfe_jax.envs.classic.acrobot import Acrobot
from gailfe_jax.envs.classic.cartpole import CartPole
from gailfe_jax.envs.classic.mountain_car import MountainCar

CLASSIC: dict[str, type[EpisodicEnv]] = {env.spec.name: env for env in (Acrobot, CartPole, MountainCar)}
