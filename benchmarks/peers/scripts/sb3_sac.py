# pyright: reportMissingImports=false
"""SAC of Stable-Baselines3 with its default configuration, and one update for each environment step."""

from __future__ import annotations

import functools

import sb3
from stable_baselines3 import SAC

NAMES = ("batch_size", "learning_rate", "gamma", "tau", "ent_coef", "buffer_size", "gradient_steps")

if __name__ == "__main__":
    # As many updates as environment steps, from the first on.
    make = functools.partial(SAC, gradient_steps=-1, learning_starts=0)
    sb3.train(__doc__ or "", make, NAMES, peer="Stable-Baselines3 SAC")
