"""Gymnasium's own environments as the oracle, and the actions that every engine is tried on."""

from __future__ import annotations

import gymnasium
import mujoco
import numpy as np
import pytest


class Oracle:
    """One Gymnasium environment without wrappers, driven from a given simulator state."""

    def __init__(self, task):
        self.env = gymnasium.make(task.gymnasium_id).unwrapped

    def reset(self, seed):
        """Gymnasium's own reset; returns its float64 `(obs, qpos, qvel)`."""
        obs, _ = self.env.reset(seed=seed)
        return obs, self.env.data.qpos.copy(), self.env.data.qvel.copy()

    def set_state(self, qpos, qvel):
        """What Gymnasium's reset does, at a state of ours; returns the observation."""
        mujoco.mj_resetData(self.env.model, self.env.data)
        self.env.set_state(np.asarray(qpos, np.float64), np.asarray(qvel, np.float64))
        return self.env._get_obs()

    def step(self, action):
        obs, reward, terminated, _, _ = self.env.step(action)
        return obs, reward, terminated


@pytest.fixture(scope="session")
def oracle():
    """`oracle(task)`: one environment per task, reused."""
    made = {}

    def make(task):
        if task.name not in made:
            made[task.name] = Oracle(task)
        return made[task.name]

    yield make
    for one in made.values():
        one.env.close()


ACTION_MODES = ("uniform", "extreme", "zero", "beyond", "correlated")


@pytest.fixture(scope="session")
def actions():
    """`actions(mode, seed, steps, size) -> float32 [steps, size]` for each mode of `actions.modes`."""

    def make(mode, seed, steps, size):
        rng = np.random.default_rng([seed, ACTION_MODES.index(mode)])
        if mode == "uniform":
            out = rng.uniform(-1, 1, (steps, size))
        elif mode == "extreme":
            out = rng.choice([-1.0, 1.0], (steps, size))
        elif mode == "zero":
            out = np.zeros((steps, size))
        elif mode == "beyond":
            out = 3 * rng.normal(size=(steps, size))
        else:
            # An Ornstein-Uhlenbeck process: pushes in one direction long enough to fall, bounce and hit joint limits.
            out, value = np.empty((steps, size)), np.zeros(size)
            for t in range(steps):
                value = 0.95 * value + 0.3 * rng.normal(size=size)
                out[t] = value
        return out.astype(np.float32)

    make.modes = ACTION_MODES
    return make
