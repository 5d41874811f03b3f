"""What the tests of behavioural cloning and DAgger share."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from gailfe_jax.learners.sources import Demos
from gailfe_jax.training.program import Trainer
from gailfe_jax.types import StateAction
from tests.states import on_host
from tests.tiny import tiny


def small(name, **values):
    """A linear policy, 128 steps an iteration."""
    sizes = {"rollout__num_envs": 8, "rollout__unroll_length": 16, "policy__minibatch": 32, "policy__hidden": ()}
    return tiny(name, **(sizes | ({"fit_steps": 20} if name == "dagger" else {}) | values))


def run(method, env, demos, iterations, seeds=(0,)):
    """`(learner, states [iterations + 1], metrics [iterations])`, each `[S, ...]` on the host."""
    learner = method.on(env, total_iterations=iterations)
    trainer = Trainer(learner, np.array(seeds), chunk=1, eval_episodes=1)
    state = trainer.init(demos)
    states, rows = [on_host(state)], []
    for _ in range(iterations):
        state, metrics = trainer.advance(state, demos)
        states.append(on_host(state))
        rows.append({name: np.array(x)[0] for name, x in metrics.items()})
    assert trainer.traces == 1
    return learner, states, rows


def demonstrations(policy, trajectories=8, noise=0.0, length=16):
    rng = np.random.default_rng(0)
    obs = rng.uniform(-1, 1, (trajectories * length, 2)).astype(np.float32)
    action = policy.act(obs) + noise * rng.normal(size=obs.shape)
    trajectory = np.repeat(np.arange(trajectories), length).astype(np.int32)
    return Demos(StateAction(jnp.asarray(obs), jnp.asarray(action, jnp.float32)), trajectory=jnp.asarray(trajectory))
