# pyright: reportMissingImports=false
"""SAC of Stable-Baselines3 with its default configuration, and one update for each environment step."""

from __future__ import annotations

import measure
import sb3_ppo
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv


def main() -> None:
    args = measure.arguments(__doc__ or "").parse_args()
    torch.set_num_threads(args.threads)
    task, vec = measure.TASKS[args.task], {"dummy": DummyVecEnv, "subproc": SubprocVecEnv}[args.vec]
    judge = make_vec_env(task, args.episodes, seed=args.seed + 1000)
    meter = measure.Meter(
        args, lambda: float(evaluate_policy(model.policy, judge, args.episodes, deterministic=True)[0])
    )
    venv = make_vec_env(task, args.num_envs, seed=args.seed, vec_env_cls=vec)
    # As many updates as environment steps, from the first on.
    model = SAC("MlpPolicy", venv, seed=args.seed, device="cpu", gradient_steps=-1, learning_starts=0)
    meter.start()
    model.learn(sb3_ppo.MANY_STEPS, callback=sb3_ppo.Iterations(meter))
    venv.close()
    names = ("batch_size", "learning_rate", "gamma", "tau", "ent_coef", "buffer_size", "gradient_steps")
    configuration = {name: getattr(model, name) for name in names}
    meter.write(peer="Stable-Baselines3 SAC", configuration=configuration | {"policy": "MlpPolicy"})


if __name__ == "__main__":
    main()
