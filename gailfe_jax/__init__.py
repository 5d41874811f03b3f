"""gailfe_jax: adversarial imitation learning in JAX, from demonstrations and from failures.

    import gailfe_jax as gf

    result = gf.train("gail", env="hopper", demos="demos.npz", run=gf.RunSettings(steps=1e6, seeds=5), out="runs/x")
    action = result.policies[0].act(obs)  # NumPy in, NumPy out

Names are imported on first use, so that `import gailfe_jax` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gailfe_jax.analysis.evaluation import evaluate_policy
    from gailfe_jax.analysis.video import record_video
    from gailfe_jax.apps.card import write_card
    from gailfe_jax.apps.collection import collect_demonstrations
    from gailfe_jax.apps.evaluate_run import evaluate_path
    from gailfe_jax.apps.export import export_path
    from gailfe_jax.apps.importing import import_demonstrations
    from gailfe_jax.apps.inspection import inspect_demonstrations
    from gailfe_jax.artifacts.confidence import Confidence, confidence
    from gailfe_jax.artifacts.policy import Policy, load_expert
    from gailfe_jax.config.parts import Part, bound, setting, subpart, traced
    from gailfe_jax.config.run import DemoSettings, EnvSettings, RunSettings
    from gailfe_jax.data import annotators
    from gailfe_jax.data.annotators import Annotator, register_annotator
    from gailfe_jax.data.episodes import Episode, Recording
    from gailfe_jax.data.formats import register_demonstration_format
    from gailfe_jax.data.recordings import register_recording_format
    from gailfe_jax.data.trajectories import Demonstrations, Trajectories
    from gailfe_jax.envs import make_env, register_task
    from gailfe_jax.envs.host import gymnasium_env
    from gailfe_jax.envs.mujoco_task import mujoco_task
    from gailfe_jax.envs.task_file import load_task
    from gailfe_jax.errors import GailfeError
    from gailfe_jax.foreign.registry import read_expert
    from gailfe_jax.learners.base import Rollout
    from gailfe_jax.learners.cloning import BC, Likelihood
    from gailfe_jax.learners.dagger import DAgger
    from gailfe_jax.learners.forward_training import forward_training
    from gailfe_jax.learners.methods import (
        GAIL,
        GAILFE,
        GASIL,
        METHODS,
        Imitation,
        ModelBasedGAIL,
        ReinforcementLearning,
    )
    from gailfe_jax.learners.presets import preset
    from gailfe_jax.learners.schedule import LikelihoodTerm, Schedule, TrueReward
    from gailfe_jax.learners.self_imitation import SelfImitation
    from gailfe_jax.learners.setup import Setup, build_setup
    from gailfe_jax.learners.smile import smile
    from gailfe_jax.learners.sources import Failures, SelfDemonstrations
    from gailfe_jax.learners.stagewise import Stagewise
    from gailfe_jax.policies.actor import CloneStart
    from gailfe_jax.policies.actor_critic import ActorCritic
    from gailfe_jax.policies.base import Objective, PolicyUpdate
    from gailfe_jax.policies.forward_model import ForwardModel
    from gailfe_jax.policies.mail import MAIL
    from gailfe_jax.policies.ppo import PPO
    from gailfe_jax.policies.registry import register_policy_update
    from gailfe_jax.policies.trpo import TRPO
    from gailfe_jax.rewards.base import Reward, RewardBatch
    from gailfe_jax.rewards.constraint import FailureConstraint
    from gailfe_jax.rewards.discriminator import Discriminator
    from gailfe_jax.rewards.features import register_features
    from gailfe_jax.rewards.linear import FailureAware, FeatureMatching, GameTheoretic
    from gailfe_jax.rewards.registry import register_reward
    from gailfe_jax.training.loop import TrainResult, train
    from gailfe_jax.training.run_folder import load_policies

__version__ = "0.1.0"

_MODULES = {
    "analysis.evaluation": ("evaluate_policy",),
    "analysis.video": ("record_video",),
    "apps.card": ("write_card",),
    "apps.evaluate_run": ("evaluate_path",),
    "apps.export": ("export_path",),
    "artifacts.confidence": ("Confidence", "confidence"),
    "artifacts.policy": ("Policy", "load_expert"),
    "config.parts": ("Part", "bound", "setting", "subpart", "traced"),
    "config.run": ("DemoSettings", "EnvSettings", "RunSettings"),
    "data.annotators": ("Annotator", "register_annotator"),
    "data.episodes": ("Episode", "Recording"),
    "data.recordings": ("register_recording_format",),
    "apps.collection": ("collect_demonstrations",),
    "apps.importing": ("import_demonstrations",),
    "apps.inspection": ("inspect_demonstrations",),
    "data.formats": ("register_demonstration_format",),
    "data.trajectories": ("Demonstrations", "Trajectories"),
    "envs": ("make_env", "register_task"),
    "envs.host": ("gymnasium_env",),
    "envs.mujoco_task": ("mujoco_task",),
    "envs.task_file": ("load_task",),
    "errors": ("GailfeError",),
    "foreign.registry": ("read_expert",),
    "learners.base": ("Rollout",),
    "learners.cloning": ("BC", "Likelihood"),
    "learners.dagger": ("DAgger",),
    "learners.forward_training": ("forward_training",),
    "learners.schedule": ("LikelihoodTerm", "Schedule", "TrueReward"),
    "learners.self_imitation": ("SelfImitation",),
    "learners.smile": ("smile",),
    "learners.sources": ("Failures", "SelfDemonstrations"),
    "learners.stagewise": ("Stagewise",),
    "learners.presets": ("preset",),
    "learners.setup": ("Setup", "build_setup"),
    "learners.methods": ("GAIL", "GAILFE", "GASIL", "Imitation", "METHODS", "ModelBasedGAIL", "ReinforcementLearning"),
    "policies.actor": ("CloneStart",),
    "policies.actor_critic": ("ActorCritic",),
    "policies.base": ("Objective", "PolicyUpdate"),
    "policies.forward_model": ("ForwardModel",),
    "policies.mail": ("MAIL",),
    "policies.ppo": ("PPO",),
    "policies.registry": ("register_policy_update",),
    "policies.trpo": ("TRPO",),
    "rewards.base": ("Reward", "RewardBatch"),
    "rewards.constraint": ("FailureConstraint",),
    "rewards.discriminator": ("Discriminator",),
    "rewards.features": ("register_features",),
    "rewards.linear": ("FailureAware", "FeatureMatching", "GameTheoretic"),
    "rewards.registry": ("register_reward",),
    "training.loop": ("TrainResult", "train"),
    "training.run_folder": ("load_policies",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "ActorCritic",
    "Annotator",
    "BC",
    "CloneStart",
    "Confidence",
    "DAgger",
    "DemoSettings",
    "Demonstrations",
    "Discriminator",
    "EnvSettings",
    "Episode",
    "FailureAware",
    "FailureConstraint",
    "Failures",
    "FeatureMatching",
    "ForwardModel",
    "GAIL",
    "GAILFE",
    "GASIL",
    "GailfeError",
    "GameTheoretic",
    "Imitation",
    "Likelihood",
    "LikelihoodTerm",
    "MAIL",
    "METHODS",
    "ModelBasedGAIL",
    "Objective",
    "PPO",
    "Part",
    "Policy",
    "PolicyUpdate",
    "Recording",
    "ReinforcementLearning",
    "Reward",
    "RewardBatch",
    "Rollout",
    "RunSettings",
    "Schedule",
    "SelfDemonstrations",
    "SelfImitation",
    "Setup",
    "Stagewise",
    "TRPO",
    "TrainResult",
    "Trajectories",
    "TrueReward",
    "annotators",
    "bound",
    "build_setup",
    "collect_demonstrations",
    "confidence",
    "evaluate_path",
    "evaluate_policy",
    "export_path",
    "forward_training",
    "gymnasium_env",
    "import_demonstrations",
    "inspect_demonstrations",
    "load_expert",
    "load_policies",
    "load_task",
    "make_env",
    "mujoco_task",
    "preset",
    "read_expert",
    "record_video",
    "register_annotator",
    "register_demonstration_format",
    "register_features",
    "register_policy_update",
    "register_recording_format",
    "register_reward",
    "register_task",
    "setting",
    "smile",
    "subpart",
    "traced",
    "train",
    "write_card",
]


def __getattr__(name: str) -> Any:
    if name == "annotators":
        return importlib.import_module("gailfe_jax.data.annotators")
    if name not in _HOME:
        raise AttributeError(f"module 'gailfe_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(f"gailfe_jax.{_HOME[name]}"), name)
