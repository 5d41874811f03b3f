# pyright: reportMissingImports=false
"""PPO of Stable-Baselines3 with its default configuration."""

from __future__ import annotations

import measure
import torch
from stable_baselines3 import PPO
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


def main() -> None:
    args = measure.arguments(__doc__ or "").parse_args()
    torch.set_num_threads(args.threads)
    task, vec = measure.TASKS[args.task], {"dummy": DummyVecEnv, "subproc": SubprocVecEnv}[args.vec]
    judge = make_vec_env(task, args.episodes, seed=args.seed + 1000)
    meter = measure.Meter(
        args, lambda: float(evaluate_policy(model.policy, judge, args.episodes, deterministic=True)[0])
    )
    venv = make_vec_env(task, args.num_envs, seed=args.seed, vec_env_cls=vec)
    model = PPO("MlpPolicy", venv, seed=args.seed, device="cpu")
    meter.start()
    model.learn(MANY_STEPS, callback=Iterations(meter))
    venv.close()
    names = ("n_steps", "batch_size", "n_epochs", "learning_rate", "gamma", "gae_lambda", "ent_coef", "vf_coef")
    configuration = {name: getattr(model, name) for name in (*names, "max_grad_norm")}
    meter.write(
        peer="Stable-Baselines3 PPO", configuration=configuration | {"policy": "MlpPolicy", "normalised": False}
    )


if __name__ == "__main__":
    main()
