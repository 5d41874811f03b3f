"""The environment: a task on an engine, with time limit and self-reset."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gailfe_jax.parallel.seeds import computed_where
from gailfe_jax.types import Array, EnvSpec, EnvState, Physics, Task, TimeStep


class MujocoEnv:
    """`Env` for a `Task` on any `Physics` engine (see `gailfe_jax.types.Env`)."""

    def __init__(self, task: Task, physics: Physics):
        self.task = task
        self.physics = physics
        self.spec = EnvSpec(
            name=task.name,
            gymnasium_id=task.gymnasium_id,
            engine=physics.name,
            obs_size=task.obs_size,
            action_size=task.action_size,
            action_low=physics.action_low,
            action_high=physics.action_high,
            max_episode_steps=task.max_episode_steps,
            annotator=task.annotator,
        )
        self._draw_where = computed_where(self._draw)

    def _draw(self, key: Array, episode: Array) -> tuple[Array, Array]:
        nq, nv = len(self.physics.init_qpos), len(self.physics.init_qvel)
        dqpos, dqvel = self.task.reset_noise(jax.random.fold_in(key, episode), nq, nv)
        return self.physics.init_qpos + dqpos, self.physics.init_qvel + dqvel

    def reset(self, key: Array) -> EnvState:
        episode = jnp.int32(0)
        qpos, qvel = self._draw(key, episode)
        return EnvState(
            phys=self.physics.init(qpos, qvel),
            obs=self.task.observe(jnp, qpos, qvel),
            step_count=jnp.int32(0),
            episode=episode,
            episode_return=jnp.float32(0.0),
            key=key,
        )

    def step(self, state: EnvState, action: Array) -> tuple[EnvState, TimeStep]:
        phys, result = self.physics.step(state.phys, action)
        step_count = state.step_count + 1
        # A fall on the last allowed step is a fall: Gymnasium reports both, we keep the two apart.
        truncated = (step_count >= self.task.max_episode_steps) & ~result.terminated
        done = result.terminated | truncated
        episode = state.episode + done
        qpos, qvel = self._draw_where(done, state.key, episode)
        obs = jnp.where(done, self.task.observe(jnp, qpos, qvel), result.obs)
        state = EnvState(
            phys=self.physics.reset(phys, done, qpos, qvel),
            obs=obs,
            step_count=jnp.where(done, 0, step_count),
            episode=episode,
            episode_return=jnp.where(done, 0.0, state.episode_return + result.reward),
            key=state.key,
        )
        return state, TimeStep(
            obs=obs,
            next_obs=result.obs,
            reward=result.reward,
            terminated=result.terminated,
            truncated=truncated,
        )
