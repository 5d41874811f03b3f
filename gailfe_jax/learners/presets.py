"""Settings that suit a method on a task: what training starts from before anybody's own values.

All that differs between methods and tasks, beside the defaults of the parts, stands here.
"""

from __future__ import annotations

from typing import Any

from gailfe_jax.config.run import RunSettings
from gailfe_jax.config.tree import leaves, put, without_unread
from gailfe_jax.envs import base_name
from gailfe_jax.errors import expect
from gailfe_jax.learners.base import Learner
from gailfe_jax.learners.methods import find_method, with_policy
from gailfe_jax.policies.ppo import PPO
from gailfe_jax.policies.replayed import ReplayedUpdate

# PPO on the true reward: large batches, many passes, learning rates that decay to zero.
_EXPERT: dict[str, Any] = {
    "rollout.num_envs": 64,
    "rollout.unroll_length": 128,
    "policy.epochs": 10,
    "policy.minibatches": 32,
    "policy.gamma": 0.995,
    "policy.gae_lambda": 0.95,
    "policy.lr": 2e-4,
    "policy.value_lr": 1e-3,
    "schedule.anneal": True,
}
# Tasks of a few numbers, and of choices: small networks that learn fast.
_CLASSIC: dict[str, Any] = {"policy.hidden": (32, 32), "policy.lr": 1e-3, "policy.gamma": 0.99}
_EXPERT_ON: dict[str, dict[str, Any]] = {
    "acrobot": _CLASSIC | {"policy.entropy": 0.01},
    "ant": {"policy.gamma": 0.99},
    "cartpole": _CLASSIC,
    # Many bodies and falls: a larger network, a short horizon and little noise.
    "humanoid": {
        "rollout.num_envs": 256,
        "rollout.unroll_length": 32,
        "policy.hidden": (256, 256),
        "policy.epochs": 5,
        "policy.gamma": 0.97,
        "policy.gae_lambda": 0.92,
        "policy.init_log_std": -1.5,
        "policy.value_lr": 5e-4,
        "policy.entropy": 0.0005,
    },
    # Every step costs the same until the goal is found: entropy, and unrolls as long as whole episodes, find it.
    "mountain_car": _CLASSIC | {"policy.entropy": 0.01, "rollout.unroll_length": 256},
    # A short horizon: what a reach costs is known within a second.
    "reacher": {"policy.gamma": 0.98},
    # A long one, for a stroke pays late.
    "swimmer": {"policy.gamma": 0.9999, "policy.gae_lambda": 0.98},
    "walker2d": {"policy.entropy": 0.001},
}
_EXPERT_STEPS = {
    "acrobot": 1e6,
    "ant": 10e6,
    "cartpole": 2e5,
    "halfcheetah": 2e6,
    "hopper": 4e6,
    "humanoid": 8e6,
    "inverted_double_pendulum": 1e6,
    "mountain_car": 3e6,
    "reacher": 6e6,
    "swimmer": 3e6,
    "walker2d": 16e6,
}

# A single step can make a deterministic gait stumble; the average of the last twenty is steadier.
_IMITATION: dict[str, Any] = {"policy.average": 0.95}
# A cheetah at rest is far from what demonstrations in full run say is usual; and where no fall ends an episode a
# shorter horizon learns a little faster. A humanoid falls within twenty steps of any start: from a clone, with the
# expert's sizes and horizon, in iterations large enough for it, and with a discriminator that is held back, since three
# hundred numbers give a beginner away.
_IMITATION_ON: dict[str, dict[str, Any]] = {
    "halfcheetah": {"policy.obs_normaliser": "running", "policy.gamma": 0.99, "policy.gae_lambda": 0.95},
    "humanoid": {
        "rollout.num_envs": 256,
        "rollout.unroll_length": 32,
        "policy.hidden": (256, 256),
        "policy.gamma": 0.97,
        "policy.gae_lambda": 0.92,
        "policy.init_log_std": -2.0,
        "policy.max_kl": 0.01,
        "policy.value_lr": 5e-4,
        "policy.value_minibatch": 1024,
        "reward.hidden": (256, 256),
        "reward.steps": 5,
        "reward.minibatch": 512,
        "reward.gradient_penalty_weight": 10.0,
        "start.steps": 5000,
    },
}

