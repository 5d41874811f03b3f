# pyright: reportMissingImports=false
"""PPO of Stable-Baselines3 with its default configuration."""

from __future__ import annotations

import sb3
from stable_baselines3 import PPO

NAMES = ("n_steps", "batch_size", "n_epochs", "learning_rate", "gamma", "gae_lambda", "ent_coef", "vf_coef")

if __name__ == "__main__":
    names, peer = (*NAMES, "max_grad_norm"), "Stable-Baselines3 PPO"
    sb3.train(__doc__ or "", PPO, names, peer=peer, configuration={"normalised": False})
