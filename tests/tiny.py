"""Tiny settings that all tests share: methods that compile in seconds, on the toy tasks of `tests.toy` or on Hopper.

A test of what is not physics takes a toy task, whose programs JAX keeps from run to run.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from gailfe_jax.artifacts.oracle import Oracle
from gailfe_jax.config.run import RunSettings
from gailfe_jax.config.tree import leaves, put, set_values, without_unread
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.learners.base import Learner
from gailfe_jax.learners.methods import find_method, with_policy
from gailfe_jax.learners.sources import Demos
from gailfe_jax.types import Env, Starts, StateAction

SIZES: dict[str, Any] = {
    "rollout.num_envs": 4, "rollout.unroll_length": 8, "policy.hidden": (8,), "policy.value_minibatch": 16,
    "policy.value_epochs": 2, "policy.epochs": 2, "policy.minibatches": 2, "policy.minibatch": 16, "policy.horizon": 4,
    "policy.cg_iterations": 4, "policy.line_search_steps": 4, "policy.steps": 2, "policy.model.hidden": (8,),
    "policy.model.fit_steps": 2, "policy.model.minibatch": 8, "policy.model.capacity": 64, "reward.hidden": (8,),
    "reward.minibatch": 16, "reward.steps": 4, "failures.capacity": 6, "self_demonstrations.capacity": 3,
    "self_imitation.minibatch": 16, "self_imitation.capacity": 4, "start.minibatch": 16, "fit_steps": 4,
    "aggregate_capacity": 64, "policy.critics.hidden": (8,), "policy.random_steps": 0, "policy.replay": 128,
    "policy.update_ratio": 0.25,
}  # fmt: skip


def tiny(name: str = "gail", policy: str | None = None, **values: Any) -> Learner:
    """The method called `name` at tiny sizes.

    Args:
      name: of the method.
      policy: its policy step, if another than its own.
      **values: further settings by name, `__` for a dot: `reward__lr=1e-3`.
    """
    method = find_method(name)
    if policy is not None:
        method = with_policy(method, policy)
    known = leaves(method)
    method = without_unread(put(method, {key: value for key, value in SIZES.items() if key in known}))
    return set_values(method, {key.replace("__", "."): value for key, value in values.items()})


def tiny_run(steps: float = 64, **settings: Any) -> RunSettings:
    """A quiet run of `steps` that looks every 32 steps (an iteration of `tiny`) at one episode."""
    return RunSettings(
        **({"steps": steps, "eval_every": 32, "eval_episodes": 1, "quiet": True, "tensorboard": False} | settings)
    )


def noise_demos(env: Env, pairs: int = 60, expert: Any = None) -> Demos:
    """Demonstrations of noise on the device, which teach nothing and take the same path; the asked expert, if given."""
    rng, spec = np.random.default_rng(0), env.spec
    obs, following = (jnp.asarray(rng.normal(size=(pairs, spec.obs_size)), jnp.float32) for _ in range(2))
    action = jnp.asarray(rng.uniform(-1, 1, (pairs, spec.action_size)), jnp.float32)
    trajectory = jnp.arange(pairs, dtype=jnp.int32) // (pairs // 6)
    oracle = None if expert is None else Oracle.of(expert)
    ended = jnp.zeros(pairs, bool)
    starts = Starts(obs, jnp.zeros((pairs, 0)))
    return Demos(StateAction(obs, action), None, following, ended, trajectory, oracle, starts)


def toy_demonstrations(
    env: Env, expert: Any, trajectories: int = 6, failures: int = 3, seed: int = 0
) -> Demonstrations:
    """Demonstrations of an expert on a toy task, with failed attempts where the task can end."""
    from gailfe_jax.apps.collection import collect_demonstrations

    return collect_demonstrations(
        env, expert, trajectories=trajectories, failures=failures, seed=seed, deterministic=True, noise=2.0
    )