_METHODS: dict[str, dict[str, Any]] = {
    "ppo": _EXPERT,
    "trpo": {"rollout.num_envs": 64},
    # As PPO on the true reward, which stays: GASIL is for tasks where that alone is hard to learn from. The
    # discriminator's steps are for iterations of 8192 steps.
    "gasil": _EXPERT | {"reward.steps": 5, "reward.minibatch": 1024, "true_reward.add": True},
    # Iterations of 2048 pairs: scarce demonstrations are overfitted within a hundred steps, and the best snapshot is
    # one of those that are looked at.
    "bc": {"rollout.unroll_length": 256, "schedule.anneal": True, "policy.weight_decay": 0.01},
    "dagger": {},
}
# Thousands of environments see in one iteration what eight see in sixty. An iteration then is one large gradient,
# so the number of optimiser steps stays what it is and every minibatch grows with the batch; unrolls are short, for
# iterations are what is scarce; and steps that noise kept small are larger.
SCALE_FROM = 1024
"""Environments from which on the presets are those for thousands."""
_SCALE_UNROLL = 16
_SCALE: dict[str, Any] = {
    "rollout.unroll_length": _SCALE_UNROLL,
    "policy.epochs": 4,
    "policy.minibatches": 32,
    "policy.value_epochs": 4,
    "policy.max_kl": 0.03,
    "reward.steps": 40,
    "reward.minibatch": 1024,
}
# At 4,096 environments PPO's minibatches are 8 to 16 times as large: Adam's step size grows by about the square root.
_SCALE_PPO = 10 / 3
# On the true reward thousands of hoppers soon stand all alike, and batches of nothing but standing teach nothing else:
# entropy keeps them trying, and larger steps within a wider clip let each of the few iterations go far.
_SCALE_TRUE_REWARD: dict[str, Any] = {"policy.clip": 0.4, "policy.lr": 1.5e-3, "policy.entropy": 0.005}
_SCALE_METHODS = {"ppo": _SCALE_TRUE_REWARD, "gasil": _SCALE_TRUE_REWARD}
# An average over twenty iterations would be late by a million steps.
_SCALE_AVERAGE = 0.75
# From replay an iteration keeps its short unroll and its number of updates, and so every environment step has few; each
# sees as many steps as there are environments. The replay holds some tens of iterations.
_SCALE_REPLAY_ITERATIONS = 32
# MAIL's loops are rollouts through the model, forwards, backwards and once for every try of the line search. Windows of
# half the length are twice as many, side by side, and a value ends them; and a step that has little noise left seldom
# has to be halved at all, so three times are enough.
_SCALE_MAIL: dict[str, Any] = {"policy.horizon": 8, "policy.line_search_steps": 3}
# Steps from replay: short unrolls, for what was just seen is learned from at once.
_REPLAYED: dict[str, Any] = {"rollout.num_envs": 8, "rollout.unroll_length": 8, "policy.average": 0.99}
# With a fitted reward small networks do, and as many updates of the reward as of the policy. A discriminator that sees
# everything again and again is held by a strong penalty. A quarter of the environments act as the policy is judged, and
# two updates for each step keep up with what that finds. A gait that is found is lost again where critics promise more
# than rewards can come to and learn of a fall by one step at a time: so targets hold three rewards and are bounded.
# Less entropy than is usual lets the exploring policy hop as far as the one that is judged, and step sizes fade away.
_REPLAYED_IMITATION: dict[str, Any] = {
    "reward.steps": 32,
    "reward.hidden": (64, 64),
    "reward.gradient_penalty_weight": 10.0,
    "policy.hidden": (128, 128),
    "policy.critics.hidden": (128, 128),
    "policy.minibatch": 128,
    "policy.update_ratio": 2.0,
    "policy.noiseless": 0.25,
    "policy.demonstrated": 0.25,
    "policy.n_step": 3,
    "policy.critics.bounded": True,
    "policy.target_entropy": -2.0,
    "policy.average": 0.995,
    "schedule.anneal": True,
}
# Where no fall ends an episode half of the updates is enough, and the logit, which may have either sign, still tells
# bad from worse. There is no fall that critics have to hear of. A cheetah that starts wrongly lies on its back for a
# thousand steps: step sizes that fade away keep the start, which is seldom seen, from being lost again.
_REPLAYED_IMITATION_ON: dict[str, dict[str, Any]] = {
    "halfcheetah": {
        "reward.form": "logit",
        "reward.steps": 16,
        "policy.update_ratio": 1.0,
        "policy.n_step": 1,
        "policy.critics.bounded": False,
        "policy.average": 0.99,
    }
}
_CLONE_ON: dict[str, dict[str, Any]] = {"humanoid": {"policy.hidden": (256, 256)}}
_TASKS = {"ppo": _EXPERT_ON, "gasil": _EXPERT_ON, "trpo": {}, "bc": _CLONE_ON, "dagger": _CLONE_ON}


