# pyright: reportMissingImports=false
"""GAIL of the `imitation` library with the configuration that it ships as tuned for the task."""

from __future__ import annotations

import contextlib
import importlib
import importlib.resources
import json
import tempfile
from typing import Any

import measure
import numpy as np
import torch
from imitation.algorithms.adversarial.gail import GAIL
from imitation.data.types import Trajectory
from imitation.rewards.reward_nets import NormalizedRewardNet
from imitation.util import logger
from imitation.util.util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

# It was tuned for variants of these tasks that observe the position and do not end when the robot falls.
TUNED = {"halfcheetah": "gail_seals_half_cheetah", "hopper": "gail_seals_hopper"}
MANY_STEPS = 10**9


class Enough(Exception):
    """Ends training from its callback."""


def resolved(value: Any) -> Any:
    """`value` with each `{"py/type": "module.Name"}` replaced by what it names."""
    if isinstance(value, dict):
        if set(value) == {"py/type"}:
            module, _, name = value["py/type"].rpartition(".")
            return getattr(importlib.import_module(module), name)
        return {key: resolved(item) for key, item in value.items()}
    return [resolved(item) for item in value] if isinstance(value, list) else value


def main() -> None:
    parser = measure.arguments(__doc__ or "")
    parser.add_argument("--demos", required=True, help="demonstration file (.npz)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    file = f"scripts/config/tuned_hps/{TUNED[args.task]}_best_hp_eval.json"
    tuned = json.loads((importlib.resources.files("imitation") / file).read_text(encoding="utf-8"))
    parts = {name: tuned[name] for name in ("algorithm_kwargs", "reward", "rl", "policy")}
    algorithm, reward, rl, policy = (resolved(part) for part in parts.values())

    task, rng = measure.TASKS[args.task], np.random.default_rng(args.seed)
    judge = make_vec_env(task, rng=np.random.default_rng(args.seed + 1000), n_envs=args.episodes)
    meter = measure.Meter(
        args, lambda: float(evaluate_policy(trainer.policy, judge, args.episodes, deterministic=True)[0])
    )
    venv = make_vec_env(task, rng=rng, n_envs=args.num_envs, parallel=args.vec == "subproc")
    network = reward["net_cls"](venv.observation_space, venv.action_space, **reward["net_kwargs"])
    generator = rl["rl_cls"](
        policy=policy["policy_cls"],
        policy_kwargs=policy["policy_kwargs"],
        env=venv,
        n_steps=rl["batch_size"] // args.num_envs,
        seed=args.seed,
        device="cpu",
        **rl["rl_kwargs"],
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = GAIL(
            demonstrations=[
                Trajectory(obs=t["obs"], acts=t["action"], infos=None, terminal=bool(t["terminated"]))
                for t in measure.read_demonstrations(args.demos)
            ],
            venv=venv,
            gen_algo=generator,
            reward_net=NormalizedRewardNet(network, reward["normalize_output_layer"]),
            # Hopper's episodes end early, which the library warns of and this package lives with.
            allow_variable_horizon=True,
            log_dir=folder,
            custom_logger=logger.configure(folder, format_strs=[]),
            **algorithm,
        )

        def after_round(number: int) -> None:
            if not meter.iteration((number + 1) * trainer.gen_train_timesteps):
                raise Enough

        meter.start()
        with contextlib.suppress(Enough):
            trainer.train(MANY_STEPS, after_round)
    venv.close()
    meter.write(peer="imitation GAIL", configuration={"file": file} | parts)


if __name__ == "__main__":
    main()
