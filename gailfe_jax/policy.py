"""All that a robot needs of this package: policy files that act, and the discriminator as a measure of confidence.

Neither JAX nor MuJoCo is imported; NumPy and safetensors are enough:

    pip install --no-deps gailfe-jax numpy safetensors

    from gailfe_jax.policy import Policy

    policy = Policy.load("seed_0.safetensors")
    action = policy.act(obs)                               # or, as in Stable-Baselines3:
    action, _ = policy.predict(obs, deterministic=True)

The layout of the files is in docs/deploy.md.
"""

from __future__ import annotations

from gailfe_jax.artifacts.confidence import Confidence
from gailfe_jax.artifacts.policy import Policy, PolicyBatch, expert_names, load_expert
from gailfe_jax.errors import GailfeError

__all__ = ["Confidence", "GailfeError", "Policy", "PolicyBatch", "expert_names", "load_expert"]
