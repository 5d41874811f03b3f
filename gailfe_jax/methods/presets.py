"""Settings that suit a method on a task; what `gailfe train` starts from before your flags."""

from __future__ import annotations

import dataclasses
from typing import Any

from gailfe_jax.config.flat import Config, Hyper
from gailfe_jax.envs import base_name, canonical_name
from gailfe_jax.methods.table import find_algorithm, resolve_config
from gailfe_jax.training.loop import RunSettings

# PPO on the true reward: large batches, many passes, learning rates that decay to zero.
_EXPERT_CONFIG: dict[str, Any] = {
    "num_envs": 64,
    "unroll_length": 128,
    "ppo_epochs": 10,
    "ppo_minibatches": 32,
    "anneal": True,
    "init_log_std": -0.5,
}
_EXPERT_HYPER: dict[str, Any] = {"gamma": 0.995, "gae_lambda": 0.95, "policy_lr": 2e-4, "value_lr": 1e-3}
_EXPERT_STEPS = {"hopper": 4e6, "halfcheetah": 2e6, "walker2d": 16e6}
_EXPERT_ENTROPY = {"walker2d": 0.001}
_TRPO_CONFIG: dict[str, Any] = {"num_envs": 64}

# A single step can make a deterministic gait stumble; the average of the last twenty is steadier.
_IMITATION_AVERAGE = 0.95
# A cheetah at rest is far from what demonstrations in full run say is usual; and where no fall ends an episode a
# shorter horizon learns a little faster.
_IMITATION_CONFIG: dict[str, dict[str, Any]] = {"halfcheetah": {"obs_normaliser": "running"}}
_IMITATION_HYPER = {"halfcheetah": Hyper(gamma=0.99, gae_lambda=0.95)}

# Beside iterations of 8192 steps.
_OWN_CONFIG = {"disc_steps": 5, "disc_minibatch": 1024}

# Iterations of 2048 pairs: scarce demonstrations are overfitted within a hundred steps, and the best snapshot is one
# of those that are looked at.
_CLONING_CONFIG: dict[str, Any] = {"num_envs": 8, "unroll_length": 256, "anneal": True}
_CLONING_HYPER = Hyper(bc_weight_decay=0.01)
_DAGGER_SETTINGS = RunSettings(steps=200_000, eval_every=20_000)


def preset(algo: str, env: str) -> tuple[Config, Hyper, RunSettings]:
    """Defaults for `algo` on `env`.

    Raises:
      GailfeError: unknown algorithm or task.
    """
    config = resolve_config(Config(algo=find_algorithm(algo).name, env=canonical_name(env)))
    env = base_name(env)
    hyper, settings = Hyper(), RunSettings()
    algorithm = find_algorithm(algo)
    if algorithm.own:
        # As PPO on the true reward, which stays: GASIL is for tasks where that alone is hard to learn from.
        config = dataclasses.replace(config, generator="ppo", env_reward=True, **_EXPERT_CONFIG, **_OWN_CONFIG)
        hyper = Hyper(**_EXPERT_HYPER, entropy=_EXPERT_ENTROPY.get(env, 0.0))
    elif algorithm.cost is not None:
        config = dataclasses.replace(config, policy_average=_IMITATION_AVERAGE, **_IMITATION_CONFIG.get(env, {}))
        hyper = _IMITATION_HYPER.get(env, hyper)
    if config.generator == "backprop":
        # Each of its several steps per iteration is held to this.
        hyper = hyper.replace(max_kl=0.01)
    if algo == "trpo":
        config = dataclasses.replace(config, **_TRPO_CONFIG)
    if algorithm.clones:
        config = dataclasses.replace(config, **_CLONING_CONFIG)
        hyper, settings = (
            _CLONING_HYPER,
            RunSettings(steps=1000 * config.batch_size, eval_every=100 * config.batch_size),
        )
    if algorithm.interactive:
        settings = _DAGGER_SETTINGS
    if algo == "ppo":
        config = dataclasses.replace(config, **_EXPERT_CONFIG)
        hyper = Hyper(**_EXPERT_HYPER, entropy=_EXPERT_ENTROPY.get(env, 0.0))
        settings = RunSettings(steps=_EXPERT_STEPS.get(env, 3e6), eval_every=200_000)
    return resolve_config(config), hyper, settings
