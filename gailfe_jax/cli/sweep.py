"""`gailfe sweep`."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
import warnings
from collections.abc import Sequence
from typing import Any, Literal

from gailfe_jax.cli.parsing import is_given, peek, refuse_idle
from gailfe_jax.cli.settings import read_config, read_words
from gailfe_jax.errors import GailfeError, GailfeWarning
from gailfe_jax.io.user_modules import ask_for, require_modules

_RUNS = ("cluster", "cluster_options")  # Flags that run something beside a training.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """Train many settings with the same seeds, side by side where one program can, and compare them.

    Settings come from one of --grid, --random and --settings; each starts from its method's preset on its task and the
    flags below, as gailfe train does. Any setting of these flags can vary, except how a run is carried out. It writes
    one tidy table (sweep.csv, sweep.jsonl), summary.csv, summary.md, final.png, curves.png, and settings/<number>/ as
    gailfe train would.
    """

    out: str | None = None
    """Sweep folder."""
    grid: tuple[str, ...] = ()
    """Every combination: reward.lr=1e-4,3e-4 policy.hidden=64x64,256x256 algo=gail,fem."""
    random: tuple[str, ...] = ()
    """Draws: reward.lr=log:1e-5:1e-3 gamma=uniform:0.98:0.999 algo=choice:gail:mail."""
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
    """Continue the sweep in --out with its own flags, but for --cluster, which is given again; no finished setting is
    trained again."""
    config: str | None = None
    """Settings from a TOML file; flags and points come after it, and what nothing reads beside them is dropped."""


def run(words: Sequence[str]) -> int:
    """Carries the command out; returns the exit code."""
    started = _started(words)
    options, base, setup = read_words(Sweep, "sweep", words, earlier=started)
    config = read_config(options.config)
    # Before the points choose methods of their own.
    config = config and config.meant_for(setup.method.name)
    from gailfe_jax.sweep import space
    from gailfe_jax.sweep.search import search
    from gailfe_jax.sweep.study import sweep

    if not options.out:
        raise GailfeError("out: got none; expected --out and a folder for the sweep")
    chosen = [name for name in ("grid", "random", "settings") if getattr(options, name)]
    if not chosen and options.resume and not started:
        raise GailfeError(f"{options.out}: holds no sweep to resume; expected a folder made by gailfe sweep")
    if len(chosen) != 1:
        got = " and ".join(chosen) or "none of them"
        raise GailfeError(f"grid, random, settings: got {got}; expected one of the three")
    if options.optuna is not None and chosen != ["random"]:
        raise GailfeError(f"optuna: got --{chosen[0]}; expected distributions from --random")
    if options.optuna is not None and options.cluster is not None:
        raise GailfeError("cluster: --optuna asks for its next settings here; expected one of the two")
    refuse_idle(words, _idle(options))
    shared: dict[str, Any] = {
        "out": options.out, "resume": options.resume, "memory_gib": options.memory_gib, "baseline": options.baseline,
        "parquet": options.parquet, "words": tuple(words),
    }  # fmt: skip
    if options.optuna is not None:
        found = space.distributions(options.random)
        result = search(
            found,
            base,
            trials=options.optuna,
            parallel=options.parallel,
            seed=options.sweep_seed,
            config=config,
            **shared,
        )
    else:
        if options.settings:
            rows = space.from_file(options.settings)
            if is_given(words, "settings"):
                ask_for(value for row in rows for value in row.values() if isinstance(value, str))
        elif options.grid:
            rows = space.grid(options.grid)
        else:
            rows = space.random(options.random, options.samples, options.sweep_seed)
        jobs = {"cluster": options.cluster, "cluster_options": options.cluster_options}
        result = sweep(space.build(rows, base, config=config), **shared, **jobs)
    if result.summaries:
        from gailfe_jax.cli.report import write_quick_report

        write_quick_report(result.folder)
    if result.interrupted:
        print(f"interrupted; continue with: gailfe sweep --out {options.out} --resume", file=sys.stderr)
        return 130
    return 0


def _idle(options: Sweep) -> dict[str, str]:
    """The options that nothing reads as the others stand, and why."""
    found: dict[str, str] = {}
    if not options.random:
        found |= dict.fromkeys(("samples", "sweep_seed"), "the settings are not drawn; expected --random")
    elif options.optuna is not None:
        found["samples"] = "--optuna says how many settings are tried"
    if options.optuna is None:
        found["parallel"] = "Optuna chooses no settings; expected --optuna"
    if options.cluster is None:
        found["cluster_options"] = "no jobs are submitted; expected --cluster"
    return found


def _as_data(out: str, held: Sequence[Any], words: Sequence[str]) -> list[str]:
    """The words of a sweep folder without those that run something: a folder may be somebody else's.

    Environments and experts that name a module are refused where they are made (`only_asked_for`).

    Raises:
      GailfeError: they are no words.
    """
    if not all(isinstance(word, str) for word in held):
        raise GailfeError(f"{out}/sweep.json: field 'words': expected texts")
    if "-h" in held:
        raise GailfeError(f"{out}/sweep.json: field 'words': got '-h'; expected settings of a sweep")
    kept: list[str] = []
    dropped = False
    for word in held:
        if word.startswith("--"):
            name = word[2:].partition("=")[0].replace("-", "_")
            dropped = name in _RUNS
            if dropped and not is_given(words, name):
                warnings.warn(
                    f"{out}: was started with {word}, which no folder brings; give it again to submit jobs",
                    GailfeWarning,
                    stacklevel=2,
                )
        if not dropped:
            kept.append(word)
    return kept


def _started(words: Sequence[str]) -> list[str]:
    """The words that the sweep which `words` resume was started with; none for a new one."""
    from gailfe_jax.sweep.study import copied_env
    from gailfe_jax.training.sweep_record import load_sweep

    out = peek(words, "--out")
    if "--resume" in words and out and (pathlib.Path(out) / "sweep.json").is_file():
        record = load_sweep(out)
        require_modules(out, record)
        held = _as_data(out, record["words"], words)
        config = read_config(peek(held, "--config"))
        env = peek(held, "--env") or (config and config.values.get("env"))
        # What is given now comes after it.
        if not isinstance(env, str) or peek(words, "--env") is not None:
            return held
        return [*held, f"--env={copied_env(out, env)}"]
    return []