def preset(
    name: str, env: str | None = "hopper", *, policy: str | None = None, num_envs: int | None = None
) -> tuple[Learner, RunSettings]:
    """What `gailfe train NAME --env ENV` starts from.

    Args:
      name: of the method.
      env: task; None for what suits any.
      policy: name of another policy step than the method's own.
      num_envs: environments of each seed; the preset's own number if None. From `SCALE_FROM` on the preset is another.

    Returns:
      `(method, run settings)`.

    Raises:
      GailfeError: unknown method, policy step or task.
    """
    expect("env", env, (str, type(None)), "the name of a task")
    method, task = find_method(name), "" if env is None else base_name(env)
    # Of what a user registered, a reward is imitated and a policy step is on the true reward.
    imitates = getattr(method, "reward", None) is not None
    on_task = _TASKS.get(name, _IMITATION_ON if imitates else {}).get(task, {})
    values = _METHODS.get(name, _IMITATION if imitates else {}) | on_task
    method = _put(method, values)
    if policy is not None:
        method = with_policy(method, policy)
    if isinstance(method.policy, ReplayedUpdate):
        fitted = _REPLAYED_IMITATION | _REPLAYED_IMITATION_ON.get(task, {}) if imitates else {}
        method = _put(method, _REPLAYED | fitted)
    if num_envs is not None:
        method = _with_envs(method, num_envs)
    return method, _run_settings(method, task)


def for_thousands(name: str, num_envs: int) -> bool:
    """Whether the preset of method `name` for so many environments of each seed is the one for thousands."""
    return num_envs >= SCALE_FROM and name not in ("bc", "dagger")


def _with_envs(method: Learner, num_envs: int) -> Learner:
    values: dict[str, Any] = {"rollout.num_envs": num_envs}
    if for_thousands(method.name, num_envs) and isinstance(method.policy, ReplayedUpdate):
        few, batch = method.rollout.batch_size, num_envs * method.rollout.unroll_length
        values |= {
            "policy.update_ratio": method.policy.update_ratio * few / batch,
            "policy.minibatch": num_envs,
            "policy.replay": max(method.policy.replay, _SCALE_REPLAY_ITERATIONS * batch),
            "reward.minibatch": num_envs // 4,
            "policy.average": _SCALE_AVERAGE if method.policy.average else 0.0,
        }
    elif for_thousands(method.name, num_envs):
        batch = num_envs * _SCALE_UNROLL
        minibatches = dict.fromkeys(("policy.value_minibatch", "policy.model.minibatch"), batch // 16)
        values = _SCALE | (_SCALE_MAIL if getattr(method.policy, "model_based", False) else {}) | minibatches | values
        if isinstance(method.policy, PPO):
            values["policy.lr"] = _SCALE_PPO * method.policy.lr
            # No less than a task's own: mountain_car needs more entropy.
            own = {name: leaf.value for name, leaf in leaves(method).items()} | values
            values |= {name: max(least, own[name]) for name, least in _SCALE_METHODS.get(method.name, {}).items()}
        values |= {"policy.average": _SCALE_AVERAGE} if method.policy.average else {}
    return _put(method, values)


def _put(method: Learner, values: dict[str, Any]) -> Learner:
    """`method` with those of `values` that it has."""
    return without_unread(put(method, {key: value for key, value in values.items() if key in leaves(method)}))


def _run_settings(method: Learner, task: str) -> RunSettings:
    """How long, and how often to look."""
    if method.name == "ppo":
        steps = _EXPERT_STEPS.get(task, 3e6)
        return RunSettings(steps=steps, eval_every=min(200_000, steps / 5))
    if method.name == "bc":
        batch = method.rollout.batch_size
        return RunSettings(steps=1000 * batch, eval_every=100 * batch)
    if method.name == "dagger":
        return RunSettings(steps=200_000, eval_every=20_000)
    if method.rollout.num_envs >= SCALE_FROM:
        batch = method.rollout.batch_size
        return RunSettings(steps=150 * batch)
    if isinstance(method.policy, ReplayedUpdate):
        return RunSettings(steps=200_000, eval_every=10_000)
    return RunSettings()
