"""The peers, and which of our configurations are measured beside each."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A peer, and ours that are measured beside it.

    Attributes:
      peer: its name.
      script: in `benchmarks/peers/scripts/`.
      algo: our method.
      shapes: name -> settings that differ from our preset, by name.
      seeds: name -> how many of ours train in one program, where it is not one.
      steps: ours, of each seed and repeat.
    """

    peer: str
    script: str
    algo: str
    shapes: dict[str, dict[str, Any]]
    seeds: dict[str, int] = dataclasses.field(default_factory=dict)
    steps: int = 65_536


IMITATION = Comparison(
    "imitation GAIL",
    "imitation_gail.py",
    "gail",
    {
        "preset, 1024-step iterations": {"rollout.num_envs": 8, "rollout.unroll_length": 128},
        "8192-step iterations": {"rollout.num_envs": 256, "rollout.unroll_length": 32},
        # Its 4096-step rounds of 8 environments, policy step and networks, but at most one fresh batch of each kind
        # (4096 pairs, of its 8192) per step of the discriminator.
        "the peer's settings": {
            "policy": "ppo", "rollout.num_envs": 8, "rollout.unroll_length": 512, "policy.hidden": (32, 32),
            "policy.epochs": 5, "policy.minibatches": 64, "reward.hidden": (32, 32), "reward.steps": 8,
            "reward.minibatch": 4096, "reward.gradient_penalty": False,
        },
    },
)  # fmt: skip
STABLE_BASELINES3 = Comparison(
    "Stable-Baselines3 PPO",
    "sb3_ppo.py",
    "ppo",
    {
        "preset, 64 environments": {"rollout.num_envs": 64, "rollout.unroll_length": 128},
        "preset, 8 environments": {"rollout.num_envs": 8, "rollout.unroll_length": 1024},
        "the peer's networks, 256 environments": {
            "rollout.num_envs": 256, "rollout.unroll_length": 32, "policy.hidden": (64, 64),
        },
        # Its default: 2048 steps of 8 environments, 10 passes in minibatches of 64.
        "the peer's settings": {
            "rollout.num_envs": 8, "rollout.unroll_length": 2048, "policy.hidden": (64, 64), "policy.epochs": 10,
            "policy.minibatches": 256,
        },
    },
)  # fmt: skip
# Its default networks and minibatches, 8 environments, and an update of everything for each environment step.
_SAC: dict[str, Any] = {
    "rollout.num_envs": 8, "rollout.unroll_length": 8, "policy.hidden": (256, 256), "policy.critics.hidden": (256, 256),
    "policy.critics.layer_norm": False, "policy.minibatch": 256, "policy.update_ratio": 1.0, "policy.policy_delay": 1,
    "policy.random_steps": 0,
}  # fmt: skip
STABLE_BASELINES3_SAC = Comparison(
    "Stable-Baselines3 SAC",
    "sb3_sac.py",
    "sac",
    {"the peer's settings, one seed": _SAC, "the peer's settings, 5 seeds": _SAC},
    seeds={"the peer's settings, 5 seeds": 5},
    steps=1024,
)
