# pyright: reportMissingImports=false
"""What the peers' scripts share: arguments, demonstrations, a clock that stops for evaluations, and the JSON file.

These scripts run in the peers' own environment (requirements.txt) and import nothing of gailfe_jax.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import pathlib
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np

# The v4 environments load the same model files as v5. Their rewards are the same but for Hopper's healthy reward, which
# v4 pays in the step that falls too: a fallen episode's return is 1 higher.
TASKS = {"halfcheetah": "HalfCheetah-v4", "hopper": "Hopper-v4"}
PACKAGES = ("imitation", "stable-baselines3", "torch", "gymnasium", "mujoco", "numpy")


def arguments(description: str) -> argparse.ArgumentParser:
    """The arguments that both scripts take."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--out", required=True, help="JSON file to write")
    parser.add_argument("--seconds", type=float, required=True, help="stop after so many of training")
    parser.add_argument("--num-envs", type=int, default=8)
    parser.add_argument(
        "--vec", choices=("dummy", "subproc"), default="dummy", help="environments in turn or as processes"
    )
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--eval-every", type=int, default=0, help="steps between evaluations; 0: measure speed only")
    parser.add_argument("--episodes", type=int, default=10, help="of an evaluation")
    parser.add_argument(
        "--target", type=float, default=float("inf"), help="stop at an evaluation with this mean return"
    )
    return parser


def read_demonstrations(path: str) -> list[dict[str, np.ndarray]]:
    """The expert's trajectories of our .npz file: `obs` `[t + 1, o]`, `action` `[t, a]`, `terminated`."""
    with np.load(path, allow_pickle=False) as file:
        part = {name: file[f"expert/{name}"] for name in ("obs", "action", "next_obs", "terminated", "offsets")}
    return [
        {
            "obs": np.concatenate([part["obs"][start:stop], part["next_obs"][stop - 1 : stop]]),
            "action": part["action"][start:stop],
            "terminated": part["terminated"][stop - 1],
        }
        for start, stop in zip(part["offsets"][:-1], part["offsets"][1:])
    ]


class Meter:
    """Times iterations: without evaluations, and for speed without the first one.

    Args:
      args: of `arguments`.
      evaluate: mean return of the deterministic policy; called every `args.eval_every` steps.
    """

    def __init__(self, args: argparse.Namespace, evaluate: Callable[[], float]):
        self.args = args
        self.evaluate = evaluate
        self.marks: list[tuple[int, float]] = []  # Steps and seconds at the end of each iteration.
        self.curve: list[dict[str, float]] = []
        self.evaluation_seconds = 0.0
        self._made = self._origin = time.perf_counter()

    def start(self) -> None:
        """The first iteration begins."""
        self._origin = time.perf_counter()
        self.setup_seconds = self._origin - self._made

    def iteration(self, steps: int) -> bool:
        """Notes that an iteration has ended after `steps` environment steps in all; returns whether to go on."""
        seconds = time.perf_counter() - self._origin
        self.marks.append((steps, seconds))
        if not self.args.eval_every:
            return seconds - self.marks[0][1] < self.args.seconds or len(self.marks) < 2
        if steps >= self.args.eval_every * (len(self.curve) + 1):
            start = time.perf_counter()
            self.curve.append({"steps": steps, "seconds": seconds, "return": self.evaluate()})
            spent = time.perf_counter() - start
            self._origin += spent
            self.evaluation_seconds += spent
            if self.curve[-1]["return"] >= self.args.target:
                return False
        return seconds < self.args.seconds

    def write(self, **facts: Any) -> None:
        """Writes `args.out`; `facts` are the peer's name and its configuration."""
        steps, seconds = self.marks[-1]
        first = (0, 0.0) if self.args.eval_every else self.marks[0]
        result = facts | {
            "task": TASKS[self.args.task],
            **{name: getattr(self.args, name) for name in ("num_envs", "vec", "threads", "seed")},
            "steps": steps - first[0],
            "seconds": seconds - first[1],
            "steps_per_second": (steps - first[0]) / (seconds - first[1]),
            "iterations": len(self.marks),
            "setup_seconds": self.setup_seconds,
            "evaluation_seconds": self.evaluation_seconds,
            "curve": self.curve,
            "python": platform.python_version(),
            "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        }
        pathlib.Path(self.args.out).write_text(json.dumps(result, indent=1), encoding="utf-8")
