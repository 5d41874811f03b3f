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
      shapes: name -> what differs from our preset.
    """

    peer: str
    script: str
    algo: str
    shapes: dict[str, dict[str, Any]]


IMITATION = Comparison(
    "imitation GAIL",
    "imitation_gail.py",
    "gail",
    {
        "preset, 1024-step iterations": {"num_envs": 8, "unroll_length": 128},
        "8192-step iterations": {"num_envs": 256, "unroll_length": 32},
        # Its 4096-step rounds of 8 environments, policy step and networks, but at most one fresh batch of each kind
        # (4096 pairs, of its 8192) per step of the discriminator.
        "the peer's settings": {
            "generator": "ppo", "num_envs": 8, "unroll_length": 512, "hidden": (32, 32), "ppo_epochs": 5,
            "ppo_minibatches": 64, "disc_hidden": (32, 32), "disc_steps": 8, "disc_minibatch": 4096,
            "gradient_penalty": False,
        },
    },
)  # fmt: skip
STABLE_BASELINES3 = Comparison(
    "Stable-Baselines3 PPO",
    "sb3_ppo.py",
    "ppo",
    {
        "preset, 64 environments": {"num_envs": 64, "unroll_length": 128},
        "preset, 8 environments": {"num_envs": 8, "unroll_length": 1024},
        "the peer's networks, 256 environments": {"num_envs": 256, "unroll_length": 32, "hidden": (64, 64)},
        # Its default: 2048 steps of 8 environments, 10 passes in minibatches of 64.
        "the peer's settings": {
            "num_envs": 8, "unroll_length": 2048, "hidden": (64, 64), "ppo_epochs": 10, "ppo_minibatches": 256,
        },
    },
)  # fmt: skip
