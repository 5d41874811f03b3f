# pyright: reportMissingImports=false
"""What the scripts of Stable-Baselines3's methods share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import measure
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

MANY_STEPS = 10**9


class Iterations(BaseCallback):
    """Tells the meter of each iteration: a rollout begins where the update before it has ended."""

    def __init__(self, meter: measure.Meter):
        super().__init__()
        self.meter = meter
        self.go_on = True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps:
            self.go_on = self.meter.iteration(self.num_timesteps)

    def _on_step(self) -> bool:
        return self.go_on


def train(description: str, make: Callable[..., Any], names: Sequence[str], **facts: Any) -> None:
    """Trains as the command line asks and writes the result.

    Args:
      description: of the script.
      make: of policy, environments, seed and device, the model.
      names: of its settings that the result holds.
      facts: which the result holds besides: the peer's name, and of `configuration` what its settings do not say.
    """
    args = measure.arguments(description).parse_args()
    torch.set_num_threads(args.threads)
    task, vec = measure.TASKS[args.task], {"dummy": DummyVecEnv, "subproc": SubprocVecEnv}[args.vec]
    judge = make_vec_env(task, args.episodes, seed=args.seed + 1000)
    meter = measure.Meter(
        args, lambda: float(evaluate_policy(model.policy, judge, args.episodes, deterministic=True)[0])
    )
    venv = make_vec_env(task, args.num_envs, seed=args.seed, vec_env_cls=vec)
    model = make("MlpPolicy", venv, seed=args.seed, device="cpu")
    meter.start()
    model.learn(MANY_STEPS, callback=Iterations(meter))
    venv.close()
    configuration = {name: getattr(model, name) for name in names} | facts.pop("configuration", {})
    meter.write(**facts, configuration=configuration | {"policy": "MlpPolicy"})
