"""Episodes of MuJoCo tasks under random actions, stepped by the C engine alone: no program is compiled for them."""

from __future__ import annotations

import numpy as np

from gailfe_jax.data.trajectories import Trajectories, offsets_of
from gailfe_jax.envs import make_env


def random_episode(name: str, steps: int, seed: int = 0) -> Trajectories:
    """One episode of at most `steps` actions, with simulator states."""
    env = make_env(name, "mujoco_c")
    physics, rng = env.physics, np.random.default_rng(seed)
    low, high = np.asarray(physics.action_low), np.asarray(physics.action_high)
    qpos = (physics.init_qpos + rng.uniform(-0.05, 0.05, physics.init_qpos.shape))[None].astype(np.float32)
    qvel = physics.init_qvel[None]
    obs = np.asarray(physics.task.observe(np, physics.host_start(qpos, qvel)), np.float32)
    rows, fresh = np.zeros((1, physics.nrow)), np.array([True])
    rows[:, 1 : 1 + qpos.size + qvel.size] = np.concatenate([qpos, qvel], axis=1)
    taken: dict[str, list] = {name: [] for name in ("obs", "action", "next_obs", "reward", "simulator_state")}
    terminated = False
    while not terminated and len(taken["obs"]) < steps:
        action = rng.uniform(low, high)[None].astype(np.float32)
        after, next_obs, reward, over = physics.host_step(rows, fresh, qpos, qvel, action)
        next_obs, terminated = next_obs.astype(np.float32), bool(over[0])
        for name, value in zip(taken, (obs, action, next_obs, reward.astype(np.float32), rows)):
            taken[name].append(value[0].copy())
        rows, obs, fresh = after, next_obs, np.array([False])
    last = np.arange(len(taken["obs"])) == len(taken["obs"]) - 1
    arrays = {name: np.stack(values) for name, values in taken.items()}
    offsets = offsets_of(np.array([len(last)]))
    return Trajectories(terminated=last & terminated, truncated=last & (not terminated), offsets=offsets, **arrays)
