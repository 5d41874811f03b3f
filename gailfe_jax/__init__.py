"""gailfe_jax: adversarial imitation learning in JAX, from demonstrations and from failures.

    from gailfe_jax import Config, DemoSettings, RunSettings
    from gailfe_jax.train import train

    settings = RunSettings(steps=1e6, seeds=5)
    result = train(Config(algo="gail", env="hopper"), settings=settings, demos=DemoSettings("demos.npz"), out="runs/x")
    action = result.policies[0].act(obs)  # NumPy in, NumPy out

Names are imported on first use, so that `import gailfe_jax` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gailfe_jax.algorithms import ALGORITHMS, make_learner
    from gailfe_jax.collect import collect_demonstrations
    from gailfe_jax.confidences import Confidence, confidence
    from gailfe_jax.config import Config, Hyper
    from gailfe_jax.data import annotators
    from gailfe_jax.data.annotators import Annotator
    from gailfe_jax.data.demonstrations import Demonstrations
    from gailfe_jax.envs import make_env
    from gailfe_jax.evaluate import evaluate_policy
    from gailfe_jax.interactive import forward_training, smile
    from gailfe_jax.objectives.linear import register_features
    from gailfe_jax.policy import Policy, load_expert
    from gailfe_jax.presets import preset
    from gailfe_jax.runs import evaluate_path
    from gailfe_jax.train import DemoSettings, RunSettings, load_policies
    from gailfe_jax.types import GailfeError
    from gailfe_jax.video import record_video

__version__ = "0.1.0"

_MODULES = {
    "algorithms": ("ALGORITHMS", "make_learner"),
    "collect": ("collect_demonstrations",),
    "confidences": ("Confidence", "confidence"),
    "config": ("Config", "Hyper"),
    "data": ("annotators",),
    "data.annotators": ("Annotator",),
    "data.demonstrations": ("Demonstrations",),
    "envs": ("make_env",),
    "evaluate": ("evaluate_policy",),
    "objectives.linear": ("register_features",),
    "interactive": ("forward_training", "smile"),
    "policy": ("Policy", "load_expert"),
    "presets": ("preset",),
    "runs": ("evaluate_path",),
    "train": ("DemoSettings", "RunSettings", "load_policies"),
    "types": ("GailfeError",),
    "video": ("record_video",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "ALGORITHMS",
    "Annotator",
    "Confidence",
    "Config",
    "DemoSettings",
    "Demonstrations",
    "GailfeError",
    "Hyper",
    "Policy",
    "RunSettings",
    "annotators",
    "collect_demonstrations",
    "confidence",
    "evaluate_path",
    "evaluate_policy",
    "forward_training",
    "load_expert",
    "load_policies",
    "make_env",
    "make_learner",
    "preset",
    "record_video",
    "register_features",
    "smile",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gailfe_jax' has no attribute {name!r}")
    if name == "annotators":
        return importlib.import_module("gailfe_jax.data.annotators")
    return getattr(importlib.import_module(f"gailfe_jax.{_HOME[name]}"), name)
