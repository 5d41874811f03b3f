"""`gailfe train`."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import tyro

from gailfe_jax.cli.parsing import Flat, parse, peek
from gailfe_jax.config.flat import Config, Hyper
from gailfe_jax.methods.presets import preset
from gailfe_jax.training.loop import DemoSettings, RunSettings, load_run, settings_from_run


@dataclasses.dataclass(frozen=True)
class Train:
    """Train a policy: imitation from demonstrations (and failures), or PPO / TRPO on the true reward.

    Writes metrics.jsonl, TensorBoard events, config.json, checkpoints, policies, learning_curve.png and summary.json
    into --out. Ctrl-C ends the running chunk, saves and stops; --resume goes on bit for bit.
    """

    out: str
    """Run folder."""
    resume: bool = False
    """Continue the run in --out from its newest checkpoint, with the settings it was started with."""
    distributed: tuple[str, ...] | None = None
    """Share the run between processes, on one host or several, that are all started with this command: HOST:PORT of
    the first, how many there are, and which one this is, from 0; no words on Slurm, Open MPI and TPU pods."""
    run: Flat[RunSettings] = dataclasses.field(default_factory=RunSettings)
    demonstrations: Flat[DemoSettings] = dataclasses.field(default_factory=DemoSettings)
    config: Flat[Config] = dataclasses.field(default_factory=Config)
    hyper: Flat[Hyper] = dataclasses.field(default_factory=Hyper)

    def __call__(self) -> int:
        from gailfe_jax.parallel import distributed as hosts
        from gailfe_jax.training.loop import train

        with hosts.connected(self.distributed):
            result = train(
                self.config, self.hyper, self.run, out=self.out, demos=self.demonstrations, resume=self.resume
            )  # fmt: skip
        if result.interrupted and result.run_dir is not None:
            print(f"interrupted; continue with: gailfe train --out {self.out} --resume", file=sys.stderr)
        return 130 if result.interrupted else 0


def defaults(args: Sequence[str]) -> Train:
    """What `gailfe train` starts from: presets, or on --resume the settings in the run folder."""
    out = peek(args, "--out")
    if "--resume" in args and out and (pathlib.Path(out) / "config.json").is_file():
        config, hyper, run, demos = settings_from_run(load_run(out))
        return Train(out=out, run=run, demonstrations=demos, config=config, hyper=hyper)
    config, hyper, run = preset(peek(args, "--algo") or Config().algo, peek(args, "--env") or "hopper")
    missing: Any = tyro.MISSING
    return Train(out=missing, run=run, config=config, hyper=hyper)


def run(args: Sequence[str]) -> int:
    return parse(Train, "train", args, defaults(args))()
