"""Environments that the models in `models/` are for.

Stable-Baselines3 2.9.2 made them: untrained, with noise on their weights. `expected.npz` holds observations, and what
its own `predict` gives there.
"""

from __future__ import annotations

import pathlib

from gailfe_jax.types import EnvSpec

MODELS = pathlib.Path(__file__).parent / "models"
LIFT = EnvSpec("lift", None, "none", 3, 2, (-2.0, -0.5), (2.0, 1.5), 5)
CHOICES = EnvSpec("pick", None, "none", 3, 3, (0.0,) * 3, (1.0,) * 3, 5, discrete=True)
