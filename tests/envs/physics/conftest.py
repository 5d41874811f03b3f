"""Gymnasium's own environments as the oracle, and the actions that every engine is tried on."""

from __future__ import annotations

import functools
import math

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from gailfe_jax.envs.base import MujocoEnv
from gailfe_jax.envs.physics.model import without_expected_warning
from gailfe_jax.envs.physics.mujoco_c import MujocoC


class Oracle:
    """One Gymnasium environment without wrappers, driven from a given simulator state."""

    def __init__(self, task):
        with without_expected_warning():
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


class RoundingContract:
    """What an engine in float32 owes the C engine, checked through one compiled function per engine and task.

    From the same float32 state and action, one environment step must agree with the C engine (which equals Gymnasium)
    up to float32 rounding. Rounding is not one number: a foot about to touch the ground or a slipping contact amplifies
    it. So the allowance is `2e-4 * (1 + |x|)`, `x` the largest number around: some thousand roundings, as many as a
    step of four or five dynamics evaluations makes, plus 30 times what the *float64* engine's own result moves by when
    its input moves by half a float32 unit in the last place.
    """

    shape = (4, 32)

    def __init__(self, physics):
        task = physics.task
        self.task, self.physics = task, physics
        self.c = MujocoC(task)
        self.nq, self.nv = self.c.model.nq, self.c.model.nv
        self.env = MujocoEnv(task, physics)
        self.reset = jax.jit(jax.vmap(jax.vmap(self.env.reset)))
        self.step = jax.jit(jax.vmap(jax.vmap(self.env.step)))
        self.n = math.prod(self.shape)

    def sample(self):
        """`(rows, actions)` on the way of pushed-about robots, rounded to float32, half of them touching something."""
        rng = np.random.default_rng(0)
        n, steps = 32, 100
        rows, fresh = np.zeros((n, self.c.nrow)), np.ones(n, bool)
        qpos = self.c.init_qpos + rng.uniform(-0.1, 0.1, (n, self.nq))
        qvel = 0.1 * rng.normal(size=(n, self.nv))
        action, seen = np.zeros((n, self.task.action_size)), []
        for _ in range(steps):
            action = 0.95 * action + 0.3 * rng.normal(size=action.shape)
            ctrl = action.astype(np.float32)
            rows = self.c.host_step(rows, fresh, qpos, qvel, ctrl)[0]
            fresh[:] = False
            seen.append(np.concatenate([rows, ctrl], axis=1))
        seen = rng.permutation(np.concatenate(seen)).astype(np.float32).astype(np.float64)
        touching = np.array([self._contacts(row) > 0 for row in seen[: 10 * self.n]])
        pool = seen[: 10 * self.n]
        # Swimmers touch nothing, and cylinders on a table are never in the air.
        half = max(min(self.n // 2, touching.sum()), self.n - (~touching).sum())
        chosen = np.concatenate([pool[touching][:half], pool[~touching][: self.n - half]])
        assert len(chosen) == self.n
        return chosen[:, : self.c.nrow], chosen[:, self.c.nrow :].astype(np.float32)

    def _contacts(self, row):
        data = mujoco.MjData(self.c.model)
        data.qpos[:], data.qvel[:] = row[1 : 1 + self.nq], row[1 + self.nq : 1 + self.nq + self.nv]
        mujoco.mj_forward(self.c.model, data)
        return data.ncon

    def reference(self, rows, actions):
        """The C engine's `(obs, reward, terminated)` at `rows`."""
        unused = np.zeros((len(rows), self.nq)), np.zeros((len(rows), self.nv))
        _, obs, reward, terminated = self.c.host_step(rows, np.zeros(len(rows), bool), *unused, actions)
        return obs.copy(), reward.copy(), terminated.copy()

    def env_state(self, phys, step_count):
        """Environments `shape` at `phys [n, ...]`."""
        fold = functools.partial(jax.tree.map, lambda x: jnp.asarray(x).reshape(*self.shape, *x.shape[1:]))
        start = self.reset(jax.random.split(jax.random.key(5), self.shape))
        return start.replace(phys=fold(phys), step_count=fold(jnp.asarray(step_count, jnp.int32)))

    def agrees(self, warm):
        """One step from sampled states; `warm`: with the solver's warm start, else as fresh from a reset."""
        rows, actions = self.sample()
        nq, nv = self.nq, self.nv
        if not warm:
            rows[:, 0] = 0.0
            rows[:, 1 + nq + nv :] = 0.0
        obs, reward, terminated = self.reference(rows, actions)

        moved_obs, moved_reward = np.zeros_like(obs), np.zeros_like(reward)
        rng, half_ulp = np.random.default_rng(1), np.finfo(np.float32).eps / 2
        for _ in range(8):
            nudge = rng.choice([-half_ulp, half_ulp], rows.shape) * np.maximum(np.abs(rows), 1.0)
            near_obs, near_reward, _ = self.reference(rows + nudge, actions)
            moved_obs = np.maximum(moved_obs, np.abs(near_obs - obs).max(axis=1, keepdims=True))
            moved_reward = np.maximum(moved_reward, np.abs(near_reward - reward))

        f32 = rows.astype(np.float32)
        phys = jax.vmap(self.physics.init)(f32[:, 1 : 1 + nq], f32[:, 1 + nq : 1 + nq + nv])
        phys = phys.replace(time=f32[:, 0], warmstart=f32[:, 1 + nq + nv :])
        _, step = self.step(self.env_state(phys, np.zeros(self.n)), actions.reshape(*self.shape, -1))
        error = np.abs(np.asarray(step.next_obs).reshape(self.n, -1) - obs)
        # What is large in the state rounds coarsely, and a joint's limit carries it into what is small.
        size = np.maximum(np.abs(obs), np.abs(rows[:, 1 : 1 + nq + nv]).max(axis=1, keepdims=True))
        allowed = 2e-4 * (1 + size) + 30 * moved_obs
        assert (error <= allowed).all(), f"state {np.argmax((error - allowed).max(axis=1))}: off by {error.max()}"
        # Most states are benign, and there the agreement is to a few units in the last place.
        assert np.median((error / (1 + np.abs(obs))).max(axis=1)) < 1e-5
        assert (np.abs(np.asarray(step.reward).ravel() - reward) <= 1e-4 * (1 + np.abs(reward)) + moved_reward).all()
        # A fall is a comparison with a bound, so only a state on the very bound may differ.
        assert (np.asarray(step.terminated).ravel() == terminated).all()

    def resets(self):
        """A reset inside a batch leaves a fresh init, and the next step cannot tell the two apart."""
        rows, actions = self.sample()
        nq, nv = self.nq, self.nv
        actions = actions.reshape(*self.shape, -1)
        phys = jax.vmap(self.physics.init)(rows[:, 1 : 1 + nq], rows[:, 1 + nq : 1 + nq + nv])
        limit = self.task.max_episode_steps
        state = self.env_state(phys, np.where(np.arange(self.n) % 2, limit - 1, 7))
        state, step = self.step(state, actions)
        done = np.asarray(step.terminated | step.truncated)
        assert done.any()
        assert not done.all()
        assert (np.asarray(state.phys.time)[~done] > 0).all()

        draw = jax.vmap(jax.vmap(lambda key: self.env._draw(jax.random.fold_in(key, 1))))(state.key)
        for new, drawn in zip(jax.vmap(jax.vmap(self.physics.view))(state.phys), draw):
            # Compiled into one program, the noise may round differently than drawn by itself.
            np.testing.assert_allclose(np.asarray(new)[done], np.asarray(drawn)[done], rtol=1e-6)
        fresh = jax.vmap(jax.vmap(self.physics.init))(state.phys.qpos, state.phys.qvel)
        for new, expected in zip(jax.tree.leaves(state.phys), jax.tree.leaves(fresh), strict=True):
            assert np.array_equal(np.asarray(new)[done], np.asarray(expected)[done])

        _, after_reset = self.step(state, actions)
        _, after_init = self.step(state.replace(phys=fresh), actions)
        assert np.array_equal(np.asarray(after_reset.next_obs)[done], np.asarray(after_init.next_obs)[done])


@pytest.fixture(scope="session")
def rounding_contract():
    return RoundingContract
