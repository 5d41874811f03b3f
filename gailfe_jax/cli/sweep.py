"""`gailfe sweep`."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import Any, Literal

import tyro

from gailfe_jax.cli.parsing import Flat, parse, peek
from gailfe_jax.config.flat import Config, Hyper
from gailfe_jax.errors import GailfeError
from gailfe_jax.methods.presets import preset
from gailfe_jax.training.loop import DemoSettings, RunSettings


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Train many settings with the same seeds, side by side where one program can, and compare them.

    Settings come from one of --grid, --random and --settings; each starts from its method's preset on its task and the
    flags below, as gailfe train does. Any field of these flags can vary, except how a run is carried out. Writes one
    tidy table (sweep.csv, sweep.jsonl), summary.csv, summary.md, final.png, curves.png, and settings/<number>/ as
    gailfe train would.
    """

    out: str
    """Sweep folder."""
    grid: tuple[str, ...] = ()
    """Every combination: disc_lr=1e-4,3e-4 hidden=64x64,256x256 algo=gail,gailfe gradient_penalty=true,false."""
    random: tuple[str, ...] = ()
    """Draws: disc_lr=log:1e-5:1e-3 gamma=uniform:0.98:0.999 algo=choice:gail:mail."""
    samples: int = 16
    """How many draws."""
    sweep_seed: int = 0
    """Of the draws."""
    settings: str | None = None
    """File of settings: .csv (names first) or .jsonl, one setting per row."""
    optuna: int | None = None
    """Choose so many settings from the distributions of --random as it goes, by Optuna's TPE (extra: sweep)."""
    parallel: int = 8
    """Optuna: settings per round, trained side by side."""
    baseline: int | None = None
    """Number of the setting that others are compared with; the best of each task by default."""
    memory_gib: float | None = None
    """Memory to stay within; what is free by default. What does not fit is trained in parts."""
    parquet: bool = False
    """Write sweep.parquet too (needs pyarrow)."""
    cluster: Literal["local", "slurm"] | None = None
    """Train each program in a job of its own, and wait for all (extra: cluster); local starts them all here."""
    cluster_options: tuple[str, ...] = ()
    """What the jobs ask for, as submitit names it: timeout_min=600 gpus_per_node=1 slurm_partition=gpu."""
    resume: bool = False
    """Continue the sweep in --out, with its own flags; no finished setting is trained again."""
    run: Flat[RunSettings] = dataclasses.field(default_factory=RunSettings)
    demonstrations: Flat[DemoSettings] = dataclasses.field(default_factory=DemoSettings)
    config: Flat[Config] = dataclasses.field(default_factory=Config)
    hyper: Flat[Hyper] = dataclasses.field(default_factory=Hyper)
    words: tyro.conf.Suppress[tyro.conf.Fixed[tuple[str, ...]]] = ()

    def __call__(self) -> int:
        from gailfe_jax.sweep import space as search
        from gailfe_jax.sweep import study as sweep

        chosen = [name for name in ("grid", "random", "settings") if getattr(self, name)]
        if len(chosen) != 1:
            got = " and ".join(chosen) or "none of them"
            raise GailfeError(f"grid, random, settings: got {got}; expected one of the three")
        if self.optuna is not None and chosen != ["random"]:
            raise GailfeError(f"optuna: got --{chosen[0]}; expected distributions from --random")
        if self.optuna is not None and self.cluster is not None:
            raise GailfeError("cluster: --optuna asks for its next settings here; expected one of the two")
        options: dict[str, Any] = {
            "out": self.out, "resume": self.resume, "memory_gib": self.memory_gib, "baseline": self.baseline,
            "parquet": self.parquet, "words": self.words,
        }  # fmt: skip
        if self.optuna is not None:
            space = search.distributions(self.random)
            result = sweep.search(
                space, self._base, trials=self.optuna, parallel=self.parallel, seed=self.sweep_seed, **options
            )
        else:
            if self.settings:
                rows = search.from_file(self.settings)
            elif self.grid:
                rows = search.grid(self.grid)
            else:
                rows = search.random(self.random, self.samples, self.sweep_seed)
            jobs = {"cluster": self.cluster, "cluster_options": self.cluster_options}
            result = sweep.sweep(search.build(rows, self._base), **options, **jobs)
        if result.interrupted:
            print(f"interrupted; continue with: gailfe sweep --out {self.out} --resume", file=sys.stderr)
            return 130
        return 0

    def _base(self, algo: str | None, env: str | None) -> Any:
        """What these flags make of the presets of another method or task."""
        from gailfe_jax.sweep.space import Base

        swept = {name: value for name, value in (("--algo", algo), ("--env", env)) if value is not None}
        parsed = self
        if swept:
            words = [*self.words, *(word for pair in swept.items() for word in pair)]
            parsed = parse(Sweep, "sweep", words, defaults(words))
        return Base(parsed.config, parsed.hyper, parsed.run, parsed.demonstrations)


def defaults(args: Sequence[str]) -> Sweep:
    """What `gailfe sweep` starts from: the presets of the method and task that `args` name."""
    config, hyper, run = preset(peek(args, "--algo") or Config().algo, peek(args, "--env") or "hopper")
    missing: Any = tyro.MISSING
    return Sweep(out=missing, run=run, config=config, hyper=hyper, words=tuple(args))


def _resumed(args: Sequence[str]) -> list[str]:
    """The words of `gailfe sweep`; on --resume those the sweep was started with come first."""
    from gailfe_jax.sweep.study import load_sweep

    out = peek(args, "--out")
    if "--resume" in args and out and (pathlib.Path(out) / "sweep.json").is_file():
        return [*map(str, load_sweep(out)["words"]), *args]
    return list(args)


def run(args: Sequence[str]) -> int:
    words = _resumed(args)
    return parse(Sweep, "sweep", words, defaults(words))()
