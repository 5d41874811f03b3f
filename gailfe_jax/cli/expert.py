"""`gailfe expert`."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import tyro

from gailfe_jax.cli.parsing import Flat, parse, peek
from gailfe_jax.config.flat import Config, Hyper
from gailfe_jax.errors import GailfeError
from gailfe_jax.methods.presets import preset
from gailfe_jax.training.loop import RunSettings


@dataclasses.dataclass(frozen=True)
class Expert:
    """Train an expert with PPO on the true reward and write the best policy, judged in Gymnasium."""

    out: str
    """Policy file to write (.safetensors); a report is written beside it (.json)."""
    run_dir: str | None = None
    """Folder of the PPO run; runs/expert-<env> by default."""
    episodes: int = 50
    """Fresh Gymnasium episodes behind the reported return."""
    resume: bool = False
    """Continue an interrupted run."""
    run: Flat[RunSettings] = dataclasses.field(default_factory=RunSettings)
    config: Flat[Config] = dataclasses.field(default_factory=Config)
    hyper: Flat[Hyper] = dataclasses.field(default_factory=Hyper)

    def __call__(self) -> int:
        from gailfe_jax.apps.expert import train_expert
        from gailfe_jax.envs import make_env
        from gailfe_jax.training.logger import write_json_atomic

        spec = make_env(self.config.env, self.config.engine, **self.config.engine_options).spec
        if spec.gymnasium_id is None:
            raise GailfeError(f"env: {spec.name} has no Gymnasium environment to judge an expert in; use gailfe train")
        report = train_expert(
            self.config, self.hyper, self.run, gymnasium_id=spec.gymnasium_id,
            run_dir=self.run_dir or f"runs/expert-{spec.name}", out=self.out, episodes=self.episodes,
            resume=self.resume,
        )  # fmt: skip
        write_json_atomic(pathlib.Path(self.out).with_suffix(".json"), report)
        print(f"{self.out}: {report['mean']:.0f} ± {report['std']:.0f} over {self.episodes} Gymnasium episodes")
        return 0


def defaults(args: Sequence[str]) -> Expert:
    """What `gailfe expert` starts from: the presets of PPO on the task that `args` name."""
    config, hyper, run = preset("ppo", peek(args, "--env") or "hopper")
    missing: Any = tyro.MISSING
    return Expert(out=missing, run=run, config=config, hyper=hyper)


def run(args: Sequence[str]) -> int:
    return parse(Expert, "expert", args, defaults(args))()
