"""gailfe_jax: adversarial imitation learning in JAX, from demonstrations and from failures.

    from gailfe_jax import Config, RunSettings, DemoSettings, train, load_expert

    result = train(Config(algo="gail", env="hopper"), settings=RunSettings(steps=1e6, seeds=5),
                   demos=DemoSettings("demos.npz"), out="runs/gail")
    action = result.policies[0].act(obs)      # NumPy in, NumPy out

Names are imported on first use, so that `import gailfe_jax` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "ALGORITHMS": "algorithms",
    "Annotator": "data.annotators",
    "Config": "config",
    "DemoSettings": "train",
    "Demonstrations": "data.demonstrations",
    "GailfeError": "types",
    "Hyper": "config",
    "Policy": "policy",
    "RunSettings": "train",
    "annotators": "data.annotators",
    "collect_demonstrations": "collect",
    "evaluate_path": "runs",
    "evaluate_policy": "evaluate",
    "load_expert": "policy",
    "load_policies": "train",
    "make_env": "envs",
    "make_learner": "algorithms",
    "preset": "presets",
    "record_video": "video",
    "train": "train",
}

__version__ = "0.1.0"
__all__ = [*_EXPORTS, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'gailfe_jax' has no attribute {name!r}")
    module = importlib.import_module(f"gailfe_jax.{_EXPORTS[name]}")
    return module if name == "annotators" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
