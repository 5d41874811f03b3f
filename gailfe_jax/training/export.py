"""What a run's state becomes for people: policies, discriminators and values as NumPy objects and files."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from gailfe_jax.artifacts.confidence import Confidence
from gailfe_jax.artifacts.numpy_mlp import mlp_weights
from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.artifacts.value import ValueEstimate
from gailfe_jax.envs import task_record
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.adversarial import Adversarial
from gailfe_jax.learners.base import Learner, LearnerState
from gailfe_jax.learners.methods import policy_name
from gailfe_jax.policies.actor import Actor
from gailfe_jax.policies.actor_critic import ActorCritic
from gailfe_jax.rewards.discriminator import Discriminator
from gailfe_jax.rewards.observed import ALL


def to_policies(
    state: LearnerState, learner: Learner, env_name: str, steps: int, seeds: np.ndarray
) -> list[Policy | None]:
    """The policies of `[S]` states as NumPy objects, one per seed; None for one whose numbers are not finite.

    Args:
      state: `[S]` states.
      learner: the method on its environment.
      env_name: what the environment is called.
      steps: environment steps of each seed.
      seeds: `[S]` seed numbers.
    """
    agents = jax.tree.map(np.asarray, (state.agent.evaluated, state.agent.obs_stats))
    actor, spec = learner.policy, learner.env.spec
    metadata = _metadata(learner, env_name, steps) | {"generator": policy_name(learner)}
    policies: list[Policy | None] = []
    for i, seed in enumerate(seeds):
        params, stats = jax.tree.map(lambda x, i=i: x[i], agents)
        try:
            weights, log_std = _in_actions(actor, params["params"])
            policy = Policy(
                weights=weights,
                activation=actor.activation,
                obs_mean=stats.mean,
                obs_std=np.asarray(stats.std),
                log_std=log_std,
                action_low=np.asarray(spec.action_low, np.float32),
                action_high=np.asarray(spec.action_high, np.float32),
                metadata=metadata | {"seed": str(int(seed))},
                squashed="squashed" in params["params"],
            )
        except GailfeError:
            policy = None
        policies.append(policy)
    return policies


def _in_actions(actor: Actor, params: dict[str, Any]) -> tuple[list[tuple[np.ndarray, np.ndarray]], Any]:
    """The policy network's layers, and the log standard deviations, in units of actions (see `ActionUnits`); None for
    those of a choice, and of a squashed Gaussian, whose units are its bounds."""
    if "squashed" in params:
        return mlp_weights(params["squashed"]), None
    if actor.problem.spec.discrete:
        return mlp_weights(params["logits"]), None
    weights = list(mlp_weights(params["mean" if actor.mixture == 1 else "components"]))
    log_std, units = params["log_std"], actor.action_units
    if units is None:
        return weights, log_std
    kernel, bias = weights[-1]
    centre, half = (np.tile(np.asarray(part, np.float32), actor.mixture) for part in (units.centre, units.half))
    # A mixture's logits stand behind its means, and have no unit.
    rest = kernel.shape[1] - len(half)
    half, centre = np.append(half, np.ones(rest, np.float32)), np.append(centre, np.zeros(rest, np.float32))
    weights[-1] = (kernel * half, bias * half + centre)
    return weights, log_std + np.log(np.asarray(units.half, np.float32))


def save_policies(policies: list[Policy | None], names: Sequence[int], folder: pathlib.Path, prefix: str = "") -> None:
    """Writes one file for each policy there is."""
    for name, policy in zip(names, policies, strict=True):
        if policy is not None:
            policy.save(folder / f"{prefix}seed_{name}.safetensors")


def to_confidences(
    state: LearnerState, learner: Learner, env_name: str, steps: int, seeds: np.ndarray
) -> list[Confidence]:
    """The discriminators of `[S]` states as NumPy objects, one per seed; none without a discriminator."""
    reward = learner.reward if isinstance(learner, Adversarial) else None
    if not isinstance(reward, Discriminator):
        return []
    params, stats = jax.tree.map(np.asarray, (state.reward.params, state.reward.stats))
    std = np.asarray(stats.std)
    return [
        Confidence(
            layers=_of_pairs(reward, mlp_weights(jax.tree.map(lambda x, i=i: x[i], params["params"]))),
            activation=reward.activation,
            mean=stats.mean[i],
            std=std[i],
            obs_size=learner.env.spec.obs_size,
            inputs=reward.inputs,
            features=reward.columns,
            metadata=_metadata(learner, env_name, steps) | {"seed": str(int(seed))},
        )
        for i, seed in enumerate(seeds)
    ]


def to_values(
    state: LearnerState, learner: Learner, env_name: str, steps: int, seeds: np.ndarray
) -> list[ValueEstimate]:
    """The value networks of `[S]` states as NumPy objects, one per seed; none where the policy step has none, or its
    own sees more than an observation."""
    step = learner.policy if isinstance(learner, Adversarial) else None
    if not isinstance(step, ActorCritic) or step.asks_time:
        return []
    agent = state.agent
    params, stats, scale = jax.tree.map(np.asarray, (agent.value, agent.obs_stats, agent.return_scale))
    (means, stds), obs_std, found = map(np.asarray, scale.moments), np.asarray(stats.std), []
    for i, seed in enumerate(seeds):
        *layers, (kernel, bias) = mlp_weights(jax.tree.map(lambda x, i=i: x[i], params["params"]))
        found.append(
            ValueEstimate(
                layers=[*layers, (kernel * stds[i], bias * stds[i] + means[i])],
                activation=step.activation,
                obs_mean=stats.mean[i],
                obs_std=obs_std[i],
                metadata=_metadata(learner, env_name, steps) | {"seed": str(int(seed))},
            )
        )
    return found


def _of_pairs(
    reward: Discriminator, layers: list[tuple[np.ndarray, np.ndarray]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The network on pairs alone: the absorbing state's mark is zero there."""
    if not reward.absorbing:
        return layers
    (kernel, bias), *rest = layers
    return [(kernel[:-1], bias), *rest]


def _metadata(learner: Learner, env_name: str, steps: int) -> dict[str, str]:
    task, record = learner.problem.spec.name, task_record(learner.env)
    # A task out of a file is found by its path, and known by its name and by what its files hold.
    named = {} if task == env_name else {"task": task}
    named |= {} if record is None else {"task_files": json.dumps(record["files"], sort_keys=True)}
    reward = learner.reward if isinstance(learner, Adversarial) else None
    if isinstance(reward, Discriminator) and (reward.inputs != "state-action" or reward.features != ALL):
        # What the policy was imitated from.
        named |= {"reward_inputs": reward.inputs, "reward_features": reward.features}
    return {"env": env_name, "algo": learner.name, "steps": str(steps)} | named
