"""gailfe_jax: adversarial imitation learning in JAX, from demonstrations and from failures.

    from gailfe_jax import Config, DemoSettings, RunSettings
    from gailfe_jax.training.loop import train

    settings = RunSettings(steps=1e6, seeds=5)
    result = train(Config(algo="gail", env="hopper"), settings=settings, demos=DemoSettings("demos.npz"), out="runs/x")
    action = result.policies[0].act(obs)  # NumPy in, NumPy out

Names are imported on first use, so that `import gailfe_jax` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gailfe_jax.analysis.evaluation import evaluate_policy
    from gailfe_jax.analysis.video import record_video
    from gailfe_jax.apps.evaluate_run import evaluate_path
    from gailfe_jax.artifacts.confidence import Confidence, confidence
    from gailfe_jax.artifacts.policy import Policy, load_expert
    from gailfe_jax.config.flat import Config, Hyper
    from gailfe_jax.data import annotators
    from gailfe_jax.data.annotators import Annotator
    from gailfe_jax.data.collection import collect_demonstrations
    from gailfe_jax.data.demonstrations import Demonstrations
    from gailfe_jax.envs import make_env, register_task
    from gailfe_jax.errors import GailfeError
    from gailfe_jax.learners.interactive import forward_training, smile
    from gailfe_jax.methods.presets import preset
    from gailfe_jax.methods.table import ALGORITHMS, make_learner
    from gailfe_jax.rewards.linear import register_features
    from gailfe_jax.training.loop import DemoSettings, RunSettings, load_policies

__version__ = "0.1.0"

_MODULES = {
    "analysis.evaluation": ("evaluate_policy",),
    "analysis.video": ("record_video",),
    "apps.evaluate_run": ("evaluate_path",),
    "artifacts.confidence": ("Confidence", "confidence"),
    "artifacts.policy": ("Policy", "load_expert"),
    "config.flat": ("Config", "Hyper"),
    "data": ("annotators",),
    "data.annotators": ("Annotator",),
    "data.collection": ("collect_demonstrations",),
    "data.demonstrations": ("Demonstrations",),
    "envs": ("make_env", "register_task"),
    "learners.interactive": ("forward_training", "smile"),
    "methods.presets": ("preset",),
    "methods.table": ("ALGORITHMS", "make_learner"),
    "rewards.linear": ("register_features",),
    "training.loop": ("DemoSettings", "RunSettings", "load_policies"),
    "errors": ("GailfeError",),
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
    "register_task",
    "smile",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gailfe_jax' has no attribute {name!r}")
    if name == "annotators":
        return importlib.import_module("gailfe_jax.data.annotators")
    return getattr(importlib.import_module(f"gailfe_jax.{_HOME[name]}"), name)
